"""The section about the model server behind `guard serve`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AnyHttpUrl, Field, SecretStr, UrlConstraints, field_validator

from guard.settings.fields import Seconds, Section


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
