"""Pages to look at: what guard knows, drawn by the server. They ask guard/admin, nothing else."""

from __future__ import annotations

from guard.dashboard.dashboard import Dashboard
from guard.dashboard.sessions import Role, Viewer

__all__ = ["Dashboard", "Role", "Viewer"]
