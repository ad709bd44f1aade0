"""What goes between workers and the process of the analyst, byte by byte.

A frame is its length, in four bytes with the most significant first, and so much msgpack: an array, whose
first element says what the message is.

    worker → process   HELLO, settings as JSON          first, and again when they have changed
                       TRANSCRIPT, number, caller, …    any number of them
    process → worker   WELCOME                          it reads
                       REFUSED, reason                  it does not, and closes
                       OUTCOMES, (number, seen, paid)…  in any order, one for each transcript

Neither side believes the other: a frame is as long as its kind may be, and each field is checked. What does
not pass raises `WireError`, whose message holds nothing of what was sent.
"""

from __future__ import annotations

from operator import attrgetter
from struct import Struct
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]

from guard.analyst.transcript import Outcome, Transcript
from guard.core.limits import Charge
from guard.core.query import Usage
from guard.http.client import LONGEST
from guard.store.port import Reservation

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from guard.analyst.callers import Caller, CallerReader, Callers


HELLO, TRANSCRIPT, WELCOME, REFUSED, OUTCOMES = range(5)

LARGEST_BODY = 8 << 20
LARGEST_ANSWER = 256 << 10
LARGEST_CALLER = 32 << 10
LARGEST_FRAME = LARGEST_BODY + LARGEST_ANSWER + (64 << 10)
"""Maximum size of what a worker sends, in bytes."""
LARGEST_REPLY = 64 << 10
"""Maximum size of what the process sends, in bytes."""

MOST_ITEMS = 2_048
"""Maximum length of an array."""

LARGEST_NUMBER = 2**63 - 1

_LENGTH = Struct(">I")

_COUNTS = (
    *("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens"),
    *("cache_write_tokens", "cache_write_1h_tokens", "hidden_tokens", "answers"),
)
_usage = attrgetter(*_COUNTS, "reported", "final", "model")


class WireError(ValueError):
    """A message that is not one, or that is too large."""


class Frames:
    """Cuts what comes over one connection into messages of at most `largest` bytes."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._begun = bytearray()

    @property
    def begun(self) -> int:
        """How many bytes there are of a frame that is not whole."""
        return len(self._begun)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that are whole now; raises `WireError` as soon as one says that it is too large."""
        begun = self._begun
        begun += data
        whole, start = [], 0
        while len(begun) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(begun, start)
            if length > self._largest:
                raise WireError("a frame is too large")
            end = start + _LENGTH.size + length
            if len(begun) < end:
                break
            whole.append(bytes(memoryview(begun)[start + _LENGTH.size : end]))
            start = end
        del begun[:start]
        return whole


def pack_hello(settings: bytes) -> Sequence[bytes]:
    """The first message of a worker; `settings` are JSON."""
    return _frame((HELLO, settings), LARGEST_FRAME)


def pack_transcript(number: int, transcript: Transcript, callers: Callers) -> Sequence[bytes]:
    """A transcript under its number; raises `WireError` where it is too large or holds what has no place."""
    if len(transcript.body) > LARGEST_BODY or len(transcript.answer) > LARGEST_ANSWER:
        raise WireError("a query or an answer is too large")
    reservation = transcript.reservation
    message = (
        TRANSCRIPT,
        number,
        callers.pack(transcript),
        reservation.id,
        [charge[2:] for charge in reservation.charges],
        transcript.receipts,
        transcript.dialect,
        transcript.path,
        transcript.model,
        _usage(transcript.usage),
        transcript.now_us,
        transcript.body,
        transcript.answer,
        transcript.content_type,
        transcript.codings,
        transcript.client,
        transcript.refused,
    )
    return _frame(message, LARGEST_FRAME)


def pack_welcome() -> Sequence[bytes]:
    """The process reads what this worker hands over."""
    return _frame((WELCOME,), LARGEST_REPLY)


def pack_refused(reason: str) -> Sequence[bytes]:
    """The process does not read what this worker hands over."""
    return _frame((REFUSED, reason), LARGEST_REPLY)


def pack_outcomes(outcomes: Iterable[tuple[int, Outcome]]) -> Sequence[bytes]:
    """What has come of transcripts, `MOST_ITEMS` at most, by their numbers."""
    told = [(number, outcome.seen, outcome.paid) for number, outcome in outcomes]
    return _frame((OUTCOMES, told), LARGEST_REPLY)


def pack(message: tuple[Any, ...]) -> bytes:
    """A message; raises `WireError` where it holds what has no place in one."""
    try:
        packed: bytes = msgpack.packb(message, unicode_errors="surrogatepass")
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"a message holds what has no place in one ({type(error).__name__})") from None
    return packed


