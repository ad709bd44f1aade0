"""The kinds of values that several sections have."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    UrlConstraints,
)

from guard.core.durations import parse_duration
from guard.core.reshape import Reasoning
from guard.http.forwarding import check_forwarded

LARGEST_COUNT = 10**15 - 1
"""The largest integer that an HTTP structured field can carry."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Decibans = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(
            f"{name!r} is no time zone; write one like `UTC` or `Europe/Berlin` "
            "(on a system without time zones, install the package `tzdata`)"
        ) from None
    return name


def _file(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a file name has no null character")
    return path


def _duration(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]
"""A length of time as people type it, such as `14d`."""

FileName = Annotated[Path, AfterValidator(_file)]

ZoneName = Annotated[str, AfterValidator(_zone)]

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


def _header_name(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9-]{1,128}", name) is None:
        raise ValueError("the name of a header has letters, digits and `-`; those with others are dropped")
    return name.lower()


HeaderName = Annotated[str, AfterValidator(_header_name)]

HeaderPattern = Annotated[str, AfterValidator(check_forwarded)]


def _with_a_scheme(url: object) -> object:
    if isinstance(url, str) and url and "://" not in url:
        example = "HOST:PORT" if "@" in url else url.lstrip("/")
        raise ValueError(f"a URL begins with http:// or https://; write http://{example}")
    return url


def _without_secrets(url: AnyHttpUrl) -> AnyHttpUrl:
    if url.username or url.password:
        raise ValueError("a URL is shown and logged; put credentials into its headers, as `authorization`")
    return url


def _as_a_word(value: object) -> object:
    if isinstance(value, bool):
        return Reasoning.SHOWN if value else Reasoning.HIDDEN
    return value


Showing = Annotated[Reasoning, BeforeValidator(_as_a_word)]
"""What becomes of reasoning; a flag says whether it is shown."""

HttpUrl = Annotated[
    AnyHttpUrl,
    UrlConstraints(allowed_schemes=["http", "https"]),
    BeforeValidator(_with_a_scheme),
    AfterValidator(_without_secrets),
]


class Section(BaseModel):
    """A table of the settings file: nothing in it that is not known, and nothing that changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
