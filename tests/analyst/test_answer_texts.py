"""What an answer says, from its bytes."""

from __future__ import annotations

import gzip
import json
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from counting import calls
from hypothesis import given
from hypothesis import strategies as st

from guard.analyst.answer_texts import AnswerTexts, answer_texts

if TYPE_CHECKING:
    from collections.abc import Callable

SSE, LINES = "text/event-stream", "application/x-ndjson"
WORD = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=8, max_size=14)
STEPS = st.lists(st.text(st.characters(categories=["Ll"]), min_size=1, max_size=6) | st.none(), max_size=6)
CODINGS = st.sampled_from([(), ("gzip",), ("deflate",), ("deflate", "gzip"), ("br",)])
NAMES = st.sampled_from(
    [
        *(
            "choices",
            "candidates",
            "content",
            "parts",
            "message",
            "delta",
            "index",
            "type",
            "object",
            "output",
        ),
        *("response", "data", "args", "arguments", "input", "name", "thought", "text", "audio", "role"),
    ]
)


def _sse(*events: Any, end: str = "\n") -> bytes:
    lines = [f"data: {event if isinstance(event, str) else json.dumps(event)}" for event in events]
    return "".join(line + end * 2 for line in lines).encode()


def _read(*events: Any) -> tuple[str, ...]:
    return answer_texts(_sse(*events), SSE, ()).answers


def _whole(answer: Any) -> tuple[str, ...]:
    return answer_texts(json.dumps(answer).encode(), "application/json", ()).answers


