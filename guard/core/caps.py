"""How long an answer may be: as long as the limits have room for it.

What the caller's cap asks for may be more than a whole limit holds. Then what is left of the limit is
reserved, and the cap that is forwarded is lowered to that, so that a backend which honours it cannot overrun.
A cap that fits is never lowered: a request waits until there is room for it.

    1000/minute on tokens, 300 used; 60 tokens of input, n = 2, max_tokens = 4096
    700 are reserved, and the backend is asked for (700 - 60) / 2 = 320 tokens an answer

With less than half of the limit left the request waits, so that an answer is not cut to a few words because
another one came before. One for so many answers that each would have less than `LEAST_ANSWER_TOKENS` is too
large. Diversity budgets lower no cap: what an answer costs them is not known by its length alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from guard.core.demand import Demand
    from guard.core.limits import Charge, Reading


def answer_cap(readings: Iterable[Reading], charges: Iterable[Charge], demand: Demand) -> int | None:
    """The most tokens that each answer may have, by how the charges' limits stand; `None` where the caller's
    own cap has room.
    """
    asked = {charge.limit.unit: charge.amount for charge in charges}
    caps = [
        demand.answer_tokens(reading.limit.unit, reading.amount)
        for reading in readings
        if reading.enforced and reading.amount < asked[reading.limit.unit]
    ]
    return min((cap for cap in caps if cap is not None), default=None) if caps else None
