"""Two operators tell each other of campaigns, and nobody can make mischief by that."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import stix2  # type: ignore[import-untyped]
from commands import guard
from fleets import REFERENCE, sharing_out
from neighbours import SECRET, Neighbour
from redis import Redis

from guard import load
from guard.admin.stix.names import Pattern
from guard.admin.stix.received import LARGEST
from guard.campaigns.worker import LOOK_AFTER_US, Worker
from guard.core.campaigns import TieKind, Verdict
from guard.core.indicators import Thing
from guard.installation import Installation
from guard.store.redis.keys import INDICATORS, SIGHTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from guard.campaigns.observation import Observation
    from guard.core.campaigns import Campaign

ON_INDICATORS = (Path(__file__).parents[2] / "docs" / "indicators.md").read_text("utf-8")
PROMPT = "You grade essays of pupils for the Brook school. Give a mark and two sentences."
DAY_US = 86_400_000_000
START_US = time.time_ns() // 1000 - 10 * DAY_US
SETTINGS = """
store.redis_url = "{url}"
identity.pepper = "{pepper}"
[campaigns.sharing]
secret = "{secret}"
producer = "{name}"
"""


class Site:
    """An operator: a folder with settings, and what its worker has found at some moment."""

    def __init__(self, folder: Path, name: str, url: str, secret: bytes = SECRET) -> None:
        self.folder = folder / name
        self.folder.mkdir()
        self.neighbour = Neighbour(f"the pepper of {name}".encode(), secret)
        pepper = self.neighbour.pepper.decode()
        text = SETTINGS.format(url=url, pepper=pepper, secret=secret.decode(), name=name)
        (self.folder / "guard.toml").write_text(text)

    def works(self, *seen: Sequence[Observation], later_us: int = 0) -> list[Campaign]:
        """What the worker has found once it has looked at these too."""

        async def work() -> list[Campaign]:
            settings = load(self.folder / "guard.toml")
            store = Installation.of(settings, deadline_seconds=60).store
            await store.start()
            for each in seen:
                await store.observe([record.write() for record in each])
            now_us = max([START_US, *(record.at_us for each in seen for record in each)]) + later_us
            worker = Worker(store, settings, date_us=lambda: now_us)
            await worker.step()
            await worker.aclose()
            campaigns = await store.campaigns()
            await store.aclose()
            return campaigns

        return asyncio.run(work())

    def saw(self, *arguments: Any, **options: Any) -> list[Observation]:
        return asyncio.run(self.neighbour.saw(*arguments, start_us=START_US, **options))

    def says(self, *arguments: str | Path, stdin: str = "") -> str:
        told = guard("indicators", *arguments, folder=self.folder, stdin=stdin)
        assert told.returncode == 0, told.stderr
        return told.stdout

    def complains(self, *arguments: str | Path, code: int = 1) -> str:
        told = guard("indicators", *arguments, folder=self.folder)
        assert told.returncode == code, told.stderr
        return " ".join(told.stderr.replace("│", " ").split())

    def listed(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = json.loads(self.says("list", "--json"))
        return listed


@pytest.fixture(autouse=True)
def _reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard.campaigns.worker.Reference.load", lambda _: REFERENCE)


@pytest.fixture
def second_url(redis_url: str) -> str:
    url = f"{redis_url}?db=1"
    with Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def alpha(tmp_path: Path, redis_url: str) -> Site:
    """One that has found a campaign."""
    site = Site(tmp_path, "alpha", redis_url)
    (found,) = site.works(site.saw("hydra", sharing_out(system=PROMPT), pool="192.0.2.0/24"))
    assert found.found is Verdict.LIKELY
    return site


@pytest.fixture
def beta(tmp_path: Path, second_url: str) -> Site:
    return Site(tmp_path, "beta", second_url)


@pytest.fixture
def bundle(alpha: Site, tmp_path: Path) -> Path:
    file = tmp_path / "bundle.json"
    file.write_text(alpha.says("export"))
    return file


def objects(text: str, kind: str) -> list[dict[str, Any]]:
    return [each for each in json.loads(text)["objects"] if each["type"] == kind]


def count_of(bundle: Path) -> int:
    """How many indicators are in a bundle."""
    return len(objects(bundle.read_text(), "indicator"))


class TestExport:
    def test_it_is_valid_and_tells_no_identity_text_or_credential(self, alpha: Site, bundle: Path) -> None:
        text = bundle.read_text()
        parsed = stix2.parse(text)
        kinds = [each["type"] for each in parsed.objects]
        assert kinds[0] == "identity"
        assert kinds[-1] == "grouping"
        indicators = [each for each in parsed.objects if each["type"] == "indicator"]
        assert {each["labels"][-1] for each in indicators} == {"guard-template", "guard-program"}
        for each in indicators:
            assert each["confidence"] == 70
            assert each["valid_until"] > each["valid_from"]
            assert each["object_marking_refs"] == [stix2.TLP_AMBER.id]
            assert "AML.CS0056" in {ref["external_id"] for ref in each["external_references"]}
            assert each["created_by_ref"] == parsed.objects[0]["id"]
        assert parsed.objects[0]["name"] == "alpha"
        assert set(parsed.objects[-1]["object_refs"]) == {each["id"] for each in indicators}
        for secret in ("hydra", "192.0.2", "grade essays", SECRET.decode(), "the pepper"):
            assert secret not in text

    def test_what_is_told_again_is_the_same(self, alpha: Site, bundle: Path) -> None:
        assert alpha.says("export") == bundle.read_text()
        (name,) = (each["name"] for each in objects(bundle.read_text(), "grouping"))
        guard("verdict", name, "confirmed", "--reason", "x", folder=alpha.folder)
        again = objects(alpha.says("export", "--confirmed"), "indicator")
        before = objects(bundle.read_text(), "indicator")
        assert [each["id"] for each in again] == [each["id"] for each in before]
        assert [each["created"] for each in again] == [each["created"] for each in before]
        assert all(after["modified"] > then["modified"] for after, then in zip(again, before, strict=True))
        assert {each["confidence"] for each in again} == {90}

    def test_only_what_is_sure_enough_is_told(self, alpha: Site, bundle: Path) -> None:
        (name,) = (each["name"] for each in objects(bundle.read_text(), "grouping"))
        told = guard("indicators", "export", "--confirmed", folder=alpha.folder)
        assert objects(told.stdout, "indicator") == []
        assert "no person has confirmed it" in told.stderr
        guard("verdict", name, "possible", "--reason", "x", folder=alpha.folder)
        assert objects(alpha.says("export"), "indicator") == []
        assert {each["confidence"] for each in objects(alpha.says("export", name), "indicator")} == {30}
        assert alpha.complains("export", "c0", code=3) == "guard: there is no campaign c0"

    def test_what_a_person_says_is_none_is_taken_back_where_it_is_named(
        self, alpha: Site, beta: Site, bundle: Path, tmp_path: Path
    ) -> None:
        beta.says("import", bundle)
        (name,) = (each["name"] for each in objects(bundle.read_text(), "grouping"))
        guard("verdict", name, "unrelated", "--reason", "a class", folder=alpha.folder)
        assert objects(alpha.says("export"), "indicator") == []
        revoked = tmp_path / "revoked.json"
        revoked.write_text(alpha.says("export", name))
        assert all(each["revoked"] for each in objects(revoked.read_text(), "indicator"))
        assert f"0 known, {count_of(bundle)} taken back" in beta.says("import", revoked)
        assert beta.listed() == []

    def test_without_a_secret_nothing_is_told(self, alpha: Site) -> None:
        settings = alpha.folder / "guard.toml"
        settings.write_text(settings.read_text().partition("[campaigns")[0])
        for verb in ("export", "sightings"):
            assert "nothing is shared: set `campaigns.sharing.secret`" in alpha.complains(verb)


class TestTwoOperators:
    def test_one_sees_the_campaign_of_the_other_and_says_so(
        self, alpha: Site, beta: Site, bundle: Path, tmp_path: Path
    ) -> None:
        seen = beta.saw("other", sharing_out(system=PROMPT, seed=9), client=b"")
        (before,) = beta.works(seen)
        assert before.found is Verdict.POSSIBLE
        told = beta.says("import", bundle, "--by", "ann", "--reason", "we know them")
        assert told == f"{count_of(bundle)} indicators new, 0 changed, 0 known, 0 taken back.\n"
        (found,) = beta.works(later_us=2 * LOOK_AFTER_US)
        assert (found.id, found.found) == (before.id, Verdict.POSSIBLE)
        assert TieKind.INDICATED in {tie.kind for tie in found.ties}
        shown = guard("campaign", found.id, folder=beta.folder).stdout
        assert "20 of them have what alpha has seen in a campaign" in " ".join(shown.split())
        template, *others = sorted(
            beta.listed(), key=lambda each: -(each["sighted"] or {"queries": 0})["queries"]
        )
        assert (template["by"], template["reason"], template["called"]) == ("ann", "we know them", "alpha")
        assert template["sighted"]["queries"] == len(seen)
        assert {each["sighted"] for each in others if each["thing"] == "program"} == {None}

        back = tmp_path / "back.json"
        back.write_text(beta.says("sightings"))
        sightings = {each["sighting_of_ref"]: each for each in objects(back.read_text(), "sighting")}
        assert sightings[template["indicator"]]["count"] == len(seen)
        assert sightings.keys() == {each["indicator"] for each in beta.listed() if each["sighted"]}
        assert "other" not in back.read_text()
        (name,) = (each["name"] for each in objects(bundle.read_text(), "grouping"))
        assert f"beta has seen what {name} has: 400 queries" in alpha.says("import", back)

    def test_what_rests_on_others_is_not_told_on(self, beta: Site, bundle: Path) -> None:
        beta.says("import", bundle)
        fleet = beta.saw("other", sharing_out(system=PROMPT, seed=9), pool="192.0.2.0/24")
        (found,) = beta.works(fleet)
        assert found.found is Verdict.LIKELY
        told = guard("indicators", "export", folder=beta.folder)
        assert objects(told.stdout, "indicator") == []
        assert "it rests on what others have told" in told.stderr
        guard("verdict", found.id, "confirmed", "--reason", "I asked them", folder=beta.folder)
        assert objects(beta.says("export"), "indicator")

    def test_the_list_fits_a_terminal_and_names_cannot_take_it_over(
        self, beta: Site, bundle: Path, tmp_path: Path
    ) -> None:
        assert beta.says("list") == "Nobody has told anything that holds.\n"
        hostile = json.loads(bundle.read_text())
        hostile["objects"][0]["name"] = "\x1b]0;owned\x07[red]\ud800" + "x" * 500
        (tmp_path / "hostile.json").write_text(json.dumps(hostile))
        beta.says("import", tmp_path / "hostile.json")
        told = beta.says("list")
        assert "\x1b" not in told
        head, *rows = told.splitlines()
        assert head.split()[:4] == ["id", "thing", "told", "by"]
        assert len(rows) == count_of(bundle)
        assert all(len(each["called"]) <= 100 for each in beta.listed())
        assert all(each["called"].isascii() for each in beta.listed())
        found = guard("indicators", "list", folder=beta.folder, COLUMNS="80").stdout
        assert found == told

    def test_a_dry_run_writes_nothing(self, beta: Site, bundle: Path) -> None:
        told = beta.says("import", bundle, "--dry-run")
        assert told.startswith(f"{count_of(bundle)} indicators would be new, 0 would be changed, 0 known")
        assert beta.listed() == []
        beta.says("import", bundle)
        assert (
            beta.says("import", bundle)
            == f"0 indicators new, 0 changed, {count_of(bundle)} known, 0 taken back.\n"
        )
        assert json.loads(beta.says("import", bundle, "--json"))["same"] == count_of(bundle)

    def test_it_comes_from_standard_input_too_and_ends_when_one_says(self, beta: Site, bundle: Path) -> None:
        beta.says("import", "-", "--until", "2100-01-01", stdin=bundle.read_text())
        long = {each["until"] for each in beta.listed()}
        assert beta.says("drop", "alpha") == f"{count_of(bundle)} indicators forgotten.\n"
        assert beta.complains("drop", "alpha", code=3).endswith("is called 'alpha'")
        assert beta.complains("drop", "", code=3).endswith("is called ''")
        beta.says("import", "-", "--until", "2027-01-01", stdin=bundle.read_text())
        assert max(each["until"] for each in beta.listed()) <= min("2027-01-01T00:00:01Z", *long)
        name = beta.listed()[0]["indicator"].removeprefix("indicator--")[:8]
        assert beta.says("drop", name) == "1 indicator forgotten.\n"


def changed(bundle: Path, **fields: Any) -> str:
    """A bundle whose indicators have these fields."""
    told = json.loads(bundle.read_text())
    for each in told["objects"]:
        if each["type"] == "indicator":
            each.update(fields)
    return json.dumps(told)


class TestHostileBundles:
    def test_one_of_another_secret_is_refused(self, tmp_path: Path, second_url: str, bundle: Path) -> None:
        gamma = Site(tmp_path, "gamma", second_url, b"a secret of other operators")
        assert "it was made with another secret" in gamma.complains("import", bundle)
        assert gamma.listed() == []

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "it is not JSON"),
            ("[" * 100_000, "it is not JSON, or is nested too deeply"),
            ("[]", "it is no bundle of STIX"),
            ('{"type": "bundle", "objects": 3}', "its `objects` are no list"),
            (json.dumps({"type": "bundle", "objects": [3] * 50_001}), "a bundle has at most 50,000"),
            (" " * (LARGEST + 1), "a bundle has at most 33,554,432"),
        ],
        ids=["empty", "deep", "list", "no objects", "many", "large"],
    )
    def test_what_is_none_is_refused(self, beta: Site, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "x.json").write_text(text)
        assert message in beta.complains("import", tmp_path / "x.json")

    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"pattern": "[file:name = 'x']"}, "not a pattern of guard's"),
            ({"pattern": 3}, "not a pattern of guard's"),
            (
                {"pattern": "[x-guard:key = 'abcdef01' AND x-guard:soul = '" + "0" * 32 + "']"},
                "not a pattern",
            ),
            ({"id": "indicator--x"}, "not valid"),
            ({"valid_from": "yesterday"}, "not valid"),
            ({"valid_from": [[]]}, "not valid"),
            ({"confidence": 101}, "not valid"),
            ({"confidence": float("nan")}, "not valid"),
            ({"created_by_ref": None}, "nobody says who has made it"),
            ({"valid_from": "2023-11-01T00:00:00Z", "valid_until": "2023-12-01T00:00:00Z"}, "over"),
        ],
    )
    def test_what_cannot_be_read_is_left_out_and_counted(
        self, beta: Site, bundle: Path, fields: dict[str, Any], why: str
    ) -> None:
        told = guard("indicators", "import", "-", folder=beta.folder, stdin=changed(bundle, **fields))
        assert told.returncode == 0, told.stderr
        assert told.stdout.startswith("0 indicators new")
        assert f"left out {count_of(bundle)}: {why}" in told.stderr
        assert beta.listed() == []

    def test_what_it_does_not_know_is_left_out_and_counted(self, beta: Site, bundle: Path) -> None:
        told = json.loads(changed(bundle, x_mine={"deep": [[[[]]]]}))
        told["objects"] += [{"type": "malware"}, 3, None, {"type": ["indicator"]}, "x"]
        said = guard("indicators", "import", "-", folder=beta.folder, stdin=json.dumps(told))
        assert said.stdout.startswith(f"{count_of(bundle)} indicators new")
        assert "left out 5: of a kind that guard does not read" in said.stderr

    def test_nobody_changes_or_takes_back_what_another_has_told(self, beta: Site, bundle: Path) -> None:
        beta.says("import", bundle)
        before = beta.listed()
        mallory = "identity--f2b79786-ee6c-4f9d-9f6e-e503a09af75a"
        taken = {"created_by_ref": mallory, "modified": "2040-01-01T00:00:00Z"}
        beta.says("import", "-", stdin=changed(bundle, **taken, confidence=1))
        beta.says("import", "-", stdin=changed(bundle, **taken, revoked=True))
        beta.says(
            "import",
            "-",
            stdin=changed(
                bundle, created="2000-01-01T00:00:00Z", confidence=1, modified="2000-01-01T00:00:00Z"
            ),
        )
        assert beta.listed() == before

    def test_moments_that_are_far_away_are_no_trouble(self, beta: Site, bundle: Path) -> None:
        far = {"created": "0001-01-01T00:00:00Z", "valid_from": "0001-01-01T00:00:00Z"}
        far |= {"modified": "9999-12-31T23:59:59Z", "valid_until": "9999-12-31T23:59:59Z"}
        beta.says("import", "-", stdin=changed(bundle, **far))
        assert {each["since"] for each in beta.listed()} == {"1970-01-01T00:00:00Z"}
        assert "365d" in beta.says("list") or "366d" in beta.says("list")

    def test_what_we_have_told_is_not_heard_from_others(self, alpha: Site, bundle: Path) -> None:
        told = guard("indicators", "import", bundle, folder=alpha.folder)
        assert f"left out {count_of(bundle)}: our own" in told.stderr
        assert alpha.listed() == []

    def test_no_more_are_kept_than_there_is_room_for(
        self, beta: Site, bundle: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("guard.core.indicators.MOST_INDICATORS", 1)
        assert f"at most 1 indicators are kept, and these would be {count_of(bundle)}" in beta.complains(
            "import", bundle
        )
        assert beta.listed() == []

    def test_all_of_it_expires(self, beta: Site, bundle: Path, second_url: str) -> None:
        beta.says("import", bundle)
        beta.works(beta.saw("other", sharing_out(system=PROMPT, seed=9)))
        with Redis.from_url(second_url) as client:
            assert client.exists(INDICATORS, SIGHTED) == 2
            assert 0 < client.pttl(INDICATORS) <= 91 * 86_400_000
            assert 0 < client.pttl(SIGHTED) <= 91 * 86_400_000

    def test_what_is_damaged_is_named_and_the_rest_is_shown(
        self, beta: Site, bundle: Path, second_url: str
    ) -> None:
        beta.says("import", bundle)
        with Redis.from_url(second_url) as client:
            client.hset(INDICATORS, "indicator--x", "nonsense")
            client.hset(SIGHTED, "indicator--x", "[]")
        told = guard("indicators", "list", folder=beta.folder)
        assert told.returncode == 1
        assert len(told.stdout.splitlines()) == count_of(bundle) + 1
        assert "the indicator indicator--x is damaged in Redis" in told.stderr
        assert "what was sighted of the indicator indicator--x is damaged" in told.stderr

    def test_a_file_that_is_not_there_is_an_error(self, beta: Site) -> None:
        assert "No such file" in beta.complains("import", "nothing.json")


class TestThePage:
    def test_its_commands_work_as_they_stand(self, alpha: Site, beta: Site) -> None:
        (name,) = (each["name"] for each in objects(alpha.says("export"), "grouping"))
        (beta.folder / "theirs.json").write_text(alpha.says("export"))
        lines = re.findall(r"^guard indicators (.*)$", ON_INDICATORS, re.MULTILINE)
        for line in lines:
            verb = line.partition(" #")[0].partition(" >")[0]
            site = alpha if verb.startswith("export") else beta
            words = [{"c1": name, "Beta AI": "alpha"}.get(each, each) for each in shlex.split(verb)]
            site.says(*words)
        assert {line.split()[0] for line in lines} == {"export", "import", "list", "sightings", "drop"}

    def test_it_has_the_fields_of_the_data(self, beta: Site, bundle: Path) -> None:
        beta.says("import", bundle)
        beta.works(beta.saw("other", sharing_out(system=PROMPT, seed=9)))
        (seen, *_) = beta.listed()
        taken = json.loads(beta.says("import", bundle, "--json"))
        named = set(re.findall(r"`(\w+)`", ON_INDICATORS.split("## As data")[1]))
        assert seen.keys() | seen["sighted"].keys() | taken.keys() <= named

    def test_it_has_each_thing_and_says_which_can_be_guessed(self) -> None:
        rows = re.findall(r"^\| `(\w+)` \| .* \| (\w+)(?::.*)? \|$", ON_INDICATORS, re.MULTILINE)
        assert {thing: said == "yes" for thing, said in rows if thing in set(Thing)} == {
            thing.value: thing.guessable for thing in Thing
        }

    def test_its_pattern_is_one(self) -> None:
        (pattern,) = re.findall(r"`(\[x-guard.*?\])`", ON_INDICATORS)
        assert Pattern.read(pattern.replace("…", "0" * 32)) is not None
