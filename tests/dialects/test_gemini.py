from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from passing import EVENTS, JSON, pass_through, reading

from guard.core.limits import Unit
from guard.core.query import TOKENS_PER_TURN, Query, Turn, Usage
from guard.dialects.base import OPAQUE_TOKENS, Refusal
from guard.dialects.gemini import GeminiGenerate
from guard.errors import QueryError

DIALECT = GeminiGenerate()
PATH = "/v1beta/models/gemini-x:generateContent"
STREAM_PATH = "/v1beta/models/gemini-x:streamGenerateContent"
QUERY = Query("m", (), stream=True, max_output_tokens=None, n=1, input_bytes=44, other_tokens=0)
HELLO = [{"role": "user", "parts": [{"text": "hello"}]}]


def read(*, path: str = PATH, **fields: Any) -> Query:
    return DIALECT.read({"contents": HELLO, **fields}, path)


class TestReading:
    @pytest.mark.parametrize(
        ("path", "model", "stream"),
        [
            (PATH, "gemini-x", False),
            (STREAM_PATH, "gemini-x", True),
            ("/v1/models/a.b-1:generateContent", "a.b-1", False),
            ("/v1alpha/models/m:streamGenerateContent", "m", True),
            ("/v1beta/tunedModels/mine:generateContent", "mine", False),
            ("/under/a/prefix/v1beta/models/m:generateContent", "m", False),
            ("/v1/projects/p/locations/l/publishers/google/models/m:streamGenerateContent", "m", True),
            ("/v1/projects/p/locations/l/endpoints/123:generateContent", "123", False),
        ],
    )
    def test_the_path_says_the_model_and_whether_it_streams(
        self, path: str, model: str, *, stream: bool
    ) -> None:
        query = read(path=path, stream=True, model="another")
        assert (query.model, query.stream) == (model, stream)

    @pytest.mark.parametrize(
        "path",
        [
            "/v1beta/models/m:countTokens",
            "/v1beta/models/m:embedContent",
            "/v1beta/models/m",
            "/v1beta/models/:generateContent",
            "/v1beta/models/m:generateContent/",
            "/v1beta/models/m:generateContent:generateContent",
            "/v1beta/models/a/b:generateContent",
            "/v1beta/models/m:generatecontent",
            "/v1beta/models/m:generateContentX",
            "/v1beta/models/m:generateContent\n",
            "/",
        ],
    )
    def test_a_path_without_a_model_is_nowhere(self, path: str) -> None:
        with pytest.raises(QueryError) as refused:
            read(path=path)
        assert refused.value.status == 404

    def test_contents_are_turns(self) -> None:
        contents = [
            {"role": "user", "parts": [{"text": "see"}, {"inlineData": {"data": "…"}}, {"file_data": {}}]},
            {"role": "model", "parts": [{"text": "hm", "thought": True}, {"functionCall": {"name": "f"}}]},
            {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"x": "é"}}}]},
            {"parts": [{"text": "x", "inlineData": {}}]},
        ]
        query = read(contents=contents, systemInstruction={"parts": [{"text": "be brief"}]})
        assert query.turns == (
            Turn("system", "be brief"),
            Turn("user", "see"),
            Turn("assistant", 'hm\n{"name": "f"}'),
            Turn("user", '{"name": "f", "response": {"x": "é"}}'),
            Turn("user", "x"),
        )
        assert query.other_tokens == 5 * TOKENS_PER_TURN + 3 * OPAQUE_TOKENS

    def test_one_may_stand_for_a_list_of_one(self) -> None:
        assert read(
            contents={"parts": {"text": "hello"}}, system_instruction={"parts": {"text": "be brief"}}
        ).turns == (Turn("system", "be brief"), Turn("user", "hello"))

    @pytest.mark.parametrize(
        ("fields", "cap", "n"),
        [
            ({}, None, 1),
            ({"generationConfig": None}, None, 1),
            ({"generationConfig": {"maxOutputTokens": 9, "candidateCount": 3}}, 9, 3),
            ({"generation_config": {"max_output_tokens": 9, "candidate_count": 3}}, 9, 3),
            ({"generationConfig": {"max_output_tokens": 9, "candidateCount": None}}, 9, 1),
            ({"generationConfig": {"maxOutputTokens": 9.0}}, 9, 1),
        ],
    )
    def test_either_spelling_sets_the_cap(self, fields: dict[str, Any], cap: int | None, n: int) -> None:
        query = read(**fields)
        assert (query.max_output_tokens, query.n) == (cap, n)

    @pytest.mark.parametrize(
        "fields",
        [
            {"tools": [{"functionDeclarations": [{"description": "x" * 400}]}]},
            {"generationConfig": {"responseSchema": {"description": "x" * 400}}},
            {"generationConfig": {"response_json_schema": {"description": "x" * 400}}},
        ],
    )
    def test_what_shapes_the_answer_counts_as_input(self, fields: dict[str, Any]) -> None:
        assert read(**fields).input_tokens >= 100

    def test_a_cached_context_is_opaque(self) -> None:
        assert read(cachedContent="cachedContents/1").other_tokens == TOKENS_PER_TURN + OPAQUE_TOKENS

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"contents": None}, "contents"),
            ({"contents": []}, "contents"),
            ({"contents": "hello"}, "contents"),
            ({"contents": ["hello"]}, "contents"),
            ({"contents": [{"parts": "hello"}]}, "contents[0].parts"),
            ({"contents": [{"parts": [{"text": 7}]}]}, "contents[0].parts"),
            ({"contents": [{"role": 7, "parts": []}]}, "role"),
            ({"Contents": []}, "Contents"),
            ({"systemInstruction": "be brief"}, "systemInstruction"),
            ({"systemInstruction": {}, "system_instruction": {}}, "system_instruction"),
            ({"systeminstruction": {}}, "systeminstruction"),
            ({"generationConfig": []}, "generationConfig"),
            ({"generationConfig": {}, "generation_config": {}}, "generation_config"),
            ({"generationConfig": {"maxOutputTokens": 9, "max_output_tokens": 9}}, "max_output_tokens"),
            ({"generationConfig": {"maxoutputtokens": 9}}, "maxoutputtokens"),
            ({"generationConfig": {"Max_Output_Tokens": 9}}, "Max_Output_Tokens"),
            ({"generationConfig": {"maxOutputTokens": "9"}}, "maxOutputTokens"),
            ({"generationConfig": {"maxOutputTokens": 0}}, "maxOutputTokens"),
            ({"generationConfig": {"candidateCount": True}}, "candidateCount"),
            ({"generationConfig": {"candidateCount": -1}}, "candidateCount"),
            ({"generationConfig": {"logprobs": "5"}}, "logprobs"),
            ({"generationConfig": {"responseLogprobs": 1}}, "responseLogprobs"),
            ({"cachedContent": 7}, "cachedContent"),
            (
                {"contents": [{"parts": [{"functionCall": {}, "function_call": {}}]}]},
                "function_call",
            ),
        ],
    )
    def test_wrong_fields_are_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(QueryError) as refused:
            read(**fields)
        assert refused.value.param == param

    def test_usage_need_not_be_asked_for(self) -> None:
        assert DIALECT.ask_usage({"contents": HELLO}) is None


