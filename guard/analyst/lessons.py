"""What there is to learn from one query and its answers, read out of their bytes."""

from __future__ import annotations

import json
import sys
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from guard.analyst.answer_texts import answer_texts
from guard.analyst.backend_words import NO_VERDICT
from guard.analyst.known import MOST_HASHES, MOST_HOLDERS, Known
from guard.analyst.request_texts import request_texts
from guard.analyst.transcript import Asked
from guard.core.novelty import STANDARD_TOKENS, UNIT
from guard.core.query import text_bytes
from guard.detection.common import CommonText
from guard.detection.learner import Learner
from guard.detection.payout import Payouts
from guard.dialects import with_model
from guard.text.fingerprint import Fingerprinter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.analyst.answer_texts import AnswerTexts
    from guard.analyst.request_texts import Said
    from guard.analyst.transcript import Copies, Transcript
    from guard.core.identity import Holder
    from guard.core.novelty import Payout
    from guard.core.pseudonyms import Pseudonyms
    from guard.core.query import Query, Usage
    from guard.detection.profile import Profile, Step
    from guard.detection.sight import Sight
    from guard.dialects.base import Dialect
    from guard.dialects.strict import Json

PROMPT_SHARE = 16
"""The answers to a prompt pay at least one part of so many of what its new text would, had it been an answer
of `STANDARD_TOKENS` at most: else labels for ever new items were free."""


class Opened(NamedTuple):
    """A query and its answers that have been read: the body as JSON, the query in it, and who says what."""

    payload: Json
    query: Query
    sent: tuple[Said, ...]
    said: AnswerTexts


class Lesson(NamedTuple):
    """One query with its answers, and what these pay out."""

    sight: Sight
    usage: Usage
    payout: Payout
    now_us: int


class Lessons:
    """Reads queries of all dialects; raises `ConfigError` where the word vectors cannot be read.

    `dialects` may be replaced. What is read depends on the secret behind `keys`. Without `bounded`, what a
    holder has sent is not forgotten for others. `wordings` is the secret by which operators share these.
    """

    def __init__(
        self,
        keys: Pseudonyms,
        dialects: Mapping[str, Dialect],
        *,
        bounded: bool = True,
        wordings: bytes | None = None,
    ) -> None:
        self.dialects = dialects
        fingerprinter = Fingerprinter(keys.secret("fingerprint"), wordings)
        self._learner = Learner(keys.secret("analysis"), fingerprinter)
        self._most_holders = MOST_HOLDERS if bounded else sys.maxsize
        self._known = Known(
            keys.secret("chunks"),
            most_holders=self._most_holders,
            most_hashes=MOST_HASHES if bounded else sys.maxsize,
        )
        self._payouts = Payouts(keys.secret("payout"))
        self._common: OrderedDict[Holder, CommonText] = OrderedDict()

    def read(self, holder: Holder, copies: Copies | Transcript, usage: Usage, now_us: int) -> Lesson:
        """Read a query of this holder; raises what the body and its dialect raise."""
        return self.lesson(holder, self.open(copies), usage, now_us)

    def open(self, copies: Copies | Transcript) -> Opened:
        """Read a query and its answers for what they say; raises what the body and its dialect raise."""
        payload, query = copies.asked or self._asked(copies)
        said = answer_texts(copies.answer or b"", copies.content_type, copies.codings)
        return Opened(payload, query, request_texts(payload), said)

    def lesson(self, holder: Holder, opened: Opened, usage: Usage, now_us: int) -> Lesson:
        """What there is to learn from a query of this holder that has been read."""
        _, query, sent, said = opened
        new = "\n".join(each.text for each in self._known.new(holder, sent))
        beside = (each.text for each in sent if each.role == "system")
        # Who sends back what it was told says nothing new.
        self._known.add(holder, said.answers)
        floor = _floor(query, new, usage)
        payout = self._payouts.of(said.answers, said.opaque_tokens, usage, floor, self._common_to(holder))
        whole = "\n".join(each.text for each in sent)
        sight = self._learner.look(query, new, beside, whole)
        if said.verdict != NO_VERDICT:
            sight = replace(sight, refused=said.verdict.refused, bound=said.verdict.bound)
        return Lesson(sight, usage, payout, now_us)

    def _asked(self, copies: Copies | Transcript) -> Asked:
        dialect = self.dialects[copies.dialect]
        payload = json.loads(copies.body)
        return Asked(payload, dialect.read(with_model(dialect, payload, copies.model), copies.path))

    def _common_to(self, holder: Holder) -> CommonText:
        """What the holder's answers have in common."""
        common = self._common.setdefault(holder, CommonText())
        self._common.move_to_end(holder)
        if len(self._common) > self._most_holders:
            self._common.popitem(last=False)
        return common

    def teach(self, profile: Profile, lesson: Lesson) -> Step:
        """Take it into its holder's profile."""
        return self._learner.learn(profile, lesson.sight, lesson.usage, lesson.now_us)


def _floor(query: Query, new: str, usage: Usage) -> int:
    """The least that the answers to a query pay of which this text is new."""
    if not query.input_bytes:
        return 0
    tokens = usage.input_tokens * min(1.0, text_bytes(new) / query.input_bytes)
    return round(UNIT * min(1.0, tokens / STANDARD_TOKENS) / PROMPT_SHARE)
