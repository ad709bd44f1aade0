"""What goes over the wire: all of it arrives, little of it is packed twice, and nothing else passes."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from analyses import ANN, DIVERSITY, transcript
from hypothesis import given
from hypothesis import strategies as st

from guard.analyst import wire
from guard.analyst.callers import CallerReader, Callers
from guard.analyst.transcript import Outcome, Transcript
from guard.analyst.wire import Frames, WireError
from guard.core.calendars import Span
from guard.core.identity import Attribute, Holder, Identity, VouchedBy
from guard.core.limits import Algorithm, Charge, Limit, Unit, Window
from guard.core.query import Usage
from guard.store.port import Reservation

if TYPE_CHECKING:
    from collections.abc import Sequence

texts = st.text(max_size=8) | st.sampled_from(["\ud800", "é+key:b", "a" * 300])
numbers = st.integers(0, wire.LARGEST_NUMBER)
parts = st.builds(Holder, st.sampled_from(Attribute), texts, st.just(()))
holders = st.builds(Holder, st.sampled_from(Attribute), texts, st.lists(parts, max_size=2).map(tuple))
identities = st.builds(
    Identity,
    holders,
    st.dictionaries(st.sampled_from(Attribute), texts, max_size=4),
    st.none() | st.sampled_from(VouchedBy),
)
windows = st.builds(Window, numbers, numbers, numbers, st.none() | st.sampled_from(Span))
limits = st.builds(
    Limit,
    texts,
    st.sampled_from([Unit.NOVELTY, "pages"]),
    st.lists(st.sampled_from(Attribute), max_size=3).map(tuple),
    st.sampled_from(Algorithm),
    st.lists(windows, max_size=3).map(tuple),
    zone=st.none() | st.sampled_from([ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")]),
)
charges = st.builds(Charge, limits, holders, numbers, numbers, st.booleans(), st.floats(0, 1))
usages = st.builds(Usage, *[numbers] * 6, st.booleans(), st.booleans(), numbers, st.none() | texts, numbers)
transcripts = st.builds(
    Transcript,
    st.builds(Reservation, texts, identities, st.lists(charges, max_size=3).map(tuple)),
    st.lists(st.binary(max_size=40), max_size=3).map(tuple),
    st.none() | holders,
    holders,
    texts,
    texts,
    st.none() | texts,
    usages,
    numbers,
    st.binary(max_size=200),
    st.binary(max_size=200),
    texts,
    st.lists(texts, max_size=2).map(tuple),
    client=st.binary(max_size=40),
    refused=st.booleans(),
)


def sent(frame: Sequence[bytes]) -> tuple[Any, ...]:
    """A message that has gone over a connection."""
    (message,) = Frames(wire.LARGEST_FRAME).feed(b"".join(frame))
    return wire.unpack(message)


def uncompared(charge: Charge) -> tuple[ZoneInfo | None, bool, bool, bool]:
    """What two limits may differ in that are equal."""
    limit = charge.limit
    return limit.zone, limit.estimated, limit.pending, limit.for_one


def fields_of(packed: bytes) -> list[Any]:
    """The fields of a message, to be changed."""
    return list(wire.unpack(packed))


class TestATranscript:
    @given(number=numbers, given=transcripts)
    def test_it_arrives_whole(self, number: int, given: Transcript) -> None:
        message = sent(wire.pack_transcript(number, given, Callers()))
        assert wire.unpack_transcript(message, CallerReader()) == (number, given)
        _, told = wire.unpack_transcript(message, CallerReader())
        assert list(map(uncompared, told.reservation.charges)) == list(
            map(uncompared, given.reservation.charges)
        )

    def test_what_is_the_same_for_every_request_is_the_same_object(self) -> None:
        callers, reader = Callers(), CallerReader()
        one, other = (
            wire.unpack_transcript(sent(wire.pack_transcript(number, transcript(), callers)), reader)[1]
            for number in (1, 2)
        )
        assert one.reservation.identity is other.reservation.identity
        for a, b in zip(one.reservation.charges, other.reservation.charges, strict=True):
            assert a.limit is b.limit
            assert a.holder is b.holder

    @pytest.mark.parametrize(
        "changes",
        [
            {"suspect": None},
            {"suspect": Holder(Attribute.ORG, "acme")},
            {"whose": Holder(Attribute.NETWORK, "192.0.2.0/24")},
            {"reservation": Reservation("r1", replace(ANN), (Charge(DIVERSITY, ANN.principal, 1),))},
            {"reservation": Reservation("r1", ANN, ())},
            {"reservation": Reservation("r1", ANN, (Charge(replace(DIVERSITY), ANN.principal, 1),))},
            {"reservation": Reservation("r1", ANN, (Charge(DIVERSITY, Holder(Attribute.ORG, "acme"), 1),))},
        ],
    )
    def test_a_caller_that_changes_is_packed_anew(self, changes: dict[str, Any]) -> None:
        callers = Callers()
        wire.pack_transcript(1, transcript(), callers)
        changed = transcript(**changes)
        message = sent(wire.pack_transcript(2, changed, callers))
        assert wire.unpack_transcript(message, CallerReader()) == (2, changed)

    def test_packing_it_makes_few_calls(self) -> None:
        callers, given = Callers(), transcript(b"x" * 1_000)
        wire.pack_transcript(1, given, callers)
        calls = calls_of(lambda: wire.pack_transcript(2, given, callers))
        assert len(calls) <= 25, calls

    @pytest.mark.parametrize(
        "changes",
        [
            {"body": b"x" * (wire.LARGEST_BODY + 1)},
            {"answer": b"x" * (wire.LARGEST_ANSWER + 1)},
            {"path": "x" * wire.LARGEST_FRAME},
            {"whose": Holder(Attribute.KEY, "x" * wire.LARGEST_CALLER)},
            {"now_us": 1 << 70},
            {"receipts": (object(),)},
        ],
    )
    def test_what_is_too_large_or_has_no_place_is_not_sent(self, changes: dict[str, Any]) -> None:
        with pytest.raises(WireError):
            wire.pack_transcript(1, transcript(**changes), Callers())

    def test_the_largest_body_and_answer_are_sent(self) -> None:
        given = transcript(b"x" * wire.LARGEST_BODY, answer=b"x" * wire.LARGEST_ANSWER)
        message = sent(wire.pack_transcript(1, given, Callers()))
        assert wire.unpack_transcript(message, CallerReader()) == (1, given)


class TestOutcomes:
    @given(st.lists(st.tuples(numbers, st.builds(Outcome, st.booleans(), st.none() | numbers)), max_size=20))
    def test_they_arrive(self, outcomes: list[tuple[int, Outcome]]) -> None:
        assert wire.unpack_outcomes(sent(wire.pack_outcomes(outcomes))) == outcomes

    def test_as_many_as_there_may_be_fit(self) -> None:
        most = [(wire.LARGEST_NUMBER, Outcome(True, wire.LARGEST_NUMBER))] * wire.MOST_ITEMS
        assert wire.unpack_outcomes(sent(wire.pack_outcomes(most))) == most


class TestFrames:
    @given(st.lists(st.binary(max_size=30), max_size=5), st.integers(1, 7))
    def test_they_come_whole_however_they_are_cut(self, messages: list[bytes], size: int) -> None:
        stream = b"".join(len(each).to_bytes(4) + each for each in messages)
        frames = Frames(30)
        found = [
            each
            for start in range(0, len(stream), size)
            for each in frames.feed(stream[start : start + size])
        ]
        assert found == messages
        assert frames.begun == 0

    def test_one_that_says_it_is_too_large_ends_it_before_it_comes(self) -> None:
        with pytest.raises(WireError):
            Frames(30).feed((31).to_bytes(4))


class TestLies:
    """Whatever comes, it is a message or a `WireError`."""

    @given(st.binary(max_size=300))
    def test_bytes(self, data: bytes) -> None:
        believed(data)

    @given(given=transcripts, data=st.data())
    def test_a_message_with_some_bytes_changed(self, given: Transcript, data: st.DataObject) -> None:
        message = bytearray(wire.pack_transcript(1, given, Callers())[1])
        for _ in range(data.draw(st.integers(1, 4))):
            message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
        cut = data.draw(st.integers(0, len(message)))
        believed(bytes(message))
        believed(bytes(message[:cut]))

    @given(given=transcripts, data=st.data())
    def test_a_message_with_another_field(self, given: Transcript, data: st.DataObject) -> None:
        message = fields_of(wire.pack_transcript(1, given, Callers())[1])
        place = data.draw(st.integers(1, len(message) - 1))
        message[place] = data.draw(anything)
        believed(wire.pack(tuple(message)))

    @given(given=transcripts, data=st.data())
    def test_a_caller_with_another_field(self, given: Transcript, data: st.DataObject) -> None:
        message = fields_of(wire.pack_transcript(1, given, Callers())[1])
        caller = fields_of(message[2])
        caller[data.draw(st.integers(0, len(caller) - 1))] = data.draw(anything)
        message[2] = wire.pack(tuple(caller))
        believed(wire.pack(tuple(message)))

    @pytest.mark.parametrize(
        "data",
        [
            b"\xdd\xff\xff\xff\xff",
            b"\xdc\xff\xff" * 500 + bytes(100_000),
            b"\x91" * 100_000,
            b"\xdf\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\x92\x01\xd6\xff\x00\x00\x00\x00",
            b"\xc7\x00\x05",
            b"\x81\x01\x02",
            b"",
        ],
    )
    def test_huge_counts_nesting_and_what_is_not_used_here(self, data: bytes) -> None:
        with pytest.raises(WireError):
            wire.unpack(data)

    def test_a_number_of_charges_that_is_not_that_of_the_limits(self) -> None:
        message = list(sent(wire.pack_transcript(1, transcript(), Callers())))
        message[4] = ()
        with pytest.raises(WireError):
            wire.unpack_transcript(tuple(message), CallerReader())


values = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text() | st.binary()
anything = st.recursive(values, lambda inner: st.lists(inner, max_size=4), max_leaves=10)


def believed(data: bytes) -> None:
    """Read a message as each side does."""
    with suppress(WireError):
        message = wire.unpack(data)
        for read in (wire.unpack_hello, wire.unpack_refused, wire.unpack_outcomes, read_transcript):
            with suppress(WireError):
                read(message)


def read_transcript(message: tuple[Any, ...]) -> None:
    wire.unpack_transcript(message, CallerReader())


def calls_of(work: Any) -> list[str]:
    """What it calls, in Python and in C."""
    calls: list[str] = []

    def note(frame: Any, event: str, about: Any) -> None:
        if event in ("call", "c_call"):
            calls.append(frame.f_code.co_qualname if event == "call" else about.__qualname__)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls
