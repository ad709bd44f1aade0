"""What the site makes of the pages: links to files beside `docs` lead to the repository."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

OUTSIDE = re.compile(r"\]\(((?:\.\./)+)([^)#\s]+)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """The page with links that the site can follow."""
    depth = len(PurePosixPath(page.file.src_uri).parts)

    def lead(link: re.Match[str]) -> str:
        ups, path = link[1].count("../"), link[2]
        return f"]({config['repo_url']}/blob/main/{path}" if ups >= depth else link[0]

    return OUTSIDE.sub(lead, markdown)
