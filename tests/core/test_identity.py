from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from guard.core.globs import same_name
from guard.core.identity import (
    EVERYTHING,
    OF_A_REQUEST,
    ONE_HOLDER,
    UNVERIFIED,
    Attribute,
    Holder,
    Identity,
    VouchedBy,
)

KEY = Holder(Attribute.KEY, "a")
ACME = Holder(Attribute.ORG, "acme")
SMALL = Holder(Attribute.MODEL, "small")
ANN = Holder(Attribute.END_USER, "ann")
ALICE = Identity(KEY, {Attribute.KEY: "a", Attribute.ORG: "acme"})

# Pieces that look like the joints, escapes and names of a holder's text.
ODD = st.lists(
    st.sampled_from(["+", "%", "2B", "25", "%2B", "%25", ":", "model", "everything", "org:", "\n", "\0", " "])
    | st.text(max_size=3)
).map("".join)
VALUES = (st.text(min_size=1) | ODD).filter(bool)
NAMED = [each for each in Attribute if each not in ONE_HOLDER | {Attribute.MODEL}]
SINGLES = (
    st.sampled_from([UNVERIFIED, EVERYTHING])
    | st.builds(Holder, st.sampled_from(NAMED), VALUES, st.just(()))
    | st.builds(Holder, st.just(Attribute.MODEL), VALUES.map(same_name), st.just(()))
)


@pytest.mark.parametrize(
    "text",
    [
        "key:alice",
        "org:a:b",
        "network:2001:db8::/64",
        "everything",
        "user: x",
        "org:acme+model:small",
        "key:app+end_user:ann",
        "everything+model:small",
        "model:small+everything",
        "org:acme+everything+model:small",
        "org:a+b",
        "org:a++model:small",
        "org:a+models:small",
        "org:a%2Bmodel:small",
        "org:a%20b",
        "end_user:%252B",
    ],
)
def test_a_holder_is_read_as_it_is_written(text: str) -> None:
    assert str(Holder.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "keys:alice",
        "key:",
        "key",
        "everything:x",
        "unverified:x",
        ":x",
        "Key:x",
        " key:x",
        "+",
        "+key:x",
        "key:x+model:",
        "key:x+model",
        "model+key:x",
        "key:x+everything:y",
        "everything+",
    ],
)
def test_what_names_no_holder_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a holder"):
        Holder.parse(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("org:a:b", [(Attribute.ORG, "a:b")]),
        ("network:2001:db8::/64", [(Attribute.NETWORK, "2001:db8::/64")]),
        ("everything", [(Attribute.EVERYTHING, "")]),
        ("unverified", [(Attribute.UNVERIFIED, "")]),
        ("asn:AS13335", [(Attribute.ASN, "13335")]),
        ("asn:13335", [(Attribute.ASN, "13335")]),
        ("asn:ASterix", [(Attribute.ASN, "ASterix")]),
        ("unverified+model:c", [(Attribute.UNVERIFIED, ""), (Attribute.MODEL, "c")]),
        ("org:acme+model:small", [(Attribute.ORG, "acme"), (Attribute.MODEL, "small")]),
        ("org:a+b+model:c", [(Attribute.ORG, "a+b"), (Attribute.MODEL, "c")]),
        ("org:a%2Bmodel:c", [(Attribute.ORG, "a+model:c")]),
        ("org:a%252Bmodel:c", [(Attribute.ORG, "a%2Bmodel:c")]),
        ("org:100%", [(Attribute.ORG, "100%")]),
        (
            "org:a+everything+model:c",
            [(Attribute.ORG, "a"), (Attribute.EVERYTHING, ""), (Attribute.MODEL, "c")],
        ),
        ("org:a+org:b", [(Attribute.ORG, "a"), (Attribute.ORG, "b")]),
        ("org:a+model:c+org:a", [(Attribute.ORG, "a"), (Attribute.MODEL, "c")]),
    ],
)
def test_a_holder_is_what_it_is_made_of(text: str, parts: list[tuple[Attribute, str]]) -> None:
    assert Holder.parse(text).parts == tuple(Holder(*part) for part in parts)


