"""A key that guard has issued, without any of its secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import TypedDict

from guard.admin.states import moment
from guard.core.identity import Attribute, Holder
from guard.core.issued import ENDED, State

if TYPE_CHECKING:
    from guard.core.issued import IssuedKey


class SecretJson(TypedDict):
    """A secret that holds: since when, and until when; `None` until another one takes its place."""

    made: str | None
    until: str | None


class KeyJson(TypedDict):
    """How a key stands; moments in ISO 8601, `None` for what has not happened and is not to."""

    name: str
    holder: str
    state: State
    user: str | None
    org: str | None
    tier: str | None
    networks: list[str]
    made: str | None
    until: str | None
    disabled: str | None
    revoked: str | None
    forgotten: str | None
    secrets: list[SecretJson]


def key_json(key: IssuedKey, now_us: int) -> KeyJson:
    """A key as data, at a moment."""
    state = key.state(now_us)
    return {
        "name": key.name,
        "holder": str(Holder(Attribute.KEY, key.name)),
        "state": state,
        "user": key.attributes.get(Attribute.USER),
        "org": key.attributes.get(Attribute.ORG),
        "tier": key.attributes.get(Attribute.TIER),
        "networks": list(key.networks),
        "made": moment(key.made_us),
        "until": moment(key.until_us),
        "disabled": moment(key.disabled_us),
        "revoked": moment(key.revoked_us),
        "forgotten": moment(key.forgotten_us),
        "secrets": [
            {"made": moment(each.made_us), "until": moment(each.until_us)}
            for each in key.secrets
            if each.holds(now_us) and state not in ENDED
        ],
    }
