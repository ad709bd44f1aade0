"""Patterns of paths, as routes name them.

    *         one segment, or a part of one:    /v1/models/*        takes /v1/models/small
    **        one segment or more:              /v1/models/**       takes /v1/models/meta-llama/Llama-3 too
    ?  [ab]   one character, but no slash
    {model}   the model, as a part of a segment without a colon: /v1beta/models/{model}:generateContent

None of them takes an empty segment.
"""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache

MODEL = "{model}"
"""Where the name of the model stands in a path."""

LONGEST_MODEL = 256
"""A model has a name of no more characters than this."""

_TOKEN = re.compile(r"\*\*|\*|\?|\[!?\]?[^\]/]*\]|\{model\}")
_SEGMENTS = "[^/]+(?:/[^/]+)*"


def has_wildcard(pattern: str) -> bool:
    """Whether a pattern stands for several paths."""
    return _TOKEN.search(pattern) is not None


def literal_length(pattern: str) -> int:
    """How many characters of a pattern stand for themselves: of two patterns, the longer says more."""
    return len(_TOKEN.sub("", pattern))


def check_pattern(pattern: str) -> str:
    """The pattern; raises `ValueError` with what would be right."""
    if not pattern.startswith("/"):
        raise ValueError("a path starts with `/`")
    rest = pattern.replace(MODEL, "", 1)
    if "{" in rest or "}" in rest:
        raise ValueError(
            "`{model}` is the only name in a path, and stands there once; write `*` for any other segment"
        )
    if "***" in pattern:
        raise ValueError("write `**` for one segment or more, and `*` for one")
    return pattern


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """What matches a whole path."""
    return _compile(pattern, star="[^/]", loose=False)


@lru_cache(maxsize=4096)
def loosely_compiled(pattern: str) -> re.Pattern[str]:
    """Likewise without regard to case, and `*` takes slashes: what a careless router might take."""
    return _compile(pattern, star=".", loose=True)


def _compile(pattern: str, star: str, *, loose: bool) -> re.Pattern[str]:
    parts, end = [], 0
    for token in _TOKEN.finditer(pattern):
        parts.append(re.escape(pattern[end : token.start()]))
        end = token.end()
        whole = pattern[token.start() - 1 : token.start()] == "/" and pattern[end : end + 1] in ("", "/")
        match token[0]:
            case "**":
                parts.append(".*" if loose else _SEGMENTS)
            case "*":
                parts.append(f"{star}+" if whole else f"{star}*")
            case "?":
                parts.append(star)
            case "{model}":
                parts.append(rf"(?P<model>{'.' if loose else '[^/:]'}{{1,{LONGEST_MODEL}}})")
            case characters:
                # Never a slash, also where all but some characters are taken.
                parts.append(f"(?!/){_one_of(characters)}")
    parts.append(re.escape(pattern[end:]))
    return re.compile("".join(parts), re.DOTALL | (re.IGNORECASE if loose else 0))


def _one_of(characters: str) -> str:
    """A set of characters as a regular expression, by the rules of the shell."""
    # Python wraps it as `(?s:…)\\Z`, from 3.14 on as `(?s:…)\\z`.
    return translate(characters)[len("(?s:") : -len(r")\Z")]
