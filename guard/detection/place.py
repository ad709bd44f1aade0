"""Where honest holders' queries lie, and how far from there a holder's do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from guard.detection.layout import PLACES, Sum
from guard.detection.profile import HORIZON
from guard.detection.signals import LEAST_QUERIES
from guard.detection.tables import numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from guard.detection.profile import Profile

_PARTS = ("mean", "between", "within")


@dataclass(frozen=True, slots=True)
class Distribution:
    """Where honest holders lie on average, and how far from it in each of `PLACES` directions: the variance
    between holders, and of one query within a holder.
    """

    mean: NDArray[np.float64]
    between: NDArray[np.float64]
    within: NDArray[np.float64]

    def distance(self, profile: Profile) -> float | None:
        """How far a holder's queries lie from those of honest holders, on average and in standard deviations;
        about 1 for an honest one.

        The maximum mean discrepancy with a linear kernel, each direction by its own spread: in published
        tests the best detector of attackers whose queries come from elsewhere (arXiv 2606.05725), and blind
        to those who ask what others ask. Evasion: mixing in nine honest queries for each.
        """
        queries = float(profile.sums[Sum.QUERIES])
        return self.distance_of(profile.mean, queries) if queries >= LEAST_QUERIES else None

    def distance_of(self, mean: NDArray[np.float32], queries: float) -> float:
        """Likewise, of a profile's mean and the weight of the queries behind it."""
        mean = mean * (HORIZON / queries)
        spread = self.between + self.within / independent(queries)
        return float(np.sqrt(np.mean((mean - self.mean) ** 2 / spread)))

    def dump(self) -> dict[str, Any]:
        """As data."""
        return {part: [float(f"{number:.5g}") for number in getattr(self, part)] for part in _PARTS}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Distribution:
        """From data; raises `ValueError`, `KeyError` or `TypeError`."""
        mean, between, within = (np.array(numbers(data[part])) for part in _PARTS)
        if not {len(mean), len(between), len(within)} == {PLACES}:
            raise ValueError(f"a place has {PLACES} numbers in each part")
        if min(between.min(), within.min()) <= 0:
            raise ValueError("variances must be above 0")
        return cls(mean, between, within)


def independent(queries: float) -> float:
    """Of how many independent queries the mean varies as much as that of a profile, by the weight of the
    queries behind it (Kish's effective size of a sample): of all while there are few, in the end of twice
    the horizon.
    """
    return queries * 2 / (2 - queries / HORIZON)
