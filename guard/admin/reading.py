"""What a line of a traffic log means to guard: who asks what, and what came of it."""

from __future__ import annotations

import random
import string
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

from guard.analyst.transcript import Asked, Copies
from guard.core.calendars import MICROSECONDS
from guard.core.novelty import STANDARD_TOKENS
from guard.core.query import NO_USAGE, Usage, text_bytes
from guard.dialects import elsewhere, with_model
from guard.dialects.strict import serialize
from guard.engine.token_estimate import Estimator
from guard.errors import QueryError
from guard.http.client import program
from guard.http.headers import check_media_type
from guard.http.parameters import check_parameters
from guard.http.paths import read_path, route_of
from guard.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from guard.admin.traffic import Line
    from guard.core.identity import Holder, Identity
    from guard.core.policy import Policy, Route
    from guard.core.pseudonyms import Pseudonyms
    from guard.core.query import Query
    from guard.core.uses import Declared
    from guard.http.paths import Path
    from guard.settings.root import Settings

PEPPER = b"guard replays traffic with this pepper"
"""Where the settings name none. Names differ from those of the live store, and are the same every time."""

UNKNOWN_TOKENS = STANDARD_TOKENS
"""Output tokens assumed for an answer of which the log has neither usage nor text."""

MOST_IDENTITIES = 10_000
"""Size of the cache of identities, in callers."""

MOST_ROUTES = 1_000
"""Size of the cache of routes, in methods with paths."""


def pepper_of(settings: Settings) -> bytes:
    """The settings' pepper, or one that is always the same: names must not depend on the machine."""
    pepper = settings.identity.pepper
    return pepper.get_secret_value().encode() if pepper is not None else PEPPER


_AS_IT_IS = string.punctuation
"""What is written down in a path as it was sent; the rest is of logs that have the path decoded."""


class LogClock:
    """Stands at the moment of the line that is read."""

    def __init__(self) -> None:
        self.now_us = 0

    def seconds(self) -> float:
        """The log's Unix seconds."""
        return self.now_us / MICROSECONDS

    def date_us(self) -> int:
        """The log's Unix microseconds."""
        return self.now_us


def request_id(line: Line) -> str:
    """A name that no other line has, of letters, digits and `_`: a log may name two lines alike."""
    return f"line_{line.number}"


class LineReader:
    """Reads lines as the settings say; `declared` uses go before those of the settings.

    Raises `ConfigError` for settings that cannot work.
    """

    def __init__(self, settings: Settings, keys: Pseudonyms, declared: Mapping[Holder, Declared]) -> None:
        self.rules = Rules.of(settings, keys)
        detection = self.rules.policy.detection
        detection = replace(detection, uses={**detection.uses, **declared})
        self.policy: Policy = replace(self.rules.policy, detection=detection)
        # Where long texts are sampled is drawn by chance, which must be the same chance every time.
        self._chance = random.Random()  # noqa: S311
        self._tokenizing = Estimator(settings.models.tokenizers, rng=self._chance)
        self._learned: dict[Holder, Estimator] = {}
        self._dated = settings.identity.jwt is not None
        self._identities: dict[Hashable, Identity] = {}
        self._routes: dict[tuple[str, str], tuple[Route, Path]] = {}

    def identity(self, line: Line, route: Route) -> Identity:
        """Who is calling, at the line's own time; raises `RequestError`."""
        if route.dialect is not None:
            check_media_type(line.headers)
        keys = check_parameters(line.query.encode("ascii", "replace"), route)
        if self._dated:
            return self._identify(line, keys)
        facts = (line.headers, line.client, *keys, *line.attributes.items())
        identity = self._identities.get(facts)
        if identity is None:
            if len(self._identities) >= MOST_IDENTITIES:
                self._identities.clear()
            identity = self._identities[facts] = self._identify(line, keys)
        return identity

    def route(self, line: Line) -> tuple[Route, Path]:
        """Where the request goes; raises `RequestError`. A log may have the path decoded."""
        key = line.method, line.path
        found = self._routes.get(key)
        if found is None:
            path = read_path(quote(line.path, safe=_AS_IT_IS, errors="replace").encode())
            found = route_of(self.policy, (line.method,), path), path
            if len(self._routes) >= MOST_ROUTES:
                self._routes.clear()
            self._routes[key] = found
        return found

    def query(self, line: Line, route: Route, path: Path, identity: Identity) -> Query | None:
        """What is asked, `None` where the route does not say how to read it; raises `QueryError`.

        How many bytes a token has says the model's tokenizer, or what this caller's own answers have used.
        What those of others have does not count, as it would in live traffic: so the results of a caller go
        by its own lines.
        """
        if route.dialect is None:
            return None
        if not isinstance(line.body, dict):
            raise QueryError("The body must be a JSON object.")
        if line.escaped:
            serialize(line.body)
        dialect = self.rules.dialects[route.dialect]
        body = with_model(dialect, line.body, route.model_in(path.judged))
        query = elsewhere.read(dialect, body, path.judged)
        self._chance.seed(line.number)
        measured = self._tokenizing.prepare(query)
        return self._learned_from(identity).prepare(query) if measured is query else measured

    def copies(self, line: Line, query: Query, route: Route, path: Path) -> Copies:
        """What was asked and answered, as an analyst reads it."""
        response, answer = line.response, None
        if response is not None and response.body is not None:
            answer = serialize(response.body)
        elif response is not None and response.text is not None:
            answer = serialize({"text": response.text})
        return Copies(
            dialect=route.dialect or "",
            path=path.judged,
            model=route.model_in(path.judged),
            body=b"",
            answer=answer,
            content_type="application/json",
            codings=(),
            asked=Asked(line.body, query),
            client=program(line.headers),
        )

    def answer(self, line: Line, query: Query | None, route: Route, identity: Identity) -> tuple[Usage, int]:
        """What was used and the status, as the log has it or as it is to be supposed.

        Without `usage` it is what a `body` reports, and a `text` counts as all of the answer. Without any of
        them the answer has `UNKNOWN_TOKENS`, or the query's own cap where that is less.
        """
        response = line.response
        status = 200 if response is None else response.status
        if response is not None and response.usage is not None:
            usage = response.usage
        elif query is None or status >= 400:
            return NO_USAGE, status
        elif response is not None and response.body is not None:
            usage = self._metered(query, serialize(response.body), route)
        elif response is not None and response.text is not None:
            settled = query.without_discount()
            usage = Usage(settled.input_tokens, settled.text_tokens(text_bytes(response.text)))
        else:
            cap = query.max_output_tokens
            cap = self.policy.output_cap(query.model) if cap is None else cap
            usage = Usage(query.without_discount().input_tokens, query.n * min(cap, UNKNOWN_TOKENS))
        if query is not None:
            self._learned_from(identity).learn(query, usage)
        return usage, status

    def _learned_from(self, identity: Identity) -> Estimator:
        learned = self._learned.get(identity.principal)
        if learned is None:
            learned = self._learned[identity.principal] = Estimator(rng=self._chance)
        return learned

    def _metered(self, query: Query, answer: bytes, route: Route) -> Usage:
        """What an answer has used, as it is counted in live traffic."""
        meter = self.rules.dialects[route.dialect or ""].meter(query, "application/json", hide_usage=False)
        meter.feed(answer)
        meter.finish()
        return meter.usage

    def _identify(self, line: Line, keys: list[str]) -> Identity:
        return self.rules.identifier.identify(
            line.headers, line.client, line.attributes, line.now_us / MICROSECONDS, keys
        )
