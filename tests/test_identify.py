from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from guard.config import IdentitySettings
from guard.core.identity import Attribute, Holder
from guard.errors import ConfigError, CredentialError
from guard.identify import Identifier
from guard.store.keys import Keys

if TYPE_CHECKING:
    from pathlib import Path

    from guard.core.identity import Identity

KEYS = Keys(b"a pepper for the tests")
SECRET = "a shared secret of more than 32 bytes"


def identify(
    settings: dict[str, Any] | None = None,
    headers: list[tuple[str, str]] | None = None,
    peer: str | None = "192.0.2.1",
) -> Identity:
    identifier = Identifier(IdentitySettings.model_validate(settings or {}), KEYS)
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers or []]
    return identifier.identify(raw, (peer, 1) if peer else None)


def refused(settings: dict[str, Any] | None, headers: list[tuple[str, str]], peer: str = "192.0.2.1") -> int:
    with pytest.raises(CredentialError) as error:
        identify(settings, headers, peer)
    return error.value.status


class TestKeys:
    @pytest.mark.parametrize(
        "header",
        [("Authorization", "Bearer sk-1"), ("authorization", "bearer  sk-1 "), ("X-Api-Key", "sk-1")],
    )
    def test_a_key_is_known_by_a_keyed_hash_wherever_it_stands(self, header: tuple[str, str]) -> None:
        identity = identify(headers=[header])
        assert identity.principal == Holder(Attribute.KEY, KEYS.credential("sk-1"))
        assert not identity.verified
        assert "sk-1" not in repr(identity)
        assert len(identity.principal.value) == 32

    def test_keys_that_begin_alike_are_different(self) -> None:
        names = {
            identify(headers=[("x-api-key", "sk-" + "a" * 40 + tail)]).principal for tail in ("", "b", "c")
        }
        assert len(names) == 3

    def test_another_pepper_gives_another_name(self) -> None:
        assert Keys(b"another").credential("sk-1") != KEYS.credential("sk-1")

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ([("authorization", "Bearer a"), ("authorization", "Bearer b")], 400),
            ([("x-api-key", "a"), ("x-api-key", "a")], 400),
            ([("authorization", "Bearer a"), ("x-api-key", "a")], 400),
            ([("authorization", "Bearer ")], 401),
            ([("authorization", "Bearer")], 401),
            ([("authorization", "")], 401),
            ([("x-api-key", "  ")], 401),
            ([("authorization", "Basic dXNlcjpwYXNz")], 401),
            ([("authorization", "sk-1")], 401),
        ],
    )
    def test_a_credential_that_is_not_clear_is_an_error_not_an_anonymous_caller(
        self, headers: list[tuple[str, str]], status: int
    ) -> None:
        assert refused(None, headers) == status

    def test_unknown_keys_can_be_refused(self, tmp_path: Path) -> None:
        (tmp_path / "keys.toml").write_text("")
        settings = {"unknown_keys": "refuse", "keys_file": tmp_path / "keys.toml"}
        assert refused(settings, [("x-api-key", "sk-1")]) == 401


class TestKeysFile:
    def settings(self, folder: Path, text: str) -> dict[str, Any]:
        (folder / "keys.toml").write_text(text)
        return {"keys_file": folder / "keys.toml"}

    def digest(self, key: str) -> str:
        return sha256(key.encode()).hexdigest()

    def test_it_names_keys_through_a_rotation(self, tmp_path: Path) -> None:
        digests = json.dumps([self.digest("old"), self.digest("new")])
        text = f'[laptop]\nsha256 = {digests}\nuser = "al"\norg = "acme"\ntier = "pro"\n'
        settings = self.settings(tmp_path, text)
        for key in ("old", "new"):
            identity = identify(settings, [("x-api-key", key)])
            assert identity.principal == Holder(Attribute.KEY, "laptop")
            assert identity.verified
            assert identity.attributes[Attribute.ORG] == "acme"
            assert identity.attributes[Attribute.TIER] == "pro"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("x = ", "not TOML"),
            ("[a]", r"a\.sha256: Field required"),
            ('[a]\nsha256 = "abc"', r"a\.sha256\.0: String should match"),
            ("[a]\nsha256 = []", r"a\.sha256"),
            ('[a]\nsha256 = "{0}"\nteam = "x"', r"a\.team: Extra inputs"),
            ('[a]\nsha256 = "{0}"\n[b]\nsha256 = "{0}"', "b and a have the same key"),
        ],
    )
    def test_its_errors_say_where(self, tmp_path: Path, text: str, message: str) -> None:
        settings = self.settings(tmp_path, text.replace("{0}", self.digest("k")))
        with pytest.raises(ConfigError, match=message):
            identify(settings)

    def test_it_must_be_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            identify({"keys_file": tmp_path / "none.toml"})


