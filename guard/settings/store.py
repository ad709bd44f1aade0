"""The section about where counts are kept."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt, SecretStr, field_validator

from guard.errors import ConfigError
from guard.settings.fields import Section
from guard.store.transport.url import RedisURL


class StoreSettings(Section):
    """Where counts are kept; without `redis_url`, in a redis-server of guard's own."""

    redis_url: SecretStr | None = None
    deadline_ms: PositiveInt = 50
    reservation_seconds: Annotated[float, Field(ge=3, allow_inf_nan=False)] = 60
    local_share: Annotated[float, Field(gt=0, le=1)] | None = None
    maxmemory_mb: Annotated[int, Field(ge=16)] = 256
    unverified_seconds: Annotated[float, Field(ge=3_600, le=30 * 86_400)] = 86_400
    unverified_per_network: PositiveInt = 256

    @field_validator("redis_url")
    @classmethod
    def _supported(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            if url is not None:
                RedisURL.parse(url.get_secret_value())
        except ConfigError as error:
            raise ValueError(str(error).removeprefix("store.redis_url: ")) from None
        return url

    @property
    def url(self) -> RedisURL:
        """Where Redis is; raises `ConfigError` where that is guard's own business."""
        if self.redis_url is None:
            raise ConfigError("store.redis_url is not set")
        return RedisURL.parse(self.redis_url.get_secret_value())
