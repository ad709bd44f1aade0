"""The section about the operator's own doors: where they listen, and whose tokens open them."""

from __future__ import annotations

from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from guard.settings.fields import Name, Section

_OF_NOTHING = sha256(b"").hexdigest()


class Role(StrEnum):
    """What a token may do: `read` answers questions, `operate` gives orders too."""

    READ = "read"
    OPERATE = "operate"

    def may(self, needed: Role) -> bool:
        """Whether this role is enough where `needed` is asked for."""
        return self is Role.OPERATE or needed is Role.READ


class AdminTokenSettings(Section):
    """A token, by its digest; `name` is who orders are said to come from."""

    name: Name
    sha256: str
    role: Role = Role.READ

    @field_validator("sha256", mode="before")
    @classmethod
    def _digest(cls, digest: object) -> object:
        text = digest.strip().lower() if isinstance(digest, str) else ""
        if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
            raise ValueError(
                "must be the SHA-256 of the token, 64 hexadecimal digits; `guard admin token new` prints it"
            )
        if text == _OF_NOTHING:
            raise ValueError("this is the SHA-256 of an empty token; `guard admin token new` makes a token")
        return text


class AdminSettings(Section):
    """Where `guard admin serve` listens, and which tokens it takes; without tokens there is no such door."""

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 9180
    tokens: tuple[AdminTokenSettings, ...] = ()

    @model_validator(mode="after")
    def _apart(self) -> Self:
        for what in ("name", "sha256"):
            seen: dict[str, str] = {}
            for token in self.tokens:
                value = getattr(token, what)
                if value in seen:
                    raise ValueError(
                        f"two tokens have the name {token.name!r}: an order would not say whose it is"
                        if what == "name"
                        else f"{seen[value]!r} and {token.name!r} are one token: make one for each of them"
                    )
                seen[value] = token.name
        return self
