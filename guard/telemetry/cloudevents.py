"""What has happened as a CloudEvent 1.0 (https://github.com/cloudevents/spec), over HTTP in two modes.

structured    application/cloudevents+json: all of it is the body, which is what a signature signs
binary        the envelope in headers `ce-…`, and the data as the body
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class Content(StrEnum):
    """Where the envelope of an event is."""

    STRUCTURED = "structured"
    BINARY = "binary"


class Type(StrEnum):
    """What has happened; on the wire it has the prefix `guard.`."""

    LIMIT_REACHED = "limit.reached"
    """A limit had no room for a request: told once for each holder and window, and once a minute at most."""
    BAND_CHANGED = "band.changed"
    """The risk of a holder is in another band, a higher or a lower one."""
    CAMPAIGN_FOUND = "campaign.found"
    """Something follows for the members of a campaign for the first time."""
    CAMPAIGN_CHANGED = "campaign.changed"
    """Its verdict is another one, or it has twice as many members as before, or half as many."""
    HOLD_PLACED = "hold.placed"
    """A holder was put on hold."""


OF_CAMPAIGNS = frozenset({Type.CAMPAIGN_FOUND, Type.CAMPAIGN_CHANGED})


@dataclass(frozen=True, slots=True)
class CloudEvent:
    """One event; `at` is in Unix seconds, and `subject` the label of whom it is about, empty for nobody."""

    id: str
    type: Type
    at: float
    data: Mapping[str, Any]
    subject: str = ""

    def sent(self, content: Content) -> tuple[dict[str, str], bytes]:
        """The headers and the body of a request that tells of it."""
        envelope = {
            "specversion": "1.0",
            "id": self.id,
            "source": "guard",
            "type": f"guard.{self.type}",
            "time": moment(self.at),
            **({"subject": self.subject} if self.subject else {}),
        }
        if content is Content.STRUCTURED:
            whole = {**envelope, "datacontenttype": "application/json", "data": self.data}
            return {"content-type": "application/cloudevents+json"}, json.dumps(whole).encode()
        headers = {f"ce-{name}": _in_a_header(value) for name, value in envelope.items()}
        return {**headers, "content-type": "application/json"}, json.dumps(self.data).encode()


def moment(at: float) -> str:
    """A moment as RFC 3339 has it."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _in_a_header(text: str) -> str:
    """A text with all but printable ASCII percent-encoded: the HTTP binding, section 3.1.3.2."""
    return "".join(
        character
        if "!" <= character <= "~" and character not in '"%'
        else "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))
        for character in text
    )
