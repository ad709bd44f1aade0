"""Observations: the same on the other side, and nothing in them that could be read."""

from __future__ import annotations

from typing import Any

import pytest
from fleets import Fleet, sharing_out
from hypothesis import given
from hypothesis import strategies as st

from guard.campaigns.observation import LARGEST, Facts, Observation, Refusal, read
from guard.core.campaigns import TieKind
from guard.core.identity import Attribute, Holder, Identity
from guard.core.pseudonyms import Pseudonyms
from guard.http.client import LONGEST, program

KEYS = Pseudonyms(b"a pepper of the tests")


def one() -> Observation:
    fleet = Fleet("a", sharing_out(members=1, each=1), lambda _: {TieKind.PAYMENT: "visa", TieKind.ASN: "1"})
    return fleet.observed()[0]._replace(links=((7, 1.0), (9, 0.5)), me=3, model="0badcafe")


def test_it_is_the_same_on_the_other_side() -> None:
    seen = one()
    read = Observation.read(seen.write())
    for name in ("label", "org", "verified", "at_us", "facts", "me", "links", "party", "model"):
        assert getattr(read, name) == getattr(seen, name), name
    assert read.drew == pytest.approx(seen.drew, abs=1e-3)
    assert read.paid == pytest.approx(seen.paid, abs=1e-3)
    assert read.trace.whole == seen.trace.whole


def test_a_refusal_is_told_apart() -> None:
    refused = Refusal("key:a0", 1_700_000_000_000_000)
    assert read(refused.write()) == refused
    assert len(refused.write()) < 40
    assert read(one().write()).label == one().label


@pytest.mark.parametrize("refused", [("nobody", 1), ("key:a", "x"), ("key:a", None), (1, 1), ("key:a", True)])
def test_a_damaged_refusal_is_an_error(refused: tuple[Any, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it is that is wrong
        read(Refusal(*refused).write())


def test_it_is_small() -> None:
    assert len(one().write()) < 500


def test_the_party_is_the_organisation_where_somebody_vouches_for_one() -> None:
    assert one().party == "key:a0"
    assert one()._replace(org="org:acme").party == "org:acme"


@given(st.binary(max_size=600))
def test_what_is_none_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="no observation"):
        read(data)


@given(st.integers(0, 2_000), st.integers(0, 255))
def test_a_damaged_one_is_an_error_or_another(place: int, value: int) -> None:
    data = bytearray(one().write())
    data[place % len(data)] = value
    try:
        assert isinstance(Observation.read(bytes(data)).label, str)
    except ValueError:
        return


def test_one_that_is_too_large_is_an_error() -> None:
    with pytest.raises(ValueError, match="too large"):
        Observation.read(one()._replace(label="x" * LARGEST).write())


def test_programs_are_told_apart_by_their_headers() -> None:
    def program_of(*headers: tuple[bytes, bytes]) -> str:
        return Facts(KEYS).of(Identity(Holder(Attribute.KEY, "k")), program(headers))[TieKind.CLIENT]

    said = ((b"host", b"a"), (b"user-agent", b"x/1"), (b"accept", b"*/*"))
    assert program_of(*said) == program_of((b"host", b"b"), *said[1:])
    assert program_of(*said) != program_of(said[0], (b"user-agent", b"x/2"), said[2])
    assert program_of(*said) != program_of(said[1], said[0], said[2])
    assert len(program([(b"x" * 5_000, b"")])) == LONGEST


def test_a_mail_domain_is_a_fact_without_its_name() -> None:
    def domain_of(user: str) -> str | None:
        identity = Identity(Holder(Attribute.USER, user), {Attribute.USER: user})
        return Facts(KEYS).of(identity).get(TieKind.DOMAIN)

    assert domain_of("ann@mail.example") == domain_of("bob@MAIL.example") != domain_of("ann@other.example")
    assert "example" not in str(domain_of("ann@mail.example"))
    assert domain_of("ann") is None
    assert domain_of("ann@") is None


def test_a_model_is_known_again_without_its_name() -> None:
    def model_of(**asked: str) -> str:
        return Facts(KEYS).model(Identity(Holder(Attribute.KEY, "k")).asking(**asked))

    assert model_of(model="gpt-large") == model_of(model="GPT-Large") != model_of(model="gpt-small")
    assert len(model_of(model="x" * 10_000)) == len(model_of(model="\ud800")) == 8
    assert model_of() == ""


def test_facts_have_no_address() -> None:
    identity = Identity(
        Holder(Attribute.KEY, "k"),
        {
            Attribute.POOL: "192.0.2.0/24",
            Attribute.ASN: "64500",
            Attribute.PAYMENT: "0" * 32,
            Attribute.TLS: "1" * 32,
        },
    )
    facts = Facts(KEYS).of(identity)
    assert facts.keys() == {TieKind.POOL, TieKind.ASN, TieKind.PAYMENT, TieKind.TLS}
    assert facts[TieKind.ASN] == "64500"
    assert "192.0.2" not in str(facts)
