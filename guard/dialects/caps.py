"""How long an answer may be and how many answers there are, under every name that a server has for it.

A server reads the name that it knows and passes over the others: llama.cpp lets `n_predict` go before
`max_tokens`. guard does not know which server stands behind it, so the largest counts, wherever it stands.
A name that an API does not have itself can only raise the cap: its server may not read it. A name that no
table has counts where it sounds like one of them, and so does any of them in an object that no table has; but
there only what a server could take for a number.

    {"max_tokens": 1, "n_predict": 100000}    100,000
    {"max_tokens": 1, "n_predict": -1}        no cap: as many as the model gives
    {"n_predict": 1}                          no cap
"""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from guard.core.by_name import ByName
from guard.dialects import edits, strict, thinking

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from guard.dialects.strict import Json

CAPS = frozenset(
    {
        "maxtokens", "maxcompletiontokens", "maxoutputtokens", "maxnewtokens", "maxtokenstosample",
        "maxgeneratedtokens", "maxgenerationtokens", "maxresponsetokens", "maxdecodetokens",
        "maxcompletionlength", "maxgenlen", "maxgenlength", "maxlength", "maxtotaltokens", "maxseqlen",
        "npredict", "numpredict", "numtokenstopredict", "tokenstogenerate", "outputlen", "requestoutputlen",
    }
)  # fmt: skip
"""Names for the most tokens of an answer, as `plain` writes them: of OpenAI, Anthropic, Google, Bedrock,
vLLM, SGLang, TGI, llama.cpp, Ollama, Triton and Hugging Face."""

LEASTS = frozenset({"mintokens", "minnewtokens", "mincompletiontokens", "minoutputtokens", "minlength"})
"""Names for the least tokens of an answer, which some servers let go before the most."""

COUNTS = frozenset(
    {
        "n", "bestof", "ncmpl", "numreturnsequences", "candidatecount", "numcompletions", "numgenerations",
        "numcandidates", "numresults", "numsamples", "numoutputs", "nchoices", "bestofn",
    }
)  # fmt: skip
"""Names for the number of answers."""

_LIKE_A_CAP = re.compile(
    r"(?:max|limit).*(?:token|length|len$)|(?:token|length)s?(?:max|limit)|max.*(?:decod|generat)\w*steps"
    r"|^(?:n|num|numberof)tokens?$"
    r"|^(?:n|num)?(?:new|output|response|reply|answer|completion|generation|generated|gen|decode)(?:seq)?"
    r"(?:tokens?|length|len)(?:count)?$"
)
_OF_NO_ANSWER = re.compile(
    r"prompt|input|context|think|reason|tool|image|audio|video|chunk|doc|query|search|history|ngram|truncat"
    r"|penalty|model|pad|cache|budget|content|overlap|pixel"
)
"""What else is measured in tokens or by its length."""

_LIKE_A_COUNT = re.compile(
    r"^(?:n|num|numberof|parallel)(?:return|output)?"
    r"(?:sample|sequence|seq|choice|response|answer|completion|generation|candidate|output|return)s?$"
    r"|^(?:sample|sequence|choice|response|answer|completion|generation|candidate)s?count$|^nbest$"
)

_HOLDERS = frozenset(
    {
        "extrabody", "options", "parameters", "samplingparams", "generationconfig", "inferenceconfig",
        "config", "nvext", "vllmxargs",
    }
)  # fmt: skip
"""Objects in which some servers look for these names."""

_LONGEST_NAME = 64
"""No server reads a field of a longer name."""

_NUMERAL = re.compile(r"\s*[+-]?[\d_]+(?:\.0*)?(?:[eE]\+?\d+)?\s*")
_LEAST = -strict.LARGEST_INTEGER


class _Role(Enum):
    """What a number of this name says."""

    CAP = auto()
    LEAST = auto()
    COUNT = auto()


class Caps(NamedTuple):
    """The most tokens of an answer, `None` for no cap, and how many answers there are to each prompt."""

    most: int | None
    answers: int


class _Place(NamedTuple):
    """An object where a server may look for these names; `listed` are the body and those of `_HOLDERS`."""

    fields: Json
    listed: bool


def plain(name: str) -> str:
    """A name without case and underscores: `max_tokens`, `maxTokens` and `Max_Tokens` are one. One that is
    longer than any that a server reads is nothing, so that no pattern searches it.
    """
    if len(name) > strict.LONGEST_LABEL:
        return ""
    return name.casefold().replace("_", "").replace("-", "")


