"""What only `guard serve` asks of its settings: the connections of clients."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ServerSettings(BaseModel):
    """How `guard serve` deals with the connections of its clients."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    max_head_bytes: Annotated[int, Field(ge=4096, le=1 << 20)] = 65_536
    head_timeout_seconds: Seconds = 10
    keepalive_seconds: Seconds = 75
