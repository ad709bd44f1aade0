"""The fields of OpenAI's APIs, with those that vLLM, LiteLLM and OpenRouter add."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guard.dialects.weighing import Kind, Level

if TYPE_CHECKING:
    from guard.dialects.weighing import Shape

TEXT, TOKENS, SETTING, MARK = Kind.TEXT, Kind.TOKENS, Kind.SETTING, Kind.MARK
MEDIA, MASK, SEALED = Kind.MEDIA, Kind.MASK, Kind.SEALED

_CACHE = Level(dict.fromkeys(("type", "ttl"), MARK))

_PARAMETERS: dict[str, Shape] = {"description": TEXT, "name": TEXT, "parameters": TEXT, "strict": MARK}

TOOLS = Level(
    {
        **_PARAMETERS,
        "type": TEXT,
        "function": Level(_PARAMETERS, written=True),
        "custom": Level({"name": TEXT, "description": TEXT, "format": TEXT}, written=True),
        "cache_control": _CACHE,
        "input_image_mask": Level({"image_url": MASK, "file_id": TEXT}),
    },
    written=True,
)

_FORMAT = Level(
    {
        "type": TEXT,
        "json_schema": Level(
            {"name": TEXT, "description": TEXT, "schema": TEXT, "strict": MARK}, written=True
        ),
        "schema": TEXT,
        "name": TEXT,
        "description": TEXT,
        "strict": MARK,
    },
    written=True,
)

_COMMON: dict[str, Shape] = {
    **dict.fromkeys(
        (
            # what they ask for
            "model", "stream", "n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens",
            "max_tool_calls", "min_tokens", "background", "echo", "store", "include", "include_reasoning",
            "service_tier", "truncation", "modalities", "parallel_tool_calls", "tool_choice", "function_call",
            # how an answer is drawn
            "temperature", "top_p", "top_k", "min_p", "top_a", "seed", "stop", "stop_token_ids", "ignore_eos",
            "frequency_penalty", "presence_penalty", "repetition_penalty", "length_penalty", "logit_bias",
            "allowed_token_ids", "logprobs", "top_logprobs", "prompt_logprobs", "use_beam_search",
            "reasoning_effort", "verbosity", "skip_special_tokens", "add_generation_prompt",
            "continue_final_message", "add_special_tokens", "spaces_between_special_tokens",
            # whose it is
            "user", "safety_identifier", "metadata", "prompt_cache_key", "prompt_cache_retention",
            "cache_salt", "request_id", "priority",
            # of embeddings
            "dimensions", "encoding_format", "input_type", "truncate_prompt_tokens",
        ),
        SETTING,
    ),
    "audio": Level(dict.fromkeys(("voice", "format"), MARK)),
    "extra_body": Level(),
    "reasoning": Level(
        dict.fromkeys(("effort", "max_tokens", "summary", "generate_summary", "exclude", "enabled"), MARK)
    ),
    "response_format": _FORMAT,
    "stream_options": Level(
        dict.fromkeys(("include_usage", "include_obfuscation", "continuous_usage_stats"), MARK)
    ),
    "thinking": Level(dict.fromkeys(("type", "budget_tokens"), MARK)),
    "tools": TOOLS,
    # Servers that add these write them into the prompt.
    "chat_template": TEXT,
    "chat_template_kwargs": TEXT,
    "documents": TEXT,
}  # fmt: skip

PARTS = Level(
    {
        "type": MARK,
        "text": TEXT,
        "refusal": TEXT,
        "image_url": Level({"url": MEDIA, "detail": MARK, "format": MARK}, text=MEDIA),
        "video_url": Level({"url": MEDIA}, text=MEDIA),
        "audio_url": Level({"url": MEDIA}, text=MEDIA),
        "input_audio": Level({"data": MEDIA, "format": MARK}),
        "image_embeds": MEDIA,
        "file": Level({"file_data": MEDIA, "file_id": TEXT, "filename": TEXT, "format": MARK}),
        "file_data": MEDIA,
        "file_url": MEDIA,
        "file_id": TEXT,
        "filename": TEXT,
        "detail": MARK,
        "annotations": TEXT,
        "cache_control": _CACHE,
    }
)

_CALLED = Level({"name": TEXT, "arguments": TEXT, "input": TEXT})
_CALL = Level({"id": TEXT, "type": MARK, "index": MARK, "function": _CALLED, "custom": _CALLED})

_MESSAGES = Level(
    {
        "role": MARK,
        "content": PARTS,
        "name": TEXT,
        "refusal": TEXT,
        "reasoning": TEXT,
        "reasoning_content": TEXT,
        "tool_calls": _CALL,
        "tool_call_id": TEXT,
        "function_call": _CALLED,
        "audio": Level({"id": TEXT, "data": MEDIA, "transcript": TEXT}),
        "annotations": TEXT,
        "prefix": MARK,
        "cache_control": _CACHE,
    }
)

CHAT = Level(
    {
        **_COMMON,
        "messages": _MESSAGES,
        "functions": Level(_PARAMETERS, written=True),
        "prediction": Level({"type": MARK, "content": PARTS}),
    }
)

COMPLETIONS = Level({**_COMMON, "prompt": TOKENS, "suffix": TEXT})

EMBEDDINGS = Level({**_COMMON, "input": TOKENS})

_ITEMS = Level(
    {
        "type": MARK,
        "role": MARK,
        "id": MARK,
        "status": MARK,
        "content": PARTS,
        "summary": PARTS,
        "output": PARTS,
        "call_id": TEXT,
        "name": TEXT,
        "arguments": TEXT,
        "input": TEXT,
        "encrypted_content": SEALED,
        "result": MEDIA,
    }
)

RESPONSES = Level(
    {
        **_COMMON,
        "input": _ITEMS,
        "instructions": _ITEMS,
        "text": Level({"verbosity": MARK, "format": _FORMAT}),
        "prompt": Level({"id": MARK, "version": MARK, "variables": Level()}),
        "conversation": Level({"id": MARK}, text=MARK),
        "previous_response_id": MARK,
    }
)