def _chunk(index: int = 0, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": index, "delta": delta, "finish_reason": None}]}


WHOLE: list[tuple[Any, tuple[str, ...]]] = [
    ({"choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes"}}], "usage": {}}, ("Yes",)),
    ({"choices": [{"index": 1, "text": "B"}, {"index": 0, "text": "A"}]}, ("A", "B")),
    ({"choices": [{"message": {"content": "A", "reasoning_content": "T"}}]}, ("A\nT",)),
    ({"choices": [{"message": {"content": "A", "reasoning": "T", "reasoning_content": "T"}}]}, ("A\nT",)),
    ({"choices": [{"message": {"content": "A"}, "logprobs": {"content": [{"token": "A"}]}}]}, ("A",)),
    (
        {"choices": [{"message": {"tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}}]},
        ('f\n{"a": 1}',),
    ),
    (
        {
            "type": "message",
            "content": [
                {"type": "thinking", "thinking": "T", "signature": "Eq=="},
                {"type": "text", "text": "A"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {"city": "Paris"}},
            ],
        },
        ('T\nA\nf\n{"city": "Paris"}',),
    ),
    (
        {
            "candidates": [
                {
                    "content": {
                        "parts": [
                            {"text": "T", "thought": True},
                            {"text": "A"},
                            {"functionCall": {"name": "f", "args": {"x": "y"}}},
                        ]
                    },
                    "safetyRatings": [{"category": "HARM", "probability": "LOW"}],
                },
                {"content": {"parts": [{"text": "B"}]}},
            ]
        },
        ('T\nA\nf\n{"x": "y"}', "B"),
    ),
    (
        {
            "object": "response",
            "instructions": "Be brief.",
            "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "T"}]},
                {"type": "message", "content": [{"type": "output_text", "text": "A"}]},
                {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            ],
        },
        ("T\nA\nf\n{}",),
    ),
    (
        {"model": "m", "message": {"role": "assistant", "content": "A", "thinking": "T"}, "done": True},
        ("A\nT",),
    ),
    ({"model": "m", "response": "A", "context": [1, 2], "done": True}, ("A",)),
    ([{"generated_text": "A"}, {"generated_text": "B"}], ("A", "B")),
    ({"text": ["A", "B"]}, ("A\nB",)),
    ({"result": {"choices": [{"text": "A"}, {"text": "B"}]}}, ("A", "B")),
    ({"answer": {"of": ["A", {"any": "B"}]}}, ("A\nB",)),
    ({"response": {"candidates": [{"content": {"parts": [{"text": "A"}]}}]}}, ("A",)),
    ({"text": "A", "chat_history": [{"role": "USER", "message": "Q"}]}, ("A",)),
    ({"content": "A", "prompt": "Q", "generation_settings": {"grammar": "g"}}, ("A",)),
    ({"data": [{"object": "embedding", "embedding": [0.5, 0.25], "index": 0}]}, ()),
    ({"error": {"message": "no"}}, ()),
    ("A", ("A",)),
]


@pytest.mark.parametrize(("answer", "texts"), WHOLE)
def test_an_answer_in_one_piece(answer: Any, texts: tuple[str, ...]) -> None:
    assert _whole(answer) == texts


def test_deltas_are_joined_by_the_choice_that_they_belong_to() -> None:
    assert _read(
        _chunk(0, role="assistant", content=""),
        _chunk(0, content="Hel"),
        _chunk(1, content="Good"),
        _chunk(0, content="lo"),
        _chunk(1, content="bye"),
        {"choices": [], "usage": {"completion_tokens": 4}},
        "[DONE]",
    ) == ("Hello", "Goodbye")


def test_thoughts_and_calls_are_texts_of_their_own() -> None:
    def call(index: int, **function: str) -> dict[str, Any]:
        return _chunk(tool_calls=[{"index": index, "function": function}])

    assert _read(
        _chunk(reasoning_content="Let me "),
        _chunk(reasoning_content="see."),
        _chunk(content="So"),
        call(0, name="f", arguments=""),
        call(0, arguments='{"a":'),
        call(1, name="g", arguments='{"b":'),
        call(0, arguments=" 1}"),
        call(1, arguments=" 2}"),
    ) == ('Let me see.\nSo\nf\n{"a": 1}\ng\n{"b": 2}',)


def test_a_response_that_ends_with_all_that_it_has_said_is_read_once() -> None:
    place = {"item_id": "i", "output_index": 0, "content_index": 0}
    part = {"type": "output_text", "text": "Hello, world.", "annotations": []}
    item = {"type": "message", "role": "assistant", "content": [part]}
    asked = {"object": "response", "instructions": "Be brief.", "tools": [{"name": "f"}]}

    assert _read(
        {"type": "response.created", "response": {**asked, "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": "Hello, "},
        {"type": "response.output_text.delta", **place, "delta": "world."},
        {"type": "response.output_text.done", **place, "text": "Hello, world."},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {**asked, "output": [item]}},
    ) == ("Hello, world.",)


def test_what_is_said_again_without_its_last_space_is_read_once() -> None:
    assert _read(
        {"type": "response.reasoning_text.delta", "output_index": 0, "delta": "Let me "},
        {"type": "response.reasoning_text.delta", "output_index": 0, "delta": "see. "},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "So the answer is no."},
        {"type": "response.reasoning_text.done", "output_index": 0, "text": "Let me see."},
    ) == ("Let me see. \nSo the answer is no.",)


def test_blocks_of_messages_are_texts_of_their_own() -> None:
    def block(index: int, **fields: Any) -> dict[str, Any]:
        return {"type": "content_block_start", "index": index, "content_block": fields}

    def delta(index: int, **fields: Any) -> dict[str, Any]:
        return {"type": "content_block_delta", "index": index, "delta": fields}

    found = answer_texts(
        _sse(
            {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": []}},
            block(0, type="thinking", thinking=""),
            delta(0, type="thinking_delta", thinking="Let me "),
            delta(0, type="thinking_delta", thinking="see."),
            delta(0, type="signature_delta", signature="EqQBCgIYAhIM"),
            block(1, type="text", text=""),
            delta(1, type="text_delta", text="Hel"),
            delta(1, type="text_delta", text="lo"),
            block(2, type="tool_use", id="t", name="f", input={}),
            delta(2, type="input_json_delta", partial_json='{"city": "Pa'),
            delta(2, type="input_json_delta", partial_json='ris"}'),
            {"type": "message_stop"},
        ),
        SSE,
        (),
    )

    assert found[:2] == (('Let me see.\nHello\nf\n{"city": "Paris"}',), 3)
    assert found.turns == ('Hello\nf\n{"city": "Paris"}',)


def test_gemini_streams_as_events_or_as_one_list() -> None:
    parts = [
        {"candidates": [{"content": {"parts": [{"text": text, "thought": thought}]}, "index": 0}]}
        for text, thought in (("Let me ", True), ("see.", True), ("Hel", False), ("lo", False))
    ]

    assert _read(*parts) == _whole(parts) == ("Let me see.\nHello",)


@pytest.mark.parametrize(("cut", "said"), [(1, "Hello"), (3, "Hello"), (25, "Hel"), (60, "Hel")])
def test_a_list_of_parts_may_be_cut_off(cut: int, said: str) -> None:
    parts = [{"candidates": [{"content": {"parts": [{"text": text}]}}]} for text in ("Hel", "lo")]

    assert answer_texts(json.dumps(parts).encode()[:-cut], "application/json", ()).answers == (said,)


def test_json_that_is_called_events_is_read() -> None:
    data = json.dumps({"choices": [{"text": "Hello"}]}).encode()

    for end in (b"", b"\n\ndata: [DONE]\n\n", b"\n"):
        assert answer_texts(data + end, SSE, ()).answers == ("Hello",)


def test_events_that_are_called_json_are_read() -> None:
    assert answer_texts(_sse(_chunk(content="Hello")), "application/json", ()).answers == ("Hello",)


def test_events_of_plain_text_are_read() -> None:
    assert _read("Hel", "lo", "[DONE]") == ("Hello",)


def test_what_is_of_no_type_that_an_api_has_is_read_all_the_same() -> None:
    event = {"type": "x", "index": [1], "output_index": {}, "choices": {"a": ["Hello"]}, "candidates": "you"}

    assert _read(event) == ("Hello\nyou",)


def test_lines_are_read_one_by_one() -> None:
    lines = [{"message": {"content": text}, "done": False} for text in ("Hel", "lo")]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)

    assert answer_texts(data, "application/x-ndjson", ()).answers == ("Hello",)
    assert answer_texts(data, "", ()).answers == ("Hello",)


def test_a_server_that_sends_all_there_is_so_far_is_read_once() -> None:
    texts = ("The quick brown", "The quick brown fox jumps", "The quick brown fox jumps over it.")

    assert _read(*({"text": text, "meta_info": {"id": "x"}} for text in texts)) == texts[2:]


def test_tokens_and_the_text_that_they_make_are_one_text() -> None:
    tokens = [{"index": place, "token": {"id": place, "text": text}} for place, text in enumerate("abc")]

    assert _read(*tokens, {"index": 3, "token": {"text": "</s>"}, "generated_text": "abc"}) == ("abc</s>",)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_events_end_as_they_may(end: str) -> None:
    data = f": hello{end}{end}".encode() + _sse(_chunk(content="Hel"), _chunk(content="lo"), end=end)
    several = f'event: x{end}data: {{"text":{end}data: "!"}}{end}{end}'.encode()

    assert answer_texts(data + several, SSE, ()).answers == ("Hello\n!",)


def test_of_a_stream_that_is_cut_anywhere_a_beginning_is_read() -> None:
    data = _sse(*(_chunk(content=f' wörd{place} \\ "{place}" 😀') for place in range(6)))
    whole = answer_texts(data, SSE, ()).answers[0]
    sizes = set()

    for end in range(len(data)):
        answers = answer_texts(data[:end], SSE, ()).answers
        assert whole.startswith("".join(answers))
        sizes.add(len("".join(answers)))

    assert len(sizes) > len(whole) // 2


def test_of_an_answer_that_is_cut_anywhere_a_beginning_is_read() -> None:
    said = 'A "quoted" \\ 😀\nword é ' * 3
    data = json.dumps(
        {"choices": [{"index": 0, "message": {"content": said}}], "n": [1, {"a": None}]}
    ).encode()

    for end in range(len(data)):
        assert said.startswith("".join(answer_texts(data[:end], "application/json", ()).answers))
    assert answer_texts(data[: len(data) - 20], "application/json", ()).answers == (said,)


@pytest.mark.parametrize(
    ("codings", "data"),
    [
        (("gzip",), gzip.compress(_sse(_chunk(content="Hello")))),
        (("deflate",), zlib.compress(_sse(_chunk(content="Hello")))),
        (("deflate", "gzip"), gzip.compress(zlib.compress(_sse(_chunk(content="Hello"))))),
        (("gzip",), gzip.compress(_sse(_chunk(content="Hello")))[:-4]),
    ],
)
def test_what_is_encoded_is_decoded(codings: tuple[str, ...], data: bytes) -> None:
    assert answer_texts(data, SSE, codings).answers == ("Hello",)


def test_what_cannot_be_read_says_nothing() -> None:
    nothing = AnswerTexts((), 0)

    assert answer_texts(b"", "", ()) == nothing
    assert answer_texts(_sse(_chunk(content="Hello")), SSE, ("br",)) == nothing
    assert answer_texts(b"\x1f\x8b no gzip", SSE, ("gzip",)) == nothing
    assert answer_texts(b"\x00\x01\x02", "application/octet-stream", ()) == nothing


def test_a_bomb_is_decoded_no_further_than_an_answer_may_be_long() -> None:
    bomb = gzip.compress(json.dumps({"text": "word " * 4_000_000}).encode())

    assert len(answer_texts(bomb, "application/json", ("gzip",)).answers[0]) < 1_200_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=8), inner, max_size=4)
    ),
)


