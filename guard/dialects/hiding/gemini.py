"""Gemini: parts that are thoughts, and signatures, which carry thoughts from one turn to the next.

The signature of a function's call stays: it says nothing to the client, and the API refuses the call's result
without it.

Where reasoning is sealed, a blob is the signature of the part behind the thoughts: of an empty text where
that is a call with a signature of its own, or where the answer ends.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from guard.dialects import edits
from guard.dialects.base import parts
from guard.dialects.hiding import place
from guard.dialects.hiding.tags import Untagged, untagged

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from guard.core.reshape import Reshape
    from guard.dialects.strict import Json
    from guard.sealing.thoughts import Seal

_LOGPROBS = frozenset({"logprobsResult", "avgLogprobs"})


class GeminiHiding:
    """Takes logprobs out of an answer, and reasoning too where it is not to be seen.

    With `seal`, a blob takes its place.
    """

    def __init__(self, reshape: Reshape, seal: Seal | None = None) -> None:
        self._reasoning = not reshape.shows_reasoning
        self._seal = seal
        self._thoughts: defaultdict[int, list[Json]] = defaultdict(list)
        self._texts: defaultdict[int, Untagged] = defaultdict(Untagged)

    def whole(self, answer: Json) -> Json:
        """What is shown of an answer in one piece."""
        return self._candidates(answer, lambda candidate: self._unthought(candidate, untagged, last=True))

    def part(self, part: Json) -> Sequence[Json]:
        """What is shown of a chunk: nothing where all that it said were thoughts, since official clients keep
        no turn in their history of which a chunk has no parts. What a text held back comes with the reason
        why it ended.
        """
        shown = self._candidates(part, self._piece)
        return [] if _says(part) and not _says(shown) else [shown]

    def _candidates(self, answer: Json, edit: Callable[[Json], Json]) -> Json:
        def candidate(candidate: Json) -> Json:
            candidate = edits.without(candidate, _LOGPROBS)
            return edit(candidate) if self._reasoning else candidate

        return edits.each(answer, "candidates", candidate)

    def _piece(self, candidate: Json) -> Json:
        text = self._texts[place(candidate)]
        last = candidate.get("finishReason") is not None
        candidate = self._unthought(candidate, text.feed, last=last)
        if not last or not (held := text.finish()):
            return candidate
        content = candidate.get("content")
        content = content if isinstance(content, dict) else {"role": "model"}
        said = [*parts(content.get("parts")), {"text": held}]
        return {**candidate, "content": {**content, "parts": said}}

    def _unthought(self, candidate: Json, edit: Callable[[str], str], *, last: bool) -> Json:
        if self._seal is None:
            return _unthought(candidate, edit)
        thoughts, content = self._thoughts[place(candidate)], candidate.get("content")
        content = content if isinstance(content, dict) else {"role": "model"}
        sealed = _sealed(parts(content.get("parts")), edit, thoughts, self._seal)
        if last and thoughts:
            sealed.append(_marked({"text": ""}, thoughts, None, self._seal))
        if not sealed:
            return edits.inside(candidate, "content", lambda content: edits.without(content, {"parts"}))
        return {**candidate, "content": {**content, "parts": sealed}}


def _says(chunk: Json) -> bool:
    """Whether any candidate has parts, or has ended."""
    return any(
        candidate.get("finishReason") is not None
        or (isinstance(content := candidate.get("content"), dict) and content.get("parts"))
        for candidate in parts(chunk.get("candidates"))
    )


def _sealed(found: list[Json], edit: Callable[[str], str], thoughts: list[Json], seal: Seal) -> list[Json]:
    """Parts of which those that are thoughts have joined the others, and then those others are in blobs."""
    shown: list[Json] = []
    for part in found:
        if part.get("thought") is True:
            thoughts.append(part)
            continue
        signature, is_call = part.get("thoughtSignature"), "functionCall" in part
        part = edits.text(part, "text", edit)
        if signature is not None and not is_call:
            shown.append(_marked(part, thoughts, signature, seal))
        elif thoughts and signature is not None:
            shown += (_marked({"text": ""}, thoughts, None, seal), part)
        elif thoughts:
            shown.append(_marked(part, thoughts, None, seal))
        elif part:
            shown.append(part)
    return shown


def _marked(part: Json, thoughts: list[Json], signature: object, seal: Seal) -> Json:
    """A part with a blob of the thoughts before it, and of its own signature; that of thoughts ends there."""
    blob = seal({"parts": thoughts.copy(), "signature": signature})
    thoughts.clear()
    return {**part, "thoughtSignature": blob}


def _unthought(candidate: Json, edit: Callable[[str], str]) -> Json:
    """A candidate without thoughts: as the API writes it, without `parts` where there are none."""

    def part(part: Json) -> Json | None:
        if part.get("thought") is True:
            return None
        if "functionCall" not in part:
            part = edits.without(part, {"thoughtSignature"})
        return edits.text(part, "text", edit) or None

    def content(content: Json) -> Json:
        edited = edits.each(content, "parts", part)
        return edited if edited.get("parts") else edits.without(edited, {"parts"})

    return edits.inside(candidate, "content", content)
