"""The whole simulation: order of arrival, truth at exposures, same seed same records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.records import Landmarks2D, Truth
from fusion.synthesis.actions import DEFAULT_SCRIPT
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.params import DetectorParams, InertialParams, PictureParams, RadarParams, RingParams
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.simulation import Emission, Lab, Simulation, simulated_rig
from fusion.synthesis.wearer import Wearer

SECONDS = 2.0


@pytest.fixture(scope="module")
def wearers() -> tuple[Wearer, ...]:
    near = scripted_motion(DEFAULT_SCRIPT, draw_lengths(1, 1.75), seed=1)
    far = scripted_motion(DEFAULT_SCRIPT, draw_lengths(2, 1.65), seed=2, start_m=(0.5, -1.0), heading_rad=1.0)
    return Wearer(3, near), Wearer(8, far)


def run(
    lab: Lab, wearers: tuple[Wearer, ...], seed: int = 4, origin_ns: int = 0, begin_s: float = 0.0
) -> list[Emission]:
    simulation = Simulation(lab, wearers, seed=seed, origin_ns=origin_ns, duration_s=SECONDS, begin_s=begin_s)
    emissions = []
    while (emission := simulation.pop()) is not None:
        emissions.append(emission)
    return emissions


def test_records_come_in_the_order_of_arrival_and_none_is_lost(wearers: tuple[Wearer, ...]) -> None:
    lab = Lab(radars=replace(RadarParams(), miss_share=0.0, count=2), pictures=PictureParams(every=3))
    emissions = run(lab, wearers)
    arrivals = [emission.arrival_ns for emission in emissions]
    assert arrivals == sorted(arrivals)
    counts: dict[str, int] = {}
    for emission in emissions:
        emission.record.validate()
        counts[emission.stream] = counts.get(emission.stream, 0) + 1
    expected = {f"cam{i}/landmarks": 60 for i in range(1, 5)} | {f"cam{i}/image": 20 for i in range(1, 5)}
    expected |= {"imus/samples": 100, "radar1/points": 40, "radar2/points": 40, "truth": 60}
    assert counts == expected


def test_truth_stands_at_every_exposure(wearers: tuple[Wearer, ...]) -> None:
    lab = Lab(detector=DetectorParams(phase_s=0.004, phase_step_s=0.007), imus=None, radars=None)
    emissions = run(lab, wearers, origin_ns=5_000)
    exposures = {e.record.measured_ns for e in emissions if isinstance(e.record, Landmarks2D)}
    truths = [e.record for e in emissions if isinstance(e.record, Truth)]
    assert {record.measured_ns for record in truths} == exposures
    assert len(truths) == len(exposures) == 4 * 60
    for record in truths[::17]:
        np.testing.assert_array_equal(record.ids, [3, 8])
        for k, wearer in enumerate(wearers):
            positions, _ = wearer.motion.pose(np.array([(record.measured_ns - 5_000) / 1e9]))
            np.testing.assert_allclose(record.positions_m[k], positions[0], atol=1e-6)


def test_truth_has_its_own_rate_without_cameras(wearers: tuple[Wearer, ...]) -> None:
    assert sum(e.stream == "truth" for e in run(Lab(ring=None, truth_hz=50.0), wearers)) == 100
    assert sum(e.stream == "truth" for e in run(Lab(ring=None), wearers)) == 120


def signature(emissions: list[Emission], stream: str) -> list[tuple]:
    """Stamps and bytes of all records of a stream."""
    result = []
    for emission in emissions:
        if emission.stream == stream:
            values = [getattr(emission.record, name) for name in emission.record.__slots__]
            arrays = [value.tobytes() for value in values if isinstance(value, np.ndarray)]
            result.append((emission.arrival_ns, emission.record.measured_ns, *arrays))
    return result


def test_same_seed_same_bytes_whatever_else_is_simulated(wearers: tuple[Wearer, ...]) -> None:
    everything = run(Lab(), wearers)
    again = run(Lab(), wearers)
    cameras_only = run(Lab(imus=None, radars=None), wearers)
    other_seed = run(Lab(), wearers, seed=5)
    for stream in ("cam1/landmarks", "cam3/landmarks", "imus/samples", "radar1/points", "truth"):
        assert signature(everything, stream) == signature(again, stream)
        if stream != "truth":
            assert signature(everything, stream) != signature(other_seed, stream)
    assert signature(everything, "cam2/landmarks") == signature(cameras_only, "cam2/landmarks")


def test_both_wearers_are_seen(wearers: tuple[Wearer, ...]) -> None:
    people = [len(e.record.pixels) for e in run(Lab(), wearers) if isinstance(e.record, Landmarks2D)]
    assert max(people) == 2
    assert np.mean(people) > 1.5


def test_the_rig_holds_all_sensors() -> None:
    rig = simulated_rig(
        Lab(ring=RingParams(count=3), imus=InertialParams(sites=("head",)), radars=RadarParams(count=2))
    )
    assert [camera.name for camera in rig.cameras] == ["cam1", "cam2", "cam3"]
    assert [mount.segment for mount in rig.imus] == ["head"]
    assert [radar.name for radar in rig.radars] == ["radar1", "radar2"]
    assert simulated_rig(Lab(ring=None, imus=None, radars=None)).cameras == ()


@pytest.mark.parametrize("begin_s", [0.0, 0.731, 1.2])
def test_what_begins_later_is_what_it_would_have_been(wearers: tuple[Wearer, ...], begin_s: float) -> None:
    lab = Lab(radars=replace(RadarParams(), count=2), pictures=PictureParams(every=3), truth_hz=47.0)
    whole, rest = run(lab, wearers), run(lab, wearers, begin_s=begin_s)
    streams = {emission.stream for emission in whole}
    assert streams == {emission.stream for emission in rest}
    for stream in sorted(streams):
        late, all_of_it = signature(rest, stream), signature(whole, stream)
        assert 0 < len(late) <= len(all_of_it)
        assert late == all_of_it[len(all_of_it) - len(late) :]
        expected = len(all_of_it) * (SECONDS - begin_s) / SECONDS
        assert abs(len(late) - expected) <= 2
