"""What a change would have done to the last hours, said beforehand."""

from __future__ import annotations

import asyncio
import threading
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from fakes import call
from starlette.responses import JSONResponse

from guard.admin import Operator
from guard.core.excess import NOTHING, Between, excess
from guard.core.identity import EVERYTHING, UNVERIFIED, Attribute, Holder
from guard.core.rollups import HOUR, Dimension, Measure, field_of
from guard.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from fakes import Guarded
    from starlette.types import Receive, Scope, Send

    from guard.settings.root import Settings

NOON = 1_770_033_600
"""A full hour, in Unix seconds."""


class Standing:
    """A clock that stands at half past noon."""

    def seconds(self) -> float:
        return 0.0

    def date_us(self) -> int:
        return (NOON + 1_800) * 1_000_000


async def happened(
    operator: Operator, uses: Mapping[str, tuple[int, ...]], at: int = NOON, **more: Any
) -> None:
    """Requests, refused, input and output tokens, cost and novelty of identities in a minute."""
    names = (
        *(Measure.ADMITTED, Measure.REFUSED, Measure.INPUT_TOKENS, Measure.OUTPUT_TOKENS),
        *(Measure.COST, Measure.NOVELTY),
    )
    uses = {label: (*use, *[0] * (6 - len(use))) for label, use in uses.items()}
    counts = {
        field_of(Dimension.ALL, name): sum(column)
        for name, column in zip(names, zip(*uses.values(), strict=True), strict=True)
    }
    store = operator._store
    await store.add_sums((f"test-{at}-{len(uses)}", 1), at, counts, uses, more.get("most", 5_000))


async def test_a_block_would_have_refused_all_of_one_identity(make_settings: Callable[..., Settings]) -> None:
    async with Operator(make_settings(), Standing()) as operator:
        await happened(operator, {"key:a": (10, 2, 1_000, 50, 7), "key:b": (90, 0, 9_000, 50, 70)})
        await happened(operator, {"key:a": (5, 0, 500, 25, 3)}, NOON - 5 * HOUR)
        await happened(operator, {"key:a": (1_000,)}, NOON - 30 * HOUR)
        impact = await operator.impact_of_block(Holder.parse("key:a"))
        assert impact.exact
        assert impact.loss.requests == Between(15, 15)
        assert impact.loss.tokens == Between(1_575, 1_575)
        assert impact.loss.cost == Between(10, 10)
        assert impact.identities == Between(1, 1)
        assert (impact.forwarded.requests, impact.forwarded.refused) == (105, 2)
        assert [hit.label for hit in impact.hits] == ["key:a"]
        short = await operator.impact_of_block(Holder.parse("key:a"), hours=3)
        assert short.loss.requests == Between(10, 10)
        nobody = await operator.impact_of_block(Holder.parse("key:zzz"))
        assert (nobody.loss.requests, nobody.identities, nobody.hits) == (NOTHING, NOTHING, ())
        everybody = await operator.impact_of_block(EVERYTHING)
        assert (everybody.loss.requests, everybody.identities) == (Between(105, 105), Between(2, 2))
        strangers = await operator.impact_of_block(UNVERIFIED)
        assert strangers.loss.requests == Between(105, 105)
        of_model = await operator.impact_of_block(Holder.parse("key:a+model:small"))
        assert of_model.loss.requests == Between(0, 15)
        assert not of_model.exact
        assert any("not known" in note for note in of_model.notes)


async def test_what_of_whom_it_is_not_known_is_said_apart(make_settings: Callable[..., Settings]) -> None:
    async with Operator(make_settings(), Standing()) as operator:
        await happened(operator, {"key:a": (50,)} | {f"key:{n}": (1,) for n in range(150)}, most=100)
        impact = await operator.impact_of_block(Holder.parse("key:a"))
        assert impact.exact  # its own use is kept whole
        lost = await operator.impact_of_block(Holder.parse("key:0"))
        assert lost.loss.requests == NOTHING
        assert lost.unknown.requests == 51
        assert not lost.exact
        everybody = await operator.impact_of_block(EVERYTHING)
        assert everybody.loss.requests == Between(200, 200)


MINUTE_LIMIT = {"name": "requests", "unit": "requests", "rate": "100/minute;1000/day"}
TOKENS = {"name": "tokens", "unit": "tokens", "rate": "5000/hour"}
PAGES = {"name": "pages", "unit": "pages", "rate": "5/hour"}
OF_SMALL = {"name": "small", "unit": "requests", "rate": "1/hour", "models": ["small"]}


