"""The path of a request: what is judged is what the backend gets, and it can be read in one way only.

Servers disagree about `..`, `//`, `%2f`, `;` and what an escape of an escape is, and whoever gets a path past
a guard that reads it otherwise than the backend goes where they like. So a path that climbs, or that hides a
separator, is refused wherever it leads. What apps may have a use for (`//`, `;`, `%23`, another case) is left
to routes that are not guarded, as long as no reading of it leads to a stricter one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import normalize
from urllib.parse import quote, unquote_to_bytes

from guard.core.policy import UNKNOWN_PATH, WEBSOCKET, RouteAction
from guard.errors import MethodError, PathError, RequestError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Scope

    from guard.core.policy import Policy, Route

LONGEST_PATH = 8_192
"""In bytes, as it is sent; the servers behind take no more in the whole line of a request."""

ROUTES_KEPT = 1_024
"""Maximum number of paths whose routes are remembered. At one more, all are forgotten."""
LONGEST_KEPT = 512
"""Maximum length of what is remembered of one: its path twice, its root path and its methods."""

PATH_SAFE = "/:@!$&'()*+,;=~-._"
"""What stands in a path as it is (RFC 3986, section 3.3)."""

_ESCAPED_SEPARATOR = re.compile(rb"%(?:2[fF]|5[cC])")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_NOT_IN_A_PATH = re.compile(rb"[^\x21-\x7e]")
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]")
_ODD = re.compile(r"//|[;?#\s]")
_SLASHES = re.compile("/+")


@dataclass(frozen=True, slots=True)
class Path:
    """A path that does not climb and hides no separator.

    `judged` is what routes are compared with, and `sent` the same path as the client wrote it, which is what
    the backend gets. `plain` says that every server reads it alike.
    """

    judged: str
    sent: bytes
    plain: bool

    @property
    def readings(self) -> frozenset[str]:
        """What servers might take it for, other than as it stands."""
        text = normalize("NFKC", self.judged)
        cut = re.split("[?#]", text, maxsplit=1)[0]
        bare = "/".join(segment.partition(";")[0] for segment in cut.split("/"))
        return frozenset(_tidy(each) for each in (self.judged, text, cut, bare, cut.partition(";")[0]))


def path_of(scope: Scope) -> Path:
    """The path that the app's router judges, below `root_path`; raises `PathError` (400, 414).

    Where something before us has rewritten `path` and not `raw_path`, `path` is what holds.
    """
    judged, raw = _below_root(scope)
    if raw is not None and unquote_to_bytes(raw).decode("utf-8", "replace") == judged:
        return read_path(raw)
    return read_path(quote(judged, safe=PATH_SAFE, errors="replace").encode())


def paths_of(scope: Scope, root_paths: Iterable[str]) -> tuple[Path, ...]:
    """The path, then what it is below each of these root paths that it lies under; raises `PathError`.

    An app may set a root path of its own when it is called, after guard.
    """
    roots = (scope.get("root_path", ""), *(root for root in root_paths if scope["path"].startswith(root)))
    return tuple(
        {path.judged: path for path in (path_of({**scope, "root_path": root}) for root in roots)}.values()
    )


def strictest(policy: Policy, methods: Iterable[str], paths: Iterable[Path]) -> tuple[Path, Route]:
    """Of several paths, the one that a route names, and the strictest of those; raises as `route_of`."""
    methods = tuple(methods)
    judged = [(path, route_of(policy, methods, path)) for path in paths]
    return max(judged, key=lambda pair: (pair[1].path != UNKNOWN_PATH, pair[1].strictness))


class Routed(NamedTuple):
    """A request's paths, the one that counts, its route, and the `raw_path` that says so."""

    paths: tuple[Path, ...]
    path: Path
    route: Route
    raw_path: bytes | None


class Routes:
    """Finds the routes of requests by one policy, and remembers those of short paths.

    An app may be below one of `root_paths` when it is called, after guard.
    """

    def __init__(self, policy: Policy, root_paths: tuple[str, ...]) -> None:
        self.policy = policy
        self.root_paths = root_paths
        self._known: dict[tuple[str, bytes | None, str, tuple[str, ...]], Routed] = {}

    def find(self, scope: Scope, methods: tuple[str, ...]) -> Routed:
        """The route of a request; raises as `paths_of` and `route_of`."""
        path, raw, root = scope["path"], scope.get("raw_path"), scope.get("root_path", "")
        key = path, raw, root, methods
        if key in self._known:
            return self._known[key]
        paths = paths_of(scope, self.root_paths)
        judged, route = strictest(self.policy, methods, paths)
        routed = Routed(paths, judged, route, agreeing(scope, judged).get("raw_path"))
        if len(path) + len(raw or b"") + len(root) + sum(map(len, methods)) <= LONGEST_KEPT:
            if len(self._known) >= ROUTES_KEPT:
                self._known.clear()
            self._known[key] = routed
        return routed


