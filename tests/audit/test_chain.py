"""A chain in Redis: several writers, writers that die, ends that are lost, and records that grow old."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from guard.admin.audit import Audit, Wanted
from guard.admin.ocsf import ocsf_event
from guard.audit.chain import PAGE, ChainWriter
from guard.audit.records import Kind, record
from guard.audit.verify import Verification, verify
from guard.audit.words import said
from guard.core.chains import LAST_NUMBER, Chain, Retention, Seals
from guard.errors import StoreError
from guard.store.redis.keys import audit_head, audit_records

if TYPE_CHECKING:
    from guard.admin.audit import Kept
    from guard.store.redis.keys import Keys
    from guard.store.redis.orders import OperatorStore

CHAIN = Chain.DECISIONS
NOW_US = 1_800_000_000_000_000
DAY_US = 86_400_000_000
RECORDS, HEAD = audit_records(CHAIN), audit_head(CHAIN)


def writer(store: OperatorStore, keep_seconds: float = 90 * 86_400, most: int = 10_000) -> ChainWriter:
    return ChainWriter(store, store.keys, CHAIN, Retention(keep_seconds, most))


def decision(name: str, at_us: int = NOW_US) -> dict[str, Any]:
    return record(Kind.DECISION, at_us, request=name)


async def verified(store: OperatorStore) -> Verification:
    entries = await store.records_from(CHAIN, 0, 100_000)
    return verify(Seals(store.keys, CHAIN), entries, await store.chain_head(CHAIN))


async def problems(store: OperatorStore) -> list[str]:
    return list(map(str, (await verified(store)).problems))


async def kinds(store: OperatorStore) -> list[str]:
    return [json.loads(entry.text)["kind"] for entry in await store.records_from(CHAIN, 0, 100_000)]


async def test_records_stand_in_the_order_in_which_they_came(store: OperatorStore) -> None:
    await writer(store).append([decision("a"), decision("b")], NOW_US)
    await writer(store).append([decision("c")], NOW_US)
    entries = await store.records_from(CHAIN, 0, 10)
    assert [entry.number for entry in entries] == [1, 2, 3, 4]
    assert [json.loads(entry.text).get("request") for entry in entries] == [None, "a", "b", "c"]
    assert await problems(store) == []


async def test_several_writers_at_once_make_one_chain(store: OperatorStore) -> None:
    writers = [writer(store) for _ in range(10)]

    async def write(number: int) -> None:
        for batch in range(10):
            await writers[number].append(
                [decision(f"{number}-{batch}-{place}") for place in range(3)], NOW_US
            )

    await asyncio.gather(*map(write, range(10)))
    entries = await store.records_from(CHAIN, 0, 1_000)
    names = [json.loads(entry.text).get("request") for entry in entries[1:]]
    assert len(names) == len(set(names)) == 300
    assert [entry.number for entry in entries] == list(range(1, 302))
    assert await problems(store) == []


async def test_an_append_whose_answer_is_lost_counts_once(
    store: OperatorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, append = writer(store), store.append_records

    async def forget(*arguments: Any) -> Any:
        await append(*arguments)
        return await append(*arguments)

    monkeypatch.setattr(store, "append_records", forget)
    await chain.append([decision("a")], NOW_US)
    await chain.append([decision("b")], NOW_US)
    assert await kinds(store) == ["begin", "decision", "decision"]
    assert await problems(store) == []


@pytest.mark.parametrize("again", ["the same writer", "another writer"])
async def test_a_head_that_was_deleted_is_told(store: OperatorStore, again: str) -> None:
    chain = writer(store)
    await chain.append([decision("a")], NOW_US)
    async with store.asking() as client:
        await client.delete(HEAD)
    assert await problems(store) == ["the head is missing: there may have been more behind record 2"]
    await (chain if again == "the same writer" else writer(store)).append([decision("b")], NOW_US)
    assert await problems(store) == ["record 3: when it was written, the head was missing or false"]


@pytest.mark.parametrize("way", ["XDEL", "XTRIM", "DEL", "renamed"])
async def test_an_end_that_was_cut_off_stays_a_gap(store: OperatorStore, way: str) -> None:
    chain = writer(store)
    await chain.append([decision("a"), decision("b"), decision("c")], NOW_US)
    async with store.asking() as client:
        if way == "XDEL":
            await client.xdel(RECORDS, "4-0", "3-0")
        elif way == "XTRIM":
            await client.xtrim(RECORDS, maxlen=0, approximate=False)
        elif way == "DEL":
            await client.delete(RECORDS)
        else:
            entries = await store.records_from(CHAIN, 0, 2)
            await client.delete(RECORDS)
            for entry in entries:
                await client.xadd(RECORDS, {"r": entry.text, "s": entry.seal}, f"{entry.number}-0")
    assert any("cut off the end" in problem for problem in await problems(store))
    await writer(store).append([decision("d")], NOW_US)
    found = await problems(store)
    assert any("missing" in problem for problem in found)
    assert (await verified(store)).last >= 5


async def test_a_chain_that_was_set_back_is_told_by_who_wrote_behind(store: OperatorStore) -> None:
    chain = writer(store)
    await chain.append([decision("a")], NOW_US)
    async with store.asking() as client:
        kept = [await client.dump(RECORDS), await client.dump(HEAD)]
        await chain.append([decision("b"), decision("c")], NOW_US)
        for name, dumped in zip((RECORDS, HEAD), kept, strict=True):
            await client.restore(name, 0, dumped, replace=True)  # type: ignore[arg-type]
    assert await problems(store) == []  # which is what an anchor is for
    await chain.append([decision("d")], NOW_US)
    assert await problems(store) == [
        "record 3: 2 records from here to 4 are missing",
        "record 5: when it was written, record 4 had been written before",
    ]


async def test_a_store_that_was_emptied_begins_a_chain_that_says_what_is_gone(store: OperatorStore) -> None:
    chain = writer(store)
    await chain.append([decision("a")], NOW_US)
    async with store.asking() as client:
        await client.flushdb()
    assert await verified(store) == Verification()
    await chain.append([decision("b")], NOW_US)
    assert await problems(store) == ["record 1: a chain of 2 records that was there before is gone"]


async def test_a_chain_that_grew_old_begins_anew_in_silence(store: OperatorStore) -> None:
    chain = writer(store, keep_seconds=86_400)
    await chain.append([decision("a")], NOW_US)
    async with store.asking() as client:
        await client.delete(RECORDS, HEAD)  # as Redis does after a day
    await chain.append([decision("b")], NOW_US + 2 * DAY_US)
    assert await problems(store) == []


async def test_both_keys_expire(store: OperatorStore) -> None:
    await writer(store, keep_seconds=86_400).append([decision("a")], NOW_US)
    async with store.asking() as client:
        for name in (RECORDS, HEAD):
            assert 86_000 < await client.ttl(name) <= 86_400


async def test_what_is_too_old_goes_and_the_chain_says_so(store: OperatorStore) -> None:
    for day in range(5):
        now_us = NOW_US + day * DAY_US
        await writer(store, keep_seconds=2.5 * 86_400).append([decision(f"day-{day}", now_us)], now_us)
    found = await verified(store)
    assert found.problems == []
    entries = await store.records_from(CHAIN, 0, 100)
    days = [name for entry in entries if (name := json.loads(entry.text).get("request"))]
    assert days == ["day-2", "day-3", "day-4"]
    assert found.trimmed == found.first - 1 > 0


async def test_more_than_the_most_go(store: OperatorStore) -> None:
    chain = writer(store, most=100)
    for batch in range(60):
        await chain.append([decision(f"{batch}-{place}") for place in range(5)], NOW_US)
        assert (await verified(store)).records <= 115
    found = await verified(store)
    assert found.problems == []
    assert found.records >= 100


async def test_a_trimmed_chain_is_tampered_with_no_less_seen(store: OperatorStore) -> None:
    chain = writer(store, most=100)
    for batch in range(60):
        await chain.append([decision(f"{batch}-{place}") for place in range(5)], NOW_US)
    first = (await verified(store)).first
    async with store.asking() as client:
        await client.xtrim(RECORDS, minid=first + 10, approximate=False)
    assert await problems(store) == [f"record {first}: 10 records from here to {first + 9} are missing"]


async def test_a_key_of_another_type_is_an_error_of_the_store(store: OperatorStore) -> None:
    async with store.asking() as client:
        await client.set(RECORDS, "x")
    with pytest.raises(StoreError):
        await writer(store).append([decision("a")], NOW_US)


async def test_another_pepper_sees_that_the_chain_is_not_its_own(store: OperatorStore, keys: Keys) -> None:
    await writer(store).append([decision("a")], NOW_US)
    entries, head = await store.records_from(CHAIN, 0, 10), await store.chain_head(CHAIN)
    other = type(keys)(b"another pepper")
    found = verify(Seals(other, CHAIN), entries, head)
    assert [str(problem) for problem in found.problems] == [
        "record 1: it was changed, or is not of this chain",
        "record 2: it was changed, or is not of this chain",
        "the head is false: there may have been more behind record 2",
    ]


async def test_an_entry_that_is_put_in_where_a_page_ends_is_found(store: OperatorStore, keys: Keys) -> None:
    await writer(store).append([decision(str(number)) for number in range(2 * PAGE)], NOW_US)
    made_up = (b'{"kind":"act","at":1,"by":"ann"}', b"")
    entries = await store.records_from(CHAIN, 0, 3 * PAGE)
    told = [(f"{each.number}-0", each.text, each.seal) for each in entries]
    told[PAGE:PAGE] = [(f"{PAGE}-{sequence}", *made_up) for sequence in (1, 2)]
    async with store.asking() as client:
        await client.delete(RECORDS)
        pipeline = client.pipeline(transaction=False)
        for name, text, seal in told:
            pipeline.xadd(RECORDS, {"r": text, "s": seal}, id=name)
        await pipeline.execute()
    found = await Audit(store, keys).verify()
    assert [each.number for each in found[CHAIN].problems] == [PAGE, PAGE]


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"kind": "act", "at": 1, "after": ' + b'{"a":' * 500 + b"1" + b"}" * 501,
        b'{"kind": "act", "at": 1' + b"0" * 30 + b"}",
        b'{"kind": "act", "at": 1, "before": [1], "after": {}}',
        b'{"kind": "decision", "at": 1, "limits": 7}',
        b'{"kind": "decision", "at": 1, "wait_seconds": Infinity}',
        b'{"kind": "decision", "at": 1, "count": 2, "last_at": "x"}',
        b'{"kind": "lost", "at": 1, "count": "x", "of": {"a": "b"}}',
        b'{"kind": ["act"], "at": 1}',
        b'{"kind": "act", "at": 1, "by": "\\uD800"}',
        b"\xff",
    ],
)
async def test_what_is_no_record_is_found_and_not_shown(
    store: OperatorStore, keys: Keys, text: bytes
) -> None:
    await writer(store).append([decision("a")], NOW_US)
    async with store.asking() as client:
        await client.xadd(RECORDS, {"r": text, "s": b""}, id="3-0")
    audit = Audit(store, keys)
    assert "record 3: its text cannot be read" in map(str, (await audit.verify())[CHAIN].problems)
    shown = [ocsf_event(kept, before) for kept, before in await _all(audit)]
    assert [event["metadata"]["sequence"] for event in shown] == [1, 2]
    assert [said(kept.fields) for kept in await audit.records(Wanted())] == ["None None: , "]
    await writer(store).append([decision("b")], NOW_US)


async def test_a_chain_that_was_given_the_last_number_is_an_error_of_the_store(store: OperatorStore) -> None:
    await writer(store).append([decision("a")], NOW_US)
    async with store.asking() as client:
        await client.xadd(RECORDS, {"r": b"{}", "s": b""}, id=f"{LAST_NUMBER}-0")
    assert any("cannot be read" in each for each in await problems(store))
    assert await store.records_from(CHAIN, LAST_NUMBER + 1, 10) == []
    with pytest.raises(StoreError, match="the chain of decisions is damaged in Redis"):
        await writer(store).append([decision("b")], NOW_US)


async def test_a_head_of_a_number_that_no_record_has_is_false(store: OperatorStore) -> None:
    await writer(store).append([decision("a")], NOW_US)
    async with store.asking() as client:
        await client.set(HEAD, f"{LAST_NUMBER + 1} {'a' * 64} {'b' * 64}")
    assert any("the head is false" in each for each in await problems(store))
    await writer(store).append([decision("b")], NOW_US)
    assert any("the head was missing or false" in each for each in await problems(store))


async def _all(audit: Audit) -> list[tuple[Kept, Kept | None]]:
    return [pair async for pair in audit.every()]
