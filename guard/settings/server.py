"""What only `guard serve` asks of its settings: the connections of clients, and pages of other sites."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import Field, PositiveInt, field_validator, model_validator

from guard.settings.fields import Seconds, Section

_ORIGIN = re.compile(r"https?://[^/\s*]+")


class ServerSettings(Section):
    """How `guard serve` deals with the connections of its clients."""

    max_head_bytes: Annotated[int, Field(ge=4096, le=1 << 20)] = 65_536
    head_timeout_seconds: Seconds = 10
    keepalive_seconds: Seconds = 75
    send_timeout_seconds: Seconds = 60
    max_connections: PositiveInt = 4096
    health: bool = True


class CorsSettings(Section):
    """Which pages of other sites may ask; none without origins."""

    allow_origins: tuple[str, ...] = ()
    allow_origin_regex: str | None = None
    allow_methods: tuple[str, ...] = ("GET", "POST")
    allow_headers: tuple[str, ...] = ("*",)
    allow_credentials: bool = False
    expose_headers: tuple[str, ...] = ()
    max_age_seconds: Annotated[int, Field(ge=0)] = 600

    @field_validator("allow_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(
                    f"{origin!r} is no origin: write a scheme and a host, `https://app.example.com`, or `*`"
                )
        return origins

    @field_validator("allow_origin_regex")
    @classmethod
    def _readable(cls, regex: str | None) -> str | None:
        try:
            re.compile(regex or "")
        except re.error as error:
            raise ValueError(f"{regex!r} is no regular expression: {error}") from None
        return regex

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.allow_credentials and "*" in self.allow_origins:
            raise ValueError("`allow_credentials` lets every site act for its visitors: name the origins")
        return self

    @property
    def on(self) -> bool:
        """Whether any page of another site may ask."""
        return bool(self.allow_origins or self.allow_origin_regex)
