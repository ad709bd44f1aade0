"""The section about a route, and the routes that are open without a word in the file."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, StringConstraints, model_validator

from guard.core.patterns import check_pattern
from guard.core.policy import Route, RouteAction
from guard.dialects import DIALECTS
from guard.settings.fields import Section

DialectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$")]


class RouteSettings(Section):
    """What to do on a path."""

    path: Annotated[str, AfterValidator(check_pattern)]
    methods: frozenset[Annotated[str, StringConstraints(to_upper=True)]] = frozenset()
    action: RouteAction = RouteAction.GUARD
    dialect: str | None = None
    query: frozenset[str] = frozenset()
    body: bool | None = None
    free: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        known = ", ".join(DIALECTS)
        if self.free and self.action is not RouteAction.COUNT:
            raise ValueError('`free` belongs to `action = "count"`')
        if self.body is not None and self.action is not RouteAction.COUNT:
            raise ValueError(
                '`body` belongs to `action = "count"`; a guarded route has one, the others pass all'
            )
        if (self.action is RouteAction.GUARD) != (self.dialect is not None):
            raise ValueError(
                f'`action = "guard"` needs a `dialect` ({known}), and the other actions take none; '
                f'to count requests without reading them write `action = "count"`'
            )
        return self

    def route(self) -> Route:
        """The route that decides."""
        return Route(self.path, self.methods, self.action, self.dialect, self.query, self.body, self.free)


QUERIES = {
    "/v1/chat/completions": "openai.chat",
    "/v1/responses": "openai.responses",
    "/v1/completions": "openai.completions",
    "/v1/embeddings": "openai.embeddings",
    "/v1/messages": "anthropic.messages",
    "/v1/models/{model}:generateContent": "gemini.generate",
    "/v1/models/{model}:streamGenerateContent": "gemini.generate",
    "/v1/models/{model}:embedContent": "gemini.embed",
    "/v1/models/{model}:batchEmbedContents": "gemini.embed",
    "/v1beta/models/{model}:generateContent": "gemini.generate",
    "/v1beta/models/{model}:streamGenerateContent": "gemini.generate",
    "/v1beta/models/{model}:embedContent": "gemini.embed",
    "/v1beta/models/{model}:batchEmbedContents": "gemini.embed",
    "/api/chat": "ollama.chat",
    "/api/generate": "ollama.generate",
    "/api/embed": "ollama.embed",
    "/api/embeddings": "ollama.embed",
    "/openai/deployments/{model}/chat/completions": "openai.chat",
    "/openai/deployments/{model}/completions": "openai.completions",
    "/openai/deployments/{model}/embeddings": "openai.embeddings",
}
"""The paths that are guarded without a word in the file, for POST, and how they are read."""

FREE = {
    "POST": (
        "/v1/messages/count_tokens",
        "/v1/responses/input_tokens",
        "/v1/responses/*/cancel",
        "/v1/models/{model}:countTokens",
        "/v1beta/models/{model}:countTokens",
        "/api/show",
    ),
    "DELETE": ("/v1/responses/*",),
    "GET": (
        "/v1/responses/*",
        "/v1/responses/*/input_items",
        "/v1/models",
        "/v1/models/**",
        "/v1beta/models",
        "/v1beta/models/{model}",
        "/api/tags",
        "/api/ps",
        "/api/version",
    ),
}
"""The paths of official clients that generate nothing, by their methods."""


def default_routes() -> tuple[RouteSettings, ...]:
    """The paths that are open without a word in the file; `guard serve` refuses all others."""
    post = frozenset({"POST"})
    free = ((path, frozenset({method})) for method, paths in FREE.items() for path in paths)
    return (
        *(RouteSettings(path=path, methods=post, dialect=name) for path, name in QUERIES.items()),
        *(
            RouteSettings(path=path, methods=methods, action=RouteAction.COUNT, free=True)
            for path, methods in free
        ),
    )
