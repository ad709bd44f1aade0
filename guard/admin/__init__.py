"""What the operator asks and does, once, for every door that offers it."""

from __future__ import annotations

from guard.admin.acts import Act, Acts
from guard.admin.cases import Case, Pool
from guard.admin.finding import Found
from guard.admin.idle import Idle
from guard.admin.impact import Hit, Impact, Loss
from guard.admin.keys import Issued, KeyOrders, Keys
from guard.admin.opening import settings_with_store
from guard.admin.operator import Operator
from guard.admin.orders import Orders
from guard.admin.rollups import Bucket, Busiest, Busy, By, RefusedTo, Traffic
from guard.admin.sheets import Appeal, Entry, Sheet, Terrain, Unseen
from guard.admin.totals import Group, Nearest, Totals
from guard.core.issued import IssuedKey
from guard.store.port import Block
from guard.store.redis.orders import Record, Term

__all__ = [
    "Act",
    "Acts",
    "Appeal",
    "Block",
    "Bucket",
    "Busiest",
    "Busy",
    "By",
    "Case",
    "Entry",
    "Found",
    "Group",
    "Hit",
    "Idle",
    "Impact",
    "Issued",
    "IssuedKey",
    "KeyOrders",
    "Keys",
    "Loss",
    "Nearest",
    "Operator",
    "Orders",
    "Pool",
    "Record",
    "RefusedTo",
    "Sheet",
    "Term",
    "Terrain",
    "Totals",
    "Traffic",
    "Unseen",
    "settings_with_store",
]
