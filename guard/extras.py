"""What is installed beside the core: the extra `detection`, which reads texts, the client of `serve`, and
`sharing`, which reads bundles of STIX. A limiter does without.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from guard.errors import ConfigError

NEEDS_DETECTION = 'needs `pip install "asgi-guard[detection]"`'

NEEDS_DASHBOARD = 'needs `pip install "asgi-guard[dashboard]"`'

NEEDS_SERVE = 'needs `pip install "asgi-guard[serve]"`'


NEEDS_SHARING = 'needs `pip install "asgi-guard[sharing]"`'


NEEDS_OTEL = 'needs `pip install "asgi-guard[otel]"`'


@cache
def otel_installed() -> bool:
    """Whether OpenTelemetry's SDK is there, and its exporter."""
    return find_spec("opentelemetry") is not None and find_spec("opentelemetry.exporter.otlp") is not None


@cache
def detection_installed() -> bool:
    """Whether the extra is there. No other package brings wordllama, as some do numpy."""
    return find_spec("wordllama") is not None


@cache
def aiohttp_installed() -> bool:
    """Whether HTTP can be spoken as a client."""
    return find_spec("aiohttp") is not None


def require_detection(what: str) -> None:
    """Raise `ConfigError` where the extra is not there."""
    if not detection_installed():
        raise ConfigError(f"{what} {NEEDS_DETECTION}")


def require_sharing(what: str) -> None:
    """Raise `ConfigError` where bundles of STIX cannot be read."""
    if find_spec("stix2") is None:
        raise ConfigError(f"{what} {NEEDS_SHARING}")


def require_dashboard() -> None:
    """Raise `ConfigError` where what the pages are drawn with is not there."""
    if find_spec("jinja2") is None:
        raise ConfigError(f"the dashboard {NEEDS_DASHBOARD}")