class TestGateways:
    SETTINGS: ClassVar[dict[str, Any]] = {
        "trusted_proxies": ["10.0.0.0/8"],
        "headers": {"user": "X-User", "org": "X-Org", "tier": "X-Tier"},
    }
    SAYS: ClassVar[list[tuple[str, str]]] = [("x-user", "alice"), ("x-org", "acme"), ("x-tier", "pro")]

    def test_a_trusted_gateway_is_believed_before_a_credential(self) -> None:
        identity = identify(self.SETTINGS, [*self.SAYS, ("authorization", "Bearer k")], "10.0.0.1")
        assert identity.principal == Holder(Attribute.USER, "alice")
        assert identity.attributes[Attribute.TIER] == "pro"
        assert identity.verified

    def test_anybody_else_is_not(self) -> None:
        identity = identify(self.SETTINGS, [*self.SAYS, ("x-forwarded-for", "10.0.0.1")], "192.0.2.1")
        assert identity.principal == Holder(Attribute.NETWORK, "192.0.2.1/32")
        assert Attribute.ORG not in identity.attributes

    def test_without_a_user_the_organisation_is_held(self) -> None:
        assert identify(self.SETTINGS, [("x-org", "acme")], "10.0.0.1").principal == Holder(
            Attribute.ORG, "acme"
        )

    @pytest.mark.parametrize("value", ["", "x" * 257, "a\tb", "a\x00b"])
    def test_a_name_that_cannot_be_shown_is_refused(self, value: str) -> None:
        assert refused(self.SETTINGS, [("x-user", value)], "10.0.0.1") == 401

    def test_a_name_that_stands_twice_is_refused(self) -> None:
        assert refused(self.SETTINGS, [("x-user", "a"), ("x-user", "b")], "10.0.0.1") == 400