def read(payload: Json, own: int | None) -> Caps:
    """What a body says, where the API's own names say `own` for the most tokens of an answer.

    0 and less are no cap: Ollama takes 0 so, llama.cpp -1. Raises `QueryError` for what is no integer.
    """
    most, capped, answers = own or 0, own is not None, 1
    places = [_Place(payload, listed=True)]
    for fields, listed in places:
        for name, value in fields.items():
            says = _SAYS[name]
            if says.inside is not None and isinstance(value, dict | list):
                items = value if isinstance(value, list) else [value]
                places += [_Place(item, says.inside) for item in items if isinstance(item, dict)]
            role = says.role
            if role is None or not ((listed and says.listed) or _like_a_number(value)):
                continue
            if role is _Role.COUNT:
                answers = max(answers, strict.integer(fields, name, least=0 if listed else _LEAST) or 1)
                continue
            number = strict.integer(fields, name, least=_LEAST)
            if role is _Role.CAP:
                capped = capped and (number is None or number > 0)
            if (number or 0) > most:
                most = number or 0
    return Caps(most if capped else None, answers)


def lowered(payload: Json, most: int, own: Collection[str]) -> Json:
    """The payload in which no cap is above `most`: the API's `own` names are lowered to it, others go.

    An own 0, which may be no cap, becomes 1: a prompt that is only scored gets one token.
    """

    def lower(place: _Place) -> Json:
        names = set(_named(place, _Role.CAP))
        fields = edits.without(place.fields, names.difference(own))
        fields = edits.capped(fields, _named(place, _Role.LEAST), most)
        kept = names.intersection(own)
        none = {name: 1 for name in kept if fields[name] is not None and fields[name] <= 0}
        return edits.capped({**fields, **none} if none else fields, kept, most)

    return _everywhere(lower, _Place(payload, listed=True))


def fewer(payload: Json, most: int) -> Json:
    """The payload in which no number of answers is above `most`."""
    return _everywhere(
        lambda place: edits.capped(place.fields, _named(place, _Role.COUNT), most),
        _Place(payload, listed=True),
    )


def _everywhere(edit: Callable[[_Place], Json], place: _Place) -> Json:
    fields = edit(place)
    for name, listed in list(_holders(fields)):
        inner = partial(_inner, edit, listed=listed)
        fields = edits.each(edits.inside(fields, name, inner), name, inner)
    return fields


def _inner(edit: Callable[[_Place], Json], fields: Json, *, listed: bool) -> Json:
    return _everywhere(edit, _Place(fields, listed))


def _holders(fields: Json) -> Iterator[tuple[str, bool]]:
    """The names of objects, and of lists, in which a server may look, and whether they are listed."""
    for name, value in fields.items():
        if isinstance(value, dict | list) and (listed := _SAYS[name].inside) is not None:
            yield name, listed


_ASIDE = frozenset(map(plain, thinking.NO_SETTINGS))
_LIKE_ASIDE = re.compile(r"schema|metadata|properties|document|reason|think|thought")
"""Texts, schemas, words of the caller's own; and how much a model may think, which is less than the cap."""


def _named(place: _Place, role: _Role) -> Iterator[str]:
    """The names in a place that say this, where what they hold could be taken for a number.

    Names of the tables in places of the tables hold nothing else: there, what is no number is refused.
    """
    for name, value in place.fields.items():
        says = _SAYS[name]
        if says.role is role and ((place.listed and says.listed) or _like_a_number(value)):
            yield name


_TABLES = CAPS | LEASTS | COUNTS


class _Says(NamedTuple):
    """What a name says: what a number there is, and whether a table has it; and whether a server may look
    into an object there, `None` where none does, else whether a table has that one."""

    role: _Role | None = None
    listed: bool = False
    inside: bool | None = None


def _said(name: str) -> _Says:
    if len(name) > _LONGEST_NAME:
        return _Says()
    known = plain(name)
    aside = known in _ASIDE or _LIKE_ASIDE.search(known) is not None
    return _Says(_role(known), known in _TABLES, None if aside else known in _HOLDERS)


_SAYS = ByName(_said)


def _role(known: str) -> _Role | None:
    if known in LEASTS:
        return _Role.LEAST
    if known in CAPS or (_LIKE_A_CAP.search(known) and not _OF_NO_ANSWER.search(known)):
        return _Role.CAP
    return _Role.COUNT if known in COUNTS or _LIKE_A_COUNT.search(known) else None


def _like_a_number(value: Any) -> bool:
    """Whether a server could take this for an integer: some read `"128"` as one."""
    if isinstance(value, str):
        return len(value) <= strict.LONGEST_NUMBER and _NUMERAL.fullmatch(value) is not None
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)
