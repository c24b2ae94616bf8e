"""What holds for every decoder and all bytes: portions make no difference, nothing is raised, memory is bounded."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.devices import trial
from nodes.devices.drivers import DRIVERS
from nodes.devices.sample import DeviceSample

KINDS = tuple(trial.ENCODERS)
FUZZ_BYTES = 700_000
"""Of each of two kinds a driver; ``benchmarks.imu_devices`` runs the same on 100 MB."""


def stream_of(kind: str, count: int) -> bytes:
    return b"".join(trial.ENCODERS[kind][1](k) for k in range(count))


def fed(kind: str, portions: list[bytes]) -> tuple[list[DeviceSample], Any]:
    decoder = DRIVERS[trial.ENCODERS[kind][0]].decoder()
    return [sample for portion in portions for sample in decoder.feed(portion)], decoder.counts


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_clean_stream_is_read_whole(kind: str) -> None:
    samples, counts = fed(kind, [stream_of(kind, 50)])
    moments = {sample.device_ns for sample in samples}
    assert len(moments - {None}) >= 49  # The first code of MVN does not yet tell whether its clock runs.
    assert (counts.corrupt, counts.skipped_bytes, counts.lost, counts.doubled, counts.late) == (0, 0, 0, 0, 0)
    names = {sample.sensor for sample in samples}
    assert names == ({"pelvis", "head", "left_forearm"} if kind == "xsens-mvn" else {"0"})
    for sample in samples:
        k = round((sample.device_ns or 0) / 1e7) if kind != "xsens-mvn" else sample.counter
        k = k - 70_000_000_000 if kind == "witmotion" else k
        assert sample.specific_force_m_s2 == pytest.approx(trial.force(k), abs=3e-3)
        assert sample.rate_rad_s == pytest.approx(trial.rate(k), abs=1e-3)
        assert sample.magnetic_ut is None or sample.magnetic_ut == pytest.approx(trial.FIELD, abs=0.06)
    fields = [sample.magnetic_ut for sample in samples if sample.magnetic_ut is not None]
    assert bool(fields) == (kind != "ximu3 ascii")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), places=st.lists(st.integers(0, 2**16), max_size=60))
def test_one_portion_equals_any_portions_and_byte_by_byte(kind: str, seed: int, places: list[int]) -> None:
    data = trial.damaged(stream_of(kind, 25), random.Random(seed), trial.Damage(flips=3.0))
    whole = fed(kind, [data])
    assert whole == fed(kind, cut(data, places))
    assert whole == fed(kind, [bytes([byte]) for byte in data])


@pytest.mark.parametrize("driver", DRIVERS)
@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=3000), places=st.lists(st.integers(0, 2**16), max_size=20))
def test_any_bytes_in_any_portions(driver: str, data: bytes, places: list[int]) -> None:
    kind = next(name for name, (owner, _) in trial.ENCODERS.items() if owner == driver)
    assert fed(kind, [data]) == fed(kind, cut(data, places))


@pytest.mark.parametrize("kind", KINDS)
def test_after_damage_the_stream_is_found_again(kind: str) -> None:
    """Two whole moments after any damage at the latest, samples come as before."""
    chance = random.Random(7)
    clean = [trial.ENCODERS[kind][1](k) for k in range(40, 60)]
    alone, _ = fed(kind, clean)
    for _ in range(60):
        torn = trial.damaged(stream_of(kind, 40), chance, trial.Damage(flips=2.0))[: -chance.randrange(1, 30)]
        decoder = DRIVERS[trial.ENCODERS[kind][0]].decoder()
        decoder.feed(torn)
        if kind == "xsens-mvn":
            decoder.end_of_datagram()  # A datagram that was cut short ends where it ends.
        after = [sample for portion in clean for sample in decoder.feed(portion)]
        forces = {sample.specific_force_m_s2 for sample in after}
        # What looked like a long message may swallow some moments; all from a few moments on are there.
        assert {sample.specific_force_m_s2 for sample in alone[-3:]} <= forces


@pytest.mark.parametrize("kind", KINDS)
def test_random_and_mutated_bytes_raise_nothing_and_memory_is_bounded(kind: str) -> None:
    chance = random.Random(1)
    decoder = DRIVERS[trial.ENCODERS[kind][0]].decoder()
    mutated = trial.damaged(stream_of(kind, 600), chance, trial.Damage(5.0, 2.0, 2.0, 2.0))
    found = 0
    for _ in range(3):  # All tables are filled before the measurement.
        decoder.feed(chance.randbytes(20_000) + mutated)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        done = 0
        while done < FUZZ_BYTES:
            found += len(decoder.feed(mutated))
            done += len(mutated)
            noise = chance.randbytes(50_000)
            decoder.feed(noise)
            done += len(noise)
        del noise
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert found > 100
    assert decoder.counts.corrupt > 10
    assert grown < 200_000