@given(st.lists(JSON, max_size=4), st.sampled_from([SSE, LINES, "application/json", "", "text/plain"]))
def test_no_answer_raises(values: list[Any], content_type: str) -> None:
    data = _sse(*values) if content_type == SSE else "\n".join(map(json.dumps, values)).encode()

    for answer in answer_texts(data, content_type, ()).answers:
        assert answer


@given(st.binary(max_size=200), st.sampled_from([SSE, LINES, "application/json", "", "image/png"]), CODINGS)
def test_no_bytes_raise(data: bytes, content_type: str, codings: tuple[str, ...]) -> None:
    for start in (b"", b"data: ", b'{"a":', b"[", b'"'):
        answer_texts(start + data, content_type, codings)


@given(WORD, STEPS)
def test_a_text_is_found_at_any_place_that_no_api_knows(text: str, steps: list[str | None]) -> None:
    value: Any = text
    for step in steps:
        value = [value] if step is None else {f"x{step}": value}

    assert _whole({"xanswer": value}) == (text,)
    assert _read({"xanswer": value}, {"xanswer": value}) == (text + text,)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.text(min_size=1, max_size=12)), min_size=1, max_size=12),
    st.integers(0, 4_000),
)
def test_a_stream_of_several_answers_may_end_anywhere(pieces: list[tuple[int, str]], end: int) -> None:
    pieces = [(index, f"{place}:{text}") for place, (index, text) in enumerate(pieces)]
    said = ["".join(text for each, text in pieces if each == index) for index in range(3)]

    answers = answer_texts(
        _sse(*(_chunk(index, content=text) for index, text in pieces))[:end], SSE, ()
    ).answers

    begun = [text for text in said if text]
    assert len(answers) <= len(begun)
    for answer in answers:
        assert any(text.startswith(answer) for text in begun)


