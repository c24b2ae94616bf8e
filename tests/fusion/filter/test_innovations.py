"""What innovations tell of the claims of a source: statistics of one update, running means, and whole runs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fusion.filter.history import FilterParams, PersonFilter
from fusion.filter.innovations import ENOUGH, InnovationStatistics, SourceStatistics, Tally
from fusion.filter.process import NS_PER_S
from fusion.filter.state import BODY_ERRORS
from fusion.filter.system import System, make_system
from fusion.filter.update import UpdateParams, innovation_scales
from fusion.records import Float64
from tests.fusion.scenes import landmarks_of, measured_2d, measured_3d, resting_state, ring, seen_from, updater

# --- One update -----------------------------------------------------------------------------------


GATE = UpdateParams().gate


def innovation_scale(system: System, group: int) -> tuple[float, int, int]:
    """Of one group: scale, observations, those beyond the gate."""
    table = np.full((group + 1, 3), 77.0)
    innovation_scales(system, GATE, table)
    scale, count, gated = table[group].tolist()
    return scale, int(count), int(gated)


def told(squared: Float64, components: int, group: int = 0, *, robust: int = 1) -> System:
    """A system whose observations lie so many squared sigmas away."""
    system, count = make_system(BODY_ERRORS), len(squared)
    system.squared[:count] = squared
    system.components[:count] = components
    system.group[:count] = group
    system.robust[:count] = robust
    system.filled[1] = count
    return system


def distances(components: int, count: int, claimed: float, seed: int = 0, outliers: float = 0.0) -> Float64:
    """Squared Mahalanobis distances where errors are ``claimed`` times larger than claimed; some are gross."""
    random = np.random.default_rng(seed)
    squared = claimed**2 * random.chisquare(components, count)
    return np.where(random.uniform(size=count) < outliers, 1e4, squared)


@pytest.mark.parametrize("components", [1, 2, 3])
@pytest.mark.parametrize("claimed", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("outliers", [0.0, 0.05])
def test_the_scale_is_how_much_larger_errors_are(components: int, claimed: float, outliers: float) -> None:
    squared = distances(components, 2000, claimed, outliers=outliers)
    scale, count, gated = innovation_scale(told(squared, components), 0)
    assert (count, gated) == (2000, (squared > GATE**2).sum())
    assert math.sqrt(scale) == pytest.approx(claimed, rel=0.06)
    if outliers:  # A mean would not do.
        assert math.sqrt(squared.mean() / components) > 2.0 * claimed


@pytest.mark.parametrize("count", [4, 5, 32, 33])
def test_the_scale_is_a_median(count: int) -> None:
    squared = distances(2, count, 1.0, seed=count)
    scale, _, _ = innovation_scale(told(squared, 2), 0)
    assert scale == pytest.approx(np.median(squared) / (2.0 * math.log(2.0)), rel=1e-3)


def test_of_few_observations_the_mean_is_taken_but_no_outlier_rules_it() -> None:
    assert innovation_scale(told(np.array([2.0, 4.0, 6.0]), 2), 0)[0] == pytest.approx(2.0)
    scale, count, gated = innovation_scale(told(np.array([1e9, 4.0]), 2), 0)
    assert (count, gated) == (2, 1)
    assert 1.0 < scale < 10.0


def test_groups_are_told_apart_and_knowledge_is_no_claim() -> None:
    system = told(np.array([1.0, 1.0, 9.0, 9.0, 400.0]), 1)
    system.group[:5] = 0, 0, 1, 1, 1
    system.robust[4] = 0
    for group, expected in ((0, 1.0), (1, 9.0)):
        scale, count, _ = innovation_scale(system, group)
        assert scale == pytest.approx(expected)
        assert count == 2
    scale, count, gated = innovation_scale(system, 2)
    assert math.isnan(scale)
    assert (count, gated) == (0, 0)


# --- Running means --------------------------------------------------------------------------------


def test_the_running_mean_is_a_mean_then_forgets() -> None:
    statistics = InnovationStatistics()
    for value in (1.0, 4.0, 7.0):
        statistics.take([Tally("a", value, 10, 1), Tally("b", 1.0, 5, 0)])
    a = statistics.sources["a"]
    assert a.normalised == pytest.approx(4.0)
    assert a.claimed_ratio == pytest.approx(2.0)
    assert (a.measurements, a.observations, a.gated) == (3, 30, 3)
    assert statistics.sources["b"].normalised == pytest.approx(1.0)
    for _ in range(2000):
        statistics.take([Tally("a", 9.0, 10, 0)])
    assert a.claimed_ratio == pytest.approx(3.0, rel=1e-3)


def test_what_told_nothing_counts_for_nothing() -> None:
    statistics = InnovationStatistics()
    statistics.take([Tally("a", math.nan, 0, 0)])
    assert statistics.sources == {}
    statistics.take([Tally("a", 2.0, 3, 0), Tally("a", math.nan, 0, 0), Tally("a", math.inf, 3, 3)])
    assert statistics.sources["a"].measurements == 2
    assert math.isfinite(statistics.sources["a"].normalised)


def test_a_source_is_called_understated_only_when_it_has_been_heard_enough() -> None:
    assert not SourceStatistics().understated
    assert not SourceStatistics(normalised=9.0, measurements=ENOUGH - 1).understated
    assert SourceStatistics(normalised=9.0, measurements=ENOUGH).understated
    assert not SourceStatistics(normalised=1.5, measurements=ENOUGH).understated


# --- Runs -----------------------------------------------------------------------------------------


SIGMA_M = 0.1
"""Errors that are large beside what a body does between two measurements, so that innovations are the source's."""


