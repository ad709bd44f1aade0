"""The sections about bodies of requests, the model server behind `guard serve`, and models."""

from __future__ import annotations

from typing import Annotated

from pydantic import (
    AnyHttpUrl,
    Field,
    PositiveInt,
    SecretStr,
    UrlConstraints,
    field_validator,
)

from guard.settings.fields import FileName, Seconds, Section
from guard.settings.prices import PriceSettings


class BodySettings(Section):
    """How much of a request guard reads, and for how long."""

    max_bytes: PositiveInt = 32 << 20
    timeout_seconds: Seconds = 15
    max_buffered_bytes: PositiveInt = 256 << 20


class BackendSettings(Section):
    """The model behind `guard serve`."""

    url: Annotated[AnyHttpUrl, UrlConstraints(allowed_schemes=["http", "https"])] | None = None
    connect_timeout_seconds: Seconds = 5
    read_timeout_seconds: Seconds = 600
    keepalive_seconds: Seconds = 4
    headers: dict[str, SecretStr] = Field(default_factory=dict)

    @field_validator("url", mode="before")
    @classmethod
    def _with_a_scheme(cls, url: object) -> object:
        if isinstance(url, str) and url and "://" not in url:
            example = "HOST:PORT" if "@" in url else url.lstrip("/")
            raise ValueError(f"a URL begins with http:// or https://; write http://{example}")
        return url

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, url: AnyHttpUrl | None) -> AnyHttpUrl | None:
        if url is not None and (url.username or url.password):
            raise ValueError("a URL is shown and logged; put credentials into `headers`, as `authorization`")
        return url


class ModelSettings(Section):
    """What guard has to know about models."""

    default_max_output_tokens: PositiveInt = 4096
    max_output_tokens: dict[str, PositiveInt] = Field(default_factory=dict)
    prices: dict[str, PriceSettings] = Field(default_factory=dict)
    prices_file: FileName | None = None
    tokenizers: dict[str, FileName] = Field(default_factory=dict)
    read_on_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 1

    @property
    def priced(self) -> bool:
        """Whether there are prices at all; without any, everything is free."""
        return bool(self.prices) or self.prices_file is not None
