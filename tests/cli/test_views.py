"""What an operator sees of customers: U16, U20 and U22, on what requests have left in the store."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard, open_store
from fakes import call
from rich.console import Console

from guard import GuardMiddleware
from guard.demo.model import FakeModel

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from servers import standalone

if TYPE_CHECKING:
    from collections.abc import Iterator

CONFIG = """
[store]
redis_url = "redis://{address}"
deadline_ms = 5000
[identity]
pepper = "{pepper}"
keys_file = "keys.toml"
trusted_proxies = ["192.0.2.9"]
[identity.jwt]
secret = "a secret of more than thirty-two bytes"
algorithms = ["HS256"]
[models.prices."*"]
input = 1000
output = 1000
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "10/hour"
[[tiers.default.limits]]
name = "org-requests"
unit = "requests"
rate = "10/hour"
per = "org"
[[tiers.pro.limits]]
name = "requests"
unit = "requests"
rate = "100/hour"
[[tiers.pro.limits]]
name = "org-requests"
unit = "requests"
rate = "10/hour"
per = "org"
"""
CALLERS = {
    "alice": ("acme", "pro", 6),
    "bob": ("acme", None, 2),
    "carol": ("globex", None, 1),
}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


def key_of(name: str) -> str:
    return f"sk-{name}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Settings, and a store that has seen three keys, a key that nobody knows and an anonymous caller."""
    folder = tmp_path_factory.mktemp("views")
    (folder / "keys.toml").write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(key_of(name).encode()).hexdigest()}"\norg = "{org}"\n'
            + (f'tier = "{tier}"\n' if tier else "")
            for name, (org, tier, _) in CALLERS.items()
        )
        + f'[dora]\nsha256 = "{sha256(b"sk-dora").hexdigest()}"\norg = "initech"\n'
    )
    with standalone() as server:
        settings = CONFIG.format(address=server.address, pepper=secrets.token_hex(16))
        (folder / "guard.toml").write_text(settings)
        asyncio.run(ask(folder))
        yield folder


async def ask(folder: Path) -> None:
    app = GuardMiddleware(FakeModel(), folder / "guard.toml", log=False)
    for name, (_, _, times) in CALLERS.items():
        for _ in range(times):
            answer = await call(app, body=CHAT, headers={"x-api-key": key_of(name)}, client="203.0.113.7")
            assert answer.status == 200
    for headers in ({"x-api-key": "sk-stranger"}, {}):
        await call(app, body=CHAT, headers=headers, client="203.0.113.9")
    await app.aclose()


def data(*arguments: str, folder: Path, stdin: str = "") -> Any:
    told = guard(*arguments, "--json", folder=folder, stdin=stdin)
    assert told.returncode == 0, told.stderr
    return json.loads(told.stdout)


class TestCustomers:
    def test_u16_an_organisation_is_the_sum_of_its_keys(self, folder: Path) -> None:
        sheet = data("show", "org:acme", folder=folder)
        assert sheet["totals"]["identities"] == 2
        assert sheet["totals"]["admitted"] == 8
        assert sheet["totals"]["input_tokens"] == 8 * 6
        assert sheet["totals"]["cost_microdollars"] > 0
        assert [each["identity"] for each in sheet["members"]] == ["key:alice", "key:bob"]
        told = guard("show", "org:acme", folder=folder).stdout
        assert "2 identities: 8 admitted, 0 refused, 48 input and " in told
        assert "key:alice" in told

    @pytest.mark.parametrize("holder", ["network:203.0.113.7", "ip:203.0.113.7", "tier:pro"])
    def test_u16_so_is_whatever_else_identities_have_in_common(self, folder: Path, holder: str) -> None:
        members = data("show", holder, folder=folder)["members"]
        assert "key:alice" in [each["identity"] for each in members]

    def test_u16_a_key_has_no_members(self, folder: Path) -> None:
        sheet = data("show", "key:alice", folder=folder)
        assert (sheet["members"], sheet["totals"]) == ([], None)
        assert sheet["record"]["admitted"] == 6

    def test_u16_top_by_organisation_has_cost_and_the_tightest_limit(self, folder: Path) -> None:
        groups = data("top", "--by", "org", folder=folder)
        assert [(group["holder"], group["identities"], group["admitted"]) for group in groups] == [
            ("org:acme", 2, 8),
            (None, 2, 2),
            ("org:globex", 1, 1),
        ]
        assert (groups[0]["tightest_limit"], groups[0]["used_share"]) == ("org-requests", 0.8)
        told = guard("top", "--by", "org", folder=folder).stdout
        assert "80% org-requests" in told
        assert "no org" in told
        assert "$" in told

    @pytest.mark.parametrize(
        ("by", "first", "admitted"), [("tier", "tier:pro", 6), ("key", "key:alice", 6), ("user", None, 11)]
    )
    def test_u16_and_by_other_attributes(
        self, folder: Path, by: str, first: str | None, admitted: int
    ) -> None:
        group = data("top", "--by", by, folder=folder)[0]
        assert (group["holder"], group["admitted"]) == (first, admitted)

    def test_u16_a_record_does_not_say_which_model(self, folder: Path) -> None:
        assert guard("top", "--by", "model", folder=folder).returncode == 2

    def test_u16_top_of_identities_has_them_too(self, folder: Path) -> None:
        row = data("top", folder=folder)[0]
        assert row["identity"] == "key:alice"
        assert row["cost_microdollars"] > 0
        assert (row["tightest_limit"], row["used_share"]) == ("org-requests", 0.8)

    def test_u22_where_nobody_was_active_that_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "guard.toml").write_text('data_dir = "data"\n[store]\ndeadline_ms = 5000\n')
        open_store(tmp_path)
        for by in ((), ("--by", "org")):
            told = guard("top", "--since", "2h", *by, folder=tmp_path)
            assert (told.returncode, told.stdout) == (0, "No identity was active in the last 2h.\n")


