"""JSON web tokens: what they say, and whether to believe it."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from guard.core.identity import VouchedBy
from guard.errors import ConfigError, CredentialError
from guard.identity.caller import Caller, amount_of, name_of, principal_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from guard.settings.identity import JwtSettings

    Headers = Iterable[tuple[bytes, bytes]]


class TokenVerifier:
    """Believes a JSON web token whose signature, dates, issuer and audience are right."""

    def __init__(self, settings: JwtSettings, amounts: Mapping[str, str]) -> None:
        self._settings = settings
        self._amounts = amounts
        self._keys = _token_keys(settings)
        self._claims = settings.claims
        self._naming = [claim for claim in (settings.user_claim, settings.org_claim) if claim is not None]

    def verify(self, token: str, now_seconds: float | None = None) -> Caller:
        """Whom the token names, at this moment or now; raises `CredentialError`."""
        claims = self._claims_of(token, now_seconds)
        if now_seconds is not None and not _in_time(claims, now_seconds):
            raise CredentialError("The token is not valid.", status=401, reason="token_dates")
        attributes = {
            attribute: _claimed(claims[claim], claim)
            for attribute, claim in self._claims.items()
            if claims.get(claim) is not None
        }
        principal = principal_of(attributes)
        if principal is None:
            raise CredentialError(
                "The token has no subject claim.",
                status=401,
                reason="token_no_subject",
                detail=f"the token has none of the claims {' and '.join(self._naming)}",
            )
        amounts = {
            name: amount_of(claims[claim], claim) for name, claim in self._amounts.items() if claim in claims
        }
        return Caller(principal, attributes, VouchedBy.TOKEN, amounts)

    def _claims_of(self, token: str, now_seconds: float | None) -> dict[str, Any]:
        import jwt  # with its cryptography, only where tokens are configured

        settings, dated = self._settings, now_seconds is None
        failure: Exception | None = None
        try:
            for key in self._candidates(token):
                try:
                    return jwt.decode(
                        token,
                        key,
                        algorithms=list(settings.algorithms),
                        issuer=settings.issuer,
                        audience=settings.audience,
                        options={
                            "require": ["exp"],
                            "verify_aud": settings.audience is not None,
                            "verify_exp": dated,
                            "verify_nbf": dated,
                            "verify_iat": dated,
                        },
                    )
                except jwt.InvalidSignatureError as error:
                    failure = error  # perhaps another key's
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            # PyJWT has a TypeError for a key of another kind than the algorithm's.
            failure = error
        # The client is not told why, since that would tell a forger what to change.
        reason, detail = _why(failure)
        raise CredentialError("The token is not valid.", status=401, reason=reason, detail=detail) from None

    def _candidates(self, token: str) -> list[Any]:
        """The only key; else those of the token's key id, none standing for none."""
        import jwt

        if len(self._keys) == 1:
            return [key for _, key in self._keys]
        key_id = jwt.get_unverified_header(token).get("kid")
        return [key for name, key in self._keys if name == key_id]


def _why(failure: Exception | None) -> tuple[str, str]:
    """Why a token is not believed: a word and a sentence for the operator, never for the client."""
    import jwt

    if failure is None:
        return "token_unknown_key", "no key in identity.jwt.key_file has the token's key id (`kid`)"
    if isinstance(failure, jwt.MissingRequiredClaimError):
        return "token_claim_missing", f"the token has no claim {failure.claim!r}"
    faults: tuple[tuple[type[Exception], str, str], ...] = (  # the more special first
        (jwt.ExpiredSignatureError, "token_expired", "the token has expired"),
        (jwt.ImmatureSignatureError, "token_not_yet_valid", "the token is not valid yet"),
        (jwt.InvalidIssuedAtError, "token_not_yet_valid", "the token was issued in the future"),
        (jwt.InvalidSignatureError, "token_signature", "the signature is none of the keys in identity.jwt"),
        (jwt.InvalidAudienceError, "token_audience", "the audience is not identity.jwt.audience"),
        (jwt.InvalidIssuerError, "token_issuer", "the issuer is not identity.jwt.issuer"),
        (jwt.InvalidAlgorithmError, "token_algorithm", "the algorithm is none of identity.jwt.algorithms"),
        (jwt.InvalidKeyError, "token_algorithm", "the key in identity.jwt is not for the token's algorithm"),
        (jwt.DecodeError, "token_malformed", "this is not a JSON web token"),
        (TypeError, "token_algorithm", "the key in identity.jwt is not for the token's algorithm"),
    )
    for kind, reason, detail in faults:
        if isinstance(failure, kind):
            return reason, detail
    return "token_malformed", f"the token cannot be read: {type(failure).__name__}"


def _token_keys(settings: JwtSettings) -> list[tuple[str | None, Any]]:
    """The keys that may have signed a token, with their key ids."""
    import jwt

    if settings.secret is not None:
        return [(None, settings.secret.get_secret_value())]
    if settings.key_file is None:
        raise ConfigError("identity.jwt: give either `key_file` or `secret`")
    try:
        text = settings.key_file.read_text("utf-8")
        if text.lstrip().startswith("{"):
            return [(key.key_id, key) for key in jwt.PyJWKSet.from_dict(json.loads(text)).keys]
        algorithm = jwt.get_algorithm_by_name(settings.algorithms[0])
        return [(None, algorithm.prepare_key(text))]
    except OSError as error:
        raise ConfigError(f"identity.jwt.key_file: {settings.key_file}: {error.strerror}") from error
    except (TypeError, ValueError, jwt.PyJWTError) as error:
        raise ConfigError(f"identity.jwt.key_file: {settings.key_file}: no key: {error}") from error


def _in_time(claims: Mapping[str, Any], now_seconds: float) -> bool:
    """Whether a token's dates hold at a moment that is not now, as PyJWT judges them for now."""
    try:
        begins = max((int(claims[name]) for name in ("nbf", "iat") if name in claims), default=-math.inf)
        return begins <= now_seconds < int(claims["exp"])
    except (TypeError, ValueError, OverflowError):
        return False


def _claimed(value: Any, claim: str) -> str:
    """A claim as a name: a text, or a number as some issuers count their users."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise CredentialError(f"{claim} is not a name.", status=401)
    return name_of(str(value), claim)
