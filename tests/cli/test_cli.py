"""What each verb says; in a process of its own where that is the point."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from commands import guard, guard_process
from rich.console import Console
from typer.main import get_command

from guard import Settings, load
from guard.cli.app import app
from guard.core.demand import Demand
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.policy import Caller, actual_charges
from guard.core.query import Usage
from guard.installation import Installation
from guard.store.port import Reservation

if TYPE_CHECKING:
    from collections.abc import Iterator


CONFIG = """
data_dir = "data"
[store]
deadline_ms = 5000
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "5/hour"
[[tiers.default.limits]]
name = "org-tokens"
unit = "tokens"
rate = "1000/day"
per = "org"
"""

ALICE = Identity(
    Holder(Attribute.KEY, "alice"),
    {Attribute.KEY: "alice", Attribute.ORG: "acme"},
    vouched_by=VouchedBy.KEYS_FILE,
)
HOSTILE = Identity(
    Holder(Attribute.USER, "[red]x[/red]\x1b[2J"),
    {Attribute.USER: "[red]x[/red]\x1b[2J"},
    vouched_by=VouchedBy.KEYS_FILE,
)


def commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb that there is, such as `limits set`, and its command."""
    for name, command in group.commands.items():
        yield prefix + name, command
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{name} ")


ROOT: Any = get_command(app)
COMMANDS = dict(commands(ROOT))
VERBS = tuple(COMMANDS)


def source_of(verb: str) -> str:
    """What the code says to help with a verb."""
    command = COMMANDS.get(verb, ROOT)
    return " ".join(filter(None, (command.help, *(param.help for param in command.params))))


async def blocked(settings: Settings, identity: Identity) -> bool:
    """Whether a block bites this caller."""
    installation = Installation.of(settings)
    await installation.store.start()
    verdict = await installation.store.look(identity, ())
    await installation.store.aclose()
    return verdict.block is not None


async def use(settings: Settings, *identities: Identity) -> None:
    """Two requests of each, one of them answered."""
    installation = Installation.of(settings)
    await installation.store.start()
    for identity in identities:
        charges = settings.policy().reserve(identity, Demand(), Caller())
        for number in range(2):
            await installation.store.admit(Reservation(f"r{number}", identity, charges))
        settled = actual_charges(charges, Demand(), Usage(10, 30))
        await installation.store.settle(Reservation("r0", identity, settled), Usage(10, 30))
    await installation.store.aclose()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings and a store in which Alice has been seen."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "guard.toml").write_text(CONFIG)
    stranger = Identity(
        Holder(Attribute.KEY, "0a1b2c3d" * 4), {Attribute.KEY: "0a1b2c3d" * 4}, vouched_by=VouchedBy.KEYS_FILE
    )
    twin = Identity(
        Holder(Attribute.KEY, "0a1b" + "f" * 28),
        {Attribute.KEY: "0a1b" + "f" * 28},
        vouched_by=VouchedBy.KEYS_FILE,
    )
    asyncio.run(use(load(folder / "guard.toml"), ALICE, HOSTILE, stranger, twin))
    return folder


