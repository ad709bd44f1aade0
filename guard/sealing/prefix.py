"""What comes before a turn of the model, as a keyed digest.

    system, tools │ user │ assistant, assistant │ tool │ assistant, …
                         └ one turn             │      └ the next
                  what the first is bound to ───┘ ends before it

Consecutive messages of the model are one turn, since one answer may become several of them, and an answer
may go on with what the client has put into its mouth. What honest clients change as they go does not count:
how JSON is written, what is null or empty, text as a string or as a part, marks for a cache, and reasoning
itself, which many send back for the last turns only.
"""

from __future__ import annotations

import hmac
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

DIGEST = 16
"""Size of a digest, in bytes."""

_IGNORED = frozenset({"cache_control"})


class Turn(NamedTuple):
    """One message or item: whether the model said it, and what it is without reasoning, `None` if nothing."""

    said: bool
    plain: Any


class Conversation(NamedTuple):
    """What a request shows the model: system and tools, and the turns in their order."""

    fixed: Any
    turns: Iterable[Turn]


@dataclass(frozen=True, slots=True)
class Prefixes:
    """The digests of what comes before each turn of the model, by the place of its messages, and before the
    answer to the request.
    """

    before: dict[int, bytes]
    before_answer: bytes

    @classmethod
    def of(cls, conversation: Conversation, key: bytes) -> Prefixes:
        """The digests of a conversation."""
        running = hmac.new(key, _written(conversation.fixed), "sha256")
        before: dict[int, bytes] = {}
        start: bytes | None = None
        for place, turn in enumerate(conversation.turns):
            if not turn.said:
                start = None
            elif start is None:
                start = running.digest()[:DIGEST]
            if start is not None:
                before[place] = start
            if turn.plain is not None:
                running.update(_written(turn.plain))
        return cls(before, running.digest()[:DIGEST] if start is None else start)


def _written(value: Any) -> bytes:
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _plain(value: Any) -> Any:
    """Without what means nothing."""
    if isinstance(value, dict):
        plain = {name: _plain(each) for name, each in value.items() if name not in _IGNORED}
        return {name: each for name, each in plain.items() if each not in (None, "", [], {})}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value


def as_parts(content: Any) -> Any:
    """A message's content with a string as the one part that it stands for."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