class TestFind:
    @pytest.mark.parametrize("given", ["sk-alice", "sk-alice\n", "  Bearer sk-alice\n", "bearer sk-alice"])
    def test_u16_a_key_from_standard_input(self, folder: Path, given: str) -> None:
        found = data("find", folder=folder, stdin=given)
        assert found["names"][0] == "key:alice"
        assert (found["how"], found["tier"]) == ("a key in the keys file", "pro")
        assert found["attributes"]["org"] == "acme"
        assert found["records"][0]["admitted"] == 6

    def test_u16_a_key_of_the_file_that_was_never_used(self, folder: Path) -> None:
        told = guard("find", folder=folder, stdin="sk-dora").stdout
        assert told.startswith("key:dora: a key in the keys file\n")
        assert "not seen yet" in told

    def test_u16_a_key_that_guard_does_not_know(self, folder: Path) -> None:
        found = data("find", folder=folder, stdin="sk-stranger")
        assert found["how"] == "a key that is in no keys file"
        assert found["records"][0]["identity"] == found["names"][0]
        told = guard("show", found["names"][0], folder=folder)
        assert told.returncode == 0
        assert "sk-stranger" not in guard("find", folder=folder, stdin="sk-stranger").stdout

    def test_u16_a_token_that_is_not_believed_says_why(self, folder: Path) -> None:
        told = guard("find", folder=folder, stdin="a.b.c")
        assert told.returncode == 3
        assert told.stderr == (
            "guard: requests with it are refused (token_malformed): this is not a JSON web token\n"
        )

    def test_u16_an_address(self, folder: Path) -> None:
        found = data("find", "--address", "203.0.113.9", folder=folder)
        network, ip, pool = found["names"]
        assert network.startswith("network:")
        assert ip.startswith("ip:")
        assert pool.startswith("pool:")
        assert len(found["records"]) == 2
        assert found["records"][0]["identity"] == network
        assert guard("show", network, folder=folder).returncode == 0

    def test_u16_blocks_that_bite_are_told(self, folder: Path) -> None:
        guard("block", "network:203.0.113.20", "--for", "2h", "--reason", "test", folder=folder)
        found = data("find", "--address", "203.0.113.20", folder=folder)
        assert [block["reason"] for block in found["blocks"]] == ["test"]
        guard("unblock", "network:203.0.113.20", folder=folder)

    @pytest.mark.parametrize("arguments", [("--address", "nonsense"), ()])
    def test_what_is_none_is_wrong_usage(self, folder: Path, arguments: tuple[str, ...]) -> None:
        told = guard("find", *arguments, folder=folder)
        assert told.returncode == 2
        assert "Traceback" not in told.stderr


