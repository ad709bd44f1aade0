"""Asking a store that may be slow, or gone, by settings that may change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from patience import PATIENCE_SECONDS

from guard.admin.asking import MOST_AT_ONCE, Asker
from guard.core.modes import Mode
from guard.errors import ConfigError, StoreError
from guard.store.embedded.server import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fakes import Clock

    from guard.admin import Operator
    from guard.settings.root import Settings


async def mode(operator: Operator) -> Mode:
    return await operator.mode()


async def for_ever(_: Operator) -> None:
    await asyncio.Event().wait()


class TestDeadline:
    async def test_a_question_without_an_answer_ends(self, make_settings: Callable[..., Settings]) -> None:
        asker = Asker(make_settings(), deadline_seconds=0.05)
        with pytest.raises(StoreError) as caught:
            await asker.ask(for_ever)
        assert caught.value.kind == "timeout"
        await asker.aclose()

    async def test_so_do_those_that_wait_for_others(self, make_settings: Callable[..., Settings]) -> None:
        asker = Asker(make_settings(), deadline_seconds=0.05)
        many = [asker.ask(for_ever) for _ in range(3 * MOST_AT_ONCE)]
        ends = await asyncio.gather(*many, return_exceptions=True)
        assert all(isinstance(each, StoreError) for each in ends)
        await asker.aclose()

    async def test_only_so_many_are_asked_at_once(self, make_settings: Callable[..., Settings]) -> None:
        asker, under_way, most = Asker(make_settings(), deadline_seconds=PATIENCE_SECONDS), 0, 0

        async def question(operator: Operator) -> None:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await operator.mode()
            under_way -= 1

        await asyncio.gather(*(asker.ask(question) for _ in range(3 * MOST_AT_ONCE)))
        assert most <= MOST_AT_ONCE
        await asker.aclose()


class TestStore:
    async def test_one_that_was_down_is_asked_again(
        self, make_settings: Callable[..., Settings], tmp_path: Path
    ) -> None:
        url = f"unix://{tmp_path / 'redis.sock'}"
        asker = Asker(make_settings(store={"redis_url": url}), deadline_seconds=PATIENCE_SECONDS)
        for _ in range(2):
            with pytest.raises(StoreError):
                await asker.ask(mode)
        with EmbeddedServer(tmp_path):
            assert await asker.ask(mode) is Mode.ENFORCE
            await asker.aclose()

    async def test_one_of_another_pepper_is_not_asked(self, make_settings: Callable[..., Settings]) -> None:
        first = Asker(make_settings(), deadline_seconds=PATIENCE_SECONDS)
        assert await first.ask(mode) is Mode.ENFORCE
        other = Asker(make_settings(identity={"pepper": "x" * 32}), deadline_seconds=PATIENCE_SECONDS)
        with pytest.raises(StoreError) as caught:
            await other.ask(mode)
        assert caught.value.kind == "pepper"
        for each in (first, other):
            await each.aclose()

    async def test_what_was_never_asked_is_closed_all_the_same(
        self, make_settings: Callable[..., Settings]
    ) -> None:
        await Asker(make_settings()).aclose()


class TestSettings:
    @pytest.fixture
    def file(self, tmp_path: Path, redis_url: str) -> Path:
        """A settings file."""
        file = tmp_path / "guard.toml"
        file.write_text(f'store.redis_url = "{redis_url}"\nidentity.pepper = "{"p" * 32}"\n')
        return file

    @staticmethod
    def edit(file: Path, clock: Clock, before: str = "") -> None:
        """Write something before all else in it, and take it away again."""
        text = file.read_text()
        file.write_text(f"{before}\n{text}" if before else text.partition("\n")[2])
        clock.ahead_seconds += 2

    async def test_a_file_that_has_changed_is_read_again(self, file: Path, clock: Clock) -> None:
        asker = Asker(file, deadline_seconds=PATIENCE_SECONDS)
        assert await asker.ask(mode_of_settings) is Mode.ENFORCE
        assert not asker.follow()
        self.edit(file, clock, 'mode = "shadow"')
        assert asker.follow()
        assert await asker.ask(mode_of_settings) is Mode.SHADOW
        await asker.aclose()

    async def test_one_that_cannot_work_leaves_the_last_good_ones(self, file: Path, clock: Clock) -> None:
        asker = Asker(file, deadline_seconds=PATIENCE_SECONDS)
        self.edit(file, clock, "nonsense = 1")
        assert not asker.follow()
        assert "nonsense" in asker.fault
        assert await asker.ask(mode) is Mode.ENFORCE
        self.edit(file, clock)
        assert asker.follow()
        assert asker.fault == ""
        await asker.aclose()

    def test_one_that_cannot_work_from_the_start_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="No such file"):
            Asker(tmp_path / "guard.toml")


async def mode_of_settings(operator: Operator) -> Mode:
    return operator.mode_of_settings