class TestHelp:
    @pytest.mark.parametrize("verb", VERBS)
    def test_every_verb_explains_itself_within_80_columns(self, tmp_path: Path, verb: str) -> None:
        told = guard(*verb.split(), "--help", folder=tmp_path)
        assert told.returncode == 0
        assert f"guard {verb}" in told.stdout
        assert max(map(len, told.stdout.splitlines())) <= 80

    @pytest.mark.parametrize("group", ["", "limits", "prices"])
    def test_all_verbs_are_listed_with_a_whole_sentence_each(self, tmp_path: Path, group: str) -> None:
        told = guard(*group.split(), "--help", folder=tmp_path)
        listed = dict(
            re.findall(r"^  ([a-z]+) +(\S.*)$", told.stdout.partition("Commands:")[2], re.MULTILINE)
        )
        assert set(listed) == {verb.split()[-1] for verb in VERBS if verb.rpartition(" ")[0] == group}
        assert all(text.endswith(".") and not text.endswith("..") for text in listed.values())

    @pytest.mark.parametrize("verb", ["", *VERBS])
    def test_u21_no_help_text_loses_a_word_in_brackets(self, tmp_path: Path, verb: str) -> None:
        """As `rich` would, which takes `[detection]` for markup."""
        told = guard(*verb.split(), "--help", folder=tmp_path)
        assert set(re.findall(r"\[\w+\]", source_of(verb))) <= set(re.findall(r"\[\w+\]", told.stdout))

    @pytest.mark.parametrize("verb", VERBS)
    def test_c16_usage_lines_have_one_style(self, tmp_path: Path, verb: str) -> None:
        """What may be given stands in brackets, what must be in braces or, in an older Typer, by itself; both
        in capitals. Of what may be given several times, dots say so.
        """
        usage = " ".join(guard(*verb.split(), "--help", folder=tmp_path).stdout.split("\n\n")[0].split())
        rest = usage.removeprefix(f"Usage: guard {verb} [OPTIONS]").split()
        one = re.compile(r"(\{[A-Z]+\}|[A-Z]+|\[[A-Z]+\])(\.\.\.)?")
        assert all(map(one.fullmatch, rest)), usage

    def test_the_version(self, tmp_path: Path) -> None:
        command = guard_process("--version", folder=tmp_path).stdout
        assert command.startswith("guard 0.")
        module = [sys.executable, "-m", "guard", "--version"]
        assert subprocess.run(module, capture_output=True, text=True, check=True).stdout == command

    def test_a_verb_that_is_none_is_wrong_usage(self, tmp_path: Path) -> None:
        assert guard_process("explode", folder=tmp_path).returncode == 2