def standing(kind: str, claimed: float, outliers: float, seed: int = 0) -> SourceStatistics:
    """Somebody who stands, seen for three seconds by a source whose errors are so many times what it claims."""
    random = np.random.default_rng(seed)
    truth, camera = resting_state().nominal, ring(1)[0]
    filter_ = PersonFilter(FilterParams(), updater(), resting_state())
    for k in range(300):
        time_ns = k * int(0.01 * NS_PER_S)
        if kind == "points":
            points = landmarks_of("blazepose_33", truth) + SIGMA_M * random.normal(size=(33, 3))
            points[random.uniform(size=33) < outliers] += 5.0
            filter_.apply(measured_3d(points, SIGMA_M / claimed, time_ns))
        else:
            measurement = measured_2d(camera, seen_from(camera, truth), time_ns)
            sigma = measurement.params.noise_share * camera.height * np.sqrt(measurement.relative_variance)
            measurement.pixels[:] += claimed * sigma[:, None] * random.normal(size=(33, 2))
            measurement.pixels[random.uniform(size=33) < outliers] += 400.0
            filter_.apply(measurement)
        assert filter_.state.time_ns == time_ns
    (statistics,) = filter_.innovations.sources.values()
    return statistics


@pytest.mark.parametrize("outliers", [0.0, 0.05])
def test_an_honest_source_is_found_honest(outliers: float) -> None:
    statistics = standing("points", 1.0, outliers)
    assert statistics.claimed_ratio == pytest.approx(1.0, abs=0.15)
    assert not statistics.understated
    assert statistics.observations == 33 * statistics.measurements
    assert statistics.gated / statistics.observations == pytest.approx(outliers, abs=0.015)


@pytest.mark.parametrize("outliers", [0.0, 0.05])
def test_a_source_that_claims_a_third_of_its_error_is_found_out(outliers: float) -> None:
    statistics = standing("points", 3.0, outliers)
    assert statistics.claimed_ratio == pytest.approx(3.0, abs=0.3)
    assert statistics.understated


def test_pictures_claim_what_has_been_learned_of_them() -> None:
    """Their scale follows the residuals, so that a detector that is three times worse is found honest in the end."""
    assert standing("pictures", 1.0, 0.05).claimed_ratio == pytest.approx(1.0, abs=0.15)
    assert standing("pictures", 3.0, 0.05).claimed_ratio < 2.0
