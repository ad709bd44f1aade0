"""A FastAPI app with everything that an app has beside its model, and guard by one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, FastAPI, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles

from guard import GuardMiddleware

app = FastAPI(root_path=os.environ.get("SITE_ROOT_PATH", ""))
app.add_middleware(GuardMiddleware, config="guard.toml")

admin = FastAPI()
router = APIRouter(prefix="/team")


@app.post("/v1/chat/completions")
async def chat(query: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.put("/items/{name}")
async def put(name: str, item: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    return {"name": name, **item}


@app.get("/events")
async def events() -> StreamingResponse:
    return StreamingResponse((f"data: {number}\n\n" for number in range(3)), media_type="text/event-stream")


@router.post("/messages")
async def message(text: Annotated[str, Body(embed=True)]) -> dict[str, str]:
    return {"said": text}


@admin.get("/users")
async def users() -> list[str]:
    return ["alice"]


@app.websocket("/ws")
async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(f"you said {await socket.receive_text()}")
    await socket.close()


app.include_router(router)
app.mount("/admin", admin)
app.mount("/", StaticFiles(directory=Path(__file__).parent / "front", html=True))
