"""What counts the tokens of a query and answers nothing else, for each API that has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from guard.demo.model.anthropic_messages import Messages
from guard.demo.model.gemini import GenerateContent
from guard.demo.model.openai_responses import Responses

if TYPE_CHECKING:
    from guard.demo.model.wish import Api, Json, Prompt, Request, Stream, Wish


@dataclass(frozen=True, slots=True)
class CountTokens:
    """Reads a query as `api` does, and answers with its tokens under `name`, beside what is `fixed`."""

    api: Api
    paths: tuple[str, ...]
    name: str
    fixed: tuple[tuple[str, str], ...] = ()

    def prompt(self, request: Request) -> Prompt:
        """What a request says; it needs no cap."""
        return self.api.prompt(replace(request, asked={"max_tokens": 1, **request.asked}))

    def answer(self, request: Request, wish: Wish) -> Json:
        """The number."""
        return {**dict(self.fixed), self.name: wish.input_tokens}

    def stream(self, request: Request, wish: Wish) -> Stream | None:
        """Never."""
        return None

    def error(self, status: int, message: str) -> Json:
        """An error as this API gives it."""
        return self.api.error(status, message)


COUNTING = (
    CountTokens(Messages(), ("/v1/messages/count_tokens",), "input_tokens"),
    CountTokens(
        Responses(),
        ("/v1/responses/input_tokens",),
        "input_tokens",
        (("object", "response.input_tokens"),),
    ),
    CountTokens(
        GenerateContent(),
        ("/v1beta/models/{model}:countTokens", "/v1/models/{model}:countTokens"),
        "totalTokens",
    ),
)