def read_path(raw: bytes) -> Path:
    """A path as it was sent; raises `PathError` where it cannot be read in one way only."""
    if len(raw) > LONGEST_PATH:
        raise PathError(f"The path is longer than {LONGEST_PATH} bytes.", status=414)
    if _NOT_IN_A_PATH.search(raw) or _BROKEN_ESCAPE.search(raw):
        raise PathError("The path is not percent-encoded.")
    if _ESCAPED_SEPARATOR.search(raw):
        raise PathError("The path hides a separator: write `/` as it is, and no backslash.")
    try:
        judged = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise PathError("The path is not UTF-8.") from error
    lookalike = normalize("NFKC", judged)
    if not judged.startswith("/") or lookalike.count("/") != judged.count("/"):
        raise PathError("The path must begin with `/`, and have no other character for it.")
    if "\\" in lookalike or _UNPRINTABLE.search(judged):
        raise PathError("The path holds a backslash or a control character.")
    if _ESCAPE.search(lookalike):
        raise PathError("The path is encoded twice.")
    if any(map(_climbs, lookalike.split("/"))):
        raise PathError("The path holds a segment `.` or `..`.")
    return Path(judged, raw, lookalike == judged and not _ODD.search(judged))


def route_of(policy: Policy, methods: Iterable[str], path: Path) -> Route:
    """The route of a request; raises `PathError` where another reading of it leads to a stricter one.

    The first of `methods` is that of the request. The others are those that the app might take it for.
    """
    method, *others = methods
    route = policy.route(method, path.judged)
    named = route.path != UNKNOWN_PATH
    if named and route.action in (RouteAction.GUARD, RouteAction.COUNT) and not path.plain:
        raise PathError("The path can be read in more than one way; write it without `//` and `;`.")
    if route.action in (RouteAction.GUARD, RouteAction.DENY):
        return route
    passes = route.action is RouteAction.PASS  # what is counted goes on without what would override it
    if passes and any(policy.route(other, path.judged).strictness > route.strictness for other in others):
        raise PathError("The method must not be overridden.", reason="method_override")
    if route.path == path.judged:
        return route  # the operator has named just this path
    for reading in path.readings:
        stricter = policy.stricter(route, method, reading)
        if stricter is not None:
            raise PathError(f"Unknown path; it is written as {stricter.path}.", status=404)
    return route


def denied(policy: Policy, route: Route, method: str, path: Path) -> RequestError:
    """The answer where a route denies: a path that is there for other methods is not unknown."""
    methods = policy.methods(path.judged) if route.path == UNKNOWN_PATH and method != WEBSOCKET else ()
    if methods:
        return MethodError(methods)
    return RequestError("Unknown path.", status=404)


def agreeing(scope: Scope, path: Path) -> Scope:
    """The scope whose `raw_path` says what was judged, also where `path` alone had been rewritten."""
    whole: str = scope["path"]
    if not whole.endswith(path.judged):
        return scope
    root = quote(whole[: len(whole) - len(path.judged)], safe=PATH_SAFE).encode()
    return {**scope, "raw_path": root + path.sent}


def path_to_send(scope: Scope) -> bytes:
    """The path for a backend: below `root_path`, byte for byte as the client wrote it."""
    judged, raw = _below_root(scope)
    return raw if raw is not None else quote(judged, safe=PATH_SAFE).encode()


def _below_root(scope: Scope) -> tuple[str, bytes | None]:
    """The path and the raw path below `root_path`, as Starlette's router takes it off; the raw one is `None`
    where the server gives none, or another.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    raw: bytes | None = scope.get("raw_path")
    if raw is not None:
        raw = raw.partition(b"?")[0]
    if not root or not path.startswith(root) or path[len(root) : len(root) + 1] not in ("", "/"):
        return path, raw
    below, raw_root = path[len(root) :] or "/", quote(root, safe=PATH_SAFE).encode()
    if raw is None or not raw.startswith(raw_root):
        return below, None
    return below, raw[len(raw_root) :] or b"/"


def _tidy(path: str) -> str:
    path = _SLASHES.sub("/", path).casefold()
    return "/".join(segment.strip(" .") for segment in path.split("/")).rstrip("/") or "/"


def _climbs(segment: str) -> bool:
    """Whether some server takes it for `.` or `..`: with parameters, dots and spaces behind it, too."""
    name = segment.partition(";")[0]
    return bool(name) and not name.strip(". \t")
