"""Work that is done before it is begun with returns."""

from __future__ import annotations

import asyncio

import pytest

from guard.background import Foreground


async def test_what_does_not_wait_is_done_at_once() -> None:
    done = []

    async def work() -> None:
        done.append(await same(1))

    Foreground().begin(work())
    assert done == [1]


async def same(number: int) -> int:
    return number


async def test_what_waits_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="has to wait"):
        Foreground().begin(asyncio.sleep(0))
