"""How a server that runs follows its settings, and what the operator orders."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from fakes import Guarded, call
from patience import PATIENCE_SECONDS

from guard import GuardMiddleware, load
from guard.admin import Operator
from guard.core.modes import Mode
from guard.demo.model import FakeModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    MakeGuarded = Callable[..., Guarded]

KEY = {"authorization": "Bearer sk-test"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
OFTEN = "reload_seconds = 0.01\n"
SWITCH = '"kind": "switch"'


class Running:
    """A guarded app whose settings are in a file that the test edits."""

    def __init__(self, file: Path, redis_url: str) -> None:
        self.file = file
        self._store = f'[store]\nredis_url = "{redis_url}"\ndeadline_ms = 5000\n'
        self._store += f'[identity]\npepper = "{secrets.token_hex(16)}"\n'
        self.middleware: GuardMiddleware

    def write(self, count: int, *, identity: str = "") -> None:
        """Settings with a limit of so many requests."""
        limit = f'[[tiers.default.limits]]\nname = "r"\nunit = "requests"\nrate = "{count}/hour"\n'
        self.edit(f"{OFTEN}{self._store}{identity}{limit}")

    def edit(self, text: str) -> None:
        """Put these settings in the place of the others, as an editor does."""
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.rename(self.file)

    async def limit(self) -> str:
        """The limit that a request is told."""
        answer = await call(self.middleware, body=CHAT, headers=KEY)
        return answer.headers["x-ratelimit-limit-requests"]


@pytest.fixture
async def running(tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Running]:
    caplog.set_level(logging.INFO, "guard")
    running = Running(tmp_path / "guard.toml", redis_url)
    running.write(100)
    running.middleware = GuardMiddleware(FakeModel(), running.file, hooks=())
    yield running
    await running.middleware.aclose()


async def logged(caplog: pytest.LogCaptureFixture, text: str, times: int = 1) -> str:
    """What the log says, as soon as it has said this so often."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while caplog.text.count(text) < times:  # noqa: ASYNC110 - a log has no event to wait for
            await asyncio.sleep(0.005)
    return caplog.text


