"""What a worker tells the analyst's process of the settings, so that both mean one store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from guard.analyst.wire import WireError
from guard.settings.root import FileSettings, Settings

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pydantic import SecretStr


def dump(settings: Settings) -> bytes:
    """The settings that the process needs, as JSON; their secrets stand in it."""
    store = settings.store.model_dump(mode="json")
    detection = settings.detection.model_dump(mode="json")
    if settings.detection.reference is not None:
        detection["reference"] = str(settings.detection.reference.absolute())
    told: dict[str, Any] = {
        "data_dir": str(settings.data_dir.absolute()),
        "store": store | {"redis_url": _revealed(settings.store.redis_url)},
        "identity": {"pepper": _revealed(settings.identity.pepper)},
        "detection": detection,
        "campaigns": settings.campaigns.model_dump(mode="json"),
        **settings.model_dump(mode="json", include={"dialects", "uses"}),
    }
    told["campaigns"]["sharing"]["secret"] = _revealed(settings.campaigns.sharing.secret)
    return json.dumps(told).encode()


def load(told: bytes) -> Settings:
    """What `dump` made of settings; raises `WireError`, which quotes none of it."""
    try:
        return FileSettings.model_validate_json(told)
    except ValidationError as error:
        raise WireError(f"settings that cannot be, {error.error_count()} of them") from None


def store_of(settings: Settings) -> Hashable:
    """What tells one store, and the names in it, from another."""
    pepper, url = settings.identity.pepper, settings.store.redis_url
    return pepper, url, settings.data_dir if pepper is None or url is None else None


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret is not None else None