@given(parts=st.lists(SINGLES, min_size=1, max_size=4))
@example(parts=[Holder(Attribute.ORG, "a+model:x"), SMALL])
@example(parts=[Holder(Attribute.ORG, "a%2Bmodel:x")])
@example(parts=[Holder(Attribute.ORG, "a+everything"), SMALL])
@example(parts=[ACME, EVERYTHING, SMALL])
@example(parts=[Holder(Attribute.ORG, "a+"), EVERYTHING])
def test_no_value_passes_for_another_holder(parts: list[Holder]) -> None:
    holder = Holder.together(parts)
    assert Holder.parse(str(holder)) == holder


@given(text=st.lists(st.sampled_from([*Attribute, ":", "+", "%2B", "x"])).map("".join) | ODD)
def test_a_text_is_a_holder_or_refused(text: str) -> None:
    try:
        holder = Holder.parse(text)
    except ValueError:
        return
    assert Holder.parse(str(holder)) == holder


def test_parts_that_are_there_twice_count_once() -> None:
    assert Holder.together([KEY]) == KEY
    assert Holder.together([KEY, KEY]) == KEY
    assert Holder.together([Holder.together([KEY, ANN]), SMALL, ANN]).parts == (KEY, ANN, SMALL)


def test_a_refusal_of_a_holder_says_what_would_be_right() -> None:
    kinds = "network, pool, asn, payment, tls, campaign, model, route, end_user, unverified, everything"
    with pytest.raises(ValueError, match=kinds):
        Holder.parse("team:x")
    with pytest.raises(ValueError, match="user:VALUE"):
        Holder.parse("user")
    with pytest.raises(ValueError, match="write `unverified`"):
        Holder.parse("unverified:x")


ASKING = ALICE.asking(model="small", route="/v1/chat", end_user="ann")


@pytest.mark.parametrize(
    ("per", "holder"),
    [
        ((Attribute.KEY,), "key:a"),
        ((Attribute.ORG,), "org:acme"),
        ((Attribute.USER,), "key:a"),
        ((Attribute.EVERYTHING,), "everything"),
        ((Attribute.UNVERIFIED,), "unverified"),
        ((Attribute.UNVERIFIED, Attribute.MODEL), "unverified+model:small"),
        ((Attribute.MODEL,), "model:small"),
        ((Attribute.ORG, Attribute.MODEL), "org:acme+model:small"),
        ((Attribute.MODEL, Attribute.ORG), "model:small+org:acme"),
        ((Attribute.ORG, Attribute.MODEL, Attribute.ROUTE), "org:acme+model:small+route:/v1/chat"),
        ((Attribute.USER, Attribute.MODEL), "key:a+model:small"),
        ((Attribute.USER, Attribute.TIER), "key:a"),
        ((Attribute.USER, Attribute.KEY), "key:a"),
        ((Attribute.EVERYTHING, Attribute.MODEL), "everything+model:small"),
        ((Attribute.END_USER,), "key:a+end_user:ann"),
        ((Attribute.KEY, Attribute.END_USER), "key:a+end_user:ann"),
        ((Attribute.ORG, Attribute.END_USER), "org:acme+key:a+end_user:ann"),
        ((Attribute.END_USER, Attribute.MODEL), "key:a+end_user:ann+model:small"),
    ],
)
def test_a_limit_is_held_per_one_attribute_or_several(per: tuple[Attribute, ...], holder: str) -> None:
    assert str(ASKING.holder(*per)) == holder


def test_all_that_nobody_vouches_for_are_one_holder() -> None:
    bob = Identity(Holder(Attribute.KEY, "b"), {Attribute.KEY: "b"})
    assert bob.holder(Attribute.UNVERIFIED) == ALICE.holder(Attribute.UNVERIFIED) == UNVERIFIED


@pytest.mark.parametrize("vouched_by", VouchedBy)
def test_who_is_vouched_for_is_not_held_with_strangers(vouched_by: VouchedBy) -> None:
    verified = replace(ALICE, vouched_by=vouched_by)
    assert verified.verified
    assert verified.holder(Attribute.UNVERIFIED) == KEY
    assert verified.holder(Attribute.UNVERIFIED, Attribute.ORG) == Holder.together([KEY, ACME])
    assert verified.holders == (KEY, ACME, EVERYTHING)


