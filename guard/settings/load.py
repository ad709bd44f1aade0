"""Reading `guard.toml` and the `GUARD_…` variables.

What a variable says goes before what the file says. `__` separates levels: `GUARD_STORE__REDIS_URL` is
`redis_url` under `[store]`. A setting that does not exist is an error, in the file and in the environment,
since a misspelt limit is no limit.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from guard.errors import ConfigError
from guard.settings.environment import CONFIG_VARIABLE, refuse_misspelt
from guard.settings.explain import explain, explain_json
from guard.settings.root import FileSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FileState = tuple[int, int, int] | None
"""When a file was changed last, its size and which one it is; `None` where there is none."""


def load(path: str | Path | None = None, *, environment: bool = True) -> Settings:
    """Read the settings; raises `ConfigError`.

    `path` names the file; without it `GUARD_CONFIG` does, and without that `./guard.toml` is read if it is
    there. Relative paths in the file are relative to the file. With `environment` false, no variable has a
    say.
    """
    file = find(path, os.environ if environment else {})
    values = read_toml(file) if file is not None else {}
    if environment:
        refuse_misspelt(os.environ, Settings)
    try:
        settings = (Settings if environment else FileSettings)(**values)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(file, values, detail) for detail in error.errors())) from None
    except SettingsError as error:
        raise ConfigError(explain_json(error)) from None
    return _anchor(settings, file.parent if file is not None else Path())


def find(path: str | Path | None, environment: Mapping[str, str] = os.environ) -> Path | None:
    """The file that `load` reads, `None` where there is none to read."""
    named = path or environment.get(CONFIG_VARIABLE)
    if named is None:
        file = Path("guard.toml")
        return file if file.exists() else None
    return Path(named)


def read_toml(file: Path) -> dict[str, Any]:
    """The values in a settings file, unchecked; raises `ConfigError`."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; `guard init` writes a file to start from") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: not UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not TOML: {error}") from error


def file_states(path: Path | None, named: Iterable[Path]) -> dict[Path, FileState]:
    """The files that settings come from, the one that `find` finds and those that it has `named`, each with
    a state that changes when the file does.
    """
    file = find(path)
    return {each: _state(each) for each in (*(() if file is None else (file,)), *named)}


def _state(file: Path) -> FileState:
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


def _anchor(settings: Settings, folder: Path) -> Settings:
    """The settings with relative paths made relative to the file's folder."""
    identity = settings.identity
    jwt = identity.jwt
    if jwt is not None and jwt.key_file is not None:
        jwt = jwt.model_copy(update={"key_file": folder / jwt.key_file})
    keys_file = folder / identity.keys_file if identity.keys_file is not None else None
    identity = identity.model_copy(update={"keys_file": keys_file, "jwt": jwt})
    models = settings.models
    models = models.model_copy(
        update={
            "prices_file": folder / models.prices_file if models.prices_file is not None else None,
            "tokenizers": {name: folder / file for name, file in models.tokenizers.items()},
        }
    )
    detection = settings.detection
    if detection.reference is not None:
        detection = detection.model_copy(update={"reference": folder / detection.reference})
    data_dir = folder / settings.data_dir.expanduser()
    return settings.model_copy(
        update={
            "identity": identity,
            "models": models,
            "data_dir": data_dir,
            "detection": detection,
        }
    )
