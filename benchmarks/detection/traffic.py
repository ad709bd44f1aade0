"""What the simulator makes: actors, and the lines that they leave in a traffic log."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Json = dict[str, Any]
Kind = Literal["benign", "attack"]


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is asked of the model and what it answers, in no API's words.

    `turns` are pairs of a role (`user`, `assistant`, `call`, `tool`) and a text. `output_tokens` is `None`
    where it follows from the answer. `label` is the truth about this one query: who hides an attack in other
    traffic sends both kinds.
    """

    turns: Sequence[tuple[str, str]]
    answer: str
    system: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    n: int | None = None
    top_logprobs: int | None = None
    logit_bias: Mapping[str, int] | None = None
    seed: int | None = None
    stream: bool = False
    tools: Sequence[Json] = ()
    end_user: str | None = None
    output_tokens: int | None = None
    label: Kind = "benign"


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a traffic log, with its answer. `ts` is in Unix seconds."""

    ts: float
    path: str
    headers: Mapping[str, str]
    client: tuple[str, int]
    attributes: Mapping[str, str]
    body: Json
    response: Json
    label: Kind


@dataclass(frozen=True, slots=True)
class Actor:
    """One who calls the API with one key.

    `variety` names what it does, `kind` whether that is an attack. `declared` is the use that an honest owner
    would have told the operator of, `None` where nobody tells. `lines` are in time order and can be gone
    through again; each time they are the same. `key` is the credential in all of them, `campaign` the name of
    the campaign that it belongs to.
    """

    name: str
    kind: Kind
    variety: str
    declared: str | None
    lines: Iterable[Line] = field(repr=False)
    key: str = ""
    campaign: str | None = None


@dataclass(frozen=True, slots=True)
class Campaign:
    """Accounts that belong together, for better or worse."""

    name: str
    kind: Kind
    variety: str
    actors: tuple[Actor, ...]