def test_who_is_not_vouched_for_shares_what_a_process_has_with_its_network() -> None:
    network = {Attribute.NETWORK: "192.0.2.1/32", Attribute.POOL: "192.0.2.0/24"}
    stranger = replace(ALICE, attributes={**ALICE.attributes, **network})
    assert stranger.accountable == Holder(Attribute.NETWORK, "192.0.2.1/32")
    assert replace(stranger, vouched_by=VouchedBy.TOKEN).accountable == KEY
    assert ALICE.accountable == KEY


@pytest.mark.parametrize("per", [each for each in Attribute if each not in ONE_HOLDER])
def test_leaving_a_fact_out_or_empty_never_escapes_a_limit(per: Attribute) -> None:
    principal = Holder(Attribute.NETWORK, "192.0.2.1/32")
    assert Identity(principal).holder(per) == principal
    assert Identity(principal, {per: ""}).holder(per) == principal
    assert Holder(per, "x") in Identity(principal, {per: "x"}).holder(per).parts


@given(name=VALUES, other=VALUES)
def test_an_end_user_is_its_callers_own(name: str, other: str) -> None:
    mine, theirs = (
        Identity(Holder(Attribute.KEY, key)).asking(end_user=end_user).holder(Attribute.END_USER)
        for key, end_user in (("mine", name), ("theirs", other))
    )
    assert mine != theirs
    assert str(mine) != str(theirs)


def test_what_is_asked_is_known_for_one_request_only() -> None:
    assert ASKING.attributes == {
        **ALICE.attributes,
        Attribute.MODEL: "small",
        Attribute.ROUTE: "/v1/chat",
        Attribute.END_USER: "ann",
    }
    assert ALICE.attributes == {Attribute.KEY: "a", Attribute.ORG: "acme"}
    assert ASKING.lasting == ALICE.lasting == ALICE.attributes
    assert (ASKING.principal, ASKING.verified) == (ALICE.principal, ALICE.verified)


def test_an_empty_fact_is_none_and_takes_none_away() -> None:
    assert ALICE.asking(model="", end_user=None) == ALICE
    assert ASKING.asking(model="") == ASKING
    assert ASKING.asking(model="big").attributes[Attribute.MODEL] == "big"


@pytest.mark.parametrize("attribute", Attribute)
def test_only_facts_of_the_request_do_not_last(attribute: Attribute) -> None:
    lasts = attribute not in {Attribute.MODEL, Attribute.ROUTE, Attribute.END_USER}
    assert (attribute in Identity(KEY, {attribute: "x"}).lasting) is lasts
    assert (attribute in OF_A_REQUEST) is not lasts


def test_a_block_can_bite_on_every_attribute_once() -> None:
    assert ALICE.holders == (KEY, ACME, UNVERIFIED, EVERYTHING)
    assert ASKING.holders == (
        KEY,
        ACME,
        SMALL,
        Holder(Attribute.ROUTE, "/v1/chat"),
        Holder.together([KEY, ANN]),
        UNVERIFIED,
        EVERYTHING,
    )


def test_the_principal_is_a_holder_even_where_no_attribute_says_so() -> None:
    identity = Identity(KEY, {Attribute.USER: "u"})
    assert identity.holders == (KEY, Holder(Attribute.USER, "u"), UNVERIFIED, EVERYTHING)


def test_equal_values_of_different_attributes_are_different_holders() -> None:
    assert len({Holder(each, "x") for each in Attribute}) == len(Attribute)


def test_nobody_is_verified_by_default() -> None:
    assert not ALICE.verified
    assert not ASKING.verified


def test_an_organisation_is_known_where_somebody_vouches_for_it() -> None:
    said = {Attribute.ORG: "acme"}
    key = Holder(Attribute.KEY, "k")
    assert Identity(key, said, VouchedBy.KEYS_FILE).known_org == Holder(Attribute.ORG, "acme")
    assert Identity(key, said).known_org is None
    assert Identity(key, {}, VouchedBy.KEYS_FILE).known_org is None