class TestOrders:
    def test_u20_clear_without_a_limit_clears_every_override_and_says_which(self, folder: Path) -> None:
        guard("limits", "set", "key:bob", "requests", "--rate", "5/hour", folder=folder)
        guard("limits", "exempt", "key:bob", folder=folder)
        told = guard("limits", "clear", "key:bob", folder=folder)
        assert told.stdout.startswith("Cleared the overrides of key:bob in all limits, requests.\n")
        assert data("limits", "show", "key:bob", folder=folder)["overrides"] == []
        again = guard("limits", "clear", "key:bob", folder=folder)
        assert (again.returncode, again.stdout) == (0, "key:bob has no override.\n")

    def test_u20_with_a_limit_only_that_one(self, folder: Path) -> None:
        guard("limits", "exempt", "key:carol", folder=folder)
        guard("limits", "exempt", "key:carol", "requests", folder=folder)
        told = guard("limits", "clear", "key:carol", "requests", folder=folder)
        assert told.stdout.startswith("Cleared the overrides of key:carol in requests.\n")
        (left,) = data("limits", "show", "key:carol", folder=folder)["overrides"]
        assert left["limit"] == "*"
        guard("limits", "clear", "key:carol", folder=folder)

    def test_u20_overrides_in_a_limit_that_the_settings_no_longer_have_are_cleared_too(
        self, folder: Path
    ) -> None:
        settings = (folder / "guard.toml").read_text()
        guard("limits", "exempt", "org:globex", "org-requests", folder=folder)
        (folder / "guard.toml").write_text(settings.replace("org-requests", "org-others"))
        told = guard("limits", "clear", "org:globex", folder=folder)
        (folder / "guard.toml").write_text(settings)
        assert told.stdout.startswith("Cleared the overrides of org:globex in org-requests.\n")

    @pytest.mark.parametrize(
        ("holder", "said"),
        [
            ("org:acmee", "guard: no identity of that name has been seen; did you mean org:acme?\n"),
            ("key:nobody-at-all", "guard: no identity of that name has been seen\n"),
            ("org:acme", ""),
            ("org:initech", ""),
            ("key:dora", ""),
            ("network:203.0.113.200", ""),
        ],
    )
    def test_u22_a_block_on_a_name_that_no_identity_has_is_remarked_on(
        self, folder: Path, holder: str, said: str
    ) -> None:
        told = guard("block", holder, "--for", "1h", folder=folder)
        guard("unblock", holder, folder=folder)
        assert (told.returncode, told.stderr) == (0, said)

    def test_u22_so_are_other_numbers_for_such_a_name(self, folder: Path) -> None:
        for order in (("set", "key:alcie", "requests", "--rate", "5/hour"), ("exempt", "key:alcie")):
            told = guard("limits", *order, folder=folder)
            assert (told.returncode, told.stderr) == (
                0,
                "guard: no identity of that name has been seen; did you mean key:alice?\n",
            )
        guard("limits", "clear", "key:alcie", folder=folder)

    def test_u22_an_order_does_not_fail_for_the_remark(self, folder: Path) -> None:
        keys = (folder / "keys.toml").read_text()
        (folder / "keys.toml").write_text("[broken")
        told = guard("block", "key:alice", "--for", "1h", folder=folder)
        (folder / "keys.toml").write_text(keys)
        guard("unblock", "key:alice", folder=folder)
        assert (told.returncode, told.stdout.splitlines()[0]) == (0, "key:alice is blocked for 1h.")

    def test_u22_show_says_when_a_limit_has_room_again_as_a_refusal_does(self, folder: Path) -> None:
        asyncio.run(ask_until_refused(folder, "sk-carol"))
        reading = data("show", "key:carol", folder=folder)["limits"][0]
        header = guard("show", "key:carol", folder=folder).stdout
        assert reading["remaining"] == 0
        assert reading["wait_seconds"] > 0
        assert "wait" in header
        assert "resets in" in header
        assert "new in" not in header


async def ask_until_refused(folder: Path, key: str) -> None:
    app = GuardMiddleware(FakeModel(), folder / "guard.toml", log=False)
    statuses = [(await call(app, body=CHAT, headers={"x-api-key": key})).status for _ in range(12)]
    assert 429 in statuses
    await app.aclose()


def test_u22_on_a_terminal_top_keeps_what_matters_within_80_columns(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def narrow() -> Console:
        return Console(width=80, highlight=False, color_system=None)

    monkeypatch.setattr("guard.cli.output.console", narrow)
    for by in ((), ("--by", "org"), ("--risk",)):
        told = guard("top", *by, folder=folder).stdout
        assert max(map(len, told.splitlines())) <= 80
        assert "limit used" in told
        assert "refused" in told
        assert "…" not in told
