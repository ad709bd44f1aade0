"""guard's settings in the benchmarks: limits that nobody here uses up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PEPPER = "not a secret: a benchmark's own"

REQUESTS = """
[[tiers.default.limits]]
name = "requests"
unit = "requests"
rate = "100000/second;5000000/minute;1000000000/day"
"""

TOKENS = """
[[tiers.default.limits]]
name = "tokens"
unit = "tokens"
rate = "1000000000/minute;100000000000/day"
"""

COST = """
[[tiers.default.limits]]
name = "cost"
unit = "cost"
rate = "1000000/day"
"""

CONCURRENCY = """
[[tiers.default.limits]]
name = "concurrency"
unit = "concurrency"
count = 1000
"""

NOVELTY = """
[[tiers.default.limits]]
name = "diversity"
unit = "novelty"
rate = "100000000/day"
"""

PRICES = """
[models.prices."*"]
input = "0.1"
output = "0.4"
"""

LIMITS = REQUESTS + TOKENS
"""3 request and 2 token windows."""

EVERYTHING = LIMITS + COST + CONCURRENCY + NOVELTY + PRICES
"""5 limits with 8 windows, and queries are looked at."""

OFF = '\n[detection]\nmode = "off"\n'


def write(folder: Path, name: str, limits: str, redis_url: str, identity: str = "") -> Path:
    """A `guard.toml` of this name; the deadline is one that a busy machine does not miss."""
    path = folder / f"{name}.toml"
    path.write_text(
        f'data_dir = "{folder / name}"\n'
        f'[store]\nredis_url = "{redis_url}"\ndeadline_ms = 5000\n'
        f'[identity]\npepper = "{PEPPER}"\n{identity}{limits}'
    )
    return path
