from __future__ import annotations

import pytest

from guard.core.identity import EVERYTHING, Attribute, Holder, Identity

ALICE = Identity(Holder(Attribute.KEY, "a"), {Attribute.KEY: "a", Attribute.ORG: "acme"})


@pytest.mark.parametrize("text", ["key:alice", "org:a:b", "network:2001:db8::/64", "everything", "user: x"])
def test_a_holder_is_read_as_it_is_written(text: str) -> None:
    assert str(Holder.parse(text)) == text


@pytest.mark.parametrize("text", ["", "alice", "keys:alice", "key:", "key", "everything:x", ":x", "Key:x"])
def test_what_names_no_holder_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a holder"):
        Holder.parse(text)


def test_who_lacks_an_attribute_is_held_as_themselves() -> None:
    assert ALICE.holder(Attribute.ORG) == Holder(Attribute.ORG, "acme")
    assert ALICE.holder(Attribute.USER) == ALICE.principal
    assert ALICE.holder(Attribute.EVERYTHING) == EVERYTHING


def test_a_block_can_bite_on_every_attribute_once() -> None:
    assert ALICE.holders == (Holder(Attribute.KEY, "a"), Holder(Attribute.ORG, "acme"), EVERYTHING)


def test_a_holder_is_what_it_is_made_of() -> None:
    assert Holder.parse("org:a:b") == Holder(Attribute.ORG, "a:b")
    assert Holder.parse("network:2001:db8::/64") == Holder(Attribute.NETWORK, "2001:db8::/64")
    assert Holder.parse("everything") == EVERYTHING


def test_a_refusal_of_a_holder_says_what_would_be_right() -> None:
    with pytest.raises(ValueError, match="key, user, org, tier, ip, network, everything"):
        Holder.parse("team:x")
    with pytest.raises(ValueError, match="user:VALUE"):
        Holder.parse("user")


@pytest.mark.parametrize("per", [each for each in Attribute if each is not Attribute.EVERYTHING])
def test_leaving_a_fact_out_or_empty_never_escapes_a_limit(per: Attribute) -> None:
    principal = Holder(Attribute.NETWORK, "192.0.2.1/32")
    assert Identity(principal).holder(per) == principal
    assert Identity(principal, {per: ""}).holder(per) == principal
    assert Identity(principal, {per: "x"}).holder(per) == Holder(per, "x")


def test_the_principal_is_a_holder_even_where_no_attribute_says_so() -> None:
    identity = Identity(Holder(Attribute.KEY, "a"), {Attribute.USER: "u"})
    assert identity.holders[:2] == (Holder(Attribute.KEY, "a"), Holder(Attribute.USER, "u"))


def test_equal_values_of_different_attributes_are_different_holders() -> None:
    assert len({Holder(each, "x") for each in Attribute}) == len(Attribute)


def test_nobody_is_verified_by_default() -> None:
    assert not ALICE.verified
