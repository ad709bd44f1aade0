"""The fields of Anthropic's messages."""

from __future__ import annotations

from guard.dialects.weighing import Kind, Level

TEXT, SETTING, MARK, MEDIA, SEALED = Kind.TEXT, Kind.SETTING, Kind.MARK, Kind.MEDIA, Kind.SEALED

_CACHE = Level(dict.fromkeys(("type", "ttl"), MARK))

_SOURCE = Level({"type": MARK, "media_type": MARK, "data": MEDIA, "url": MEDIA, "file_id": TEXT})

_BLOCKS = Level(
    {
        "type": MARK,
        "text": TEXT,
        "thinking": TEXT,
        "signature": SEALED,
        "data": SEALED,
        "encrypted_content": SEALED,
        "id": TEXT,
        "name": TEXT,
        "input": TEXT,
        "tool_use_id": TEXT,
        "is_error": MARK,
        "source": _SOURCE,
        "title": TEXT,
        "context": TEXT,
        "citations": TEXT,
        "cache_control": _CACHE,
    }
)
# A tool's result, and a document that is made of blocks, hold blocks again.
_BLOCKS.names["content"] = _BLOCKS
_SOURCE.names["content"] = _BLOCKS

_TOOLS = Level(
    {
        "type": TEXT,
        "name": TEXT,
        "description": TEXT,
        "input_schema": TEXT,
        "input_examples": TEXT,
        "strict": MARK,
        "cache_control": _CACHE,
    },
    written=True,
)

MESSAGES = Level(
    {
        **dict.fromkeys(
            (
                "model", "max_tokens", "n", "stream", "temperature", "top_p", "top_k", "stop_sequences",
                "tool_choice", "service_tier", "context_management", "container", "inference_geo", "betas",
                "anthropic_version", "speed",
            ),
            SETTING,
        ),
        "messages": Level({"role": MARK, "content": _BLOCKS}),
        "system": _BLOCKS,
        "tools": _TOOLS,
        "thinking": Level(dict.fromkeys(("type", "budget_tokens", "display"), MARK)),
        "metadata": Level({"user_id": SETTING}),
        "output_config": Level({"effort": MARK, "format": TEXT}),
        "output_format": TEXT,
        "cache_control": _CACHE,
    }
)  # fmt: skip
