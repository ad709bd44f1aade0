"""The fields of Gemini's generateContent, each name in both of its spellings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from guard.dialects.weighing import Kind, Level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from guard.dialects.weighing import Shape

TEXT, SETTING, MARK, MEDIA, SEALED = Kind.TEXT, Kind.SETTING, Kind.MARK, Kind.MEDIA, Kind.SEALED


def snake(name: str) -> str:
    """A name with underscores instead of capitals."""
    return re.sub(r"[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def _level(names: Mapping[str, Shape], *, written: bool = False) -> Level:
    return Level({**{snake(name): shape for name, shape in names.items()}, **names}, written=written)


_MEDIA_NAMES: dict[str, Shape] = {"mimeType": MARK, "displayName": TEXT}

_RESULT = _level({"id": TEXT, "name": TEXT, "response": TEXT, "willContinue": MARK, "scheduling": MARK})

_PARTS = _level(
    {
        "text": TEXT,
        "thought": MARK,
        "thoughtSignature": SEALED,
        "functionCall": _level({"id": TEXT, "name": TEXT, "args": TEXT}),
        "functionResponse": _RESULT,
        "inlineData": _level({**_MEDIA_NAMES, "data": MEDIA}),
        "fileData": _level({**_MEDIA_NAMES, "fileUri": MEDIA}),
        "executableCode": _level({"id": TEXT, "language": MARK, "code": TEXT}),
        "codeExecutionResult": _level({"id": TEXT, "outcome": MARK, "output": TEXT}),
        "videoMetadata": _level(dict.fromkeys(("startOffset", "endOffset", "fps"), MARK)),
    }
)
_RESULT.names["parts"] = _PARTS  # a function may return images

_CONTENT = _level({"role": MARK, "parts": _PARTS})

_FUNCTIONS = dict.fromkeys(
    ("name", "description", "parameters", "parametersJsonSchema", "response", "responseJsonSchema"), TEXT
)

_CONFIG = _level(
    {
        **dict.fromkeys(
            (
                "maxOutputTokens", "candidateCount", "logprobs", "responseLogprobs", "temperature", "topP",
                "topK", "seed", "stopSequences", "presencePenalty", "frequencyPenalty", "responseMimeType",
                "responseModalities", "speechConfig", "mediaResolution", "enableEnhancedCivicAnswers",
                "imageConfig", "audioTimestamp", "routingConfig",
            ),
            SETTING,
        ),
        "responseSchema": TEXT,
        "responseJsonSchema": TEXT,
        "thinkingConfig": _level(dict.fromkeys(("includeThoughts", "thinkingBudget", "thinkingLevel"), MARK)),
    }
)  # fmt: skip

GENERATE = _level(
    {
        **dict.fromkeys(
            ("model", "toolConfig", "safetySettings", "cachedContent", "labels", "store"), SETTING
        ),
        "contents": _CONTENT,
        "systemInstruction": _CONTENT,
        "tools": _level({"functionDeclarations": _level(_FUNCTIONS, written=True)}, written=True),
        "generationConfig": _CONFIG,
    }
)