class TestInit:
    def test_it_writes_a_file_that_check_accepts_and_does_not_replace_it(self, tmp_path: Path) -> None:
        assert guard("init", folder=tmp_path).returncode == 0
        assert (tmp_path / "guard.toml").read_text() == files("guard.cli").joinpath(
            "starter.toml"
        ).read_text()
        assert guard("check", folder=tmp_path).returncode == 0
        (tmp_path / "guard.toml").write_text("mine")
        refused = guard("init", folder=tmp_path)
        assert refused.returncode == 1
        assert "--force" in refused.stderr
        assert (tmp_path / "guard.toml").read_text() == "mine"
        assert guard("init", "--force", folder=tmp_path).returncode == 0
        assert (tmp_path / "guard.toml").read_text() != "mine"

    def test_the_example_is_the_file_that_it_writes(self, tmp_path: Path) -> None:
        example = Path(__file__).parents[2] / "examples" / "guard.toml"
        assert guard("init", folder=tmp_path).returncode == 0
        assert (tmp_path / "guard.toml").read_text() == example.read_text()

    def test_c12_of_a_folder_the_file_is_written_into_it(self, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        told = guard("init", "folder", folder=tmp_path)
        assert told.stdout.startswith("folder/guard.toml is written; ")
        assert (tmp_path / "folder" / "guard.toml").exists()
        refused = guard("init", "folder", folder=tmp_path)
        assert refused.stderr == "guard: folder/guard.toml is there already; --force replaces it\n"

    def test_a_folder_that_is_not_there_is_one_line(self, tmp_path: Path) -> None:
        told = guard("init", "no/such/guard.toml", folder=tmp_path)
        assert told.returncode == 1
        assert told.stderr == "guard: no/such/guard.toml: No such file or directory\n"


class TestCheck:
    def test_it_prints_the_policy(self, folder: Path) -> None:
        told = guard("check", folder=folder)
        assert told.returncode == 0
        assert "mode enforce" in told.stdout
        assert "org-tokens" in told.stdout

    @pytest.mark.parametrize(
        ("claims", "said"),
        [
            ("", "user from sub; no org, no tier"),
            ('org_claim = "o"\nasn_claim = "n"', "user from sub, org from o, asn from n; no tier"),
            ('org_claim = "o"\ntier_claim = "t"', "user from sub, org from o, tier from t"),
        ],
    )
    def test_a5_it_says_which_claims_of_a_token_are_read(
        self, tmp_path: Path, claims: str, said: str
    ) -> None:
        secret = "a secret of more than thirty-two bytes"
        (tmp_path / "guard.toml").write_text(
            f'[identity.jwt]\nsecret = "{secret}"\nalgorithms = ["HS256"]\n{claims}'
        )
        assert f"tokens HS256 ({said});" in guard("check", folder=tmp_path).stdout.replace("\n", " ")

    def test_b5_on_a_terminal_it_says_of_each_limit_whom_it_is_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("guard.cli.output.console", lambda: Console(width=80, highlight=False))
        told = guard("check", folder=tmp_path).stdout
        for limit, only in (
            ("pool-diversity", "unverified"),
            ("new-diversity", "new callers"),
            ("free-requests", "free requests"),
        ):
            (line,) = (line for line in told.splitlines() if line.startswith(limit))
            assert line.endswith(only)
        assert "hidden" not in told

    def test_u22_the_policy_of_the_starter_fits_a_screen(self, tmp_path: Path) -> None:
        guard("init", folder=tmp_path)
        told = guard("check", folder=tmp_path).stdout.splitlines()
        assert len(told) <= 33
        assert max(map(len, told)) <= 160
        assert told[0].startswith("mode enforce")
        whole = guard("check", "--verbose", folder=tmp_path).stdout
        assert "/v1/chat/completions" in whole
        assert len(whole.splitlines()) > len(told)

    def test_c17_one_is_not_several(self, tmp_path: Path) -> None:
        """One of each; `guard calibrate` and `guard show` count with the same words."""
        (tmp_path / "guard.toml").write_text(
            '[[overrides]]\nholder = "key:a"\nlimit = "requests"\nexempt = true\n'
            '[[uses]]\nholder = "key:a"\nuse = "batch"\n'
        )
        told = guard("check", folder=tmp_path).stdout.splitlines()
        assert {"1 override", "1 declared use"} <= set(told)

    def test_u22_many_overrides_are_counted_and_the_first_are_listed(self, tmp_path: Path) -> None:
        overrides = "".join(
            f'[[overrides]]\nholder = "key:k{number}"\nlimit = "requests"\nexempt = true\n'
            for number in range(9)
        )
        (tmp_path / "guard.toml").write_text(overrides)
        told = guard("check", folder=tmp_path).stdout
        assert "9 overrides" in told
        assert told.count("has no limit in requests") == 5
        assert "and 4 more: --verbose lists them" in told
        assert guard("check", "-v", folder=tmp_path).stdout.count("has no limit in requests") == 9

    def test_it_says_who_is_new_and_how_wide_networks_and_pools_are(self, tmp_path: Path) -> None:
        (tmp_path / "guard.toml").write_text(
            '[identity]\nnew_for = "3d"\npool_prefix = { ipv4 = 20 }\ntrusted_proxies = ["10.0.0.0/8"]\n'
            'headers = { asn = "x-asn" }\n'
        )
        told = guard("check", folder=tmp_path).stdout
        assert "asn from the gateway; unverified ones are new for 3d" in told
        assert "a network is an IPv4 /32 or IPv6 /64, a pool a /20 or /48" in told

    def test_it_says_whom_a_limit_is_for(self, tmp_path: Path) -> None:
        limit = '[[limits]]\nname = "trial"\nunit = "requests"\nrate = "9/day"\nholders = "new"\n'
        (tmp_path / "guard.toml").write_text(limit)
        assert "new callers" in guard("check", folder=tmp_path).stdout

    def test_as_data_too(self, folder: Path) -> None:
        policy = json.loads(guard("check", "--json", folder=folder).stdout)
        limit = policy["tiers"]["default"]["limits"][0]
        assert limit["windows"] == [{"count": 5, "period_seconds": 3600, "burst": 5, "span": None}]
        assert limit["holders"] == "all"

    def test_it_starts_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "guard.toml").write_text(CONFIG)
        guard("check", folder=tmp_path)
        assert not (tmp_path / "data").exists()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("mod = 1", "did you mean `mode`?"),
            ("mode = ", "not TOML"),
            ('[identity]\nkeys_file = "none.toml"', "none.toml: No such file"),
        ],
    )
    def test_what_is_wrong_is_one_line_on_stderr(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "guard.toml").write_text(text)
        told = guard("check", folder=tmp_path)
        assert told.returncode == 1
        assert told.stdout == ""
        assert message in told.stderr
        assert len(told.stderr.splitlines()) == 1

    def test_settings_that_are_not_there_are_one_line_too(self, tmp_path: Path) -> None:
        told = guard("check", "--config", "none.toml", "--json", folder=tmp_path)
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr.startswith("guard: none.toml: No such file")
        assert len(told.stderr.splitlines()) == 1


