"""Campaigns, as they are kept in Redis.

Three hashes that live in one slot: what guard has found, what people have said, and the pools that follow
from both. Who writes reads all of it, works the pools out, and writes if nobody has written since (keep.lua):
so the pools are never those of an older word, or of other members.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from guard.core.calendars import MICROSECONDS
from guard.core.campaigns import (
    MOST_EVENTS,
    Campaign,
    Event,
    Finding,
    Judged,
    Member,
    Membership,
    Tie,
    TieKind,
    Verdict,
    Word,
    pools_by_digest,
)
from guard.core.evidence import merge
from guard.core.identity import Holder
from guard.core.kept import LAST_US, read_json
from guard.errors import StoreError, UnknownCampaignError, UnknownHolderError
from guard.store.marks import read_evidence
from guard.store.port import CAMPAIGN_SECONDS
from guard.store.redis.indicators import RedisIndicators
from guard.store.redis.keys import CAMPAIGNS, POOLS, WORDS
from guard.store.redis.scripts import Script
from guard.store.redis.traces import RedisTraces

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from guard.core.identity import Identity
    from guard.core.signals import Signal

VERSION = 1
"""The version of how a campaign is written; one of another version is damaged here."""

TRIES = 10
"""Compare-and-set attempts when several processes write at the same time."""

KEEP = Script.load("keep")

_NO_WORD = Word()


@dataclass(slots=True)
class Texts:
    """All that is kept of campaigns, by id, as it is written; and how it stands in the third hash."""

    found: dict[str, bytes]
    words: dict[str, bytes]
    version: bytes
    pools: bytes

    def drop(self, campaign_id: str) -> None:
        """Forget a campaign, and what was said of it."""
        self.found.pop(campaign_id, None)
        self.words.pop(campaign_id, None)

    def copy(self) -> Texts:
        """One that stays when this is edited."""
        return replace(self, found=dict(self.found), words=dict(self.words))


class RedisCampaigns(RedisTraces, RedisIndicators):
    """Keeps campaigns, and what is needed to find them."""

    async def campaigns(self) -> list[Campaign]:
        """All, by id."""
        return list(self._read_all(await self._texts()).values())

    async def campaign(self, campaign_id: str) -> Campaign | None:
        """The one of this id."""
        return self._read_all(await self._texts()).get(campaign_id)

    async def keep_campaigns(self, changed: Sequence[Campaign], dropped: Sequence[str], now_us: int) -> None:
        """Write down what guard has found, all or nothing; what people say holds."""
        written = {each.id: write_campaign(each, now_us) for each in changed}

        def edit(texts: Texts) -> None:
            for campaign_id in dropped:
                judged = self._word(texts, campaign_id).judged
                if judged is None or not judged.holds(now_us):
                    texts.drop(campaign_id)
            texts.found.update(written)

        await self._change(edit, now_us)

    async def judge(self, campaign_id: str, judged: Judged | None, event: Event | None = None) -> None:
        """Write down what a person says of a campaign, or that nobody says anything (`None`)."""
        async with self.asking():
            now_us = await self._now_us()

        def edit(texts: Texts) -> None:
            self._there(texts, campaign_id)
            word = self._word(texts, campaign_id).with_(event, judged=judged)
            texts.words[campaign_id] = write_word(word, now_us)

        await self._change(edit, now_us)

    async def clear(self, campaign_id: str, label: str, event: Event | None = None) -> None:
        """Take a member out for good."""
        async with self.asking():
            now_us = await self._now_us()

        def edit(texts: Texts) -> None:
            campaign = self._there(texts, campaign_id)
            if label not in campaign.members.keys() | campaign.cleared:
                raise UnknownHolderError(f"{label} is no member of campaign {campaign_id}")
            word = self._word(texts, campaign_id)
            said = word.with_(event, cleared=word.cleared | {label})
            texts.words[campaign_id] = write_word(said, now_us)

        await self._change(edit, now_us)

    async def forget_member(self, label: str, now_us: int) -> None:
        """Have no campaign know a label, nor an event name it."""

        def edit(texts: Texts) -> None:
            for kept in (texts.found, texts.words):
                for campaign_id, text in kept.items():
                    if label.encode() in text or json.dumps(label).encode()[1:-1] in text:
                        kept[campaign_id] = json.dumps(
                            _without(_fields(text), label), separators=(",", ":")
                        ).encode()

        await self._change(edit, now_us)

    async def membership(self, version: int) -> Membership | None:
        """Who is in which pool; `None` where nothing has changed since this version."""
        if await self.campaigns_version() == version:
            return None
        kept = await self._hash("the pools of campaigns", POOLS)
        try:
            pools = read_json(kept.get(b"pools", b"{}"))
            if not all(isinstance(each, str) for each in pools.values()):
                raise ValueError
        except (ValueError, AttributeError):
            self.damaged["the pools of campaigns"] = "pools that cannot be read"
            pools = {}
        return Membership(_number(kept.get(b"version", b"")), pools)

    async def campaigns_version(self) -> int:
        """The version of all that is known of campaigns; 0 where nothing is."""
        try:
            async with self.asking() as client:
                return _number(cast("bytes | None", await client.hget(POOLS, "version")) or b"")
        except StoreError as error:
            self.note_damage("the pools of campaigns", error)
            return 0

    async def accuse(
        self,
        holder: Holder,
        identity: Identity,
        fresh: Mapping[Signal, float],
        now_us: int,
        half_life_us: int,
    ) -> bool:
        """Add evidence to what is known of a holder, whose profile stays as it is."""
        what, key = f"the evidence of {self.keys.label(holder)}", self.keys.evidence(holder, identity)
        known = read_evidence(await self._get(what, key))
        for _ in range(TRIES):
            marks = merge(known.marks, fresh, now_us, half_life_us)
            if marks == known.marks:
                return True
            learnt = await self.learn(holder, identity, replace(known, marks=marks))
            if learnt.kept:
                return True
            known = learnt.evidence
        return False

    async def _change(self, edit: Callable[[Texts], None], now_us: int) -> None:
        """Have all of it edited, and the pools follow, in one step."""
        self._refuse_foreign()
        for _ in range(TRIES):
            texts = await self._texts()
            before = texts.copy()
            edit(texts)
            for campaign_id in texts.found.keys() | texts.words.keys():
                if _written_us(texts, campaign_id) < now_us - CAMPAIGN_SECONDS * MICROSECONDS:
                    texts.drop(campaign_id)
            pools = pools_by_digest(self._read_all(texts).values(), now_us, self._digest)
            texts.pools = json.dumps(pools, separators=(",", ":"), sort_keys=True).encode()
            if texts == before or await self._replace(before, texts):
                return
        raise StoreError("other processes keep writing down campaigns", kind="busy")

    async def _replace(self, before: Texts, after: Texts) -> bool:
        found, words = _changes(before.found, after.found), _changes(before.words, after.words)
        arguments = [before.version, after.pools, CAMPAIGN_SECONDS * 1000, len(found) // 2, *found, *words]
        async with self.asking() as client:
            reply = await cast("Any", client.eval(KEEP.text, 3, CAMPAIGNS, WORDS, POOLS, *arguments))
        return bool(reply)

    async def _texts(self) -> Texts:
        """All that is kept; the version first, so that what is written later is never taken for older."""
        kept = await self._hash("the pools of campaigns", POOLS)
        found = await self._hash("the campaigns", CAMPAIGNS)
        words = await self._hash("what was said of campaigns", WORDS)
        return Texts(
            {name.decode(errors="replace"): text for name, text in found.items()},
            {name.decode(errors="replace"): text for name, text in words.items()},
            kept.get(b"version", b""),
            kept.get(b"pools", b"{}"),
        )

    def _read_all(self, texts: Texts) -> dict[str, Campaign]:
        campaigns = {}
        for campaign_id in sorted(texts.found):
            try:
                campaign = read_campaign(campaign_id, texts.found[campaign_id])
            except ValueError as error:
                self.damaged[f"the campaign {campaign_id}"] = str(error)
                continue
            campaigns[campaign_id] = self._word(texts, campaign_id).over(campaign)
        return campaigns

    def _word(self, texts: Texts, campaign_id: str) -> Word:
        text = texts.words.get(campaign_id)
        try:
            return _NO_WORD if text is None else read_word(text)
        except ValueError as error:
            self.damaged[f"what was said of the campaign {campaign_id}"] = str(error)
            return _NO_WORD

    def _there(self, texts: Texts, campaign_id: str) -> Campaign:
        campaign = self._read_all(texts).get(campaign_id)
        if campaign is None:
            raise UnknownCampaignError(f"there is no campaign {campaign_id}")
        return campaign

    def _digest(self, label: str) -> str:
        return self.keys.digest(Holder.parse(label))


def write_campaign(campaign: Campaign, now_us: int) -> bytes:
    """What was found of a campaign, and when that is written. Raises `ValueError`."""
    text = _written(
        now_us,
        since=campaign.since_us,
        seen=campaign.seen_us,
        found=campaign.found,
        decibans=campaign.decibans,
        strength=campaign.strength,
        members={label: (each.since_us, each.confidence) for label, each in campaign.members.items()},
        ties=[(tie.kind, tie.what, tie.members, tie.decibans, tie.shared) for tie in campaign.ties],
        speaks_for=[(each.text, each.decibans) for each in campaign.speaks_for],
        speaks_against=[(each.text, each.decibans) for each in campaign.speaks_against],
        not_seen=list(campaign.not_seen),
        queries=campaign.queries,
        paid=campaign.paid,
        cleared=sorted(campaign.cleared),
        events=_pairs(campaign.events[-MOST_EVENTS:]),
    )
    read_campaign(campaign.id, text)
    return text


def read_campaign(campaign_id: str, text: bytes) -> Campaign:
    """A campaign without what people have said of it; a tie of a kind that this version does not know is left
    out. Raises `ValueError`.
    """
    fields = _fields(text)
    try:
        members = {
            str(Holder.parse(label)): Member(_moment(since_us), _finite(confidence))
            for label, (since_us, confidence) in fields["members"].items()
        }
        return Campaign(
            campaign_id,
            _moment(fields["since"]),
            _moment(fields["seen"]),
            Verdict(fields["found"]),
            _finite(fields["decibans"]),
            _finite(fields["strength"]),
            members,
            tuple(
                Tie(TieKind(kind), str(what), int(several), _finite(decibans), tuple(map(str, *shared)))
                for kind, what, several, decibans, *shared in fields["ties"]
                if kind in set(TieKind)
            ),
            _findings(fields["speaks_for"]),
            _findings(fields["speaks_against"]),
            tuple(map(str, fields["not_seen"])),
            int(fields["queries"]),
            _finite(fields["paid"]),
            frozenset(map(str, fields["cleared"])),
            events=_events(fields["events"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise ValueError(f"a campaign that cannot be read: {error!r}") from None


def write_word(word: Word, now_us: int) -> bytes:
    """What people have said of a campaign, and when it was written."""
    judged = word.judged
    said = judged and (judged.verdict, judged.by, judged.reason, judged.at_us, judged.until_us)
    return _written(now_us, judged=said, cleared=sorted(word.cleared), events=_pairs(word.events))


def read_word(text: bytes) -> Word:
    """What people have said of a campaign. Raises `ValueError`."""
    fields = _fields(text)
    try:
        judged = None
        if fields["judged"] is not None:
            verdict, by, reason, at_us, until_us = fields["judged"]
            end_us = None if until_us is None else _moment(until_us)
            judged = Judged(Verdict(verdict), str(by), str(reason), _moment(at_us), end_us)
        return Word(judged, frozenset(map(str, fields["cleared"])), _events(fields["events"]))
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"words that cannot be read: {error!r}") from None


def _written(now_us: int, **fields: Any) -> bytes:
    return json.dumps({"version": VERSION, "written": now_us, **fields}, separators=(",", ":")).encode()


def _fields(text: bytes) -> dict[str, Any]:
    try:
        fields = read_json(text)
    except ValueError:
        raise ValueError("bytes that are not JSON") from None
    if not isinstance(fields, dict) or fields.get("version") != VERSION:
        raise ValueError(f"what another version of guard has written, or none; this is version {VERSION}")
    return fields


def _without(value: Any, label: str) -> Any:
    """JSON without a label: as a member it goes, and where a text names it, it is a forgotten one."""
    if isinstance(value, dict):
        return {name: _without(each, label) for name, each in value.items() if name != label}
    if isinstance(value, list):
        return [_without(each, label) for each in value if each != label]
    if isinstance(value, str):
        return re.sub(rf"(?<![\w:+.@-]){re.escape(label)}(?![\w+@-]|[.:]\w)", "a forgotten identity", value)
    return value


def _findings(pairs: Sequence[tuple[Any, Any]]) -> tuple[Finding, ...]:
    return tuple(Finding(str(text), _finite(decibans)) for text, decibans in pairs)


def _pairs(events: Sequence[Event]) -> list[tuple[int, str]]:
    return [(each.at_us, each.text) for each in events]


def _events(pairs: Sequence[tuple[Any, Any]]) -> tuple[Event, ...]:
    return tuple(Event(_moment(at_us), str(said)) for at_us, said in pairs)


def _finite(value: Any) -> float:
    """A number that JSON has: no infinity, and something."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{number} is no number")
    return number


def _moment(value: Any) -> int:
    """A moment in Unix microseconds, which a calendar has."""
    at_us = int(value)
    if not 0 <= at_us <= LAST_US:
        raise ValueError(f"{at_us} is no moment")
    return at_us


def _written_us(texts: Texts, campaign_id: str) -> float:
    """When anybody wrote of a campaign last; what cannot be read here is left to who can."""
    texts_of = (texts.found.get(campaign_id), texts.words.get(campaign_id))
    try:
        return max(float(_fields(text)["written"]) for text in texts_of if text is not None)
    except (ValueError, TypeError, KeyError):
        return math.inf


def _changes(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str | bytes]:
    """What a hash is told, id and text by turns: no text for what goes."""
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return [each for name in sorted(changed) for each in (name, after.get(name, b""))]


def _number(text: bytes) -> int:
    return int(text) if text.isdigit() else 0
