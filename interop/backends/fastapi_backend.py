"""FastAPI as people set it up: an endpoint with a JSON body, and all else by what its content type says."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse

from guard import GuardMiddleware

app = FastAPI(openapi_url=None)
seen: list[dict[str, Any]] = []

ANSWER = {
    "choices": [],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@app.get("/-/seen")
async def taken() -> JSONResponse:
    """What was read since the call before."""
    new = list(seen)
    seen.clear()
    return JSONResponse(new)


@app.post("/v1/chat/completions")
async def chat(request: Request, payload: Annotated[dict[str, Any], Body()]) -> JSONResponse:
    """A query with a JSON body."""
    return _answer(request, payload)


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def other(request: Request, path: str) -> JSONResponse:
    """All else."""
    form = request.headers.get("content-type", "").startswith(("application/x-www", "multipart/"))
    body: Any = None
    if form:
        body = {name: str(value) for name, value in (await request.form()).items()}
    elif await request.body():
        body = await request.json()
    return _answer(request, body)


def _answer(request: Request, body: Any) -> JSONResponse:
    seen.append(
        {
            "method": request.method,
            "path": request.scope["path"],
            "query": dict(request.query_params),
            "body": body,
            "headers": [
                [name.decode("latin-1"), value.decode("latin-1")] for name, value in request.headers.raw
            ],
        }
    )
    model = body.get("model") if isinstance(body, dict) else None
    return JSONResponse({**ANSWER, "model": model}, headers={"x-read-by": "fastapi"})


def guarded() -> GuardMiddleware:
    """The same app with guard in it, as it is in an app of its own process."""
    return GuardMiddleware(app, config="guard.toml")
