"""The section about the model server behind `guard serve`."""

from __future__ import annotations

from pydantic import Field, SecretStr

from guard.settings.fields import HttpUrl, Seconds, Section


class BackendSettings(Section):
    """The model behind `guard serve`."""

    url: HttpUrl | None = None
    connect_timeout_seconds: Seconds = 5
    read_timeout_seconds: Seconds = 600
    keepalive_seconds: Seconds = 4
    headers: dict[str, SecretStr] = Field(default_factory=dict)
