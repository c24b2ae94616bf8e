"""Angular rates at the pace of the filter: short stretches of samples become their mean."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fusion.records import Float64, Int64


def mean_rates(times_ns: Int64, rates_rad_s: Float64, interval_ns: int) -> Iterator[tuple[int, Float64]]:
    """Mean rate of every stretch of samples.

    The mean over a stretch is the rotation over it, so nothing of the motion is
    lost that the filter, whose rates are constant for so long, could follow.

    Args:
        times_ns: [T], in order.
        rates_rad_s: [T, M, 3]; NaN where a sensor's sample is missing.
        interval_ns: samples within this time of a stretch's first belong to it.

    Yields:
        The mean time of each stretch and the mean rates [M, 3], NaN for a sensor without a sample.
    """
    first = 0
    for index in range(1, len(times_ns) + 1):
        if index < len(times_ns) and times_ns[index] - times_ns[first] < interval_ns:
            continue
        part = rates_rad_s[first:index]
        seen = np.asarray(np.isfinite(part).all(axis=2))
        count = seen.sum(axis=0)
        total = np.where(seen[..., None], part, 0.0).sum(axis=0)
        mean = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], np.nan)
        yield int(times_ns[first]) + int((times_ns[first:index] - times_ns[first]).mean()), mean
        first = index
