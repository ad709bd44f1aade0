"""What follows from the settings, and is replaced with them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from guard.asgi.body import Bodies
from guard.core.policy import RouteAction
from guard.engine.token_estimate import Estimator
from guard.identity.identifier import Identifier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.core.policy import Policy
    from guard.core.pseudonyms import Pseudonyms
    from guard.dialects.base import Dialect
    from guard.identity.issued import IssuedKeys
    from guard.sealing.thoughts import Sealing
    from guard.settings.root import Settings


@dataclass(frozen=True, slots=True)
class Rules:
    """What follows from the settings, and is replaced with them."""

    policy: Policy
    identifier: Identifier
    bodies: Bodies
    dialects: Mapping[str, Dialect]
    estimator: Estimator
    sealing: Sealing
    read_on_seconds: float

    @classmethod
    def of(
        cls,
        settings: Settings,
        keys: Pseudonyms,
        unknown_paths: RouteAction = RouteAction.DENY,
        *,
        issued: IssuedKeys | None = None,
        only_listed_headers: bool = False,
    ) -> Self:
        """Read all that the settings name; raises `ConfigError`. `issued` are keys that they do not name."""
        return cls(
            settings.policy(unknown_paths),
            Identifier(
                settings.identity,
                keys,
                settings.units,
                settings.tiers,
                issued=issued,
                only_listed_headers=only_listed_headers,
            ),
            Bodies(settings.body),
            settings.all_dialects(),
            Estimator(settings.models.tokenizers),
            settings.reasoning.sealing(keys),
            settings.models.read_on_seconds,
        )
