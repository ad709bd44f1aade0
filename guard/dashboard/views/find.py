"""Where the field at the top of each page leads."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from guard.core.campaigns import campaign_of
from guard.core.identity import Attribute
from guard.dashboard.pages import Answer
from guard.dashboard.rendering import link
from guard.errors import UnknownCampaignError

if TYPE_CHECKING:
    from guard.admin import Operator
    from guard.dashboard.queries import Query


async def find(operator: Operator, query: Query) -> Answer:
    """The page of whom a text names: a campaign by its id, or else a holder as `guard show` takes it."""
    text = query.text("name")
    name = campaign_of(text.removeprefix(f"{Attribute.CAMPAIGN}:"))
    if ":" not in name:
        try:
            await operator.campaigns.of(name)
        except UnknownCampaignError:
            pass
        else:
            return Answer(name, {}, to=f"/campaigns/{quote(name, safe='')}")
        if ":" not in text and not text.startswith("req_"):
            raise UnknownCampaignError(
                f"there is no campaign {text}; a holder is written org:acme or key:alice"
            )
    holder = await operator.resolve(text)
    return Answer(text, {}, to=link("/holder", name=operator.name(holder)))
