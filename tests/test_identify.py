from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from guard.core.identity import UNVERIFIED, Attribute, Holder, VouchedBy
from guard.errors import ConfigError, CredentialError
from guard.identity.identifier import Identifier
from guard.settings.identity import IdentitySettings
from guard.settings.limits import UnitSettings
from guard.store.redis.keys import Keys

if TYPE_CHECKING:
    from pathlib import Path

    from guard.core.identity import Identity

KEYS = Keys(b"a pepper for the tests")
SECRET = "a shared secret of more than 32 bytes"
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())

HEADER_NAMES = st.sampled_from(
    [b"authorization", b"x-api-key", b"x-forwarded-for", b"x-user", b"x-org", b"x-tier"]
)
EVERY_WAY = Identifier(
    IdentitySettings.model_validate(
        {
            "trusted_proxies": ["10.0.0.0/8"],
            "headers": {"user": "x-user", "org": "x-org", "tier": "x-tier"},
            "jwt": {"secret": SECRET, "algorithms": ["HS256"]},
        }
    ),
    KEYS,
)


def b64(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode()


def pem_of(key: rsa.RSAPrivateKey, folder: Path) -> Path:
    file = folder / "issuer.pem"
    file.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return file


def identify(
    settings: dict[str, Any] | None = None,
    headers: list[tuple[str, str]] | None = None,
    peer: str | None = "192.0.2.1",
) -> Identity:
    identifier = Identifier(IdentitySettings.model_validate(settings or {}), KEYS)
    raw = [(name.lower().encode(), value.encode()) for name, value in headers or []]
    return identifier.identify(raw, (peer, 1) if peer else None)


def refused(
    settings: dict[str, Any] | None, headers: list[tuple[str, str]], peer: str | None = "192.0.2.1"
) -> int:
    with pytest.raises(CredentialError) as error:
        identify(settings, headers, peer)
    return error.value.status


WAYS: dict[str, tuple[dict[Attribute, str], list[tuple[str, str]], str | None, VouchedBy | None]] = {
    "keys file": ({}, [("x-api-key", "sk-known")], "192.0.2.1", VouchedBy.KEYS_FILE),
    "token": ({}, [("authorization", "Bearer TOKEN")], "192.0.2.1", VouchedBy.TOKEN),
    "gateway": ({}, [("x-user", "alice")], "10.0.0.1", VouchedBy.GATEWAY),
    "gateway before a key": ({}, [("x-user", "al"), ("x-api-key", "sk")], "10.0.0.1", VouchedBy.GATEWAY),
    "app": ({Attribute.USER: "alice"}, [("x-api-key", "sk")], "192.0.2.1", VouchedBy.APP),
    "app before a gateway": ({Attribute.KEY: "a"}, [("x-user", "al")], "10.0.0.1", VouchedBy.APP),
    "app that names no caller": ({Attribute.ORG: "acme"}, [("x-api-key", "sk")], "192.0.2.1", None),
    "unknown key": ({}, [("x-api-key", "sk")], "192.0.2.1", None),
    "a client that plays the gateway": ({}, [("x-user", "alice")], "192.0.2.1", None),
    "nobody": ({}, [], "192.0.2.1", None),
    "nobody through a gateway": ({}, [("x-forwarded-for", "192.0.2.1")], "10.0.0.1", None),
    "nobody on a unix socket": ({}, [], None, None),
}


@pytest.mark.parametrize(("vouched", "headers", "peer", "vouched_by"), WAYS.values(), ids=WAYS)
def test_it_is_known_who_vouches_for_a_caller(
    tmp_path: Path,
    vouched: dict[Attribute, str],
    headers: list[tuple[str, str]],
    peer: str | None,
    vouched_by: VouchedBy | None,
) -> None:
    (tmp_path / "keys.toml").write_text(f'[known]\nsha256 = "{sha256(b"sk-known").hexdigest()}"\n')
    settings = {
        "keys_file": tmp_path / "keys.toml",
        "trusted_proxies": ["10.0.0.0/8"],
        "headers": {"user": "x-user"},
        "jwt": {"secret": SECRET, "algorithms": ["HS256"]},
    }
    identifier = Identifier(IdentitySettings.model_validate(settings), KEYS)
    token = jwt.encode({"sub": "alice", "exp": int(time.time()) + 600}, SECRET, "HS256")
    raw = [(name.encode(), value.replace("TOKEN", token).encode()) for name, value in headers]
    identity = identifier.identify(raw, (peer, 1) if peer else None, vouched)
    assert identity.vouched_by is vouched_by
    assert identity.verified is (vouched_by is not None)
    held = UNVERIFIED if vouched_by is None else identity.principal
    assert identity.holder(Attribute.UNVERIFIED) == held


@pytest.mark.parametrize(
    ("peer", "settings", "network", "pool"),
    [
        ("192.0.2.99", {}, "192.0.2.99/32", "192.0.2.0/24"),
        ("::ffff:192.0.2.99", {}, "192.0.2.99/32", "192.0.2.0/24"),
        ("2001:db8:1:2::9", {}, "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("192.0.2.99", {"network_prefix": {"ipv4": 28}}, "192.0.2.96/28", "192.0.2.0/24"),
        ("192.0.2.99", {"pool_prefix": {"ipv4": 16}}, "192.0.2.99/32", "192.0.0.0/16"),
        ("2001:db8:1:2::9", {"pool_prefix": {"ipv4": 16}}, "2001:db8:1:2::/64", "2001:db8:1::/48"),
        ("2001:db8:1:2::9", {"network_prefix": {"ipv6": 56}}, "2001:db8:1::/56", "2001:db8:1::/48"),
        (None, {}, "unknown", None),
    ],
)
def test_networks_and_pools_are_as_wide_as_the_settings_say(
    peer: str | None, settings: dict[str, Any], network: str, pool: str | None
) -> None:
    anonymous, stranger = identify(settings, [], peer), identify(settings, [("x-api-key", "k")], peer)
    assert anonymous.principal == Holder(Attribute.NETWORK, network)
    assert stranger.attributes.get(Attribute.NETWORK) == (None if peer is None else network)
    assert stranger.attributes.get(Attribute.POOL) == anonymous.attributes.get(Attribute.POOL) == pool
    held = stranger.principal if pool is None else Holder(Attribute.POOL, pool)
    assert stranger.holder(Attribute.POOL) == held


class TestTraits:
    """What a gateway or a token says of a caller that it need not name."""

    SETTINGS: ClassVar[dict[str, Any]] = {
        "trusted_proxies": ["10.0.0.0/8"],
        "headers": {"user": "x-user", "asn": "X-ASN", "payment": "x-card", "tls": "x-ja4"},
    }
    SAYS: ClassVar[list[tuple[str, str]]] = [
        *(("x-asn", "AS13335"), ("x-card", "fp_1"), ("x-ja4", "t13d1516h2_8daaf6152771"))
    ]
    TOLD: ClassVar[dict[Attribute, str]] = {
        Attribute.ASN: "13335",
        Attribute.PAYMENT: KEYS.hashed(Attribute.PAYMENT, "fp_1"),
        Attribute.TLS: KEYS.hashed(Attribute.TLS, "t13d1516h2_8daaf6152771"),
    }

    def told(self, identity: Identity) -> dict[Attribute, str]:
        return {name: value for name, value in identity.attributes.items() if name in self.TOLD}

    @pytest.mark.parametrize(
        ("headers", "principal"),
        [
            ([("x-user", "alice")], Holder(Attribute.USER, "alice")),
            ([("x-api-key", "k")], Holder(Attribute.KEY, KEYS.credential("k"))),
            ([], Holder(Attribute.NETWORK, "10.0.0.1/32")),
        ],
        ids=["named", "key", "nobody"],
    )
    def test_a_gateway_says_them_whoever_the_caller_is(
        self, headers: list[tuple[str, str]], principal: Holder
    ) -> None:
        identity = identify(self.SETTINGS, [*self.SAYS, *headers], "10.0.0.1")
        assert identity.principal == principal
        assert self.told(identity) == self.TOLD
        assert identity.holder(Attribute.ASN) == Holder(Attribute.ASN, "13335")
        assert "fp_1" not in repr(identity)
        assert "t13d" not in repr(identity)

    def test_a_client_does_not_choose_them(self) -> None:
        identity = identify(self.SETTINGS, [*self.SAYS, ("x-api-key", "k")])
        assert self.told(identity) == {}
        assert identity.holder(Attribute.PAYMENT) == identity.principal

    def test_an_empty_header_says_nothing(self) -> None:
        empty = [(name, "") for name, _ in self.SAYS]
        identity = identify(self.SETTINGS, [*empty, ("x-api-key", "k")], "10.0.0.1")
        assert self.told(identity) == {}

    @pytest.mark.parametrize("says", [("x-asn", "1"), ("x-card", "x" * 257), ("x-ja4", "\x00")])
    def test_what_cannot_be_told_apart_is_refused(self, says: tuple[str, str]) -> None:
        assert refused(self.SETTINGS, [*self.SAYS, says], "10.0.0.1") in (400, 401)

    def test_a_hash_of_a_payment_is_hashed_too(self) -> None:
        """An MD5 of a card number looks like a digest of guard's own."""
        md5 = "0123456789abcdef" * 2
        identity = identify(self.SETTINGS, [("x-card", md5)], "10.0.0.1")
        assert identity.attributes[Attribute.PAYMENT] == KEYS.hashed(Attribute.PAYMENT, md5) != md5

    def test_a_token_may_say_them(self) -> None:
        settings = {
            "jwt": {
                "secret": SECRET,
                "algorithms": ["HS256"],
                "asn_claim": "asn",
                "payment_claim": "card",
            }
        }
        claims = {"sub": "alice", "asn": 13335, "card": "fp_1", "exp": int(time.time()) + 600}
        token = jwt.encode(claims, SECRET, "HS256")
        told = self.told(identify(settings, [("authorization", f"Bearer {token}")]))
        assert told == {name: self.TOLD[name] for name in (Attribute.ASN, Attribute.PAYMENT)}

    def test_an_app_may_say_them(self) -> None:
        identifier = Identifier(IdentitySettings(), KEYS)
        vouched = {
            Attribute.ASN: "as13335",
            Attribute.PAYMENT: "fp_1",
            Attribute.TLS: "t13d1516h2_8daaf6152771",
        }
        assert self.told(identifier.identify([], None, vouched)) == self.TOLD

    @pytest.mark.parametrize("name", [b"x-user", b"x-api-key"])
    @pytest.mark.parametrize(
        ("forwarded", "kept"),
        [([], set()), (["x-card"], {b"x-card"}), (["x-*"], {b"x-asn", b"x-card", b"x-ja4"})],
    )
    def test_they_are_no_business_of_the_backend(
        self, name: bytes, forwarded: list[str], kept: set[bytes]
    ) -> None:
        settings = IdentitySettings.model_validate({**self.SETTINGS, "forward_headers": forwarded})
        headers = [(b"x-asn", b"13335"), (b"x-card", b"fp_1"), (b"x-ja4", b"t13"), (name, b"alice")]
        goes_on = {header for header, _ in Identifier(settings, KEYS).judge(headers, ("10.0.0.1", 1)).headers}
        assert goes_on - {name} == kept
        of_a_client = Identifier(settings, KEYS).judge(headers, ("192.0.2.1", 1)).headers
        assert {header for header, _ in of_a_client}.isdisjoint({b"x-asn", b"x-card", b"x-ja4"})

    def test_they_need_no_header_that_names_the_caller(self) -> None:
        settings = {"trusted_proxies": ["10.0.0.0/8"], "headers": {"payment": "x-card"}}
        identity = identify(settings, [("x-card", "fp_1"), ("x-api-key", "k")], "10.0.0.1")
        assert not identity.verified
        assert Attribute.PAYMENT in identity.attributes


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

    @given(one=st.binary(max_size=30), other=st.binary(max_size=30))
    def test_different_keys_are_different_callers_and_none_is_shown(self, one: bytes, other: bytes) -> None:
        identifier = Identifier(IdentitySettings(), KEYS)
        one, other = (b"sk-proj-0123456789abcdef" + urlsafe_b64encode(each) for each in (one, other))
        callers = [identifier.identify([(b"x-api-key", key)], None) for key in (one, other)]
        assert (callers[0] == callers[1]) is (one == other)
        assert "sk-proj" not in repr(callers)
        assert KEYS.digest(callers[0].principal) not in repr(callers)

    @given(headers=st.lists(st.tuples(HEADER_NAMES, st.binary(max_size=20)), max_size=3))
    def test_whatever_is_sent_is_a_caller_or_an_error_of_the_caller_s(
        self, headers: list[tuple[bytes, bytes]]
    ) -> None:
        with suppress(CredentialError):
            identity = EVERY_WAY.identify(headers, ("10.0.0.1", 1))
            kinds = [value for name, value in headers if name in (b"authorization", b"x-api-key")]
            by = Attribute.KEY if b"".join(kinds).strip(b" \t") not in (b"", b"Bearer") else Attribute.NETWORK
            assert identity.principal.value
            assert identity.principal.attribute in {Attribute.USER, Attribute.ORG, by}

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("sk-1", "SK-1"),
            ("sk-1", "sk-1."),
            ("sk-1", "sk-1="),
            ("sk-1/", "sk-1+"),
            ("k" * 16_383, "k" * 16_384),
        ],
    )
    def test_keys_that_look_alike_are_different(self, one: str, other: str) -> None:
        assert identify(headers=[("x-api-key", one)]) != identify(headers=[("x-api-key", other)])

    def test_where_a_key_stands_makes_no_difference(self) -> None:
        assert identify(headers=[("x-api-key", "k")]) == identify(headers=[("authorization", "BEARER k")])

    def test_what_a_client_says_of_itself_is_no_fact(self) -> None:
        claims = [("x-user-id", "root"), ("x-org", "acme"), ("x-real-ip", "6.6.6.6"), ("host", "x")]
        assert identify(headers=[("x-api-key", "k"), *claims]) == identify(headers=[("x-api-key", "k")])

    def test_an_error_never_repeats_the_credential(self) -> None:
        for headers in ([("authorization", "Basic canary")], [("x-api-key", "canary"), ("x-api-key", "b")]):
            with pytest.raises(CredentialError) as error:
                identify(headers=headers)
            assert "canary" not in str(error.value)

    def test_another_pepper_gives_another_name(self) -> None:
        assert Keys(b"another").credential("sk-1") != KEYS.credential("sk-1")

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ([("authorization", "Bearer a"), ("authorization", "Bearer b")], 400),
            ([("x-api-key", "a"), ("x-api-key", "b")], 400),
            ([("authorization", "Bearer a"), ("x-api-key", "b")], 400),
            ([("api-key", "a"), ("x-goog-api-key", "b")], 400),
            ([("authorization", "Bearer a, Bearer b")], 401),
            ([("authorization", "Bearer Bearer a")], 401),
            ([("authorization", "Bearer sk-Bearer a")], 401),
            ([("x-api-key", "Bearer a")], 401),
            ([("x-api-key", "a,a")], 401),
            ([("authorization", "Bearer a=b")], 401),
            ([("authorization", "Bearer caf\u00e9")], 401),
            ([("api-key", "sk-1\u00a0")], 401),
            ([("x-api-key", "k" * 16_385)], 401),
            ([("authorization", "Basic dXNlcjpwYXNz")], 401),
            ([("authorization", "sk-1")], 401),
            ([("authorization", "Basic x"), ("x-api-key", "a")], 400),
            ([("authorization", "Bearer\ta")], 401),
            ([("authorization", "Bearera")], 401),
            ([("authorization", "Token a")], 401),
        ],
    )
    def test_a_credential_that_is_not_clear_is_an_error_not_an_anonymous_caller(
        self, headers: list[tuple[str, str]], status: int
    ) -> None:
        assert refused(None, headers) == status

    @pytest.mark.parametrize(
        "headers",
        [
            [("authorization", "Bearer a"), ("x-api-key", "a")],
            [("authorization", "Bearer a"), ("authorization", "bearer a")],
            [("authorization", ""), ("x-api-key", "a")],
            [("authorization", "Bearer "), ("x-api-key", "a")],
            [("authorization", "Bearer a"), ("x-api-key", " ")],
            [("api-key", "a")],
            [("api-key", "a"), ("x-goog-api-key", "a"), ("x-api-key", "")],
        ],
    )
    def test_m10_equal_credentials_are_one_and_an_empty_one_is_none(
        self, headers: list[tuple[str, str]]
    ) -> None:
        assert identify(headers=headers) == identify(headers=[("x-api-key", "a")])

    @pytest.mark.parametrize("header", [("authorization", "Bearer"), ("authorization", ""), ("api-key", " ")])
    def test_m10_an_empty_credential_alone_is_none(self, header: tuple[str, str]) -> None:
        assert identify(headers=[header]).principal.attribute is Attribute.NETWORK
        assert refused({"anonymous": "refuse"}, [header]) == 401

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

    def test_a_key_that_it_does_not_know_is_another_s(self, tmp_path: Path) -> None:
        settings = self.settings(tmp_path, f'[laptop]\nsha256 = "{self.digest("k")}"\n')
        stranger = identify(settings, [("x-api-key", "other")])
        assert stranger.principal == Holder(Attribute.KEY, KEYS.credential("other"))
        assert not stranger.verified
        assert refused({**settings, "unknown_keys": "refuse"}, [("x-api-key", "other")]) == 401
        assert identify({**settings, "unknown_keys": "refuse"}, [("x-api-key", "k")]).verified

    def test_the_hash_of_a_key_is_no_key(self, tmp_path: Path) -> None:
        settings = self.settings(tmp_path, f'[laptop]\nsha256 = "{self.digest("k")}"\n')
        assert not identify(settings, [("x-api-key", self.digest("k"))]).verified

    def test_what_it_does_not_say_is_no_attribute(self, tmp_path: Path) -> None:
        settings = self.settings(tmp_path, f'[laptop]\nsha256 = "{self.digest("k")}"\norg = ""\n')
        assert set(identify(settings, [("x-api-key", "k")]).attributes) == {
            Attribute.KEY,
            Attribute.IP,
            Attribute.NETWORK,
        }

    def test_a_known_key_may_look_like_a_token(self, tmp_path: Path) -> None:
        settings = self.settings(tmp_path, f'[laptop]\nsha256 = "{self.digest("sk.a.b")}"\n')
        settings["jwt"] = {"secret": SECRET, "algorithms": ["HS256"]}
        assert identify(settings, [("x-api-key", "sk.a.b")]).principal == Holder(Attribute.KEY, "laptop")

    @pytest.mark.parametrize(
        "text",
        [
            '[""]\nsha256 = "{0}"',
            '["a\\nb"]\nsha256 = "{0}"',
            '[a]\nsha256 = "{0}"\nuser = "a\\u001b[2J"',
            '[a]\nsha256 = "{0}"\norg = "{0}{0}{0}{0}{0}"',
        ],
    )
    def test_a_name_in_it_can_be_shown_and_stored_like_any_other(self, tmp_path: Path, text: str) -> None:
        settings = self.settings(tmp_path, text.replace("{0}", self.digest("k")))
        with pytest.raises(ConfigError):
            identify(settings)

    def test_a_key_in_clear_is_refused_and_not_repeated(self, tmp_path: Path) -> None:
        for text in ('[a]\nsha256 = "sk-canary"', '[a]\nsha256 = "{0}"\nkey = "sk-canary"'):
            settings = self.settings(tmp_path, text.replace("{0}", self.digest("k")))
            with pytest.raises(ConfigError) as error:
                identify(settings)
            assert "canary" not in str(error.value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("x = ", "not TOML"),
            ("x = 1", r"keys\.toml: x: "),
            ("[a]\nsha256 = 7", r"a\.sha256"),
            ('[a]\nsha256 = ["{0}", "{0}"]', "a and a have the same key"),
            ('[a]\nsha256 = "{0}"\nuser = 7', r"a\.user"),
            ('[a]\nsha256 = "{0}0"', r"a\.sha256\.0"),
            ('[a]\nsha256 = "' + "A" * 64 + '"', r"a\.sha256\.0"),
            ("[a]", r"a\.sha256: must be given"),
            ('[a]\nsha256 = "abc"', r"a\.sha256\.0: must match"),
            ("[a]\nsha256 = []", r"a\.sha256"),
            ('[a]\nsha256 = "{0}"\nteam = "x"', r"a\.team: no such setting"),
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
        assert refused(self.SETTINGS, [("x-org", "a"), ("x-org", "a")], "10.0.0.1") == 400

    @pytest.mark.parametrize("name", ["José", "Éric", "Łukasz", "voilà", "Ü\N{GRINNING FACE}"])
    def test_a_name_outside_ascii_is_that_name(self, name: str) -> None:
        identity = identify(self.SETTINGS, [("x-user", name)], "10.0.0.1")
        assert identity.principal == Holder(Attribute.USER, name)

    def test_names_outside_ascii_do_not_fall_together(self) -> None:
        one, other = (
            identify(self.SETTINGS, [("x-user", name)], "10.0.0.1").principal for name in ("voilà", "voilÅ")
        )
        assert one != other

    def test_a_bad_name_is_not_made_up_for_by_a_credential(self) -> None:
        headers = [("x-user", ""), ("authorization", "Bearer k")]
        assert refused(self.SETTINGS, headers, "10.0.0.1") == 401
        assert refused(self.SETTINGS, [("x-user", "a"), ("x-tier", "")], "10.0.0.1") == 401

    def test_a_tier_alone_is_nobody_and_loosens_nothing(self) -> None:
        identity = identify(self.SETTINGS, [("x-tier", "pro"), ("x-api-key", "k")], "10.0.0.1")
        assert identity.principal.attribute is Attribute.KEY
        assert Attribute.TIER not in identity.attributes

    @pytest.mark.parametrize("peer", [None, "", "192.0.2.1", "::ffff:192.0.2.1", "110.0.0.1"])
    def test_only_the_peer_itself_is_asked_whether_it_is_trusted(self, peer: str | None) -> None:
        spoofed = [("x-forwarded-for", "10.0.0.1"), ("forwarded", "for=10.0.0.1"), *self.SAYS]
        identity = identify(self.SETTINGS, spoofed, peer)
        assert identity.principal.attribute is Attribute.NETWORK
        assert not identity.verified

    def test_a_gateway_s_address_may_be_written_as_ipv6(self) -> None:
        assert identify(self.SETTINGS, self.SAYS, "::ffff:10.0.0.1").verified

    def test_its_callers_are_told_apart_by_address_too(self) -> None:
        headers = [*self.SAYS, ("x-forwarded-for", "2001:db8:1:2::7")]
        identity = identify(self.SETTINGS, headers, "10.0.0.1")
        assert identity.principal == Holder(Attribute.USER, "alice")
        assert identity.attributes[Attribute.IP] == "2001:db8:1:2::7"
        assert identity.attributes[Attribute.NETWORK] == "2001:db8:1:2::/64"

    def test_without_a_name_it_is_the_credential_that_counts(self) -> None:
        assert identify(self.SETTINGS, [("x-api-key", "k")], "10.0.0.1").principal == Holder(
            Attribute.KEY, KEYS.credential("k")
        )


class TestTokens:
    HS: ClassVar[dict[str, Any]] = {
        "jwt": {"secret": SECRET, "algorithms": ["HS256"], "org_claim": "org", "tier_claim": "plan"}
    }

    def token(
        self,
        key: Any = SECRET,
        algorithm: str = "HS256",
        headers: dict[str, Any] | None = None,
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
            self.token("", "none", **right).replace("..", "."),
            self.token(**right, exp="soon"),
            self.token(**right, exp=True),
            self.token(**right, iat=int(time.time()) + 600),
            self.token(**right, sub=""),
            self.token(**right, sub="a\nb"),
            self.token(**{**right, "aud": ["you", "them"]}),
            self.token(**{**right, "iss": "us/"}),
            self.token(headers={"crit": ["x"], "x": "1"}, **right),
            self.token(**right)[:-2],
            self.token(**right).partition(".")[0] + ".e30.",
            b64(b'{"alg":["HS256"]}') + ".e30.x",
            b64(b'{"alg":"HS256","kid":["x"]}') + ".e30.x",
            b64(b"[" * 40_000) + ".e30.x",
            b64(b"\xff") + ".e30.x",
            "a.b.c",
            "..",
            "é.é.é",
        ]
        for token in wrong:
            assert refused(settings, self.bearer(token)) == 401
            assert refused(settings, [("x-api-key", token)]) == 401

    def test_one_of_several_audiences_is_enough(self) -> None:
        settings = {"jwt": {**self.HS["jwt"], "audience": "me"}}
        assert identify(settings, self.bearer(self.token(aud=["you", "me"]))).verified

    def test_an_audience_that_nobody_asked_for_does_no_harm(self) -> None:
        assert identify(self.HS, self.bearer(self.token(aud="you"))).verified

    def test_an_error_never_repeats_the_token(self) -> None:
        with pytest.raises(CredentialError) as error:
            identify(self.HS, self.bearer(self.token(exp=1)))
        assert str(error.value) == "The token is not valid."

    @pytest.mark.parametrize("claim", [None, True, [], ["acme"], {}, {"id": "acme"}])
    def test_a_claim_that_is_no_name_names_nobody(self, claim: Any) -> None:
        settings = {"jwt": {**self.HS["jwt"], "user_claim": "email", "org_claim": None}}
        claims = {"sub": "x", "email": claim, "exp": int(time.time()) + 600}
        assert refused(settings, self.bearer(jwt.encode(claims, SECRET, "HS256"))) == 401

    @pytest.mark.parametrize("name", ["org", "plan"])
    def test_a_claim_that_is_null_is_absent(self, name: str) -> None:
        claims = {"sub": "alice", name: None, "exp": int(time.time()) + 600}
        identity = identify(self.HS, self.bearer(jwt.encode(claims, SECRET, "HS256")))
        assert set(identity.attributes) == {Attribute.USER, Attribute.IP, Attribute.NETWORK}

    def test_without_a_user_the_organisation_is_held(self) -> None:
        token = self.token(sub=None, org="acme")
        assert identify(self.HS, self.bearer(token)).principal == Holder(Attribute.ORG, "acme")

    def test_a_token_is_no_weaker_than_the_key_that_comes_with_it(self) -> None:
        headers = [*self.bearer(self.token(exp=1)), ("x-api-key", "k")]
        assert refused(self.HS, headers) == 400

    def test_a_public_key_is_no_shared_secret(self, tmp_path: Path) -> None:
        pem = pem_of(RSA_KEY, tmp_path).read_bytes()
        settings = {"jwt": {"key_file": tmp_path / "issuer.pem"}}
        assert identify(settings, self.bearer(self.token(RSA_KEY, "RS256"))).principal.value == "alice"
        parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": "root", "exp": 9_999_999_999})
        signed = b".".join(urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
        signature = urlsafe_b64encode(hmac.digest(pem, signed, "sha256")).rstrip(b"=")
        assert refused(settings, self.bearer(f"{signed.decode()}.{signature.decode()}")) == 401

    @pytest.mark.parametrize("algorithm", ["ES256", "PS256", "RS512", "none", "EdDSA"])
    def test_a_token_of_another_algorithm_is_refused(self, tmp_path: Path, algorithm: str) -> None:
        settings = {"jwt": {"key_file": pem_of(RSA_KEY, tmp_path)}}
        assert refused(settings, self.bearer(self.signed_with(algorithm))) == 401

    def test_a_key_is_used_only_for_the_algorithms_of_its_kind(self, tmp_path: Path) -> None:
        settings = {"jwt": {"key_file": pem_of(RSA_KEY, tmp_path), "algorithms": ["RS256", "ES256"]}}
        with pytest.raises((CredentialError, ConfigError)):
            identify(settings, self.bearer(self.signed_with("ES256")))

    def signed_with(self, algorithm: str) -> str:
        keys: dict[str, Any] = {"none": "", "ES256": EC_KEY, "EdDSA": ed25519.Ed25519PrivateKey.generate()}
        return self.token(keys.get(algorithm, RSA_KEY), algorithm)

    def test_a_key_set_without_key_ids_has_all_its_keys(self, tmp_path: Path) -> None:
        private = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        algorithm = jwt.get_algorithm_by_name("ES256")
        keys = [json.loads(algorithm.to_jwk(key.public_key())) for key in private]
        (tmp_path / "jwks.json").write_text(json.dumps({"keys": keys}))
        settings = {"jwt": {"key_file": tmp_path / "jwks.json", "algorithms": ["ES256"]}}
        for key in private:
            assert identify(settings, self.bearer(self.token(key, "ES256"))).principal.value == "alice"
        assert refused(settings, self.bearer(self.token(EC_KEY, "ES256"))) == 401

    def test_a_shared_secret_in_a_key_set_signs_nothing(self, tmp_path: Path) -> None:
        secret = {"kty": "oct", "k": b64(SECRET.encode()), "kid": "s", "alg": "HS256"}
        public = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(EC_KEY.public_key()))
        (tmp_path / "jwks.json").write_text(json.dumps({"keys": [secret, {**public, "kid": "e"}]}))
        settings = {"jwt": {"key_file": tmp_path / "jwks.json", "algorithms": ["ES256"]}}
        assert refused(settings, self.bearer(self.token(headers={"kid": "s"}))) == 401
        assert identify(settings, self.bearer(self.token(EC_KEY, "ES256", {"kid": "e"}))).verified

    @pytest.mark.parametrize("algorithm", ["RS999", "none", "rs256"])
    def test_an_algorithm_that_does_not_exist_is_an_error_at_the_start(
        self, tmp_path: Path, algorithm: str
    ) -> None:
        file = pem_of(RSA_KEY, tmp_path)
        with pytest.raises((ConfigError, ValidationError)):
            identify({"jwt": {"key_file": file, "algorithms": [algorithm]}})

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
        for key in ("sk-1", "a.b", "a.b.c.d"):
            assert identify(self.HS, self.bearer(key)).principal == Holder(
                Attribute.KEY, KEYS.credential(key)
            )
            assert refused({**self.HS, "unknown_keys": "refuse"}, self.bearer(key)) == 401

    def test_a_token_file_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"identity\.jwt\.key_file: .*No such file"):
            identify({"jwt": {"key_file": tmp_path / "none.pem"}})

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
        assert identify({"anonymous": "refuse"}, [("x-api-key", "k")]).principal.attribute is Attribute.KEY

    def test_changing_the_address_within_a_network_changes_nobody(self) -> None:
        peers = [f"2001:db8:1:2::{number:x}" for number in range(1, 300)]
        assert len({identify(peer=peer).principal for peer in peers}) == 1
        assert identify(peer="2001:db8:1:3::1").principal != identify(peer=peers[0]).principal

    def test_a_credential_keeps_its_caller_wherever_it_comes_from(self) -> None:
        here, there = (identify(headers=[("x-api-key", "k")], peer=peer) for peer in ("192.0.2.1", None))
        assert here.principal == there.principal
        assert here.attributes[Attribute.IP] == "192.0.2.1"
        assert Attribute.IP not in there.attributes

    @pytest.mark.parametrize("name", ["x-real-ip", "forwarded", "x-client-ip", "cf-connecting-ip"])
    def test_no_other_header_moves_them(self, name: str) -> None:
        settings = {"trusted_proxies": ["10.0.0.0/8"]}
        headers = [(name, "for=6.6.6.6" if name == "forwarded" else "6.6.6.6")]
        assert identify(settings, headers, "10.0.0.1").principal.value == "10.0.0.1/32"

    def test_several_lines_are_one_list(self) -> None:
        settings = {"trusted_proxies": ["10.0.0.0/8"]}
        headers = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9, 10.0.0.7")]
        assert identify(settings, headers, "10.0.0.1").principal.value == "203.0.113.9/32"

    def test_behind_a_proxy_they_are_told_apart(self) -> None:
        settings = {"trusted_proxies": ["10.0.0.0/8"]}
        headers = [("x-forwarded-for", "6.6.6.6, 203.0.113.9")]
        assert identify(settings, headers, "10.0.0.1").principal.value == "203.0.113.9/32"
        assert identify(settings, headers, "192.0.2.1").principal.value == "192.0.2.1/32"

    def test_the_standard_header_can_be_chosen(self) -> None:
        settings = {"trusted_proxies": ["10.0.0.0/8"], "forwarded_header": "forwarded"}
        headers = [("forwarded", 'for="[2001:db8::7]:123"'), ("x-forwarded-for", "6.6.6.6")]
        assert identify(settings, headers, "10.0.0.1").attributes[Attribute.IP] == "2001:db8::7"


