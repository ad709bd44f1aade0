"""What the analyst's process is told of the settings."""

from __future__ import annotations

from guard.analyst.hello import dump, load
from guard.settings.root import Settings


def test_it_is_told_who_is_a_router_and_how_much_to_remember() -> None:
    settings = Settings.model_validate(
        {
            "uses": [{"holder": "org:portal", "use": "router", "until": "2030-06-30T00:00:00Z"}],
            "campaigns": {"lineage_ids": 5, "lineage_turns": 7},
        }
    )
    told = load(dump(settings))
    assert told.declared == settings.declared
    assert told.campaigns == settings.campaigns


def test_it_is_told_what_operators_share() -> None:
    secret = "a secret that operators share"
    settings = Settings.model_validate({"campaigns": {"sharing": {"secret": secret, "things": ["asn"]}}})
    told = load(dump(settings)).campaigns
    assert told == settings.campaigns
    assert told.sharing.secret is not None
    assert told.sharing.secret.get_secret_value() == secret
    assert secret not in repr(told)
