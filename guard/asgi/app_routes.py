"""Which routes of an app guard looks at: one line in the log when the app has started, and warnings.

In an app, a path that no route of the settings names is the app's own, and passes. So an endpoint for queries
under a path of its own (mounted, or included with a prefix) would be open without a limit. Routes are found
in Starlette's and FastAPI's routers, through middleware and mounts. Where there are none to be found, as in
an app of another framework, there is nothing to say.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from starlette.staticfiles import StaticFiles

from guard.core.policy import UNKNOWN_PATH, WEBSOCKET, RouteAction
from guard.settings.routes import default_routes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from guard.core.policy import Policy, Route

logger = logging.getLogger("guard")

MOST_LISTED = 40
"""Maximum number of routes that the line names."""

DEEPEST = 32
"""Maximum number of middlewares and mounts that are looked through."""

AMBIGUOUS = "/api/"
"""How the paths of Ollama begin, and those of many apps."""

MOST_LOOKED_THROUGH = 10_000
"""Maximum number of apps and routes in which root paths are looked for."""

OTHER_ENDINGS = (
    "/audio/speech",
    "/audio/transcriptions",
    "/generate",
    "/images/generations",
    "/rerank",
    ":predict",
)
"""How paths of models end for which guard has no dialect."""

_WILDCARD = re.compile(r"\*|\{model\}")
_PARAMETER = re.compile(r"\{[^{}]*\}")
_TAKES_SLASHES = re.compile(r"\{[^{}]*:path\}\Z")


@dataclass(frozen=True, slots=True)
class AppRoute:
    """A route of an app: its path with parameters in braces, and its methods; none stands for all of them.

    `open_ended` says that any path below may lead to an endpoint.
    """

    path: str
    methods: tuple[str, ...]
    open_ended: bool = False

    def __str__(self) -> str:
        return f"{'|'.join(self.methods) or 'any'} {self.path}{'/*' if self.open_ended else ''}"

    @property
    def sample(self) -> str:
        """A path that this route takes."""
        return _PARAMETER.sub("x", self.path)

    def takes(self, route: Route) -> bool:
        """Whether requests of a route of guard's, whose path has no wildcards, may be its own."""
        pattern = "[^/]+".join(map(re.escape, _PARAMETER.split(self.path))) + ("/.*" * self.open_ended)
        methods = not self.methods or not route.methods.isdisjoint(self.methods)
        return methods and re.fullmatch(pattern, route.path) is not None

    @property
    def takes_queries(self) -> bool:
        """Whether a body can be sent to it."""
        return not self.methods or not {"POST", "PUT", WEBSOCKET}.isdisjoint(self.methods)


def report(app: object, policy: Policy) -> None:
    """Log which routes of the app are looked at, and warn of the others that look like a model's."""
    routes = find_routes(app)
    if not routes:
        return
    looked_at = [route for route in routes if _named(route, policy)]
    others = [route for route in routes if route not in looked_at]
    logger.info("routes that guard looks at: %s; and not: %s", _listed(looked_at), _listed(others))
    for route in routes:
        if taken := _taken(route, policy):
            logger.warning("%s", taken)
    if policy.unknown_paths is RouteAction.PASS:
        for route in others:
            if warning := _warning(route):
                logger.warning("%s", warning)


def find_routes(app: object) -> list[AppRoute]:
    """The routes of an app as far as they can be found, each once."""
    found: dict[AppRoute, None] = {}
    try:
        for route in _routes_of(app, "", DEEPEST):
            found[route] = None
    except Exception:  # what frameworks keep inside may change, and must not stop an app
        logger.debug("not all routes of the app were found", exc_info=True)
    return list(found)


def find_root_paths(app: object) -> tuple[str, ...]:
    """The root paths that apps set when they are called, as FastAPI does, as far as they can be found."""
    found: dict[str, None] = {}
    try:
        for root in _root_paths_of(app, {}):
            found[root] = None
    except Exception:  # as above
        logger.debug("not all root paths of the app were found", exc_info=True)
    return tuple(found)


def _root_paths_of(app: object, seen: dict[int, object]) -> Iterator[str]:
    if id(app) in seen or len(seen) >= MOST_LOOKED_THROUGH:
        return
    seen[id(app)] = app
    root = getattr(app, "root_path", None)
    if isinstance(root, str) and root.strip("/"):
        yield root.rstrip("/")
    inner = (getattr(app, name, None) for name in ("app", "_app", "default", "original_router"))
    for each in (*inner, *(getattr(app, "routes", None) or ())):
        # A function, such as what a route calls, has no root path.
        if each is not None and not isinstance(each, FunctionType | MethodType):
            yield from _root_paths_of(each, seen)


