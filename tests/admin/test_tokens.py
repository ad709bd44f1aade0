"""Tokens of the operator's door: who is let in, and how often somebody may guess."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from guard.admin.tokens import (
    MOST_NETWORKS,
    MOST_TRIES,
    SECONDS_PER_TRY,
    Role,
    Tokens,
    Tries,
    digest_of,
    new_token,
)
from guard.errors import CredentialError, TooManyTriesError
from guard.settings.admin import AdminTokenSettings

if TYPE_CHECKING:
    from collections.abc import Callable

ADDRESS = "203.0.113.9"


class Clock:
    """Stands still until it is put forward."""

    now = 0.0

    def seconds(self) -> float:
        return self.now

    def date_us(self) -> int:
        raise AssertionError("a wait goes by no date")


def of_token(token: str, name: str = "ann", role: Role = Role.READ) -> AdminTokenSettings:
    return AdminTokenSettings(name=name, sha256=digest_of(token), role=role)


def fail(tokens: Tokens, address: str | None, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(CredentialError):
            tokens.check("wrong", address)


class TestTokens:
    def test_a_token_is_its_owners(self) -> None:
        ann, bob = new_token(), new_token()
        tokens = Tokens([of_token(ann), of_token(bob, "bob", Role.OPERATE)])
        assert tokens.check(ann, ADDRESS).name == "ann"
        assert tokens.check(bob, ADDRESS).role is Role.OPERATE

    @pytest.mark.parametrize(
        "change", [str.upper, lambda token: token[:-1], lambda token: f"{token} ", digest_of]
    )
    def test_only_the_whole_token_is_taken(self, change: Callable[[str], str]) -> None:
        token = new_token()
        tokens = Tokens([of_token(token)])
        with pytest.raises(CredentialError) as caught:
            tokens.check(change(token), ADDRESS)
        assert caught.value.status == 401
        assert token not in str(caught.value)

    @pytest.mark.parametrize("token", ["", "é", "\udcff", "x" * 100_000])
    def test_no_text_is_an_error_of_another_kind(self, token: str) -> None:
        with pytest.raises(CredentialError):
            Tokens([of_token(new_token())]).check(token, ADDRESS)

    def test_without_tokens_nobody_is_let_in(self) -> None:
        assert not Tokens(())
        fail(Tokens(()), ADDRESS)

    def test_tokens_are_long_and_differ(self) -> None:
        made = {new_token() for _ in range(100)}
        assert len(made) == 100
        assert min(map(len, made)) >= 43

    @pytest.mark.parametrize(
        ("role", "needed", "may"),
        [
            (Role.READ, Role.READ, True),
            (Role.READ, Role.OPERATE, False),
            (Role.OPERATE, Role.READ, True),
            (Role.OPERATE, Role.OPERATE, True),
        ],
    )
    def test_who_may_order_may_ask(self, role: Role, needed: Role, may: bool) -> None:
        assert role.may(needed) is may


class TestTries:
    def test_a_network_that_guesses_has_to_wait_also_with_the_right_token(self) -> None:
        token, clock = new_token(), Clock()
        tokens = Tokens([of_token(token)], Tries(clock))
        fail(tokens, ADDRESS, MOST_TRIES)
        with pytest.raises(TooManyTriesError) as caught:
            tokens.check(token, ADDRESS)
        assert caught.value.status == 429
        assert caught.value.wait_seconds == pytest.approx(SECONDS_PER_TRY)
        assert tokens.check(token, "198.51.100.7")
        clock.now += SECONDS_PER_TRY
        assert tokens.check(token, ADDRESS)
        fail(tokens, ADDRESS)
        with pytest.raises(TooManyTriesError):
            tokens.check(token, ADDRESS)

    def test_right_tokens_take_no_try(self) -> None:
        token = new_token()
        tokens = Tokens([of_token(token)], Tries(Clock()))
        for _ in range(3 * MOST_TRIES):
            tokens.check(token, ADDRESS)
        fail(tokens, ADDRESS, MOST_TRIES)

    @pytest.mark.parametrize(
        "others", [("2001:db8::1", "2001:db8::ffff:2"), ("::ffff:203.0.113.9", "203.0.113.9"), (None, "")]
    )
    def test_addresses_of_one_network_share_their_tries(self, others: tuple[str | None, str]) -> None:
        tokens = Tokens([of_token(new_token())], Tries(Clock()))
        fail(tokens, others[0], MOST_TRIES)
        with pytest.raises(TooManyTriesError):
            tokens.check("wrong", others[1])

    def test_tries_outlive_settings_that_are_read_again(self) -> None:
        tries = Tries(Clock())
        fail(Tokens((), tries), ADDRESS, MOST_TRIES)
        with pytest.raises(TooManyTriesError):
            Tokens((), tries).check("wrong", ADDRESS)

    def test_the_networks_that_are_counted_are_bounded(self) -> None:
        tokens = Tokens((), Tries(Clock()))
        fail(tokens, ADDRESS, MOST_TRIES)
        for number in range(MOST_NETWORKS):
            fail(tokens, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        fail(tokens, ADDRESS)
