"""`POST /v1/embeddings`."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import struct
from typing import TYPE_CHECKING

from guard.demo.model.openai_chat import openai_error
from guard.demo.model.openai_completions import inputs_of, prompt_of

if TYPE_CHECKING:
    from guard.demo.model.wish import Json, Prompt, Request, Stream, Wish

DIMENSIONS = 8


class Embeddings:
    """The API of embeddings: equal texts have equal vectors, of length 1."""

    paths = ("/v1/embeddings",)

    def prompt(self, request: Request) -> Prompt:
        """What a request says."""
        return prompt_of(request.asked["input"])

    def answer(self, request: Request, wish: Wish) -> Json:
        """The vectors."""
        asked = request.asked
        vectors = [
            _vector(json.dumps(each), asked.get("dimensions") or DIMENSIONS)
            for each in inputs_of(asked["input"])
        ]
        if asked.get("encoding_format") == "base64":
            shown: list[str] | list[list[float]] = [_base64(vector) for vector in vectors]
        else:
            shown = vectors
        data = [
            {"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(shown)
        ]
        used = {"prompt_tokens": wish.input_tokens, "total_tokens": wish.input_tokens}
        usage = {"usage": used} if wish.usage else {}
        return {"object": "list", "model": asked["model"], "data": data, **usage}

    def stream(self, request: Request, wish: Wish) -> Stream | None:
        """Never."""
        return None

    def error(self, status: int, message: str) -> Json:
        """An error as this API gives it."""
        return openai_error(message)


def _vector(text: str, dimensions: int) -> list[float]:
    digest = hashlib.shake_256(text.encode()).digest(2 * dimensions)
    numbers = [number - 32_767.5 for number in struct.unpack(f"<{dimensions}H", digest)]
    length = math.hypot(*numbers)
    return [number / length for number in numbers]


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
