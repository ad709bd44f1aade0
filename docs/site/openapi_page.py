"""Writes docs/openapi.json: the operator's API, from its operations."""

from __future__ import annotations

import json
from pathlib import Path

from guard.api.app import OPERATIONS
from guard.api.openapi import document

PAGE = Path(__file__).parents[1] / "openapi.json"


def page() -> str:
    """The whole file."""
    return json.dumps(document(OPERATIONS), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
