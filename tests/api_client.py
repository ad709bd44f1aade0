"""The operator's API as a client of it sees it, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx2

from guard import AdminAPI
from guard.admin.tokens import Role, digest_of

if TYPE_CHECKING:
    from guard.settings.root import Settings

CHAT = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}

GATEWAY = "192.0.2.9"
"""Who may say for whom it asks."""

TOKENS = {"ann": ("guard_admin_of_ann", Role.OPERATE), "bob": ("guard_admin_of_bob", Role.READ)}
"""Who may ask; who may order too is Ann."""

ADMIN: dict[str, Any] = {
    "tokens": [
        {"name": name, "sha256": digest_of(token), "role": role} for name, (token, role) in TOKENS.items()
    ]
}
"""The section of the settings for these."""


class Client:
    """Asks as somebody who has a token, or has none."""

    def __init__(self, app: AdminAPI) -> None:
        self.app = app
        self._http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app, raise_app_exceptions=False), base_url="http://guard.test"
        )

    async def send(
        self, method: str, path: str, by: str | None = "ann", headers: Any = (), **more: Any
    ) -> httpx2.Response:
        """The answer to any request."""
        token = [] if by is None else [("authorization", f"Bearer {TOKENS[by][0]}")]
        return await self._http.request(method, path, headers=[*token, *headers], **more)

    async def get(self, path: str, by: str | None = "ann", /, **params: Any) -> httpx2.Response:
        """The answer to a question."""
        return await self.send("GET", f"/v1/{path}", by, params=params)

    async def post(self, path: str, body: Any, by: str | None = "ann") -> httpx2.Response:
        """The answer to a question about a secret, or to an order."""
        return await self.send("POST", f"/v1/{path}", by, json=body)

    async def order(self, path: str, **body: Any) -> Any:
        """What an order has done."""
        answer = await self.post(f"orders/{path}", body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def told(self, path: str, **params: Any) -> Any:
        """What a question is answered."""
        answer = await self.get(path, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def aclose(self) -> None:
        """Close both ends."""
        await self._http.aclose()
        await self.app.aclose()


def client_of(settings: Settings) -> Client:
    """A client of an API with these settings."""
    return Client(AdminAPI(settings, deadline_seconds=60))
