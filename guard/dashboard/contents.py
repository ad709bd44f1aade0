"""The pages of the dashboard, in one table."""

from __future__ import annotations

from guard.dashboard.pages import Page
from guard.dashboard.views.audit import audit
from guard.dashboard.views.campaigns import campaign, campaigns
from guard.dashboard.views.find import find
from guard.dashboard.views.holder import holder
from guard.dashboard.views.holds import holds
from guard.dashboard.views.identities import identities
from guard.dashboard.views.keys import keys
from guard.dashboard.views.overview import overview
from guard.dashboard.views.shadow import shadow

PAGES = (
    Page("/", "overview", overview, "Overview"),
    Page("/identities", "identities", identities, "Identities"),
    Page("/holder", "holder", holder, "Identities"),
    Page("/keys", "keys", keys, "Keys"),
    Page("/campaigns", "campaigns", campaigns, "Campaigns"),
    Page("/campaigns/{campaign}", "campaign", campaign, "Campaigns"),
    Page("/holds", "holds", holds, "Holds"),
    Page("/shadow", "shadow", shadow, "Shadow"),
    Page("/audit", "audit", audit, "Audit"),
    Page("/find", "find", find),
)
