"""The tables of web-hooks: who is told of what."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr, field_validator

from guard.extras import NEEDS_SERVE, aiohttp_installed
from guard.settings.fields import HeaderName, HttpUrl, Seconds, Section
from guard.telemetry.cloudevents import Content, Type
from guard.telemetry.signing import read_secret


def _readable(secret: SecretStr) -> SecretStr:
    read_secret(secret.get_secret_value())
    return secret


Secret = Annotated[SecretStr, AfterValidator(_readable)]


class WebhookSettings(Section):
    """One web-hook."""

    url: HttpUrl
    events: tuple[Type, ...] = tuple(Type)
    content: Content = Content.STRUCTURED
    secret: Secret | None = None
    old_secret: Secret | None = None
    headers: dict[HeaderName, SecretStr] = Field(default_factory=dict)
    timeout_seconds: Seconds = 5

    @field_validator("url")
    @classmethod
    def _possible(cls, url: HttpUrl) -> HttpUrl:
        if not aiohttp_installed():
            raise ValueError(f"a web-hook {NEEDS_SERVE}")
        return url

    @field_validator("events")
    @classmethod
    def _some(cls, events: tuple[Type, ...]) -> tuple[Type, ...]:
        if not events:
            raise ValueError(f"is empty: name one or more of {', '.join(Type)}, or leave it out for all")
        return events

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """What is signed with, the newest first."""
        given = (self.secret, self.old_secret)
        return tuple(read_secret(each.get_secret_value()) for each in given if each is not None)
