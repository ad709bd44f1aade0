"""What a backend says of a query by itself: that it refuses it and why, or that thoughts in it are not its
sender's.

    {"type": "message", "stop_reason": "refusal", "stop_details": {"category": "reasoning_extraction"}}
    data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}
    {"error": {"code": "invalid_encrypted_content"}}                           with status 400

A refusal counts in full where the backend names a field that matters here, and `UNNAMED` of it where it names
none or another: who moderates what people write, or asks as a patient, is refused so too.

Thoughts that the model has sealed are bound to an account, and sent back with the next turn. That they were
sealed for another account says that several go on with each other's work. That they were for another model,
or in another place, says nothing; and a backend that cannot open them does not say why: that counts half.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from guard.http.codings import decoded

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LARGEST_ERROR = 1 << 14
"""No more bytes than about this are read of an error that was encoded."""

UNNAMED = 0.25
"""What a refusal counts without a field that matters here."""


class Verdict(NamedTuple):
    """What a backend has said of one query: how far it has `refused` it, and how far thoughts in it are
    `bound` to another account, each from 0 to 1.
    """

    refused: float = 0.0
    bound: float = 0.0

    def along_with(self, other: Verdict) -> Verdict:
        """What both say: of each the more."""
        return Verdict(max(self.refused, other.refused), max(self.bound, other.bound))


NO_VERDICT = Verdict()
_REFUSED, _UNNAMED, _BOUND, _SEALED = Verdict(1.0), Verdict(UNNAMED), Verdict(0.0, 1.0), Verdict(0.0, 0.5)

_CODES = {
    "invalid_encrypted_content": _SEALED,
    "content_filter": _UNNAMED,
    "content_policy_violation": _UNNAMED,
    "invalid_prompt": _UNNAMED,
}
_BLOCKED = dict.fromkeys(("SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST"), _UNNAMED)
_ANYWHERE: dict[str, Mapping[str, Verdict]] = {
    "stop_reason": {"refusal": _UNNAMED},
    "stopReason": dict.fromkeys(("refusal", "content_filtered", "guardrail_intervened"), _UNNAMED),
    "finish_reason": {"content_filter": _UNNAMED},
    "finishReason": _BLOCKED,
    "blockReason": _BLOCKED,
    "code": _CODES,
}
_INSIDE: dict[str, dict[str, Mapping[str, Verdict]]] = {
    "stop_details": {
        "category": dict.fromkeys(("cyber", "bio", "frontier_llm", "reasoning_extraction"), _REFUSED)
    },
    "incomplete_details": {"reason": {"content_filter": _UNNAMED}},
    "input_transformations": {
        "reason": dict.fromkeys(("organization_binding_mismatch", "end_user_binding_mismatch"), _BOUND)
    },
}
"""What words mean, by the field that they stand in, and that by the one that it stands in."""

_HOLDING = frozenset(
    {
        *("message", "delta", "response", "error", "choices", "candidates", "output", "content"),
        *("promptFeedback", *_INSIDE),
    }
)
"""Fields that such fields stand in. What a model writes, such as the input of a tool, is in none of them."""

_TELLING = re.compile(b"|".join(name.encode() for name in _CODES))


def verdict(value: Any) -> Verdict:
    """What an answer says so, a part of one, or an error, as JSON."""
    found = NO_VERDICT
    left = [("", value)]
    while left:
        within, part = left.pop()
        if type(part) is list:
            left += [(within, item) for item in part]
        elif type(part) is dict:
            inside = _INSIDE.get(within, {})
            for name, said in part.items():
                if type(said) is str:
                    means = inside.get(name) or _ANYWHERE.get(name)
                    if means is not None and said in means:
                        found = found.along_with(means[said])
                    elif name == "refusal" and said:
                        found = found.along_with(_UNNAMED)
                elif name in _HOLDING:
                    left.append((name, said))
    return found


def tells(error: bytes, codings: Sequence[str]) -> bool:
    """Whether an error, as its client got it in these codings, may say something of the kind."""
    return _TELLING.search(decoded(error, codings, LARGEST_ERROR) or b"") is not None
