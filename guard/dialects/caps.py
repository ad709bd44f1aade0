"""How long an answer may be and how many answers there are, under every name that a server has for it.

A server reads the name that it knows and passes over the others: llama.cpp lets `n_predict` go before
`max_tokens`. guard does not know which server stands behind it, so the largest counts, wherever it stands.
A name that an API does not have itself can only raise the cap: its server may not read it.

    {"max_tokens": 1, "n_predict": 100000}    100,000
    {"max_tokens": 1, "n_predict": -1}        no cap: as many as the model gives
    {"n_predict": 1}                          no cap
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects import edits, strict

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

_HOLDERS = frozenset(
    {
        "extrabody", "options", "parameters", "samplingparams", "generationconfig", "inferenceconfig",
        "config", "nvext", "vllmxargs",
    }
)  # fmt: skip
"""Objects in which some servers look for these names."""

_LEAST = -strict.LARGEST_INTEGER


def plain(name: str) -> str:
    """A name without case and underscores: `max_tokens`, `maxTokens` and `Max_Tokens` are one. One that is
    longer than any that a server reads is nothing, so that no pattern searches it.
    """
    if len(name) > strict.LONGEST_LABEL:
        return ""
    return name.casefold().replace("_", "").replace("-", "")


def largest(payload: Json, own: int | None) -> int | None:
    """The most tokens of an answer, where the API's own names say `own`; `None` for no cap.

    0 and less are no cap: Ollama takes 0 so, llama.cpp -1. Raises `QueryError` for what is no integer.
    """
    if own is None:
        return None
    most = own
    for fields in _places(payload):
        for name in fields:
            if (known := plain(name)) in CAPS or known in LEASTS:
                value = strict.integer(fields, name, least=_LEAST)
                if value is not None and value <= 0 and known in CAPS:
                    return None
                most = max(most, value or 0)
    return most


def answers(payload: Json) -> int:
    """How many answers there are to each prompt; raises `QueryError` for what is no integer."""
    given = (
        strict.integer(fields, name)
        for fields in _places(payload)
        for name in fields
        if plain(name) in COUNTS
    )
    return max((count for count in given if count), default=1)


def lowered(payload: Json, most: int, own: Collection[str]) -> Json:
    """The payload in which no cap is above `most`: the API's `own` names are lowered to it, others go.

    An own 0, which may be no cap, becomes 1: a prompt that is only scored gets one token.
    """

    def lower(fields: Json) -> Json:
        fields = edits.without(fields, {name for name in fields if plain(name) in CAPS and name not in own})
        fields = edits.capped(fields, (name for name in fields if plain(name) in LEASTS), most)
        none = {name: 1 for name in own if fields.get(name) is not None and fields[name] <= 0}
        return edits.capped({**fields, **none} if none else fields, own, most)

    return _everywhere(payload, lower)


def fewer(payload: Json, most: int) -> Json:
    """The payload in which no number of answers is above `most`."""
    return _everywhere(
        payload, lambda fields: edits.capped(fields, [name for name in fields if plain(name) in COUNTS], most)
    )


def _places(fields: Json) -> Iterator[Json]:
    """The body, and each object in it where a server may look for these names."""
    yield fields
    for name, value in fields.items():
        if isinstance(value, dict) and plain(name) in _HOLDERS:
            yield from _places(value)


def _everywhere(fields: Json, edit: Callable[[Json], Json]) -> Json:
    fields = edit(fields)
    for name in [name for name in fields if plain(name) in _HOLDERS]:
        fields = edits.inside(fields, name, lambda inner: _everywhere(inner, edit))
    return fields
