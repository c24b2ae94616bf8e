"""How what sensors say compares with what they claim to know: innovation statistics by source.

If a source's claimed noise is right, the squared innovation, normalised by its
own covariance, is a chi-square variable: its mean over the degrees of freedom is
one (Bar-Shalom et al., "Estimation with Applications to Tracking and Navigation",
ch. 5.4.2). Means over one measurement are taken robustly, by the median, because
a few outliers say nothing of the noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_MEMORY = 200.0
"""Measurements that the running mean looks back."""
_RATIO_CAP = 100.0
UNDERSTATED_RATIO = 1.5
"""A source whose errors are so many times what it claims understates them,"""
ENOUGH = 60
"""once it has been heard so often."""


class Tally(NamedTuple):
    """One measurement's innovations."""

    source: str
    normalised: float
    """Robust mean of the normalised square; NaN where there was none."""
    observations: int
    gated: int


@dataclass(slots=True)
class SourceStatistics:
    """The running statistics of one source."""

    normalised: float = math.nan
    measurements: int = 0
    observations: int = 0
    gated: int = 0

    @property
    def claimed_ratio(self) -> float:
        """How many times larger the real error is than claimed."""
        return math.sqrt(self.normalised)

    @property
    def understated(self) -> bool:
        """Whether the source claims to know much more than it does."""
        return self.measurements >= ENOUGH and self.claimed_ratio > UNDERSTATED_RATIO


@dataclass(slots=True)
class InnovationStatistics:
    """The running statistics of every source of one person's filter."""

    sources: dict[str, SourceStatistics] = field(default_factory=dict)

    def take(self, tallies: Sequence[Tally]) -> None:
        """Take in one update's measurements."""
        for tally in tallies:
            if tally.observations == 0:
                continue
            known = self.sources.setdefault(tally.source, SourceStatistics())
            share = 1.0 / min(known.measurements + 1.0, _MEMORY)
            before = known.normalised if known.measurements else 0.0
            known.normalised = before + share * (min(tally.normalised, _RATIO_CAP) - before)
            known.measurements += 1
            known.observations += tally.observations
            known.gated += tally.gated
