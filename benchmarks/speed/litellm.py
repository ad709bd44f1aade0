"""The LiteLLM proxy in front of the model, with limits for each key that all its workers share in Redis.

LiteLLM keeps keys in a PostgreSQL. Here a function of its own kind (`custom_auth`) says what a key may do, so
that the database costs it nothing: requests and tokens per minute, which it counts in Redis. It has no other
windows of the same limit.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks import processes
from benchmarks.processes import ROOT
from benchmarks.speed.apps import ANSWER
from benchmarks.speed.model import STREAM_BODY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.processes import Process

NAME = "LiteLLM"
PROGRAM = ROOT / "build" / "interop" / "bin" / "litellm"
"""In the environment that `make interop` makes as well."""

AUTH = """
from litellm.proxy._types import UserAPIKeyAuth

async def key_auth(request, api_key):
    return UserAPIKeyAuth(api_key=api_key, rpm_limit=5_000_000, tpm_limit=1_000_000_000)
"""

CONFIG = """
model_list:
  - model_name: m
    litellm_params: {{model: openai/m, api_key: none, api_base: "http://127.0.0.1:{model}/v1"}}
general_settings:
  custom_auth: bench_auth.key_auth
  master_key: sk-not-used-by-anyone
litellm_settings:
  telemetry: false
  num_retries: 0
  cache: true
  cache_params: {{type: redis, host: 127.0.0.1, port: {port}, supported_call_types: []}}
"""


@contextmanager
def serve(folder: Path, model: int, redis_port: int) -> Iterator[tuple[Process, int]]:
    """LiteLLM with one worker; gives its process and its port."""
    if not PROGRAM.exists():
        raise SystemExit(f"there is no {PROGRAM}: `make bench-litellm` installs it")
    (folder / "bench_auth.py").write_text(AUTH)
    config, port = folder / "litellm.yaml", processes.free_port()
    config.write_text(CONFIG.format(model=model, port=redis_port))
    with processes.run(
        *(PROGRAM, "--config", config, "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"),
        port=port,
        log=folder / "litellm.log",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        LITELLM_TELEMETRY="False",
        LITELLM_LOG="ERROR",
        DO_NOT_TRACK="1",
        PATH=f"{PROGRAM.parent}:{os.environ['PATH']}",
    ) as process:
        yield process, port


def whole(body: bytes) -> bool:
    """Whether an answer says what the model said; LiteLLM writes it anew."""
    answer = json.loads(body)
    return bool(answer["choices"][0]["message"]["content"] == ANSWER["choices"][0]["message"]["content"])  # type: ignore[index]


def streamed(body: bytes) -> bool:
    """Whether a stream says what the model said, to the end."""
    return text_of(body) == text_of(STREAM_BODY) and body.rstrip().endswith(b"data: [DONE]")


def text_of(stream: bytes) -> str:
    """The text of a stream of chat completion chunks."""
    events = (event.removeprefix(b"data: ") for event in stream.split(b"\n\n") if event.strip())
    chunks = (json.loads(event) for event in events if event != b"[DONE]")
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ())
    )
