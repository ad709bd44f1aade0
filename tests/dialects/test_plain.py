from __future__ import annotations

import json
import time

import pytest

from guard.dialects.base import Refusal
from guard.dialects.plain import Plain, asks_for_problems

TYPES = "https://iana.org/assignments/http-problem-types#"


def refused(refusal: Refusal) -> tuple[dict[str, object], dict[str, str]]:
    answer = Plain().refuse(refusal, "r1")
    assert answer.status == refusal.status
    return json.loads(answer.body), dict(answer.headers)


@pytest.mark.parametrize(
    ("status", "code", "kind", "title"),
    [
        (429, "rate_limit_exceeded", "quota-exceeded", "Quota Exceeded"),
        (503, "temporarily_unavailable", "temporary-reduced-capacity", "Temporary Reduced Capacity"),
        (429, "abnormal_usage", "abnormal-usage-detected", "Abnormal Usage Detected"),
    ],
)
def test_a_limit_is_a_problem_of_its_type_and_names_the_violated_policies(
    status: int, code: str, kind: str, title: str
) -> None:
    body, headers = refused(
        Refusal(status, "No.", code, retry_after_us=1_500_000, policies=("requests-per-day",))
    )
    assert body == {
        "type": TYPES + kind,
        "title": title,
        "status": status,
        "detail": "No.",
        "code": code,
        "violated-policies": ["requests-per-day"],
    }
    assert headers["content-type"] == "application/problem+json"
    assert headers["retry-after"] == "2"
    assert headers["x-request-id"] == "r1"


def test_what_is_no_limit_says_no_more_than_its_status() -> None:
    body, _ = refused(Refusal(404, "No such path.", "unknown_path"))
    assert body == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "No such path.",
        "code": "unknown_path",
    }


@pytest.mark.parametrize(
    ("accept", "asks"),
    [
        (["application/problem+json"], True),
        (["application/json, application/problem+json;q=0.1"], True),
        (["application/json", "application/problem+json"], True),
        (["Application/Problem+JSON ; Q=1.000"], True),
        (['text/html;x="a,b\\"",application/problem+json;profile="x;q=0"'], True),
        (["application/problem+json;q=0"], False),
        (["application/problem+json;q=0.000"], False),
        (["application/problem+json;q=2"], False),
        (["application/problem+json;q=-1"], False),
        (["application/problem+json;q=0.0001"], False),
        (["application/problem+json;q=nan"], False),
        (["application/problem+json;q=1;q=0"], False),
        (["application/problem+json q=1"], False),
        (["application/problem+json;"], False),
        (["application/problem+jsonx"], False),
        (["application/problem"], False),
        (['text/html;x="application/problem+json, application/problem+json"'], False),
        (['text/html;x="\\", application/problem+json"'], False),
        (["application/*"], False),
        (["*/*"], False),
        ([""], False),
        ([], False),
    ],
)
def test_only_a_client_that_names_problems_asks_for_them(accept: list[str], *, asks: bool) -> None:
    assert asks_for_problems(accept) is asks


@pytest.mark.parametrize("part", ['"', "\\", '"\\', "a/b;", "a/b;c=", 'a/b;c="', ",", " ;\t", "application/"])
def test_a_long_header_of_nonsense_is_read_in_no_time(part: str) -> None:
    start = time.thread_time()  # work, which no other process can add to
    assert not asks_for_problems([part * (65_536 // len(part))])
    assert time.thread_time() - start < 5
