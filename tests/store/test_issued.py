"""How issued keys are kept in Redis."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from guard.core.identity import Attribute
from guard.core.issued import ENDED_SECONDS, IssuedKey, Secret
from guard.errors import StoreError
from guard.store.issued import read_issued, write_issued
from guard.store.redis.keys import ISSUED, ISSUED_ENDS, ISSUED_VERSIONS

if TYPE_CHECKING:
    from guard.store.redis.orders import OperatorStore

MADE = 1_700_000_000_000_000
LATER = 4_000_000_000_000_000
WHOLE = IssuedKey(
    "alice",
    (Secret("ab" * 16, MADE), Secret("cd" * 16, MADE - 1, LATER)),
    MADE - 1,
    {Attribute.USER: "Ann Ünal", Attribute.ORG: "acme", Attribute.TIER: "pro"},
    ("10.0.0.0/8", "2001:db8::/32"),
    LATER,
    LATER - 2,
    LATER - 1,
)


def key(
    name: str, number: int = 0, *, until_us: int | None = None, revoked_us: int | None = None
) -> IssuedKey:
    secrets = (Secret(f"{number:032x}", MADE),)
    return IssuedKey(name, secrets, MADE, until_us=until_us, revoked_us=revoked_us)


async def keep(store: OperatorStore, *keys: IssuedKey) -> None:
    for each in keys:
        assert await store.keep_issued(each, instead_of=await store.issued_text(each.name))


@pytest.mark.parametrize("issued", [WHOLE, key("bare"), replace(key("one"), until_us=LATER)])
def test_a_key_is_read_as_it_was_written(issued: IssuedKey) -> None:
    assert read_issued(issued.name, write_issued(issued)) == issued


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"no JSON", b"[]", b'"v"', b"{}", b'{"v":2}', b'{"v":1,"made":1}'),
        *(b'{"v":1,"made":1,"secrets":[["a"]]}', b'{"v":1,"made":1,"secrets":[],"from":["here"]}'),
        *(
            b"[" * 100_000,
            b'{"v":' * 10_000,
            b'{"v":1,"made":1,"secrets":[],"x":' + b"[" * 99 + b"]" * 99 + b"}",
        ),
        *(b'{"v":1,"made":1,"secrets":[],"until":1' + b"0" * 30 + b"}", b'{"v":1,"made":-1,"secrets":[]}'),
        *(b'{"v":1,"made":null,"secrets":[]}', b'{"v":1,"made":1,"secrets":[],"until":"x"}', b"\xff"),
    ],
)
def test_what_is_no_key_cannot_be_read(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"read|JSON|version"):
        read_issued("a", text)


async def test_no_secret_and_nothing_that_is_made_of_it_without_the_pepper_is_kept(
    store: OperatorStore,
) -> None:
    await keep(store, replace(WHOLE, secrets=(Secret(store.keys.issued("a secret"), MADE),)))
    assert "a secret" not in (await store.issued_text("alice")).decode()


async def test_keys_come_in_the_order_in_which_they_were_written(store: OperatorStore) -> None:
    await keep(store, key("a", 1), key("b", 2), key("a", 3))
    page = await store.issued_since(0)
    assert [(name, read_issued(name, text)) for name, _, text in page.changed] == [
        ("b", key("b", 2)),
        ("a", key("a", 3)),
    ]
    assert page.last
    assert page.count == 2
    assert page.about == await store.issued_version()


async def test_who_knows_a_version_hears_what_was_written_since(store: OperatorStore) -> None:
    await keep(store, key("a"), key("b"))
    first = await store.issued_since(0)
    await keep(store, key("c"))
    page = await store.issued_since(first.changed[-1][1])
    assert [name for name, _, _ in page.changed] == ["c"]
    assert page.about.split()[0] == first.about.split()[0]
    assert await store.issued_version() != first.about


async def test_many_keys_come_in_pages(store: OperatorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard.store.redis.issued.READ_AT_ONCE", 2)
    await keep(store, *(key(f"k{number}", number) for number in range(5)))
    position, heard = 0, []
    while True:
        page = await store.issued_since(position)
        heard += [name for name, _, _ in page.changed]
        if page.last:
            break
        position = page.changed[-1][1]
    assert heard == [f"k{number}" for number in range(5)]


async def test_a_store_without_keys_says_so(store: OperatorStore) -> None:
    page = await store.issued_since(0)
    assert (page.about, page.count, list(page.changed), page.last) == ("", 0, [], True)
    assert await store.issued_version() == ""
    assert await store.issued_key("alice") is None


async def test_of_two_who_write_at_the_same_time_one_does(store: OperatorStore) -> None:
    kept = await asyncio.gather(*(store.keep_issued(key("a", number), instead_of=b"") for number in range(9)))
    assert sum(kept) == 1
    text = await store.issued_text("a")
    assert not await store.keep_issued(key("a", 50), instead_of=b"another text")
    assert await store.issued_text("a") == text


async def test_after_all_was_lost_no_version_comes_again(store: OperatorStore) -> None:
    await keep(store, key("a"), key("b"))
    before = await store.issued_version()
    async with store.asking() as client:
        await client.delete(ISSUED, ISSUED_VERSIONS, ISSUED_ENDS)
    await keep(store, key("c"))
    epoch, version = map(int, (await store.issued_version()).split())
    assert epoch == version
    assert epoch > int(before.split()[1])


async def test_what_ended_long_ago_is_dropped_by_who_writes_next(store: OperatorStore) -> None:
    now_us = (await store.issued_since(0)).now_us
    ended_us = now_us - ENDED_SECONDS * 1_000_000
    await keep(
        store,
        key("expired", 1, until_us=ended_us - 1),
        key("revoked", 2, revoked_us=ended_us - 1),
        key("just", 3, revoked_us=ended_us + 3_600_000_000),
        key("active", 4),
        key("disabled", 5).disabled(1),
    )
    # "active" has dropped the first two already; the name of one is free again.
    assert await store.keep_issued(key("revoked", 6), instead_of=b"")
    async with store.asking() as client:
        names = set(map(str, await client.hkeys(ISSUED)))
        versions = await client.zcard(ISSUED_VERSIONS)
        ends = list(map(str, await client.zrange(ISSUED_ENDS, 0, -1)))
    assert names == {str(name) for name in (b"", b"just", b"active", b"disabled", b"revoked")}
    assert (versions, ends) == (4, [str(b"just")])


async def test_what_is_to_be_forgotten_is_not_counted(store: OperatorStore) -> None:
    await keep(store, key("active"), key("old", 1, revoked_us=1))
    page = await store.issued_since(0)
    assert (page.count, len(page.changed)) == (1, 2)


async def test_a_key_that_gets_no_end_any_more_is_not_forgotten(store: OperatorStore) -> None:
    await keep(store, key("a", 1, until_us=LATER), key("a", 1))
    async with store.asking() as client:
        assert await client.zcard(ISSUED_ENDS) == 0


async def test_keys_do_not_expire_by_themselves(store: OperatorStore) -> None:
    await keep(store, key("a", 1, until_us=LATER))
    async with store.asking() as client:
        assert [await client.ttl(each) for each in (ISSUED, ISSUED_VERSIONS, ISSUED_ENDS)] == [-1, -1, -1]


async def test_their_number_is_bounded(store: OperatorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guard.store.redis.issued.MOST_ISSUED", 2)
    await keep(store, key("a"), key("b"))
    with pytest.raises(StoreError, match="there are 2 keys"):
        await store.keep_issued(key("c"), instead_of=b"")
    await keep(store, key("a", 7))  # one that is there is changed all the same


@pytest.mark.parametrize("place", [ISSUED, ISSUED_VERSIONS, ISSUED_ENDS])
async def test_another_value_in_their_place_is_named_and_holds_nothing_up(
    store: OperatorStore, place: str
) -> None:
    async with store.asking() as client:
        await client.set(place, "not ours")
    assert (await store.issued_since(0)).about == ""
    assert "the issued keys" in store.damaged
