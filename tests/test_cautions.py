"""W23: each protection that an edit takes away is named."""

from __future__ import annotations

from typing import Any

import pytest

from guard import Settings
from guard.settings.cautions import loosened

LIMIT = {"name": "r", "unit": "requests", "rate": "9/hour"}
ROUTE = {"path": "/ask", "methods": ["POST"], "dialect": "openai.chat"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"identity": {"keys_file": "k"}}, {}, "identity.keys_file is gone"),
        (
            {"identity": {"jwt": {"secret": "x" * 32, "algorithms": ["HS256"]}}},
            {},
            "identity.jwt is gone",
        ),
        ({"identity": {"anonymous": "refuse"}}, {}, "identity.anonymous is no longer `refuse`"),
        ({"unknown_paths": "deny"}, {"unknown_paths": "count"}, "unknown_paths is `count`"),
        ({}, {"mode": "shadow"}, "mode is `shadow`"),
        ({"mode": "shadow"}, {"mode": "off"}, "mode is `off`"),
        ({}, {"detection": {"mode": "off"}}, "detection.mode is `off`"),
        ({"extra_routes": [ROUTE]}, {}, "guard no longer looks at /ask"),
        (
            {"extra_routes": [ROUTE]},
            {"extra_routes": [{"path": "/ask", "action": "pass"}]},
            "guard no longer looks at /ask",
        ),
        (
            {"tiers": {"default": {"limits": [LIMIT]}}},
            {"tiers": {"default": {}}},
            "tier `default` has no limit `r` any more",
        ),
        (
            {"tiers": {"default": {}, "strict": {"limits": [LIMIT]}}},
            {"tiers": {"default": {}}},
            "tier `strict` is gone",
        ),
        (
            {"tiers": {"default": {"limits": [LIMIT]}}},
            {"tiers": {"default": {"limits": [LIMIT], "mode": "shadow"}}},
            "the mode of tier `default` is `shadow`",
        ),
        ({"limits": [LIMIT]}, {}, "tier `default` has no limit `r` any more"),
        ({"ladder": {"high": {"hold": True}}}, {}, "no rung of tier `default` holds any more"),
    ],
)
def test_w23_what_is_lost_is_named_and_what_is_gained_is_not(
    old: dict[str, Any], new: dict[str, Any], said: str
) -> None:
    before, after = Settings.model_validate(old), Settings.model_validate(new)
    assert any(line.startswith(said) for line in loosened(before, after))
    assert not [line for line in loosened(after, before) if line.startswith(said)]
    assert not list(loosened(before, before))
