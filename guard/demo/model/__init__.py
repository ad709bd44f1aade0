"""A small model that speaks every API that guard knows, for `guard demo` and for tests; it needs nothing and
predicts everything.

Its tokens are words. A prompt has as many as all its texts have words, plus 3 a message; an answer has as
many as were asked for. A user text can direct the answer: `words=200` for its length, `delay_ms=5` for the
time between two words, `fail=500` for an error, `nousage` for an answer that reports none, `silent` for no
answer at all, `tool` (with `tools` given) for a call of the first tool. `reasoning=50` makes it think before
it answers, where its API has a place for that, or with `inline` between tags in the text; `logprobs` gives
them unasked.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from guard.demo.model.anthropic_messages import Messages
from guard.demo.model.counting import COUNTING
from guard.demo.model.gemini import GenerateContent
from guard.demo.model.ollama import Chat, Generate
from guard.demo.model.openai_chat import ChatCompletions
from guard.demo.model.openai_completions import Completions
from guard.demo.model.openai_embeddings import Embeddings
from guard.demo.model.openai_responses import Responses
from guard.demo.model.wish import TOKENS_PER_MESSAGE, VOCABULARY, BadRequest, Request, wish_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request as HttpRequest
    from starlette.types import Receive, Scope, Send

    from guard.demo.model.wish import Api, Stream, Wish

__all__ = ["TOKENS_PER_MESSAGE", "VOCABULARY", "FakeModel", "Seen", "app", "instant"]

APIS: tuple[Api, ...] = (
    ChatCompletions(),
    Responses(),
    Completions(),
    Embeddings(),
    Messages(),
    GenerateContent(),
    Chat(),
    Generate(),
    *COUNTING,
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it arrived."""

    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass
class FakeModel:
    """The model as an ASGI app; remembers what it was asked.

    `requests` are the last ones, `cut` counts streams that a client left before their end.
    """

    words: int = 24
    delay_seconds: float = 0.0
    requests: deque[Seen] = field(default_factory=lambda: deque(maxlen=10_000))
    served: int = 0
    cut: int = 0

    def __post_init__(self) -> None:
        routes = [Route(path, self._endpoint(api), methods=["POST"]) for api in APIS for path in api.paths]
        self._app = Starlette(routes=[*routes, Route("/v1/models", self._models)])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one scope."""
        await self._app(scope, receive, send)

    async def _models(self, request: HttpRequest) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": "demo", "object": "model", "owned_by": "guard"}]}
        )

    def _endpoint(self, api: Api) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def endpoint(request: HttpRequest) -> Response:
            return await self._answer(api, request)

        return endpoint

    async def _answer(self, api: Api, http: HttpRequest) -> Response:
        body = await http.body()
        path: str = http.scope["path"]
        self.requests.append(Seen(path, tuple(http.headers.raw), body))
        request = Request(path, dict(http.query_params), json.loads(body))
        try:
            prompt = api.prompt(request)
        except BadRequest as error:
            return JSONResponse(error.answer, 400)
        wish = wish_for(prompt, self.words, self.delay_seconds)
        if wish.silent:
            await _silence(http)
        if wish.status != 200:
            return JSONResponse(api.error(wish.status, "failed as asked"), wish.status)
        stream = api.stream(request, wish)
        return JSONResponse(api.answer(request, wish)) if stream is None else self._streaming(stream, wish)

    def _streaming(self, stream: Stream, wish: Wish) -> Response:
        async def body() -> AsyncIterator[str]:
            finished = False
            try:
                for part in stream.parts:
                    yield part
                    if wish.delay_seconds:
                        await asyncio.sleep(wish.delay_seconds)
                if stream.last:
                    yield stream.last
                finished = True
            finally:
                self.served += finished
                self.cut += not finished

        return StreamingResponse(body(), media_type=stream.media_type)


def app() -> FakeModel:
    """For `uvicorn --factory guard.demo.model:app`."""
    return FakeModel(delay_seconds=0.01)


def instant() -> FakeModel:
    """Likewise, for measurements: a model that takes no time."""
    return FakeModel()


async def _silence(request: HttpRequest) -> None:
    """Wait until the client has left."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