class TestAmounts:
    """Units of the operator's own: a trusted gateway's word first, then a token's, then the default."""

    UNITS: ClassVar = {
        "credits": UnitSettings(header="X-Credits", claim="credits", default=3),
        "pages": UnitSettings(header="x-pages", default=0),
    }
    SETTINGS: ClassVar = {
        "trusted_proxies": ["10.0.0.0/8"],
        "jwt": {"secret": SECRET, "algorithms": ["HS256"]},
    }

    def amounts(self, headers: list[tuple[str, str]], peer: str = "10.0.0.1") -> dict[str, int]:
        identifier = Identifier(IdentitySettings.model_validate(self.SETTINGS), KEYS, self.UNITS)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        return dict(identifier.identify(raw, (peer, 1)).amounts)

    def bearer(self, amount: object) -> tuple[str, str]:
        claims = {"sub": "ann", "exp": 9_999_999_999, "credits": amount}
        return "authorization", f"Bearer {jwt.encode(claims, SECRET, 'HS256')}"

    @pytest.mark.parametrize(
        ("headers", "peer", "amounts"),
        [
            ([], "10.0.0.1", {"credits": 3, "pages": 0}),
            ([("x-credits", "7"), ("x-pages", "12")], "10.0.0.1", {"credits": 7, "pages": 12}),
            ([("x-credits", "0")], "10.0.0.1", {"credits": 0, "pages": 0}),
            ([("x-credits", "007")], "10.0.0.1", {"credits": 7, "pages": 0}),
            ([("x-credits", "7"), ("x-pages", "12")], "192.0.2.1", {"credits": 3, "pages": 0}),
        ],
    )
    def test_only_a_trusted_gateway_is_believed(
        self, headers: list[tuple[str, str]], peer: str, amounts: dict[str, int]
    ) -> None:
        assert self.amounts(headers, peer) == amounts

    def test_a_token_says_it_and_a_gateway_says_it_better(self) -> None:
        assert self.amounts([self.bearer(5)], "192.0.2.1")["credits"] == 5
        assert self.amounts([self.bearer("5")])["credits"] == 5
        assert self.amounts([self.bearer(5), ("x-credits", "9")])["credits"] == 9
        assert self.amounts([self.bearer(5), ("x-credits", "9")], "192.0.2.1")["credits"] == 5

    @pytest.mark.parametrize("amount", ["-1", "+1", "1.0", "1e3", "", " ", "x", "\u0661", "1" * 16])
    def test_what_is_no_whole_number_is_refused(self, amount: str) -> None:
        with pytest.raises(CredentialError, match="x-credits is not a whole number"):
            self.amounts([("x-credits", amount)])

    @pytest.mark.parametrize("amount", [-1, 1.5, True, None, [1], {"a": 1}, "x"])
    def test_so_it_is_in_a_token(self, amount: object) -> None:
        with pytest.raises(CredentialError, match="credits is not a whole number"):
            self.amounts([self.bearer(amount)])

    def test_an_amount_that_stands_twice_is_refused(self) -> None:
        with pytest.raises(CredentialError, match="stands twice"):
            self.amounts([("x-credits", "1"), ("x-credits", "2")])
