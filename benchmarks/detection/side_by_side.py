"""Work that several processes do, with its results in order."""

from __future__ import annotations

import sys
import time
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")
Given = TypeVarTuple("Given")


def in_order(
    work: Callable[[T], R],
    items: Iterable[T],
    ready: Callable[[*Given], None],
    given: tuple[*Given],
    processes: int,
) -> Iterator[R]:
    """What `work` makes of each item. Each process is made `ready` with what is `given`; one is this one."""
    if processes == 1:
        ready(*given)
        yield from map(work, items)
        return
    with get_context("spawn").Pool(processes, ready, given) as pool:
        yield from pool.imap(work, items)


def counted(results: Iterable[R], number: int) -> Iterator[R]:
    """The results as they come, of so many; how far it is stands on the terminal."""
    began = time.monotonic()
    for done, result in enumerate(results, start=1):
        print(
            f"\r{done:,} of {number:,} in {time.monotonic() - began:,.0f} s",
            end="\n" if done == number else "",
            file=sys.stderr,
            flush=True,
        )
        yield result
