"""What each API's answers show where reasoning or logprobs are hidden, in one piece and in any chunking."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from passing import EVENTS, JSON, LINES, pass_through

from guard.core.query import Query, Usage
from guard.core.reshape import UNCHANGED, Reasoning, Reshape
from guard.dialects import DIALECTS
from guard.dialects.hiding.tags import Untagged, untagged
from guard.dialects.streamed import LARGEST_HELD
from guard.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.dialects.base import Meter

QUERY = Query("m", (), stream=True, max_output_tokens=9, n=1, input_bytes=44, other_tokens=0)
NO_REASONING = Reshape(reasoning=Reasoning.HIDDEN)
NO_LOGPROBS = Reshape(logprobs=False)
ARRAY = "application/json; charset=UTF-8"

Fields = dict[str, Any]


def meter(name: str, content_type: str, reshape: Reshape, *, hide_usage: bool = False) -> Meter:
    return DIALECTS[name].meter(QUERY, content_type, hide_usage=hide_usage, reshape=reshape)


def whole(name: str, answer: Fields, reshape: Reshape = NO_REASONING) -> Fields:
    out, _ = pass_through(meter(name, JSON, reshape), json.dumps(answer).encode(), [7])
    shown: Fields = json.loads(out)
    return shown


def events(values: Iterable[Fields], *, named: bool = False) -> bytes:
    names = (f"event: {value['type']}\n" if named else "" for value in values)
    return "".join(
        f"{name}data: {json.dumps(value)}\n\n" for name, value in zip(names, values, strict=True)
    ).encode()


def lines(values: Iterable[Fields]) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def array(values: Iterable[Fields]) -> bytes:
    return b"[" + b"\n,\r\n".join(json.dumps(value).encode() for value in values) + b"\n]"


def stream(name: str, values: list[Fields], reshape: Reshape = NO_REASONING) -> list[Fields]:
    """What is shown of a stream of these, which is the same wherever it is cut."""
    named = name in ("openai.responses", "anthropic.messages")
    body = lines(values) if name.startswith("ollama") else events(values, named=named)
    content_type = LINES if name.startswith("ollama") else EVENTS
    shown, usage = pass_through(meter(name, content_type, reshape), body)
    plain = pass_through(meter(name, content_type, UNCHANGED), body)
    assert plain == (body, usage)
    for cut in range(len(body)):
        assert pass_through(meter(name, content_type, reshape), body, [cut]) == (shown, usage)
    assert pass_through(meter(name, content_type, reshape), body, range(len(body))) == (shown, usage)
    found = [json.loads(line.removeprefix(b"data: ")) for line in shown.split(b"\n") if b"{" in line]
    if named:
        said = [line.removeprefix(b"event: ").decode() for line in shown.split(b"\n") if line[:5] == b"event"]
        assert said == [value["type"] for value in found]
    return found


TEXTS = [
    ("", ""),
    ("plain", "plain"),
    ("<think>a</think>b", "b"),
    ("<think>\na\n</think>\n\nb", "b"),
    ("<THINK>a</Think>b", "b"),
    ("<thinking>a</thinking> b <reasoning>c</reasoning>\nd", "b d"),
    ("<thought>a</thought>b<thoughts>c</thoughts>", "b"),
    ("[THINK]a[/THINK]b", "b"),
    ("\u25c1think\u25b7a\u25c1/think\u25b7b", "b"),
    ("<seed:think>a</seed:think>b", "b"),
    ("<|channel|>analysis<|message|>a<|end|>b", "b"),
    ("<think>a", ""),
    ("b<think>a</thinking>c", "b"),
    ("<think>a<think>c</think>b", "b"),
    ("<think></think>b", "b"),
    ("1 < 2 <thin <threat> <", "1 < 2 <thin <threat> <"),
    ("b <thin", "b <thin"),
    ("rea\u017foning <rea\u017foning>", "rea\u017foning <rea\u017foning>"),
]


class TestTags:
    @pytest.mark.parametrize(("text", "shown"), TEXTS)
    def test_what_stands_between_them_is_not_shown(self, text: str, shown: str) -> None:
        assert untagged(text) == shown

    @pytest.mark.parametrize(
        ("text", "shown"),
        [("a</think>\n\nb", "b"), ("a</think>b</think>c", "c"), ("a</think>b<think>c</think>d", "bd")],
    )
    def test_one_that_only_closes_hides_all_before_it(self, text: str, shown: str) -> None:
        assert untagged(text) == shown

    @given(
        pieces=st.lists(
            st.sampled_from(
                ["<think>", "</think>", "<thinking>", "<th", "ink>", "</", " ", "\n", "a", "[THINK]", "İ"]
            )
        ),
        cuts=st.lists(st.integers(0, 60)),
    )
    def test_where_a_text_is_cut_does_not_matter(self, pieces: list[str], cuts: list[int]) -> None:
        text = "".join(pieces)
        places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
        cut, one = Untagged(), Untagged()
        shown = [cut.feed(text[start:end]) for start, end in pairwise(places)]
        assert "".join(shown) + cut.finish() == one.feed(text) + one.finish()

    def test_only_what_may_be_a_tag_is_held_back(self) -> None:
        text = Untagged()
        assert [text.feed(piece) for piece in ("a <", "b", " <thi", "s", "<", "<")] == [
            "a ",
            "<b",
            " ",
            "<this",
            "",
            "<",
        ]
        assert text.finish() == "<"

    def test_many_tags_take_no_longer_than_as_many_letters(self) -> None:
        assert untagged("<think></think>" * 100_000) == ""


LOGPROBS = {"content": [{"token": "SECRET", "logprob": -1.0}]}


def chat(message: Fields, **fields: Any) -> Fields:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop", **fields}
    return {"id": "c", "choices": [choice], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}


def delta(said: Fields | None, index: int = 0, **fields: Any) -> Fields:
    return {"id": "c", "choices": [{"index": index, "delta": said, "finish_reason": None, **fields}]}


class TestChat:
    @pytest.mark.parametrize(
        ("message", "shown"),
        [
            ({"content": "b"}, {"content": "b"}),
            ({"content": "b", "reasoning_content": "SECRET"}, {"content": "b"}),
            (
                {"content": "b", "reasoning": "SECRET", "reasoning_details": [{"text": "SECRET"}]},
                {"content": "b"},
            ),
            (
                {"content": None, "thinking_blocks": [{"thinking": "SECRET"}], "tool_calls": [{"id": "t"}]},
                {"content": None, "tool_calls": [{"id": "t"}]},
            ),
            (
                {
                    "content": "b",
                    "provider_specific_fields": {"thinking_blocks": ["SECRET"], "citations": []},
                },
                {"content": "b", "provider_specific_fields": {"citations": []}},
            ),
            ({"content": "<think>SECRET</think>\n\nb"}, {"content": "b"}),
            ({"content": "SECRET</think>b"}, {"content": "b"}),
            (
                {"content": [{"type": "thinking", "thinking": ["SECRET"]}, {"type": "text", "text": "b"}]},
                {"content": [{"type": "text", "text": "b"}]},
            ),
        ],
    )
    def test_reasoning_in_an_answer(self, message: Fields, shown: Fields) -> None:
        assert whole("openai.chat", chat(message)) == chat(shown)

    def test_logprobs_in_an_answer(self) -> None:
        answer = {**chat({"content": "b", "reasoning": "r"}, logprobs=LOGPROBS), "prompt_logprobs": [1]}
        assert whole("openai.chat", answer, NO_LOGPROBS) == chat(
            {"content": "b", "reasoning": "r"}, logprobs=None
        )

    def test_hidden_reasoning_is_not_spelled_out_by_logprobs_or_token_ids(self) -> None:
        answer = chat({"content": "b"}, logprobs=LOGPROBS, token_ids=[1, 2])
        assert whole("openai.chat", answer) == chat({"content": "b"}, logprobs=None)

    def test_a_stream_of_several_answers(self) -> None:
        usage = {"id": "c", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 70}}
        parts = [
            (delta({"role": "assistant", "content": ""}), delta({"role": "assistant", "content": ""})),
            (delta({"reasoning_content": "SECRET"}, logprobs=LOGPROBS), delta({}, logprobs=None)),
            (delta({"content": "a <th"}), delta({"content": "a "})),
            (delta({"content": "c <thi"}, 1), delta({"content": "c "}, 1)),
            (delta({"content": "ink>SECRET</think"}), delta({"content": ""})),
            (delta({"content": "s"}, 1), delta({"content": "<this"}, 1)),
            (delta({"content": "SECRET</think>\n"}), delta({"content": ""})),
            (delta({"content": "\nb <"}), delta({"content": "b "})),
            (delta({"content": " d<think"}, 1), delta({"content": " d"}, 1)),
            (delta(None, finish_reason="stop"), delta({"content": "<"}, finish_reason="stop")),
            (
                delta({"content": ">SECRET"}, 1, finish_reason="length"),
                delta({"content": ""}, 1, finish_reason="length"),
            ),
            (usage, usage),
        ]
        assert stream("openai.chat", [sent for sent, _ in parts]) == [shown for _, shown in parts]

    def test_a_message_that_comes_with_each_delta(self) -> None:
        said = {"content": "<think>SECRET"}
        assert stream("openai.chat", [delta(said, message=said)]) == [
            delta({"content": ""}, message={"content": ""})
        ]

    def test_chunks_that_show_all_pass_byte_for_byte(self) -> None:
        body = b': hello\r\n\r\ndata:{"choices" : [{"delta":{"content":"b"}}]}\r\n\r\ndata: [DONE]\n\n'
        for reshape in (NO_REASONING, NO_LOGPROBS):
            assert pass_through(meter("openai.chat", EVENTS, reshape), body, range(len(body)))[0] == body

    def test_usage_that_nobody_asked_for_is_hidden_as_well(self) -> None:
        usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}
        watching = meter("openai.chat", EVENTS, NO_REASONING, hide_usage=True)
        out, used = pass_through(watching, events([delta({"reasoning": "SECRET"}), usage]), [9])
        assert out == b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":null}]}\n\n'
        assert used == Usage(5, 7)

    def test_hidden_tokens_are_counted_where_nothing_is_reported(self) -> None:
        body = events([delta({"reasoning": "x" * 400}), delta({"content": "b"})])
        assert pass_through(meter("openai.chat", EVENTS, NO_REASONING), body)[1] == Usage(11, 101)


class TestCompletions:
    def test_in_an_answer(self) -> None:
        answer = {
            "choices": [
                {"index": 0, "text": "<think>SECRET</think>b", "logprobs": {"tokens": ["SECRET"]}},
                {"index": 1, "text": "c", "reasoning": "SECRET", "prompt_logprobs": [1], "token_ids": [2]},
            ]
        }
        shown = {"choices": [{"index": 0, "text": "b", "logprobs": None}, {"index": 1, "text": "c"}]}
        assert whole("openai.completions", answer) == shown
        kept = {"choices": [{**answer["choices"][0], "logprobs": None}]}
        assert whole("openai.completions", {"choices": answer["choices"][:1]}, NO_LOGPROBS) == kept

    def test_in_a_stream(self) -> None:
        def piece(text: str, **fields: Any) -> Fields:
            return {"choices": [{"index": 0, "text": text, **fields}]}

        sent = [
            piece("a<thi", logprobs={"tokens": ["SECRET"]}, finish_reason=None),
            piece("nk>SECRET</think>", finish_reason=None),
            piece(" b<", finish_reason="stop"),
        ]
        assert stream("openai.completions", sent) == [
            piece("a", logprobs=None, finish_reason=None),
            piece("", finish_reason=None),
            piece("b<", finish_reason="stop"),
        ]


THOUGHT = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "SECRET"}],
    "content": [{"type": "reasoning_text", "text": "SECRET"}],
    "encrypted_content": "SECRET",
}
THOUGHT_SHOWN: Fields = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": None}


def message(text: str, logprobs: list[Fields]) -> Fields:
    content = {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": [content]}


class TestResponses:
    def test_an_item_of_reasoning_stays_without_what_it_says(self) -> None:
        sent = {"output": [THOUGHT, message("<think>SECRET</think>b", [{"token": "SECRET"}])]}
        assert whole("openai.responses", sent) == {"output": [THOUGHT_SHOWN, message("b", [])]}

    def test_logprobs_alone(self) -> None:
        sent = {"output": [THOUGHT, message("<think>b", [{"token": "b"}])]}
        assert whole("openai.responses", sent, NO_LOGPROBS) == {"output": [THOUGHT, message("<think>b", [])]}

    def test_an_item_without_content_is_not_touched(self) -> None:
        body = b'{"output": [{"type":"reasoning", "id":"rs_1","summary":[]}]}'
        assert pass_through(meter("openai.responses", JSON, NO_REASONING), body)[0] == body

    def test_a_stream(self) -> None:
        at = {"item_id": "rs_1", "output_index": 0}
        said = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
        added, done = "response.output_item.added", "response.output_item.done"
        thought = {"type": "reasoning_text", "text": "SECRET"}
        part = {"type": "output_text", "text": "", "annotations": []}
        text = "<think>SECRET</think> b <thi"
        final = {"status": "completed", "usage": {"input_tokens": 5, "output_tokens": 7}}
        parts: list[tuple[Fields, list[Fields]]] = [
            *(
                ({"type": kind, "response": {"output": []}}, [{"type": kind, "response": {"output": []}}])
                for kind in ("response.created", "response.in_progress")
            ),
            (
                {"type": added, "output_index": 0, "item": THOUGHT},
                [{"type": added, "output_index": 0, "item": THOUGHT_SHOWN}],
            ),
            ({"type": "response.content_part.added", **at, "part": thought}, []),
            ({"type": "response.reasoning_summary_part.added", **at, "part": thought}, []),
            ({"type": "response.reasoning_summary_text.delta", **at, "delta": "SECRET"}, []),
            ({"type": "response.reasoning_text.delta", **at, "delta": "SECRET"}, []),
            ({"type": "response.reasoning_text.done", **at, "text": "SECRET"}, []),
            (
                {"type": done, "output_index": 0, "item": THOUGHT},
                [{"type": done, "output_index": 0, "item": THOUGHT_SHOWN}],
            ),
            (
                {"type": "response.content_part.added", **said, "part": part},
                [{"type": "response.content_part.added", **said, "part": part}],
            ),
            *(
                (
                    {
                        "type": "response.output_text.delta",
                        **said,
                        "delta": sent,
                        "logprobs": [{"token": sent}],
                    },
                    [{"type": "response.output_text.delta", **said, "delta": shown, "logprobs": []}],
                )
                for sent, shown in (("<think>SECRET</thi", ""), ("nk> b <thi", "b "))
            ),
            (
                {"type": "response.output_text.done", **said, "text": text, "logprobs": [{"token": "x"}]},
                [
                    {"type": "response.output_text.delta", **said, "delta": "<thi", "logprobs": []},
                    {"type": "response.output_text.done", **said, "text": "b <thi", "logprobs": []},
                ],
            ),
            (
                {"type": "response.content_part.done", **said, "part": {**part, "text": text}},
                [{"type": "response.content_part.done", **said, "part": {**part, "text": "b <thi"}}],
            ),
            (
                {"type": "response.completed", "response": {**final, "output": [THOUGHT, message(text, [])]}},
                [
                    {
                        "type": "response.completed",
                        "response": {**final, "output": [THOUGHT_SHOWN, message("b <thi", [])]},
                    }
                ],
            ),
        ]
        shown = [event for _, events in parts for event in events]
        assert stream("openai.responses", [sent for sent, _ in parts]) == shown


def block(place: int, opening: Fields, *deltas: Fields) -> list[Fields]:
    return [
        {"type": "content_block_start", "index": place, "content_block": opening},
        *({"type": "content_block_delta", "index": place, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": place},
    ]


class TestAnthropic:
    def test_thinking_is_left_out_of_an_answer(self) -> None:
        content = [
            {"type": "thinking", "thinking": "SECRET", "signature": "SECRET"},
            {"type": "redacted_thinking", "data": "SECRET"},
            {"type": "text", "text": "<thinking>SECRET</thinking>b"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {}},
        ]
        shown = [{"type": "text", "text": "b"}, content[3]]
        assert whole("anthropic.messages", {"content": content}) == {"content": shown}
        assert whole("anthropic.messages", {"content": content}, NO_LOGPROBS) == {"content": content}

    def test_blocks_of_a_stream_move_up(self) -> None:
        start: Fields = {"type": "message_start", "message": {"content": [], "usage": {"input_tokens": 5}}}
        end: list[Fields] = [
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 99}},
            {"type": "message_stop"},
        ]

        def say(text: str) -> Fields:
            return {"type": "text_delta", "text": text}

        thinking = [
            {"type": "thinking_delta", "thinking": "SECRET"},
            {"type": "signature_delta", "signature": "SECRET"},
        ]
        opening = {"type": "text", "text": ""}
        call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
        arguments = {"type": "input_json_delta", "partial_json": "{}"}
        sent = [
            start,
            *block(0, {"type": "thinking", "thinking": "", "signature": ""}, *thinking),
            {"type": "ping"},
            *block(1, {"type": "redacted_thinking", "data": "SECRET"}),
            *block(2, opening, say("a <think>SECRET"), say("SECRET</th"), say("ink> b"), say(" <thi")),
            *block(3, {"type": "thinking", "thinking": ""}, *thinking),
            *block(4, call, arguments),
            *end,
        ]
        assert stream("anthropic.messages", sent) == [
            start,
            {"type": "ping"},
            *block(0, opening, say("a "), say(""), say("b"), say(" "), say("<thi")),
            *block(1, call, arguments),
            *end,
        ]

    def test_what_belongs_to_no_block_is_not_shown(self) -> None:
        stray = {"type": "content_block_delta", "index": 7, "delta": {"type": "text_delta", "text": "b"}}
        assert stream("anthropic.messages", [stray, {"type": "ping"}]) == [{"type": "ping"}]

    def test_hidden_tokens_are_counted_where_nothing_is_reported(self) -> None:
        thinking = block(
            0, {"type": "thinking", "thinking": ""}, {"type": "thinking_delta", "thinking": "x" * 400}
        )
        body = events(thinking, named=True)
        assert pass_through(meter("anthropic.messages", EVENTS, NO_REASONING), body) == (b"", Usage(11, 100))


def candidate(*parts: Fields, **fields: Any) -> Fields:
    content = {"role": "model", "parts": list(parts)} if parts else {"role": "model"}
    return {"candidates": [{"content": content, "index": 0, **fields}], "responseId": "r"}


THOUGHT_PART: Fields = {"text": "SECRET", "thought": True, "thoughtSignature": "SECRET"}
CALL_PART: Fields = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "needed"}

SENT: list[Fields] = [
    candidate(THOUGHT_PART),
    candidate({"text": "a<think>SECRET"}),
    candidate({"text": "</think> b<"}, {"text": "", "thoughtSignature": "SECRET"}),
    candidate(THOUGHT_PART, finishReason="STOP"),
]
SHOWN: list[Fields] = [
    candidate({"text": "a"}),
    candidate({"text": "b"}, {"text": ""}),
    candidate({"text": "<"}, finishReason="STOP"),
]


class TestGemini:
    def test_in_an_answer(self) -> None:
        sent = candidate(THOUGHT_PART, {"text": "b", "thoughtSignature": "SECRET"}, CALL_PART, avgLogprobs=-1)
        assert whole("gemini.generate", sent) == candidate({"text": "b"}, CALL_PART)

    def test_logprobs_alone(self) -> None:
        sent = candidate(THOUGHT_PART, logprobsResult={"chosenCandidates": []}, avgLogprobs=-1)
        assert whole("gemini.generate", sent, NO_LOGPROBS) == candidate(THOUGHT_PART)

    def test_in_a_stream_of_events(self) -> None:
        assert stream("gemini.generate", SENT) == SHOWN

    def test_in_a_stream_that_is_an_array(self) -> None:
        body = array(SENT)
        shown, _ = pass_through(meter("gemini.generate", ARRAY, NO_REASONING), body)
        assert json.loads(shown) == SHOWN
        for cut in range(len(body)):
            assert pass_through(meter("gemini.generate", ARRAY, NO_REASONING), body, [cut])[0] == shown
        every_byte = range(len(body))
        assert pass_through(meter("gemini.generate", ARRAY, NO_REASONING), body, every_byte)[0] == shown

    def test_an_array_that_breaks_off_shows_no_half_of_an_object(self) -> None:
        body = array(SENT)
        cut = body.rindex(b"SECRET")
        shown, _ = pass_through(meter("gemini.generate", ARRAY, NO_REASONING), body[:cut])
        assert json.loads(shown + b"]") == SHOWN[:2]


class TestOllama:
    @pytest.mark.parametrize(
        ("name", "sent", "shown"),
        [
            (
                "ollama.chat",
                {
                    "message": {"content": "<think>SECRET</think>b", "thinking": "SECRET"},
                    "logprobs": ["SECRET"],
                },
                {"message": {"content": "b"}},
            ),
            (
                "ollama.generate",
                {"response": "SECRET</think>b", "thinking": "SECRET", "context": [1, 2]},
                {"response": "b"},
            ),
        ],
    )
    def test_in_an_answer(self, name: str, sent: Fields, shown: Fields) -> None:
        assert whole(name, {**sent, "done": True}) == {**shown, "done": True}

    def test_in_the_stream_of_a_chat(self) -> None:
        def line(message: Fields, **fields: Any) -> Fields:
            return {"model": "m", "message": {"role": "assistant", **message}, "done": False, **fields}

        sent = [
            line({"content": "", "thinking": "SECRET"}, logprobs=["SECRET"]),
            line({"content": "<think>SECRET</thi"}),
            line({"content": "nk>b<th"}),
            line({"content": ""}, done=True, prompt_eval_count=5, eval_count=7),
        ]
        assert stream("ollama.chat", sent) == [
            line({"content": ""}),
            line({"content": ""}),
            line({"content": "b"}),
            line({"content": "<th"}, done=True, prompt_eval_count=5, eval_count=7),
        ]

    def test_in_the_stream_of_a_completion(self) -> None:
        sent = [
            {"response": "<think>SECRET</think>b <", "done": False},
            {"response": "", "done": True, "context": [1, 2]},
        ]
        assert stream("ollama.generate", sent) == [
            {"response": "b ", "done": False},
            {"response": "<", "done": True},
        ]


class TestWhatCannotBeLookedThrough:
    @pytest.mark.parametrize("name", [name for name in DIALECTS if "embed" not in name])
    @pytest.mark.parametrize(
        ("body", "tokens"),
        [(b'{"choices": [', 0), (b"[]", 0), (b"\x1f\x8b\x08", 3), (b'{"a": "\xff"}', 1), (b"SECRET", 2)],
    )
    def test_an_answer_is_not_sent(self, name: str, body: bytes, tokens: int) -> None:
        watching = meter(name, "", NO_REASONING)
        assert watching.holds
        assert watching.feed(body) == b""
        with pytest.raises(BackendError):
            watching.finish()
        assert watching.usage.output_tokens == tokens

    def test_an_answer_without_a_body_has_nothing_to_hide(self) -> None:
        assert pass_through(meter("openai.chat", JSON, NO_REASONING), b"")[0] == b""

    def test_nor_is_one_that_is_too_large(self) -> None:
        watching = meter("openai.chat", JSON, NO_REASONING)
        assert watching.feed(b"{" + b" " * (LARGEST_HELD - 1)) == b""
        with pytest.raises(BackendError):
            watching.feed(b" ")

    @pytest.mark.parametrize("data", [b'{"choices": [{"delta": ', b'["SECRET"]', b"SECRET", b'"\xff"'])
    def test_a_part_of_a_stream_is_dropped(self, data: bytes) -> None:
        good = events([delta({"content": "b"})])
        body = good + b"data: " + data + b"\n\n" + good + b"data: " + data
        assert pass_through(meter("openai.chat", EVENTS, NO_REASONING), body, [70])[0] == good * 2
        assert pass_through(meter("openai.chat", EVENTS, UNCHANGED), body, [70])[0] == body

    def test_a_part_that_is_too_large_ends_the_stream(self) -> None:
        watching = meter("openai.chat", EVENTS, NO_REASONING)
        assert watching.feed(b"data: " + b"x" * (LARGEST_HELD // 2)) == b""
        with pytest.raises(BackendError):
            watching.feed(b"x" * LARGEST_HELD)

    def test_a_part_without_its_last_line_end_is_looked_through(self) -> None:
        body = events([delta({"reasoning": "SECRET", "content": "b"})]).rstrip()
        assert b"SECRET" not in pass_through(meter("openai.chat", EVENTS, NO_REASONING), body)[0]
        kept = events([delta({"content": "b"})]).rstrip()
        assert pass_through(meter("openai.chat", EVENTS, NO_REASONING), kept)[0] == kept


NAMES = [
    *("choices", "message", "delta", "content", "index", "finish_reason", "text", "type", "logprobs"),
    *("output", "item", "part", "response", "summary", "content_block"),
    *("candidates", "parts", "finishReason", "thought", "done"),
]
KINDS = [
    *("response.output_text.delta", "response.output_text.done", "output_text", "reasoning"),
    *("content_block_start", "content_block_stop", "content_block_delta", "text", "thinking"),
    *("<think>", "</think>", "<", "\ud83d"),
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from(NAMES), anything, max_size=6)


@pytest.mark.parametrize("name", DIALECTS)
@example(answers=[{name: [{"type": [], "index": {}}], "type": {}} for name in NAMES])
@example(answers=[{name: {"type": [], "index": [], "finish_reason": 1}, "index": {}} for name in NAMES])
@given(answers=st.lists(objects, min_size=1, max_size=4))
def test_nothing_of_an_answer_is_taken_on_trust(name: str, answers: list[Fields]) -> None:
    for reshape in (NO_REASONING, NO_LOGPROBS):
        out, _ = pass_through(meter(name, JSON, reshape), json.dumps(answers[0]).encode())
        assert isinstance(json.loads(out), dict)
        content_type = LINES if name.startswith("ollama") else EVENTS
        body = lines(answers) if name.startswith("ollama") else events(answers)
        out, _ = pass_through(meter(name, content_type, reshape), body)
        for line in out.splitlines():
            assert not line or isinstance(json.loads(line.removeprefix(b"data: ")), dict)
    pass_through(meter("gemini.generate", ARRAY, NO_REASONING), array(answers))


def test_half_a_character_passes() -> None:
    sent = [delta({"content": "\ud83d", "reasoning": "SECRET"}), delta({"content": "\ude00"})]
    assert stream("openai.chat", sent) == [delta({"content": "\ud83d"}), delta({"content": "\ude00"})]


def test_an_event_behind_a_byte_order_mark_is_not_taken_for_a_comment() -> None:
    body = b"\xef\xbb\xbf" + events([delta({"reasoning": "SECRET", "content": "b"})]) + b": waiting\n\n"
    shown = pass_through(meter("openai.chat", EVENTS, NO_REASONING), body)[0]
    assert b"SECRET" not in shown
    assert b'"content":"b"' in shown
    assert shown.endswith(b"\n\n: waiting\n\n")
