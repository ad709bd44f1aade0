"""How an issued key is written down: one JSON object, short, since a process may hold a hundred thousand.

Moments are Unix microseconds. What has not happened, and what is not said, is left out.
"""

from __future__ import annotations

import json
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from guard.core.issued import TOLD, IssuedKey, Secret
from guard.core.kept import read_json, read_moment

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = 1
"""The version of how a key is written; one of another version cannot be read here."""


def write_issued(key: IssuedKey) -> bytes:
    """A key, but for its name."""
    moments = {"until": key.until_us, "disabled": key.disabled_us, "revoked": key.revoked_us}
    fields: dict[str, Any] = {
        "v": VERSION,
        "made": key.made_us,
        **{each.value: key.attributes[each] for each in TOLD if each in key.attributes},
        **({"from": key.networks} if key.networks else {}),
        **{name: at_us for name, at_us in moments.items() if at_us is not None},
        "secrets": [(each.digest, each.made_us, each.until_us) for each in key.secrets],
    }
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()


def read_issued(name: str, text: bytes) -> IssuedKey:
    """The key of this name; raises `ValueError` for what cannot be read."""
    fields = _fields(text)
    try:
        networks = tuple(str(ip_network(each)) for each in fields.get("from", ()))
        return IssuedKey(
            name,
            tuple(
                Secret(str(digest), read_moment(made_us), None if until_us is None else read_moment(until_us))
                for digest, made_us, until_us in fields["secrets"]
            ),
            read_moment(fields["made"]),
            {each: str(fields[each.value]) for each in TOLD if each.value in fields},
            networks,
            *(_moment(fields, name) for name in ("until", "disabled", "revoked")),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"a key that cannot be read: {error!r}") from None


def _fields(text: bytes) -> dict[str, Any]:
    try:
        fields = read_json(text)
    except ValueError:
        raise ValueError("bytes that are not JSON") from None
    if not isinstance(fields, dict) or fields.get("v") != VERSION:
        raise ValueError(f"what another version of guard has written, or none; this is version {VERSION}")
    return fields


def _moment(fields: Mapping[str, Any], name: str) -> int | None:
    return read_moment(fields[name]) if name in fields else None
