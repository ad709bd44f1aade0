"""The pictures of the docs: how they look, and how they are kept."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS, THEIRS, SECOND = "#1f6f8b", "#b8bec4", "#e0a458"


@contextmanager
def picture(file: Path) -> Iterator[Any]:
    """Axes to draw on, which are written to an SVG in the end; the same figures make the same file."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "guard", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot

    file.parent.mkdir(exist_ok=True)
    figure, axes = pyplot.subplots(figsize=(7.5, 3.4))
    yield axes
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