class TestReading:
    def test_show_tells_what_was_used_and_what_is_left(self, folder: Path) -> None:
        sheet = json.loads(guard("show", "key:alice", "--json", folder=folder).stdout)
        assert sheet["record"]["vouched_by"] == "keys_file"
        assert sheet["record"]["admitted"] == 1
        assert (sheet["record"]["input_tokens"], sheet["record"]["output_tokens"]) == (10, 30)
        assert {limit["limit"]: limit["remaining"] for limit in sheet["limits"]} == {
            "requests": 3,
            "org-tokens": 960,
        }

    def test_show_takes_any_attribute(self, folder: Path) -> None:
        sheet = json.loads(guard("show", "org:acme", "--json", folder=folder).stdout)
        assert [(limit["limit"], limit["remaining"]) for limit in sheet["limits"]] == [("org-tokens", 960)]

    def test_show_for_people_has_the_same(self, folder: Path) -> None:
        told = guard("show", "key:alice", folder=folder).stdout
        assert "tier default; verified by keys_file; key alice, org acme" in told
        assert "1 admitted, 0 refused, 10 input and 30 output tokens" in told
        assert "960" in told

    def test_the_start_of_a_name_is_enough_where_it_is_one_name(self, folder: Path) -> None:
        sheet = json.loads(guard("show", "key:0a1b2c…", "--json", folder=folder).stdout)
        assert sheet["holder"] == "key:" + "0a1b2c3d" * 4
        told = guard("show", "key:0a1b...", folder=folder)
        assert told.returncode == 3
        assert "2 names" in told.stderr

    def test_top_lists_who_was_seen(self, folder: Path) -> None:
        rows = json.loads(guard("top", "--json", "--count", "2", folder=folder).stdout)
        assert len(rows) == 2
        assert all(row["output_tokens"] == 30 for row in rows)
        assert "key:alice" in guard("top", folder=folder).stdout

    def test_a_pipe_gets_whole_lines(self, folder: Path) -> None:
        told = guard("top", folder=folder)
        header, *rows = [line for line in told.stdout.splitlines() if line.strip()]
        assert header.split()[-2:] == ["last", "seen"]
        assert all(row.split()[-1] == "ago" for row in rows)

    def test_names_cannot_take_over_the_terminal(self, folder: Path) -> None:
        for told in (guard("top", folder=folder), guard("show", str(HOSTILE.principal), folder=folder)):
            assert "[red]x[/red]" in told.stdout
            assert "\x1b" not in told.stdout

    def test_names_cannot_take_over_the_terminal_as_data_either(self, folder: Path) -> None:
        name = "c1\x9b2J\u202e"
        asyncio.run(
            use(
                load(folder / "guard.toml"),
                Identity(Holder(Attribute.USER, name), vouched_by=VouchedBy.KEYS_FILE),
            )
        )
        told = guard("show", f"user:{name}", "--json", folder=folder)
        assert json.loads(told.stdout)["holder"] == f"user:{name}"
        assert "\x9b" not in told.stdout
        assert "\u202e" not in told.stdout

    def test_a_pipe_gets_the_whole_name(self, folder: Path) -> None:
        name = "long" * 64
        long = Identity(Holder(Attribute.USER, name), {Attribute.USER: name}, vouched_by=VouchedBy.KEYS_FILE)
        asyncio.run(use(load(folder / "guard.toml"), long))
        assert f"user:{name}\n" in guard("show", "user:longlong…", folder=folder).stdout

    def test_a_name_in_full_is_not_taken_for_the_start_of_another(self, folder: Path) -> None:
        member = Identity(
            Holder(Attribute.KEY, "gus"),
            {Attribute.KEY: "gus", Attribute.ORG: "globex"},
            vouched_by=VouchedBy.KEYS_FILE,
        )
        longer = Identity(
            Holder(Attribute.ORG, "globex-eu"), {Attribute.ORG: "globex-eu"}, vouched_by=VouchedBy.KEYS_FILE
        )
        asyncio.run(use(load(folder / "guard.toml"), member, longer))
        sheet = json.loads(guard("show", "org:globex", "--json", folder=folder).stdout)
        assert sheet["holder"] == "org:globex"

    def test_nobody_is_an_exit_code_of_its_own(self, folder: Path) -> None:
        told = guard_process("show", "key:nobody", folder=folder)
        assert (told.returncode, told.stdout) == (3, "")
        assert told.stderr == "guard: nothing is known of key:nobody\n"

    @pytest.mark.parametrize(
        "verb", ["show", "unblock", "reset", "forgive", "release", "limits clear", "limits show"]
    )
    def test_c5_a_misspelt_name_that_nothing_is_done_for_is_told(self, folder: Path, verb: str) -> None:
        told = guard(*verb.split(), "key:alicee", folder=folder)
        assert told.returncode == (3 if verb == "show" else 0)
        assert told.stderr.endswith("; did you mean key:alice?\n")
        assert "did you mean" not in guard(*verb.split(), "key:alice", folder=folder).stderr

    @pytest.mark.parametrize("verb", ["block", "show"])
    def test_c10_a_network_that_is_a_pool_points_to_it(self, folder: Path, verb: str) -> None:
        told = " ".join(guard(verb, "network:192.0.2.0/24", folder=folder).stderr.replace("│", " ").split())
        assert "the network of 192.0.2.0 is 192.0.2.0/32; pool:192.0.2.0/24 are all in it" in told
        told = guard(verb, "network:192.0.2.0/23", folder=folder).stderr
        assert "192.0.2.0/32" in told
        assert "pool" not in told

    @pytest.mark.parametrize("holder", ["everything", "model:m", "route:/v1/chat/completions"])
    def test_c19_what_no_limit_is_kept_for_is_said(self, folder: Path, holder: str) -> None:
        told = guard("show", holder, folder=folder)
        assert (told.returncode, told.stderr) == (0, "")
        kind = holder.partition(":")[0]
        assert told.stdout == f"{holder}\nno limit of the settings is kept per {kind}\n"

    @pytest.mark.parametrize(
        "arguments",
        [
            ("show", "alice"),
            ("show", "team:alice"),
            ("block", "key:alice", "--for", "soon"),
            ("top", "--since", "x"),
            ("block", "network:10.0.0.0/8"),
            ("show",),
        ],
    )
    def test_wrong_words_are_wrong_usage(self, folder: Path, arguments: tuple[str, ...]) -> None:
        told = guard(*arguments, folder=folder)
        assert told.returncode == 2
        assert "Traceback" not in told.stderr