@pytest.mark.parametrize(
    "grown",
    [
        lambda size: _sse(*[_chunk(content="a")] * size),
        lambda size: _sse(*[_chunk(content="a")] * size)[:-20],
        lambda size: b'data: {"a"\n\n' * size,
        lambda size: json.dumps([[]] * size).encode()[:-1],
        lambda size: json.dumps({"a": [{"b": "c"}] * size}).encode()[:-3],
        lambda size: json.dumps([{"candidates": [{"content": {"parts": [{"text": "a"}]}}]}] * size).encode(),
        lambda size: b'{"a": "b"}' * size,
        lambda size: json.dumps({f"x{place}": f"y{place}" for place in range(size)}).encode(),
    ],
)
def test_the_work_grows_as_the_answer_does(grown: Callable[[int], bytes]) -> None:
    small, large = (
        calls(partial(answer_texts, data, SSE if data.startswith(b"data") else "", ()))
        for data in map(grown, (500, 4_000))
    )

    assert large <= 10 * small


def test_an_answer_nested_deeper_than_python_calls_says_nothing() -> None:
    for deep in (b"[" * 5_000, b'{"a":' * 5_000, b"[" * 900 + b'"a"' + b"]" * 900):
        answer_texts(deep, "", ())


@pytest.mark.parametrize(
    "text", ["[Music] Hello", "[1] says so", "{hello}", '"A" is first', "[ok]", '{"a": tru}', "12 apples"]
)
def test_text_that_begins_like_json_is_text(text: str) -> None:
    assert answer_texts(text.encode(), "text/plain", ()).answers == (text,)
    assert _read(text, "!") == (f"{text}!",)


def test_plain_text_is_an_answer() -> None:
    assert answer_texts("Hel\u00f6".encode(), "text/plain; charset=utf-8", ()).answers == ("Helö",)


def test_images_and_sound_are_counted_by_their_size() -> None:
    sound = {"choices": [{"message": {"audio": {"data": "QUJD" * 256, "transcript": "Hello"}}}]}

    assert answer_texts(json.dumps(sound).encode(), "application/json", ())[:2] == (("Hello",), 4)
    assert answer_texts(bytes(768), "audio/mpeg", ()) == AnswerTexts((), 4)
