"""What is begun before it is waited for ends as it would have."""

from __future__ import annotations

import asyncio

import pytest

from guard.asgi.begun import Begun


async def test_what_is_there_needs_no_wait() -> None:
    async def there() -> int:
        return 7

    begun = Begun(there())
    assert begun.done
    assert begun.result == 7


async def test_an_error_at_once_is_raised_at_once() -> None:
    async def broken() -> int:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        Begun(broken())


async def test_what_is_not_there_is_waited_for_however_often() -> None:
    came: asyncio.Queue[int] = asyncio.Queue()

    async def both() -> int:
        await asyncio.sleep(0)
        return await came.get() + await came.get()

    begun = Begun(both())
    assert not begun.done
    asyncio.get_running_loop().call_soon(came.put_nowait, 3)
    asyncio.get_running_loop().call_soon(came.put_nowait, 4)
    await begun
    assert begun.result == 7


async def test_a_future_may_be_begun() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    begun = Begun(future)
    asyncio.get_running_loop().call_soon(future.set_result, 7)
    await begun
    assert begun.result == 7


async def test_a_late_error_is_raised_where_it_is_awaited() -> None:
    async def broken() -> int:
        await asyncio.sleep(0)
        raise OSError("gone")

    begun = Begun(broken())
    with pytest.raises(OSError, match="gone"):
        await begun


async def test_a_timeout_and_a_cancellation_reach_what_was_begun() -> None:
    seen: list[str] = []

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("ended")

    begun = Begun(never())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await begun
    assert seen == ["ended"]

    async def wait() -> None:
        await Begun(never())

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["ended", "ended"]


async def test_what_withstands_a_cancellation_goes_on() -> None:
    async def stubborn() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return 7

    async def wait() -> int:
        begun = Begun(stubborn())
        await begun
        return begun.result

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == 7