def chunk(text: str, usage: Any = None, reason: str | None = None) -> dict[str, Any]:
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": reason}
    return {"candidates": [candidate], "usageMetadata": usage}


def usage(given: int, made: int | None, **more: int) -> dict[str, Any]:
    return {"promptTokenCount": given, **({} if made is None else {"candidatesTokenCount": made}), **more}


def array(*values: Any) -> bytes:
    return b"[" + b"\n,\r\n".join(json.dumps(value, ensure_ascii=False).encode() for value in values) + b"\n]"


def events(*values: Any) -> bytes:
    return b"".join(f"data: {json.dumps(value)}\r\n\r\n".encode() for value in values)


class TestMetering:
    @given(cuts=st.lists(st.integers(0, 900)))
    @pytest.mark.parametrize(("framed", "content_type"), [(array, JSON), (events, EVENTS)])
    def test_usage_is_found_in_any_chunking(self, framed: Any, content_type: str, cuts: list[int]) -> None:
        stream = framed(
            chunk('é "]}', usage(5, 1)),
            chunk("b", usage(5, 2)),
            chunk("c", usage(5, 7, thoughtsTokenCount=30, cachedContentTokenCount=4), "STOP"),
        )
        meter = DIALECT.meter(QUERY, content_type, hide_usage=False)
        assert pass_through(meter, stream, cuts) == (stream, Usage(5, 37, 4, 30))

    @pytest.mark.parametrize(
        ("chunks", "expected"),
        [
            ([chunk("x"), chunk("x")], Usage(11, 2)),
            ([chunk("x" * 41)], Usage(11, 11)),
            ([chunk("x", usage(5, 20)), chunk("x", usage(5, None))], Usage(5, 21)),
            ([chunk("x", usage(5, None)), chunk("x")], Usage(5, 2)),
            ([chunk("x", usage(5, 3), "STOP"), chunk("x", usage(5, 9), "STOP")], Usage(5, 9)),
            (
                [
                    {
                        "promptFeedback": {"blockReason": "SAFETY"},
                        "usageMetadata": usage(5, None, totalTokenCount=5),
                    }
                ],
                Usage(5, 0),
            ),
            ([chunk("x", usage(5, 3), "STOP"), chunk("y", usage(5, 9))], Usage(5, 9)),
            ([chunk("x", usage(-5, 7), "STOP")], Usage(11, 7)),
            ([{"error": {"code": 503}}], Usage(11, 0)),
            (
                [{"candidates": [None, {"content": 7}, {"content": {"parts": [7, {"text": 7}]}}]}],
                Usage(11, 0),
            ),
            ([chunk('{"usageMetadata": {"promptTokenCount": 0}, "candidates": []}')], Usage(11, 15)),
        ],
    )
    @pytest.mark.parametrize(("framed", "content_type"), [(array, JSON), (events, EVENTS)])
    def test_reports_are_running_totals_until_the_answer_ends(
        self, framed: Any, content_type: str, chunks: list[Any], expected: Usage
    ) -> None:
        stream = framed(*chunks)
        meter = DIALECT.meter(QUERY, content_type, hide_usage=False)
        assert pass_through(meter, stream) == (stream, expected)

    def test_a_stream_that_is_left_has_been_counted(self) -> None:
        meter = DIALECT.meter(QUERY, JSON, hide_usage=False)
        meter.feed(array(chunk("a"), chunk("b"), chunk("c"))[:-20])
        assert meter.usage == Usage(11, 2)

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (chunk("x", usage(5, 7, thoughtsTokenCount=30, totalTokenCount=42)), Usage(5, 37, 0, 30)),
            (chunk("x", usage(5, 7, toolUsePromptTokenCount=100)), Usage(105, 7)),
            (chunk("", usage(5, None, totalTokenCount=5)), Usage(5, 0)),
            (chunk("", usage(5, None, thoughtsTokenCount=9, totalTokenCount=14)), Usage(5, 9, 0, 9)),
            (chunk("x" * 40, usage(5, None)), Usage(5, 10)),
            (chunk("x" * 40, usage(5, -7)), Usage(5, 10)),
            (chunk("x" * 40, []), Usage(11, 10)),
            ({"candidates": [{"content": {"parts": [{"functionCall": {"name": "x" * 28}}]}}]}, Usage(11, 10)),
        ],
    )
    def test_an_answer_in_one_piece(self, answer: Any, expected: Usage) -> None:
        query = Query("m", (), stream=False, max_output_tokens=None, n=1, input_bytes=44, other_tokens=0)
        body = json.dumps(answer).encode()
        assert pass_through(DIALECT.meter(query, JSON, hide_usage=False), body) == (body, expected)

    @pytest.mark.parametrize("content_type", ["", "text/plain"])
    def test_what_cannot_be_read_is_counted_by_its_size(self, content_type: str) -> None:
        meter = DIALECT.meter(QUERY, content_type, hide_usage=False)
        assert pass_through(meter, b"\x1f\x8b" * 20)[1] == Usage(11, 40)


