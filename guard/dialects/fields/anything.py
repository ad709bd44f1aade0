"""The fields of all APIs at once: what stands where, in a body of which nobody says for which API it is.

A name that one API takes for text is text, whatever others make of it; what one takes for a setting as a
whole is one, and ids are marks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects.fields import anthropic_messages, gemini, ollama, openai
from guard.dialects.pieces import is_id
from guard.dialects.weighing import Kind, Level

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.dialects.weighing import Shape

_APIS = (
    *(openai.CHAT, openai.COMPLETIONS, openai.EMBEDDINGS, openai.RESPONSES),
    *(anthropic_messages.MESSAGES, gemini.GENERATE, ollama.CHAT, ollama.GENERATE),
)

_FIRST = tuple(Kind)
"""Where APIs differ in a kind, the first of these that one of them has holds."""


def _merged(shapes: Iterable[Shape], known: dict[frozenset[int], Level]) -> Shape:
    """One shape for several. `known` are those that have been made, since levels may hold themselves."""
    shapes = list(shapes)
    levels = {id(shape): shape for shape in shapes if isinstance(shape, Level)}
    kinds = [shape for shape in shapes if isinstance(shape, Kind)]
    if levels and Kind.SETTING in kinds:
        return Kind.SETTING
    kinds += (level.text for level in levels.values())
    kind = min(kinds, key=_FIRST.index)
    if not levels:
        return kind
    key = frozenset(levels)
    if key not in known:
        known[key] = merged = Level(text=kind)
        for name in {name: None for level in levels.values() for name in level.names}:
            found = [level.names[name] for level in levels.values() if name in level.names]
            merged.names[name] = Kind.MARK if is_id(name) else _merged(found, known)
    return known[key]


def _of_all() -> Level:
    merged = _merged(_APIS, {})
    assert isinstance(merged, Level)
    merged.names["extra_body"] = merged
    return merged


ANYTHING = _of_all()