class TestTokens:
    HS: ClassVar[dict[str, Any]] = {
        "jwt": {"secret": SECRET, "algorithms": ["HS256"], "org_claim": "org", "tier_claim": "plan"}
    }

    def token(
        self,
        key: Any = SECRET,
        algorithm: str = "HS256",
        headers: dict[str, str] | None = None,
        **claims: Any,
    ) -> str:
        full = {"sub": "alice", "exp": int(time.time()) + 600, **claims}
        present = {name: value for name, value in full.items() if value is not None}
        return jwt.encode(present, key, algorithm, headers=headers)

    def bearer(self, token: str) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {token}")]

    def test_claims_become_attributes(self) -> None:
        identity = identify(self.HS, self.bearer(self.token(org="acme", plan="pro")))
        assert identity.principal == Holder(Attribute.USER, "alice")
        assert identity.attributes[Attribute.ORG] == "acme"
        assert identity.attributes[Attribute.TIER] == "pro"
        assert identity.verified

    def test_what_is_wrong_with_a_token_is_never_overlooked(self) -> None:
        settings = {"jwt": {**self.HS["jwt"], "audience": "me", "issuer": "us"}}
        right: dict[str, Any] = {"aud": "me", "iss": "us"}
        assert identify(settings, self.bearer(self.token(**right))).verified
        wrong = [
            self.token(**right, exp=int(time.time()) - 10),
            self.token(**right, exp=None),
            self.token(**{**right, "aud": "you"}),
            self.token(**{**right, "iss": "them"}),
            self.token(iss="us"),
            self.token(aud="me"),
            self.token("another secret of more than 32 bytes!", **right),
            self.token(SECRET * 2, "HS384", **right),
            self.token(**right, nbf=int(time.time()) + 600),
            self.token(**right, sub=None),
            self.token(**right, sub="x" * 300),
            self.token("", "none", **right),
            "a.b.c",
        ]
        for token in wrong:
            assert refused(settings, self.bearer(token)) == 401

    def test_a_public_key_is_no_shared_secret(self, tmp_path: Path) -> None:
        private = rsa.generate_private_key(65537, 2048)
        pem = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (tmp_path / "issuer.pem").write_bytes(pem)
        settings = {"jwt": {"key_file": tmp_path / "issuer.pem"}}
        assert identify(settings, self.bearer(self.token(private, "RS256"))).principal.value == "alice"
        parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "root", "exp": 9_999_999_999})
        signed = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
        signature = urlsafe_b64encode(hmac.digest(pem, signed, "sha256")).rstrip(b"=")
        assert refused(settings, self.bearer(f"{signed.decode()}.{signature.decode()}")) == 401

    def test_a_key_set_is_chosen_from_by_key_id(self, tmp_path: Path) -> None:
        private = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("one", "two")}
        algorithm = jwt.get_algorithm_by_name("ES256")
        keys = [
            {**json.loads(algorithm.to_jwk(key.public_key())), "kid": name, "alg": "ES256", "use": "sig"}
            for name, key in private.items()
        ]
        (tmp_path / "jwks.json").write_text(json.dumps({"keys": keys}))
        settings = {"jwt": {"key_file": tmp_path / "jwks.json", "algorithms": ["ES256"]}}
        for name, key in private.items():
            token = self.token(key, "ES256", {"kid": name})
            assert identify(settings, self.bearer(token)).principal.value == "alice"
        assert refused(settings, self.bearer(self.token(private["one"], "ES256", {"kid": "two"}))) == 401
        assert refused(settings, self.bearer(self.token(private["one"], "ES256", {"kid": "three"}))) == 401
        assert refused(settings, self.bearer(self.token(private["one"], "ES256"))) == 401

    def test_a_key_that_is_no_token_is_a_key_still(self) -> None:
        assert identify(self.HS, self.bearer("sk-1")).principal.attribute is Attribute.KEY

    @pytest.mark.parametrize("content", ["", "no key", '{"keys": []}', '{"keys": 7}'])
    def test_a_key_file_without_a_key_is_an_error(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "issuer.pem").write_text(content)
        with pytest.raises(ConfigError, match="no key"):
            identify({"jwt": {"key_file": tmp_path / "issuer.pem"}})


class TestAnonymous:
    @pytest.mark.parametrize(
        ("peer", "network"),
        [
            ("192.0.2.1", "192.0.2.1/32"),
            ("2001:db8::1:2", "2001:db8::/64"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            (None, "unknown"),
        ],
    )
    def test_they_are_held_by_their_network(self, peer: str | None, network: str) -> None:
        identity = identify(peer=peer)
        assert identity.principal == Holder(Attribute.NETWORK, network)
        assert not identity.verified

    def test_they_can_be_refused(self) -> None:
        assert refused({"anonymous": "refuse"}, []) == 401

    def test_behind_a_proxy_they_are_told_apart(self) -> None:
        settings = {"trusted_proxies": ["10.0.0.0/8"]}
        headers = [("x-forwarded-for", "6.6.6.6, 203.0.113.9")]
        assert identify(settings, headers, "10.0.0.1").principal.value == "203.0.113.9/32"
        assert identify(settings, headers, "192.0.2.1").principal.value == "192.0.2.1/32"

    def test_the_standard_header_can_be_chosen(self) -> None:
        settings = {"trusted_proxies": ["10.0.0.0/8"], "forwarded_header": "forwarded"}
        headers = [("forwarded", 'for="[2001:db8::7]:123"'), ("x-forwarded-for", "6.6.6.6")]
        assert identify(settings, headers, "10.0.0.1").attributes[Attribute.IP] == "2001:db8::7"
