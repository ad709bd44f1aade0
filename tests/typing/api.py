"""The public API as an app uses it, for a type checker to read: it is never run.

`make wheel-test` has mypy check it against the installed wheel, where the types come from `py.typed`.
"""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

from starlette.applications import Starlette
from starlette.middleware import Middleware

from guard import AdminAPI, ConfigError, Event, GuardError, GuardMiddleware, Hook, Settings, load


def watch(event: Event) -> None:
    assert_type(event.request_id, str)
    assert_type(event.refused, bool)
    assert_type(event.limits, tuple[str, ...])
    assert_type(event.status, int | None)


class Watcher:
    def __call__(self, event: Event) -> None: ...


hooks: list[Hook] = [watch, Watcher()]

assert_type(load(), Settings)
assert_type(load("guard.toml"), Settings)
settings = load(Path("guard.toml"))
assert_type(settings.reload_seconds, float)

app = Starlette()
assert_type(GuardMiddleware(app, "guard.toml"), GuardMiddleware)
GuardMiddleware(app, Path("guard.toml"), hooks=hooks, reload_on_sighup=True)
app.add_middleware(GuardMiddleware, config=settings)
Starlette(middleware=[Middleware(GuardMiddleware, config="guard.toml", hooks=[watch])])

GuardMiddleware(app, confg="guard.toml")  # type: ignore[call-arg] # unknown names are errors
GuardMiddleware(app, hooks=[print, 7])  # type: ignore[list-item]
settings.no_such_section  # type: ignore[attr-defined] # noqa: B018

try:
    load("none.toml")
except ConfigError as error:
    fault: GuardError = error

assert_type(AdminAPI("guard.toml"), AdminAPI)
app.mount("/guard", AdminAPI(settings, deadline_seconds=5))