class TestRefusing:
    @pytest.mark.parametrize(
        ("status", "word"),
        [
            (400, "INVALID_ARGUMENT"),
            (401, "UNAUTHENTICATED"),
            (403, "PERMISSION_DENIED"),
            (404, "NOT_FOUND"),
            (413, "INVALID_ARGUMENT"),
            (415, "INVALID_ARGUMENT"),
            (429, "RESOURCE_EXHAUSTED"),
            (502, "UNAVAILABLE"),
            (503, "UNAVAILABLE"),
            (504, "DEADLINE_EXCEEDED"),
        ],
    )
    def test_the_status_has_a_word(self, status: int, word: str) -> None:
        error = json.loads(DIALECT.refuse(Refusal(status, "No.", "code"), "req_1").body)["error"]
        assert (error["code"], error["message"], error["status"]) == (status, "No.", word)

    def test_the_wait_is_a_detail(self) -> None:
        refusal = Refusal(429, "No.", "rate_limit_exceeded", retry_after_us=6_000_001)
        answer = DIALECT.refuse(refusal, "req_1")
        assert json.loads(answer.body) == {
            "error": {
                "code": 429,
                "message": "No.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": "req_1"},
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "RATE_LIMIT_EXCEEDED",
                        "domain": "guard",
                    },
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},
                ],
            }
        }
        assert dict(answer.headers) == {
            "content-type": "application/json",
            "x-request-id": "req_1",
            "retry-after": "7",
            "retry-after-ms": "6001",
        }

    def test_a_wrong_field_is_a_detail(self) -> None:
        answer = DIALECT.refuse(Refusal(400, "No.", "invalid_request", "contents"), "req_1")
        assert json.loads(answer.body)["error"]["details"][2:] == [
            {
                "@type": "type.googleapis.com/google.rpc.BadRequest",
                "fieldViolations": [{"field": "contents", "description": "No."}],
            }
        ]

    def test_there_are_no_headers_about_limits(self) -> None:
        assert DIALECT.limit_headers([reading(Unit.REQUESTS, 1, 2, 3)], datetime.now(UTC)) == []