class TestReloading:
    async def test_a_file_that_changes_is_read_again(
        self, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert await running.limit() == "100"
        running.write(7)
        await logged(caplog, "settings reloaded")
        assert await running.limit() == "7"

    @pytest.mark.parametrize(
        ("broken", "reason"),
        [
            ("mode = ", "not TOML"),
            ("mod = 1", "did you mean `mode`?"),
            ('[identity]\nkeys_file = "none.toml"', "none.toml"),
            ('[models]\nprices_file = "none.json"', "none.json"),
            ('[models.tokenizers]\n"m" = "none.json"', "none.json"),
            ('[[routes]]\npath = "/x"\ndialect = "klingon"', "'klingon' is no dialect"),
            ('[[overrides]]\nholder = "key:a"\nlimit = "nope"\nexempt = true', "no limit is named 'nope'"),
        ],
    )
    async def test_an_edit_that_cannot_work_leaves_the_last_good_settings_and_says_why(
        self, running: Running, caplog: pytest.LogCaptureFixture, broken: str, reason: str
    ) -> None:
        assert await running.limit() == "100"
        running.edit(broken)
        said = await logged(caplog, "settings not reloaded, keeping the previous ones")
        assert reason in said
        assert await running.limit() == "100"
        running.write(9)
        await logged(caplog, "settings reloaded")
        assert await running.limit() == "9"

    async def test_a_file_that_is_gone_for_a_moment_leaves_the_last_good_settings(
        self, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert await running.limit() == "100"
        running.file.unlink()
        await logged(caplog, "settings not reloaded")
        assert await running.limit() == "100"

    async def test_so_it_does_where_the_file_was_found_without_being_named(
        self, running: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(running.file.parent)
        running.middleware = GuardMiddleware(FakeModel(), hooks=())
        assert await running.limit() == "100"
        running.file.unlink()
        await logged(caplog, "settings not reloaded")
        assert await running.limit() == "100"

    async def test_a_file_that_the_settings_name_is_followed_too(
        self, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        keys = running.file.with_name("keys.toml")
        keys.write_text("")
        running.write(100, identity='keys_file = "keys.toml"\nunknown_keys = "refuse"\n')
        assert (await call(running.middleware, body=CHAT, headers=KEY)).status == 401
        keys.write_text("[mine")
        await logged(caplog, "settings not reloaded")
        keys.write_text(f'[mine]\nsha256 = "{sha256(b"sk-test").hexdigest()}"\n')
        await logged(caplog, "settings reloaded")
        assert (await call(running.middleware, body=CHAT, headers=KEY)).status == 200

    async def test_a_file_that_was_missing_is_read_as_soon_as_it_is_there(
        self, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert await running.limit() == "100"
        running.write(6, identity='keys_file = "keys.toml"\n')
        await logged(caplog, "keys.toml: No such file")
        assert await running.limit() == "100"
        running.file.with_name("keys.toml").write_text("")
        await logged(caplog, "settings reloaded")
        assert await running.limit() == "6"

    async def test_a_request_under_way_ends_by_the_settings_that_it_began_with(
        self, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        slow = {"model": "m", "messages": [{"role": "user", "content": "words=20 delay_ms=10"}]}
        under_way = asyncio.create_task(call(running.middleware, body={**slow, "stream": True}, headers=KEY))
        while running.middleware._service is None:  # noqa: ASYNC110 - nobody says when it is open
            await asyncio.sleep(0)
        running.edit('unknown_paths = "deny"\nroutes = []\n' + running.file.read_text())
        await logged(caplog, "settings reloaded")
        assert (await call(running.middleware, body=CHAT, headers=KEY)).status == 404
        answer = await under_way
        assert answer.status == 200
        assert answer.body.endswith(b"data: [DONE]\n\n")

    async def test_what_only_a_start_reads_is_said_to_wait_for_one(
        self, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert await running.limit() == "100"
        running.edit(running.file.read_text().replace("deadline_ms = 5000", "deadline_ms = 4000"))
        assert "[store] has changed, which takes effect at the next start" in await logged(
            caplog, "settings reloaded"
        )

    async def test_settings_that_are_no_file_are_not_followed(
        self, guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
    ) -> None:
        app = guarded(FakeModel(), reload_seconds=0.01)
        assert (await call(app, body=CHAT, headers=KEY)).status == 200
        async with Operator(app.settings) as operator:
            await operator.orders.reload()
        await app.hear()
        assert "reloaded" not in caplog.text


JWKS = (
    '{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "alg": "EdDSA", '
    '"x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'
)
JWT = '[identity.jwt]\nkey_file = "jwks.json"\nalgorithms = ["EdDSA"]\n'
PRICES = '{"m": {"input": 1, "output": 1}}'


class TestEmptied:
    """W23: a settings file that becomes empty, and what an edit takes away."""

    KEYS = f'[mine]\nsha256 = "{sha256(b"sk-test").hexdigest()}"\n'
    STRICT = 'keys_file = "keys.toml"\nunknown_keys = "refuse"\n'

    @pytest.fixture
    async def strict(self, running: Running) -> Running:
        running.file.with_name("keys.toml").write_text(self.KEYS)
        running.write(100, identity=self.STRICT)
        assert await self.statuses(running) == [200, 401]
        return running

    async def statuses(self, running: Running) -> list[int]:
        """What a known key gets, and an unknown one."""
        return [
            (await call(running.middleware, body=CHAT, headers=headers)).status
            for headers in (KEY, {"authorization": "Bearer sk-other"})
        ]

    @pytest.mark.parametrize("text", ["", "\n \n", "# all of it\n# in comments\n", "\ufeff"])
    async def test_w23_an_empty_settings_file_is_not_obeyed(
        self, strict: Running, caplog: pytest.LogCaptureFixture, text: str
    ) -> None:
        strict.file.write_text(text)
        await logged(caplog, "settings not reloaded, keeping the previous ones")
        assert await self.statuses(strict) == [200, 401]
        strict.write(50, identity=self.STRICT)
        await logged(caplog, "settings reloaded")
        assert await self.statuses(strict) == [200, 401]

    @pytest.mark.parametrize("text", ["", "# none\n"])
    async def test_w23_nor_is_an_empty_keys_file(
        self, strict: Running, caplog: pytest.LogCaptureFixture, text: str
    ) -> None:
        strict.file.with_name("keys.toml").write_text(text)
        assert "the keys file names no key any more" in await logged(caplog, "settings not reloaded")
        assert await self.statuses(strict) == [200, 401]

    async def test_w23_an_edit_that_takes_protection_away_is_obeyed_and_warned_of(
        self, strict: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        strict.edit('unknown_paths = "pass"\n' + strict.file.read_text().replace(self.STRICT, ""))
        said = await logged(caplog, "settings reloaded")
        assert await self.statuses(strict) == [200, 200]
        assert "identity.keys_file is gone" in said
        assert "identity.unknown_keys is no longer `refuse`" in said
        assert "unknown_paths is `pass`" in said
        warned = [record for record in caplog.records if "protect less" in record.getMessage()]
        assert {record.levelname for record in warned} == {"WARNING"}

    @pytest.mark.parametrize(
        ("name", "before", "after", "setting"),
        [
            ("jwks.json", JWKS, '{"keys": []}', JWT),
            ("jwks.json", JWKS, "", JWT),
            ("prices.json", PRICES, "{}", '[models]\nprices_file = "prices.json"\n'),
            ("prices.json", PRICES, "", '[models]\nprices_file = "prices.json"\n'),
        ],
        ids=["a key set without keys", "an empty key set", "prices of nothing", "an empty price file"],
    )
    async def test_w23_nor_is_another_file_that_becomes_empty(
        self,
        running: Running,
        caplog: pytest.LogCaptureFixture,
        name: str,
        before: str,
        after: str,
        setting: str,
    ) -> None:
        running.file.with_name(name).write_text(before)
        cost = '[[limits]]\nname = "c"\nunit = "cost"\nrate = "900000000/day"\n'
        free = '[models.prices."*"]\ninput = 1\noutput = 1\n'
        running.edit(running.file.read_text() + setting + (cost if "prices" in name else free + cost))
        assert await running.limit() == "100"
        running.file.with_name(name).write_text(after)
        assert name in await logged(caplog, "settings not reloaded, keeping the previous ones")
        assert await running.limit() == "100"

    async def test_w23_keys_that_are_gone_are_warned_of(
        self, strict: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        keys = strict.file.with_name("keys.toml")
        more = f'[more]\nsha256 = "{sha256(b"sk-more").hexdigest()}"\n'
        keys.write_text(self.KEYS + more)
        await logged(caplog, "settings reloaded")
        keys.write_text(self.KEYS)
        assert "the number of keys in the keys file is 1, and was 2" in await logged(
            caplog, "settings reloaded", times=2
        )

    async def test_w23_a_file_is_read_when_whoever_writes_it_is_done(
        self, strict: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        service = await strict.middleware._opened()
        service._watching.cancel()  # the test looks itself
        whole = strict.file.read_text()
        start = whole[: whole.index("keys_file")]
        for text in (start, start + "# more to come\n"):
            strict.file.write_text(text)
            await service._look()
            assert await self.statuses(strict) == [200, 401]
        strict.edit(whole.replace("100/hour", "44/hour"))
        await service._look()
        assert "reloaded" not in caplog.text
        await service._look()
        assert await strict.limit() == "44"

    async def test_w23_an_empty_file_at_the_start_is_warned_of(
        self, strict: Running, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        empty = tmp_path / "empty.toml"
        empty.write_text("# nothing yet\n")
        other = GuardMiddleware(FakeModel(), empty)
        await call(other, "/nowhere")
        await other.aclose()
        assert "the settings file is empty" in caplog.text


class TestOrders:
    async def test_a_reload_reaches_every_process(
        self, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Also where no file has changed, as when variables of the environment are read from elsewhere."""
        other = Running(running.file, "")
        other.middleware = GuardMiddleware(FakeModel(), running.file, hooks=())
        try:
            assert [await each.limit() for each in (running, other)] == ["100", "100"]
            async with Operator(load(running.file)) as operator:
                while (await operator.orders.reload()).after["processes"] < 2:  # noqa: ASYNC110 - nobody says when they are heard of
                    await asyncio.sleep(0)
            await logged(caplog, "settings reloaded", times=2)
        finally:
            await other.middleware.aclose()

    async def test_the_hangup_signal_has_the_settings_read_again(
        self, running: Running, caplog: pytest.LogCaptureFixture
    ) -> None:
        running.middleware = GuardMiddleware(FakeModel(), running.file, hooks=(), reload_on_sighup=True)
        try:
            assert await running.limit() == "100"
            assert "reloaded" not in caplog.text
            os.kill(os.getpid(), signal.SIGHUP)
            await logged(caplog, "settings reloaded")
        finally:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)

    @pytest.mark.parametrize("mode", [Mode.SHADOW, Mode.OFF])
    async def test_the_kill_switch_lets_everything_through_until_it_is_turned_back(
        self, guarded: MakeGuarded, mode: Mode
    ) -> None:
        app = guarded(FakeModel(), {"name": "r", "unit": "requests", "rate": "1/hour"})

        async def statuses() -> list[int]:
            return [(await call(app, body=CHAT, headers=KEY)).status for _ in range(3)]

        assert await statuses() == [200, 429, 429]
        async with Operator(app.settings) as operator:
            await operator.orders.set_mode(mode)
            try:
                await app.hear()
                assert await statuses() == [200, 200, 200]
            finally:
                await operator.orders.set_mode(Mode.ENFORCE)
            await app.hear()
        assert await statuses() == [429, 429, 429]

    async def test_each_process_logs_when_the_kill_switch_changes_and_where_it_is_set_at_the_start(
        self, guarded: MakeGuarded, caplog: pytest.LogCaptureFixture
    ) -> None:
        def lines() -> list[tuple[str, str, str]]:
            told = [json.loads(each.message) for each in caplog.records if SWITCH in each.message]
            return [(each["switch"], each["settings"], each["mode"]) for each in told]

        app = guarded(FakeModel(), reload_seconds=0.01)
        await app.hear()
        async with Operator(app.settings) as operator:
            try:
                await operator.orders.set_mode(Mode.SHADOW)
                await logged(caplog, SWITCH)
                later = Guarded(FakeModel(), app.settings.model_copy(update={"mode": Mode.OFF}))
                await later.middleware._opened()
                await logged(caplog, SWITCH, times=2)
                await later.middleware.aclose()
            finally:
                await operator.orders.set_mode(Mode.ENFORCE)
            await logged(caplog, SWITCH, times=3)
        assert lines() == [
            ("shadow", "enforce", "shadow"),
            ("shadow", "off", "off"),
            ("enforce", "enforce", "enforce"),
        ]
        assert {each.levelno for each in caplog.records if SWITCH in each.message} == {logging.WARNING}
