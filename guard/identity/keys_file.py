"""The keys file: whom each key of the operator's customers names."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from guard.core.identity import Attribute, Holder, VouchedBy
from guard.errors import ConfigError
from guard.identity.caller import LONGEST_NAME, Caller, is_name
from guard.settings.spelling import in_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    Headers = Iterable[tuple[bytes, bytes]]


class _KeyEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    sha256: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")], ...] = Field(min_length=1)
    user: str | None = None
    org: str | None = None
    tier: str | None = None

    @field_validator("sha256", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


def read_keys_file(file: Path, tiers: Collection[str] | None = None) -> dict[str, Caller]:
    """Callers by the SHA-256 of their key; raises `ConfigError`.

    A table a key, `[NAME]`, with `sha256` (one, or a list while a key is being rotated) and optional `user`,
    `org` and `tier`. The name is what spend follows. `tiers` are those that the settings define.
    """
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error
    callers: dict[str, Caller] = {}
    for name, table in tables.items():
        try:
            entry = _KeyEntry.model_validate(table)
        except ValidationError as error:
            detail = error.errors()[0]
            where = ".".join(map(str, (name, *detail["loc"])))
            hint = " (`printf %s KEY | sha256sum`)" if "sha256" in detail["loc"] else ""
            raise ConfigError(f"{file}: {where}: {in_words(detail)}{hint}") from None
        attributes = {
            Attribute(field): value for field in ("user", "org", "tier") if (value := getattr(entry, field))
        }
        for each in (name, *attributes.values()):
            if not is_name(each):
                raise ConfigError(
                    f"{file}: {each!r} is not a name of 1 to {LONGEST_NAME} printable characters"
                )
        if tiers is not None and entry.tier is not None and entry.tier not in tiers:
            raise ConfigError(
                f"{file}: {name}: tier {entry.tier!r} is not defined; there are {', '.join(tiers)}"
            )
        principal = Holder(Attribute.KEY, name)
        caller = Caller(principal, {Attribute.KEY: name, **attributes}, VouchedBy.KEYS_FILE)
        for digest in entry.sha256:
            if digest in callers:
                raise ConfigError(f"{file}: {name} and {callers[digest].principal.value} have the same key")
            callers[digest] = caller
    return callers
