"""A wait that is begun before anybody waits: what has come already needs no timer, and no turn of the loop.

`asyncio.timeout` makes thirty calls, and most bodies are there before they are asked for.

    begun = Begun(receive())
    if not begun.done:
        async with asyncio.timeout(60):
            await begun
    message = begun.result
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator

T = TypeVar("T")


class Begun(Generic[T]):
    """Begins an awaitable, which goes on as soon as this is awaited, in the same task. Raises what it raises
    at once; where it is `done`, `result` is what it gives, and there is nothing to await.
    """

    result: T

    def __init__(self, awaitable: Awaitable[T]) -> None:
        self.done = False
        self._steps = awaitable.__await__()
        try:
            self._waits_for = next(self._steps)
        except StopIteration as end:
            self._end(end.value)

    def __await__(self) -> Generator[Any, None, None]:
        while not self.done:
            error: BaseException | None = None
            try:
                yield self._waits_for
            except BaseException as raised:  # noqa: BLE001 - a cancellation too is for the awaitable to see
                error = raised
            try:
                self._waits_for = next(self._steps) if error is None else self._steps.throw(error)
            except StopIteration as end:
                self._end(end.value)

    def _end(self, result: T) -> None:
        self.result, self.done = result, True