class TestWriting:
    def test_a_block_is_shown_and_lifted(self, folder: Path) -> None:
        assert (
            guard("block", "org:acme", "--for", "2h", "--reason", "[b]why[/b]", folder=folder).returncode == 0
        )
        sheet = json.loads(guard("show", "key:alice", "--json", folder=folder).stdout)
        (block,) = sheet["blocks"]
        assert (block["holder"], block["reason"]) == ("org:acme", "[b]why[/b]")
        assert 7_000 < block["remaining_seconds"] <= 7_200
        assert "BLOCKED" in guard("show", "org:acme", folder=folder).stdout
        told = guard("unblock", "org:acme", folder=folder).stdout
        assert told.startswith("org:acme is no longer blocked.\n  block until 20")
        assert guard("unblock", "org:acme", folder=folder).stdout == "org:acme was not blocked.\n"

    def test_a_block_may_be_for_good(self, folder: Path) -> None:
        guard("block", "user:eve", "--for", "ever", folder=folder)
        sheet = json.loads(guard("show", "user:eve", "--json", folder=folder).stdout)
        assert sheet["blocks"][0]["remaining_seconds"] is None

    def test_addresses_are_blocked_by_their_network(self, folder: Path) -> None:
        assert "network:203.0.113.9/32" in guard("block", "network:203.0.113.9", folder=folder).stdout
        assert "BLOCKED" in guard("show", "network:203.0.113.9/32", folder=folder).stdout

    def test_a_block_can_be_lifted_by_the_name_it_was_given(self, folder: Path) -> None:
        """Also when, meanwhile, somebody was seen whose name starts so."""
        assert guard("block", "key:carol", folder=folder).stdout.startswith("key:carol is blocked")
        longer = Identity(
            Holder(Attribute.KEY, "carol-2"), {Attribute.KEY: "carol-2"}, vouched_by=VouchedBy.KEYS_FILE
        )
        asyncio.run(use(load(folder / "guard.toml"), longer))
        told = guard("unblock", "key:carol", folder=folder).stdout
        assert told.startswith("key:carol is no longer blocked.\n")

    @pytest.mark.parametrize(
        "holder",
        [
            "everything",
            "ip:198.51.100.7",
            "ip:198.51.100.7/32",
            "ip:::ffff:198.51.100.7",
            "network:::ffff:198.51.100.7",
        ],
    )
    def test_a_block_bites_or_is_wrong_usage(self, folder: Path, holder: str) -> None:
        caller = Identity(
            Holder(Attribute.KEY, "dave"),
            {Attribute.KEY: "dave", Attribute.IP: "198.51.100.7", Attribute.NETWORK: "198.51.100.7/32"},
            vouched_by=VouchedBy.KEYS_FILE,
        )
        told = guard("block", holder, folder=folder)
        try:
            bites = asyncio.run(blocked(load(folder / "guard.toml"), caller))
        finally:
            guard("unblock", holder, folder=folder)
        assert bites or told.returncode == 2, told.stdout

    @pytest.mark.parametrize("text", ["pool:203.0.113.9", "pool:203.0.113.0/24"])
    def test_a_pool_is_named_by_any_address_in_it(self, folder: Path, text: str) -> None:
        assert "pool:203.0.113.0/24" in guard("block", text, folder=folder).stdout
        pool = {Attribute.POOL: "203.0.113.0/24"}
        caller = Identity(Holder(Attribute.KEY, "f" * 32), pool)
        assert asyncio.run(blocked(load(folder / "guard.toml"), caller))
        guard("unblock", text, folder=folder)

    @pytest.mark.parametrize("attribute", [Attribute.PAYMENT, Attribute.TLS])
    def test_what_is_kept_as_a_hash_is_blocked_by_what_the_gateway_says_and_shown_as_its_hash(
        self, folder: Path, attribute: Attribute
    ) -> None:
        settings = load(folder / "guard.toml")
        digest = Installation.of(settings).keys.hashed(attribute, "fp_1")
        told = guard("block", f"{attribute}:fp_1", folder=folder).stdout
        assert f"{attribute}:{digest} is blocked" in told
        caller = Identity(Holder(Attribute.KEY, "f" * 32), {attribute: digest})
        assert asyncio.run(blocked(settings, caller))
        assert guard("unblock", f"{attribute}:{digest}", folder=folder).returncode == 0
        assert not asyncio.run(blocked(settings, caller))

    def test_a_pool_that_is_none_is_wrong_usage(self, folder: Path) -> None:
        told = guard("block", "pool:203.0.113.0/28", folder=folder)
        assert told.returncode == 2
        assert "the pool of 203.0.113.0 is 203.0.113.0/24" in " ".join(told.stderr.split())

    def test_all_that_nobody_vouches_for_can_be_blocked(self, folder: Path) -> None:
        strangers = [
            Identity(Holder(Attribute.KEY, "f" * 32)),
            Identity(Holder(Attribute.NETWORK, "unknown")),
        ]
        settings = load(folder / "guard.toml")
        assert guard("block", "unverified", folder=folder).stdout.startswith("unverified is blocked")
        try:
            assert all(asyncio.run(blocked(settings, each)) for each in strangers)
            assert not asyncio.run(blocked(settings, ALICE))
            assert "BLOCKED for 24h as unverified" in guard("show", "unverified", folder=folder).stdout
        finally:
            guard("unblock", "unverified", folder=folder)

    def test_callers_without_an_address_can_be_blocked(self, folder: Path) -> None:
        """Those of a unix socket, say, are `network:unknown`."""
        caller = Identity(Holder(Attribute.NETWORK, "unknown"), {Attribute.NETWORK: "unknown"})
        told = guard("block", "network:unknown", folder=folder)
        assert asyncio.run(blocked(load(folder / "guard.toml"), caller)), told.stderr

    def test_a_reset_forgets_what_was_used(self, folder: Path) -> None:
        bob = Identity(Holder(Attribute.KEY, "bob"), {Attribute.KEY: "bob"}, vouched_by=VouchedBy.KEYS_FILE)
        asyncio.run(use(load(folder / "guard.toml"), bob))
        assert "Reset 2 limits of key:bob." in guard("reset", "key:bob", folder=folder).stdout
        sheet = json.loads(guard("show", "key:bob", "--json", folder=folder).stdout)
        assert {limit["limit"]: limit["remaining"] for limit in sheet["limits"]} == {
            "requests": 5,
            "org-tokens": 1000,
        }
        assert "key:bob has no recorded usage." in guard("reset", "key:bob", folder=folder).stdout


