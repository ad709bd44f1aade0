"""The ids, signatures and sealed contents in an answer or a request, in the JSON of whatever API.

Whoever goes on with a conversation sends them back as they came, and whoever edits them loses the call that
they belong to. A string counts by its name alone, wherever it stands, but in what is the caller's or the
model's own: arguments, schemas, results of functions.

    chat completions   tool_calls[].id, tool_call_id, reasoning_details[].data
    Responses          call_id, id of items and of the response, previous_response_id, encrypted_content
    Anthropic          tool_use.id, tool_use_id, signature, redacted_thinking.data, encrypted_content
    Gemini             functionCall.id, thoughtSignature

Only what cannot come twice by chance says whose it is: `LEAST_BITS` random bits at least. An id has at most
as many as its pieces of letters and digits have in their alphabet, where a piece without digits may be a
word, and one without letters a number that counts.

    call_1, functions.weather:0                 nothing is random
    call_k3v9x2qa                               8 signs out of 36: 41 bits, too few
    toolu_01A09q90qw90lq917835lq9               24 signs out of 62: 142
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from guard.dialects.pieces import SEALS, hides

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_BITS = 64

_LONG_ENOUGH = 256
"""So many characters of an id tell whether it is random."""

_PIECE = re.compile(r"[A-Za-z0-9]+")
_HEX, _ONE_CASE, _ALPHANUMERIC = 4.0, 5.17, 5.95

_IDS = frozenset(
    {
        *("id", "call_id", "callId", "tool_call_id", "toolCallId", "tool_use_id", "toolUseId"),
        *("previous_response_id", "previousResponseId"),
    }
)
_OWN = frozenset(
    {
        *("input", "args", "arguments", "parameters", "properties", "schema", "input_schema", "json_schema"),
        *("tools", "functions", "functionResponse", "function_response", "response_format", "metadata"),
        *("embedding", "embeddings", "logprobs", "usage", "source", "inlineData", "inline_data"),
    }
)
"""What stands under these is not the server's, but for a list of items of the Responses API (`input`)."""

_RESULTS = frozenset({"functionResponse", "function_response"})
_NESTED = frozenset({dict, list})


def ids_in(value: Any) -> Iterator[str]:
    """The ids and seals in a body, the last first, some of them twice. Those that are not random are left
    out."""
    left = [value]
    while left:
        each = left.pop()
        if type(each) is list:
            left += [item for item in each if type(item) in _NESTED]
            continue
        if type(each) is not dict:
            continue
        # Who asks for a completion is told its id, and never sends that back.
        completes = "choices" in each
        for name, inside in each.items():
            kind = type(inside)
            if kind is str:
                if name in _IDS:
                    if completes and name == "id":
                        continue
                elif name not in SEALS and not (name == "data" and hides(each)):
                    continue
                if is_random(inside):
                    yield inside
            elif kind in _NESTED:
                if name not in _OWN or (name == "input" and kind is list):
                    left.append(inside)
                elif name in _RESULTS and kind is dict:
                    left.append({"id": inside.get("id")})


def is_random(text: str) -> bool:
    """Whether a string may have so many random bits that it comes but once."""
    bits = 0.0
    for piece in _PIECE.findall(text[:_LONG_ENOUGH]):
        if piece.isalpha() or piece.isdecimal():
            continue
        if piece.islower() or piece.isupper():
            alphabet = _HEX if _is_hex(piece) else _ONE_CASE
        else:
            alphabet = _ALPHANUMERIC
        bits += alphabet * len(piece)
        if bits >= LEAST_BITS:
            return True
    return False


def _is_hex(piece: str) -> bool:
    return not piece.lower().strip("0123456789abcdef")