async def test_other_numbers_of_one_holder_are_held_against_what_it_used(
    make_settings: Callable[..., Settings],
) -> None:
    async with Operator(make_settings(MINUTE_LIMIT, TOKENS), Standing()) as operator:
        holder = Holder.parse("key:a")
        await happened(operator, {"key:a": (60, 0, 6_000, 0)})
        await happened(operator, {"key:a": (20, 0, 2_000, 0)}, NOON + 60)
        impact = await operator.impact_of_limit(holder, "requests", rate="20/minute")
        assert impact.loss.requests == Between(40, 40)
        assert set(impact.by_limit) == {"requests"}
        assert (await operator.impact_of_limit(holder, "requests", rate="60/minute")).loss.requests == NOTHING
        a_day = await operator.impact_of_limit(holder, "requests", rate="30/day")
        assert a_day.loss.requests == Between(50, 50)
        assert a_day.exact
        tokens = await operator.impact_of_limit(holder, "tokens", rate="4000/hour")
        assert tokens.loss.tokens == Between(4_000, 4_000)
        assert tokens.loss.requests == Between(40, 40)
        assert not tokens.exact
        with pytest.raises(ValueError, match="no limit is named"):
            await operator.impact_of_limit(holder, "nope", rate="1/day")
        with pytest.raises(ValueError, match="1 to 24 hours"):
            await operator.impact_of_block(holder, hours=25)


async def test_a_settings_file_is_held_against_what_happened(make_settings: Callable[..., Settings]) -> None:
    limits = ({"name": "requests", "unit": "requests", "rate": "10/hour"}, TOKENS, PAGES, OF_SMALL)
    settings = make_settings(*limits, units={"pages": {"claim": "pages"}})
    async with Operator(settings, Standing()) as operator:
        await happened(
            operator, {"key:a": (30, 0, 100, 0), "key:b": (10, 0, 10_000, 0), "key:c": (1, 0, 1, 0)}
        )
        impact = await operator.impact_of_settings()
        assert impact.by_limit["requests"].requests == Between(20, 20)
        assert impact.by_limit["tokens"].tokens == Between(5_000, 5_000)
        assert impact.by_limit["small"].requests == Between(0, 38)
        assert impact.loss.requests == Between(20, 41)
        assert impact.identities == Between(2, 2)
        assert [hit.label for hit in impact.hits[:2]] == ["key:a", "key:a"]
        said = " ".join(impact.notes)
        assert "limit pages is on pages: not known" in said
        assert "limit small is for some requests only" in said


async def test_the_loop_goes_on_while_a_settings_file_is_held_against_what_happened(
    make_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, goes_on = asyncio.get_running_loop(), threading.Event()
    went_on = []

    def excess_when_the_loop_went_on(*given: Any) -> Any:
        loop.call_soon_threadsafe(goes_on.set)
        went_on.append(goes_on.wait(10))
        return excess(*given)

    monkeypatch.setattr("guard.admin.impact.excess", excess_when_the_loop_went_on)
    async with Operator(make_settings(TOKENS), Standing()) as operator:
        await happened(operator, {"key:a": (1, 0, 10_000, 0)})
        assert (await operator.impact_of_settings()).loss.tokens == Between(5_000, 5_000)
    assert went_on == [True]


async def test_an_unchanged_day_would_have_refused_nothing(make_settings: Callable[..., Settings]) -> None:
    async with Operator(make_settings(MINUTE_LIMIT), Standing()) as operator:
        await happened(operator, {"key:a": (100, 50), "key:b": (3,)})
        impact = await operator.impact_of_settings()
        assert impact.loss.requests == NOTHING
        assert impact.hits == ()
        assert impact.forwarded.refused == 50


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    await JSONResponse({"id": "1", "model": "m", "choices": [], "usage": usage})(scope, receive, send)


async def test_an_organisation_is_what_its_keys_have_used(
    guarded: Callable[..., Guarded], tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(
        "".join(
            f'[{name}]\nsha256 = "{sha256(name.encode()).hexdigest()}"\norg = "{org}"\n'
            for name, org in (("alice", "acme"), ("ann", "acme"), ("bob", "other"))
        )
    )
    app = guarded(
        answer,
        {"name": "org", "unit": "requests", "rate": "100/hour", "per": "org"},
        identity={"keys_file": str(keys)},
    )
    body = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}
    for name, count in (("alice", 3), ("ann", 2), ("bob", 4)):
        for _ in range(count):
            await call(app, body=body, headers={"authorization": f"Bearer {name}"})
    await app.middleware.aclose()
    async with Operator(app.settings) as operator:
        acme = Holder(Attribute.ORG, "acme")
        impact = await operator.impact_of_block(acme)
        assert (impact.loss.requests, impact.identities) == (Between(5, 5), Between(2, 2))
        assert impact.loss.tokens == Between(60, 60)
        limited = await operator.impact_of_limit(acme, "org", rate="3/hour")
        assert limited.loss.requests.most == 2
        assert limited.identities == Between(1, 2)
        tier = await operator.impact_of_block(Holder(Attribute.TIER, "default"))
        assert tier.loss.requests == Between(9, 9)
        with pytest.raises(ConfigError):
            await operator.orders.override(Holder(Attribute.KEY, "alice"), "org", rate="3/hour")