def unpack(data: bytes) -> tuple[Any, ...]:
    """A message as the array that it is, whose elements are unchecked; raises `WireError`."""
    try:
        message = msgpack.unpackb(
            data,
            use_list=False,
            unicode_errors="surrogatepass",
            max_array_len=MOST_ITEMS,
            max_map_len=0,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError(f"not msgpack as it is used here ({type(error).__name__})") from None
    return as_row(message)


def unpack_hello(message: tuple[Any, ...]) -> bytes:
    """The settings, as JSON that is unchecked."""
    _, settings = as_row(message, 2)
    return as_bytes(settings, LARGEST_FRAME)


def unpack_transcript(message: tuple[Any, ...], caller_of: CallerReader) -> tuple[int, Transcript]:
    """A transcript and its number. `caller_of` reads what is the same for every request of a caller."""
    _, numbered, packed, request_id, amounts, receipts, *others = as_row(message, 17)
    dialect, path, model, usage, now_us, body, answer, content_type, codings, client, refused = others
    caller: Caller = caller_of(as_bytes(packed, LARGEST_CALLER))
    if len(as_row(amounts)) != len(caller.held):
        raise WireError("another number of charges than of limits")
    charges = tuple(
        Charge(limit, holder, *_amounts(each))
        for (limit, holder), each in zip(caller.held, amounts, strict=True)
    )
    transcript = Transcript(
        reservation=Reservation(as_text(request_id), caller.identity, charges),
        receipts=tuple(as_bytes(each, LARGEST_CALLER) for each in as_row(receipts)),
        suspect=caller.suspect,
        whose=caller.whose,
        dialect=as_text(dialect),
        path=as_text(path),
        model=_name(model),
        usage=_usage_of(usage),
        now_us=as_number(now_us),
        body=as_bytes(body, LARGEST_BODY),
        answer=as_bytes(answer, LARGEST_ANSWER),
        content_type=as_text(content_type),
        codings=tuple(as_text(each) for each in as_row(codings)),
        client=as_bytes(client, LONGEST),
        refused=as_flag(refused),
    )
    return as_number(numbered), transcript


def unpack_refused(message: tuple[Any, ...]) -> str:
    """Why the process does not read."""
    _, reason = as_row(message, 2)
    return as_text(reason)


def unpack_outcomes(message: tuple[Any, ...]) -> list[tuple[int, Outcome]]:
    """What has come of transcripts, by their numbers."""
    _, told = as_row(message, 2)
    outcomes = []
    for each in as_row(told):
        numbered, seen, paid = as_row(each, 3)
        outcome = Outcome(as_flag(seen), None if paid is None else as_number(paid))
        outcomes.append((as_number(numbered), outcome))
    return outcomes


def as_row(value: Any, length: int | None = None) -> tuple[Any, ...]:
    """An array, of this length."""
    if type(value) is not tuple or (length is not None and len(value) != length):
        raise WireError("not an array of the right length")
    return value


def as_text(value: Any) -> str:
    """A text."""
    if not isinstance(value, str):
        raise WireError("not a text")
    return value


def as_bytes(value: Any, longest: int) -> bytes:
    """So many bytes at most."""
    if not isinstance(value, bytes) or len(value) > longest:
        raise WireError("not bytes, or too many")
    return value


def as_number(value: Any) -> int:
    """An integer that is not negative."""
    if type(value) is not int or not 0 <= value <= LARGEST_NUMBER:
        raise WireError("not a number")
    return value


def as_flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise WireError("neither true nor false")
    return value


def _frame(message: tuple[Any, ...], largest: int) -> Sequence[bytes]:
    """A frame in two pieces, since to join them copies megabytes."""
    packed = pack(message)
    if len(packed) > largest:
        raise WireError("a message is too large")
    return _LENGTH.pack(len(packed)), packed


def _amounts(value: Any) -> tuple[int, int, bool, float, float]:
    """What a charge has beside its limit and its holder."""
    amount, spare, enforced, left, told = as_row(value, 5)
    return as_number(amount), as_number(spare), as_flag(enforced), _share(left), _share(told)


def _share(value: Any) -> float:
    if not isinstance(value, float | int) or not 0 <= value <= 1:
        raise WireError("not a share")
    return float(value)


def _usage_of(value: Any) -> Usage:
    *counts, reported, final, model = as_row(value, len(_COUNTS) + 3)
    counted: dict[str, Any] = dict(zip(_COUNTS, map(as_number, counts), strict=True))
    return Usage(**counted, reported=as_flag(reported), final=as_flag(final), model=_name(model))


def _name(value: Any) -> str | None:
    return None if value is None else as_text(value)
