"""Orders that are carried out once, also where whoever gives them has heard no answer and gives them again.

They choose a key for each order (the field's `Idempotency-Key`). A keyed hash of it and of their name is kept
in Redis for a day, from before the order is carried out.

    the first time          carried out; what fails without having changed anything frees the key
    where the store fails   nobody knows what has become of the order, and so the key is not free
    again                   `RepeatedOrderError`, also while the first one is carried out
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from guard.errors import GuardError, RepeatedOrderError, StoreError
from guard.store.redis.told import Told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from guard.store.redis.orders import OperatorStore

T = TypeVar("T")

REMEMBERED_SECONDS = 86_400
"""How long an order counts as given before."""


class Once:
    """What was ordered in one store."""

    def __init__(self, store: OperatorStore) -> None:
        self._told = Told(store)

    async def give(self, by: str, key: str, order: Callable[[], Awaitable[T]]) -> T:
        """Carry out an order that this person gives under a key; raises `RepeatedOrderError`."""
        about = ("order", by, key)
        if not await self._told.first(about, REMEMBERED_SECONDS):
            raise RepeatedOrderError(
                "an order was given with this Idempotency-Key within the last day, and is not carried out "
                "again: look at how the key stands, and rotate it where you have not heard its secret"
            )
        try:
            return await order()
        except StoreError:
            raise
        except (GuardError, ValueError):
            with suppress(StoreError):
                await self._told.forget(about)
            raise
