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
