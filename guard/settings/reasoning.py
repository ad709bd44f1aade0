"""The section about sealed reasoning: by which secret, and what becomes of what does not belong there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr, field_validator

from guard.core.sealed import OnMismatch
from guard.sealing.seal import Seals
from guard.sealing.thoughts import Sealing
from guard.settings.fields import Section

if TYPE_CHECKING:
    from guard.core.pseudonyms import Pseudonyms

_PURPOSE = "sealed reasoning"


class ReasoningSettings(Section):
    """How reasoning is sealed."""

    secret: SecretStr | None = None
    old_secret: SecretStr | None = None
    mismatch: OnMismatch = OnMismatch.DROP
    also: tuple[str, ...] = ()

    @field_validator("secret", "old_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < 16:
            raise ValueError("a secret has at least 16 characters; try `openssl rand -hex 32`")
        return secret

    def sealing(self, names: Pseudonyms) -> Sealing:
        """What seals and opens; by a secret that follows from the pepper where none is given."""
        secret, *others = (
            names.secret(_PURPOSE) if each is None else each.get_secret_value().encode()
            for each in (self.secret, *([self.old_secret] if self.old_secret is not None else []))
        )
        return Sealing(Seals(secret, *others), names, self.mismatch, self.also)
