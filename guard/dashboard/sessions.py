"""Who looks at the dashboard, and how long that is believed.

A viewer shows a token once, and gets a cookie for it. The cookie says which token it was, since when and when
it was used last, and is authenticated with a secret that follows from the pepper and with the token's digest.
So nothing is kept for a session; and it ends by itself as soon as its token is not in the settings any more,
or is another one. What its role may do is read from the settings each time.

    09:00  login: the cookie holds until 09:30
    09:20  a page: the cookie that comes with it holds until 09:50
    17:00  the session is 8 hours old: it ends, however busy it was

A logout ends the session in this process; the cookie, where somebody has copied it, holds in another process
that serves the dashboard until it is half an hour old.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from guard.settings.admin import Role as Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from starlette.types import Scope

    from guard.clock import Clock
    from guard.settings.admin import AdminTokenSettings

PURPOSE = "sessions of the dashboard"

IDLE_SECONDS = 1_800
"""A session that was not used for so long is over."""

LONGEST_SECONDS = 8 * 3_600
"""Maximum length of a session."""

RENEW_SECONDS = 60
"""A cookie that is older is replaced by a younger one."""

MOST_ENDED = 10_000
"""Maximum number of sessions that are remembered as ended; beyond it the oldest is forgotten."""

_VERSION = "1"
_LONGEST_COOKIE = 256


@dataclass(frozen=True, slots=True)
class Viewer:
    """Somebody who may look: orders are said to come from `name`, and need the role `operate`.

    `session` is what forms are bound to, `begun` and `used` are Unix seconds.
    """

    name: str
    role: Role = Role.READ
    session: str = ""
    begun: int = 0
    used: int = 0


Authenticate: TypeAlias = "Callable[[Scope], Viewer | None]"
"""How an app around the dashboard says who is asking; `None`: somebody who may not look."""


class Sessions:
    """Makes and reads the cookies of one installation, whose `secret` follows from its pepper."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock
        self._ended: OrderedDict[str, None] = OrderedDict()

    def begin(self, token: AdminTokenSettings) -> Viewer:
        """A new session of who has shown a token."""
        now = self._now()
        return Viewer(token.name, token.role, secrets.token_hex(16), now, now)

    def cookie(self, viewer: Viewer, tokens: Iterable[AdminTokenSettings]) -> str:
        """The value of the cookie of a session that one of these tokens has begun; empty for one of none."""
        token = next((each for each in tokens if each.name == viewer.name), None)
        if token is None:  # it was taken out of the settings since
            return ""
        text = f"{_VERSION}.{viewer.session}.{viewer.begun}.{viewer.used}.{viewer.name}"
        return f"{text}.{self._tag(text, token)}"

    def viewer(self, cookie: str, tokens: Iterable[AdminTokenSettings]) -> Viewer | None:
        """Whose cookie it is; `None` where it is made up, over, or of a token that is none of these."""
        text, _, tag = cookie.rpartition(".")
        fields = text.split(".")
        if len(cookie) > _LONGEST_COOKIE or len(fields) != 5 or fields[0] != _VERSION:
            return None
        _, session, begun, used, name = fields
        token = next((each for each in tokens if each.name == name), None)
        if token is None or not hmac.compare_digest(tag.encode(), self._tag(text, token).encode()):
            return None
        viewer = Viewer(name, token.role, session, int(begun), int(used))
        now = self._now()
        over = now - viewer.used > IDLE_SECONDS or now - viewer.begun > LONGEST_SECONDS
        return None if over or session in self._ended else viewer

    def renewed(self, viewer: Viewer) -> Viewer | None:
        """The session as its next cookie has it; `None` where the present one is young enough."""
        now = self._now()
        return replace(viewer, used=now) if now - viewer.used > RENEW_SECONDS else None

    def end(self, viewer: Viewer) -> None:
        """End a session, also for who has copied its cookie."""
        self._ended[viewer.session] = None
        if len(self._ended) > MOST_ENDED:
            self._ended.popitem(last=False)

    def form_token(self, viewer: Viewer) -> str:
        """What a form of this session holds, and none of another site can know."""
        text = f"form\0{viewer.session}\0{viewer.name}"
        return hmac.digest(self._secret, text.encode(), "sha256").hex()

    def may_send(self, viewer: Viewer, form_token: str) -> bool:
        """Whether a form was made for this session."""
        return hmac.compare_digest(form_token.encode(), self.form_token(viewer).encode())

    def _tag(self, text: str, token: AdminTokenSettings) -> str:
        return hmac.digest(self._secret, f"cookie\0{token.sha256}\0{text}".encode(), "sha256").hex()

    def _now(self) -> int:
        return int(self._clock.date_us() // 1_000_000)
