"""Pages to look at: what guard knows, drawn by the server. They ask guard/admin, nothing else."""

from __future__ import annotations

from guard.extras import require_dashboard

require_dashboard()

from guard.dashboard.dashboard import Dashboard  # noqa: E402 - or say what to install
from guard.dashboard.sessions import Role, Viewer  # noqa: E402

__all__ = ["Dashboard", "Role", "Viewer"]