class TestTrouble:
    def test_a_store_that_is_down_is_an_exit_code_of_its_own(self, tmp_path: Path) -> None:
        (tmp_path / "guard.toml").write_text('[store]\nredis_url = "redis://:canary@127.0.0.1:1/0"\n')
        told = guard_process("top", folder=tmp_path, GUARD_IDENTITY__PEPPER="x" * 32)
        assert (told.returncode, told.stdout) == (69, "")
        assert "Traceback" not in told.stderr
        assert "canary" not in told.stderr

    def test_c2_it_says_how_long_it_has_waited(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("guard.store.transport.connection.OPEN_SECONDS", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
            begun = time.monotonic()
            told = guard("top", folder=tmp_path, GUARD_STORE__REDIS_URL=url, GUARD_IDENTITY__PEPPER="x" * 32)
        assert told.returncode == 69
        said = re.fullmatch(r".*\(timeout\): no answer in ([\d.]+) s\n", told.stderr)
        assert said is not None, told.stderr
        assert 0.3 <= float(said[1]) <= time.monotonic() - begun + 0.05

    @pytest.mark.parametrize("verb", ["top", "mode", "check --json"])
    def test_c23_a_reader_that_has_left_ends_it_as_a_shell_expects(self, folder: Path, verb: str) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        try:
            told = guard_process(*verb.split(), folder=folder, stdout=writing)
        finally:
            os.close(writing)
        assert told.returncode == 141
        assert "Traceback" not in told.stderr
        assert "ignored" not in told.stderr

    def test_an_output_that_takes_only_ascii_is_no_trace(self, folder: Path) -> None:
        told = guard_process("top", folder=folder, PYTHONIOENCODING="ascii")
        assert "key:alice" in told.stdout
        assert "Traceback" not in told.stderr

    def test_serve_without_a_backend_says_what_is_missing(self, tmp_path: Path) -> None:
        told = guard("serve", folder=tmp_path)
        assert told.returncode == 1
        assert "--backend URL" in told.stderr

    def test_serve_with_a_backend_that_is_no_url_says_so(self, tmp_path: Path) -> None:
        told = guard("serve", "--backend", "localhost:8000", folder=tmp_path)
        assert told.returncode == 1
        assert "--backend: a URL begins with http:// or https://; write http://localhost:8000" in told.stderr
