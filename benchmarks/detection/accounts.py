"""Whom an actor is for the gateway: a key, an address, a client, a model. All of it is made up.

Attackers' programs use the same libraries, clouds and models as everybody's programs do: no fact of the
connection gives one away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from benchmarks.detection.wire import Api

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random


class Caller(StrEnum):
    """What kind of client it is that calls."""

    PERSON = "person"
    PROGRAM = "program"


_AGENTS: Mapping[Caller, tuple[str, ...]] = {
    Caller.PERSON: (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/142.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/18.5 Safari/605.1.15",
        "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148",
        "OpenAI/JS 6.2.0",
        "node",
        "ChatClient/2.14 (desktop)",
    ),
    Caller.PROGRAM: (
        "OpenAI/Python 3.54.0",
        "AsyncOpenAI/Python 3.54.0",
        "AsyncOpenAI/Python 2.9.0",
        "OpenAI/JS 6.2.0",
        "python-requests/2.32.5",
        "python-httpx/0.28.1",
        "Python/3.12 aiohttp/3.13.2",
        "Go-http-client/2.0",
        "okhttp/5.1.0",
        "axios/1.12.2",
    ),
}
_ORIGINS: Mapping[Caller, tuple[tuple[str, int], ...]] = {
    Caller.PERSON: (
        ("AS3320", 84),
        ("AS7922", 73),
        ("AS3215", 90),
        ("AS4134", 117),
        ("AS2856", 86),
        ("AS4713", 153),
    ),
    Caller.PROGRAM: (
        ("AS16509", 52),
        ("AS15169", 34),
        ("AS8075", 20),
        ("AS24940", 88),
        ("AS14061", 167),
        ("AS3320", 84),
    ),
}
_MODELS: Mapping[Api, tuple[str, ...]] = {
    Api.OPENAI: ("gpt-large", "gpt-small", "llama-70b", "qwen-72b"),
    Api.ANTHROPIC: ("claude-large", "claude-small"),
    Api.GEMINI: ("gemini-large", "gemini-small"),
    Api.OLLAMA: ("llama-8b", "mistral-7b"),
}
_CARDS = ("visa", "mastercard", "amex", "sepa", "invoice", "prepaid")


@dataclass(frozen=True, slots=True)
class Account:
    """One key and all that its requests have in common."""

    key: str
    api: Api
    model: str
    headers: Mapping[str, str]
    client: tuple[str, int]
    attributes: Mapping[str, str]
    zone_hours: int
    """The owner's distance from UTC."""


@dataclass(frozen=True, slots=True)
class Ties:
    """What accounts share. A number is of accounts that share one; 0 is all of them, `None` none.

    `payment` is the means of payment, `network` a /24, `org` the organisation, `client` the program (its user
    agent, its API and its model).
    """

    payment: int | None = None
    network: int | None = None
    org: bool = False
    client: bool = False


def tied(rng: Random, accounts: Sequence[Account], ties: Ties) -> Sequence[Account]:
    """The accounts with what they share taken from the first of those that share it."""
    return [_joined(rng, account, place, accounts, ties) for place, account in enumerate(accounts)]


def open_account(rng: Random, caller: Caller, *, only_openai: bool = False) -> Account:
    """An account of a new customer. `only_openai` is for what only that API can express."""
    api = Api.OPENAI if only_openai or rng.random() < 0.8 else rng.choice(list(Api))
    key = f"sk-{rng.getrandbits(128):032x}"
    asn, first = rng.choice(_ORIGINS[caller])
    address = f"{first}.{rng.randrange(1, 255)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    headers = {
        "host": "api.example.com",
        "authorization": f"Bearer {key}",
        "content-type": "application/json",
        "user-agent": rng.choice(_AGENTS[caller]),
    }
    return Account(
        key,
        api,
        rng.choice(_MODELS[api]),
        headers,
        (address, rng.randrange(1024, 65536)),
        {
            "org": f"org-{rng.getrandbits(40):010x}",
            "payment": f"{rng.choice(_CARDS)}-{rng.getrandbits(32):08x}",
            "asn": asn,
        },
        rng.randrange(-8, 10),
    )


def _joined(rng: Random, account: Account, place: int, accounts: Sequence[Account], ties: Ties) -> Account:
    first = accounts[0]
    attributes = dict(account.attributes)
    if ties.org:
        attributes["org"] = first.attributes["org"]
    if ties.payment is not None:
        attributes["payment"] = accounts[_leader(place, ties.payment)].attributes["payment"]
    client = account.client
    if ties.network is not None:
        leader = accounts[_leader(place, ties.network)]
        network = leader.client[0].rpartition(".")[0]
        client = (f"{network}.{rng.randrange(1, 255)}", client[1])
        attributes["asn"] = leader.attributes["asn"]
    joined = replace(account, client=client, attributes=attributes)
    if not ties.client:
        return joined
    headers = {**account.headers, "user-agent": first.headers["user-agent"]}
    return replace(joined, api=first.api, model=first.model, headers=headers)


def _leader(place: int, size: int) -> int:
    return place - place % size if size else 0
