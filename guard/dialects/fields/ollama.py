"""The fields of Ollama's bodies. Ollama reads every name without regard to case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects.weighing import Kind, Level

if TYPE_CHECKING:
    from guard.dialects.weighing import Shape

TEXT, SETTING, MARK, MEDIA = Kind.TEXT, Kind.SETTING, Kind.MARK, Kind.MEDIA

_CALL = Level({"id": TEXT, "type": MARK, "function": Level({"index": MARK, "name": TEXT, "arguments": TEXT})})

_TOOLS = Level(
    {
        "type": TEXT,
        "function": Level({"name": TEXT, "description": TEXT, "parameters": TEXT}, written=True),
    },
    written=True,
)

_COMMON: dict[str, Shape] = {
    **dict.fromkeys(("model", "stream", "logprobs", "top_logprobs", "think", "keep_alive"), SETTING),
    "options": Level(
        dict.fromkeys(
            (
                "num_predict", "num_ctx", "num_keep", "num_gpu", "num_thread", "num_batch", "temperature",
                "top_k", "top_p", "min_p", "seed", "stop", "repeat_penalty", "repeat_last_n",
                "presence_penalty", "frequency_penalty", "typical_p", "mirostat", "mirostat_eta",
                "mirostat_tau", "tfs_z", "penalize_newline", "use_mmap", "numa", "low_vram", "main_gpu",
            ),
            SETTING,
        )
    ),
    "format": TEXT,
    "tools": _TOOLS,
}  # fmt: skip

CHAT = Level(
    {
        **_COMMON,
        "messages": Level(
            {
                "role": MARK,
                "content": TEXT,
                "thinking": TEXT,
                "images": MEDIA,
                "tool_calls": _CALL,
                "tool_name": TEXT,
                "tool_call_id": TEXT,
            }
        ),
    }
)

GENERATE = Level(
    {
        **_COMMON,
        "prompt": TEXT,
        "suffix": TEXT,
        "system": TEXT,
        "template": TEXT,
        "context": Kind.TOKENS,
        "raw": MARK,
        "images": MEDIA,
    }
)