def _routes_of(app: object, prefix: str, depth: int) -> Iterator[AppRoute]:
    while depth and getattr(app, "routes", None) is None:
        app = getattr(app, "app", None)
        depth -= 1
        if app is None:
            return
    routes: Sequence[Any] = getattr(app, "routes", None) or ()
    for route in routes if depth else ():
        included = getattr(route, "original_router", None)  # FastAPI's include_router
        inner = getattr(route, "app", None)
        if included is not None:
            yield from _routes_of(included, prefix + route.include_context.prefix, depth - 1)
        elif hasattr(route, "endpoint"):
            # HEAD and OPTIONS come with GET and tell nothing.
            methods = getattr(route, "methods", (WEBSOCKET,)) or ()
            told = tuple(sorted(set(methods) - {"HEAD", "OPTIONS"} or methods))
            open_ended = _TAKES_SLASHES.search(route.path)
            path = _TAKES_SLASHES.sub("", route.path).rstrip("/") if open_ended else route.path
            yield AppRoute(prefix + path, told, open_ended is not None)
        else:
            path = prefix + getattr(route, "path", "")
            below = list(_routes_of(inner, path, depth - 1))
            opaque = AppRoute(path, ("GET",) if isinstance(inner, StaticFiles) else (), open_ended=True)
            yield from below or (opaque,)


def _named(route: AppRoute, policy: Policy) -> bool:
    """Whether a route of the settings takes any of its requests."""
    methods = route.methods or ("POST", "GET")
    return any(policy.route(method, route.sample).path != UNKNOWN_PATH for method in methods)


def _taken(route: AppRoute, policy: Policy) -> str | None:
    """What to say of a route of the app that guard takes for Ollama's without a word in the settings."""
    default = tuple(each.route() for each in default_routes())
    if not route.path.startswith(AMBIGUOUS.rstrip("/")) or policy.routes[-len(default) :] != default:
        return None
    taken = [
        each
        for each in policy.routes[-len(default) :]
        if each.path.startswith(AMBIGUOUS)
        and route.takes(each)
        and any(policy.route(method, each.path) is each for method in each.methods)
    ]
    if not taken:
        return None
    passed = ", ".join(f'{{ path = "{each.path}", action = "pass" }}' for each in taken)
    kept = ", ".join(f'{{ path = "{each.path}", {_as_setting(each)} }}' for each in taken)
    return (
        f"{route}: guard takes requests for Ollama's, and refuses or counts them as such; where they are the "
        f"app's own, set extra_routes = [{passed}]; where they are Ollama's, extra_routes = [{kept}]"
    )


def _as_setting(route: Route) -> str:
    return f'dialect = "{route.dialect}"' if route.dialect else 'action = "count", free = true'


def _warning(route: AppRoute) -> str | None:
    if not route.takes_queries:
        return None
    if route.open_ended:
        return (
            f"{route}: guard does not see which endpoints there are below, and limits none that the settings "
            f"do not name; name those of models in `extra_routes`"
        )
    for ending, dialect in _endings():
        if route.sample.endswith(ending):
            action = f'dialect = "{dialect}"' if dialect else 'action = "count"'
            return (
                f"{route}: ends like the endpoint of a model, and is not limited; add "
                f'{{ path = "{_PARAMETER.sub("*", route.path)}", {action} }} to `extra_routes`, '
                f'or, where it is none, the same with action = "pass"'
            )
    return None


def _endings() -> Iterator[tuple[str, str | None]]:
    """How paths of models end, the longest first where several fit, and the dialect that reads each."""
    known = [
        (_WILDCARD.split(route.path)[-1].removeprefix("/v1"), route.dialect)
        for route in default_routes()
        if route.dialect is not None
    ]
    yield from sorted(known, key=lambda pair: -len(pair[0]))
    yield from ((ending, None) for ending in OTHER_ENDINGS)


def _listed(routes: Sequence[AppRoute]) -> str:
    names = [str(route) for route in routes[:MOST_LISTED]]
    more = len(routes) - len(names)
    return ", ".join([*names, *([f"{more} more"] if more else [])]) or "none"
