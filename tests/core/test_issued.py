"""What becomes of a key that guard has issued."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from guard.core.issued import (
    ENDED_SECONDS,
    MOST_ENDED,
    MOST_HOLDING,
    Fault,
    IssuedKey,
    Secret,
    State,
)

DAY = 86_400_000_000
MADE = 20_000 * DAY
KEY = IssuedKey("alice", (Secret("a", MADE),), MADE)
AT_HOME = replace(KEY, networks=("10.0.0.0/8", "2001:db8::/32"))


def fault(
    key: IssuedKey, digest: str = "a", *, day: float = 0.0, address: str | None = "10.1.2.3"
) -> str | None:
    secret = key.secret(digest)
    assert secret is not None
    where = None if address is None else ip_address(address)
    found = key.fault(secret, where, MADE + int(day * DAY))
    return found and found.value


def test_a_key_holds_until_its_end() -> None:
    key = replace(KEY, until_us=MADE + DAY)
    assert fault(key, day=0.99) is None
    assert fault(key, day=1) == "key_expired"


def test_a_replaced_secret_holds_until_its_grace_is_over() -> None:
    key = KEY.rotated("b", 7 * DAY, MADE + DAY)
    assert [each.digest for each in key.secrets] == ["b", "a"]
    assert (fault(key, "a", day=7.99), fault(key, "a", day=8)) == (None, "key_rotated")
    assert (fault(key, "b", day=1), fault(key, "b", day=100)) == (None, None)


def test_without_grace_a_replaced_secret_ends_at_once() -> None:
    assert fault(KEY.rotated("b", 0, MADE), "a") == "key_rotated"


def test_a_later_rotation_prolongs_no_grace() -> None:
    key = KEY.rotated("b", DAY, MADE).rotated("c", 30 * DAY, MADE)
    assert fault(key, "a", day=1) == "key_rotated"
    assert fault(key, "b", day=29) is None


def test_a_later_rotation_may_cut_a_grace_short() -> None:
    key = KEY.rotated("b", 30 * DAY, MADE).rotated("c", 0, MADE + DAY)
    assert fault(key, "a", day=1) == "key_rotated"


def test_so_many_secrets_hold_at_the_same_time_and_no_more() -> None:
    key = KEY
    for number in range(MOST_HOLDING - 1):
        key = key.rotated(f"r{number}", DAY, MADE)
    with pytest.raises(ValueError, match=f"{MOST_HOLDING} secrets of alice hold"):
        key.rotated("more", DAY, MADE)
    assert len([each for each in key.rotated("more", 0, MADE).secrets if each.holds(MADE)]) == 1


def test_replaced_secrets_are_remembered_for_some_time_and_so_many_of_them() -> None:
    key = KEY
    for number in range(MOST_ENDED + 5):
        key = key.rotated(f"r{number}", 0, MADE + number)
    assert len(key.secrets) == 1 + MOST_ENDED
    assert key.secret("a") is None
    later = key.rotated("later", 0, MADE + ENDED_SECONDS * 1_000_000 + MOST_ENDED * 2)
    assert [each.digest for each in later.secrets] == ["later", f"r{MOST_ENDED + 4}"]


def test_a_disabled_key_may_be_enabled_again() -> None:
    disabled = KEY.disabled(MADE + DAY)
    assert fault(disabled) == "key_disabled"
    assert disabled.disabled(MADE + 2 * DAY).disabled_us == MADE + DAY
    assert fault(disabled.enabled()) is None


def test_a_revoked_key_stays_so_whatever_is_done_to_it() -> None:
    key = KEY.revoked(MADE + DAY)
    assert fault(key.enabled().rotated("b", DAY, MADE + DAY)) == "key_revoked"
    assert key.revoked(MADE + 2 * DAY).revoked_us == MADE + DAY


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("10.0.0.0", True),
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("::a01:203", False),
        (None, False),
    ],
)
def test_a_key_that_is_bound_to_networks_holds_there_only(address: str | None, right: bool) -> None:
    assert fault(AT_HOME, address=address) == (None if right else "key_network")
    assert fault(KEY, address=address) is None


@pytest.mark.parametrize(
    ("key", "state", "told"),
    [
        (AT_HOME, State.ACTIVE, "key_network"),
        (AT_HOME.disabled(MADE), State.DISABLED, "key_disabled"),
        (AT_HOME.disabled(MADE).rotated("b", 0, MADE), State.DISABLED, "key_rotated"),
        (replace(AT_HOME.disabled(MADE).rotated("b", 0, MADE), until_us=MADE), State.EXPIRED, "key_expired"),
        (replace(AT_HOME.disabled(MADE), until_us=MADE).revoked(MADE), State.REVOKED, "key_revoked"),
    ],
)
def test_of_several_faults_that_of_the_whole_key_is_told_and_its_networks_last(
    key: IssuedKey, state: State, told: str
) -> None:
    assert key.state(MADE) is state
    assert fault(key, address="192.0.2.1") == told


@pytest.mark.parametrize(
    ("key", "day"),
    [
        (KEY, None),
        (KEY.disabled(MADE), None),
        (replace(KEY, until_us=MADE + 5 * DAY), 95),
        (KEY.revoked(MADE + DAY), 91),
        (replace(KEY, until_us=MADE + 5 * DAY).revoked(MADE + DAY), 91),
        (replace(KEY, until_us=MADE + 5 * DAY).revoked(MADE + 9 * DAY), 95),
    ],
)
def test_a_key_is_forgotten_ninety_days_after_its_end(key: IssuedKey, day: int | None) -> None:
    assert key.forgotten_us == (None if day is None else MADE + day * DAY)
    assert key.is_forgotten(MADE + 94 * DAY) == (day is not None and day <= 94)


def test_each_fault_has_a_status_and_a_sentence_of_its_own() -> None:
    assert {fault.status for fault in Fault} == {401, 403}
    assert len({fault.message for fault in Fault}) == len(Fault)
    assert all(fault.message.startswith("This API key") for fault in Fault)
