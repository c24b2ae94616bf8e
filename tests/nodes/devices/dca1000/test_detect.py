"""Points from samples: reflectors are found where they are, and a wrong order of samples shows."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodes.devices.dca1000.detect import DetectParams, detect, noise_of, range_doppler
from nodes.devices.dca1000.samples import bytes_of, cube_of
from nodes.devices.dca1000.setup import raw_setup
from nodes.devices.ti.config import ConfigError, parse_config

sys.path.insert(0, str(Path(__file__).parent))
import capture_lab as lab

SETUP = raw_setup(parse_config(lab.CFG.format(swap=1, lanes="-1 0 1 0"), "raw.cfg"))
PARAMS = DetectParams(range_bin_m=SETUP.range_bin_m, speed_bin_m_s=SETUP.speed_bin_m_s, transmitters=SETUP.transmitters)


def place(distance_m: float, azimuth_rad: float, elevation_rad: float) -> list[float]:
    level = distance_m * math.cos(elevation_rad)
    return [level * math.sin(azimuth_rad), level * math.cos(azimuth_rad), distance_m * math.sin(elevation_rad)]


def test_what_the_configuration_says_is_what_the_synthesiser_has() -> None:
    assert SETUP.shape == (32, 3, 4, 96)
    assert SETUP.transmitters == lab.CHIRP.transmitters
    assert SETUP.range_bin_m == pytest.approx(lab.CHIRP.range_bin_m)
    assert SETUP.speed_bin_m_s == pytest.approx(lab.CHIRP.speed_bin_m_s)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.8, 6.5), st.floats(-0.9, 0.9), st.floats(-0.4, 0.4),
    st.floats(0.5, 3.5).flatmap(lambda speed: st.sampled_from([speed, -speed])),
)  # fmt: skip
def test_a_reflector_is_found_where_it_is_and_as_fast(
    distance_m: float, azimuth_rad: float, elevation_rad: float, speed_m_s: float
) -> None:
    true = np.array(place(distance_m, azimuth_rad, elevation_rad))
    found = detect(
        cube_of(bytes_of(lab.samples([list(true)], [speed_m_s]), swapped=True), SETUP.shape, swapped=True), PARAMS
    )
    best = found.positions_m[0].astype(np.float64)
    assert np.linalg.norm(best) == pytest.approx(distance_m, abs=0.05)
    assert math.atan2(best[0], best[1]) == pytest.approx(azimuth_rad, abs=0.06)
    assert math.asin(best[2] / np.linalg.norm(best)) == pytest.approx(elevation_rad, abs=0.06)
    assert found.radial_velocities_m_s[0] == pytest.approx(speed_m_s, abs=0.08)


def test_two_people_apart_in_range_are_two() -> None:
    places, speeds = [place(1.5, -0.4, 0.0), place(4.0, 0.5, 0.1)], [0.8, -1.2]
    found = detect(lab.samples(places, speeds).astype(np.complex64), PARAMS)
    for true, speed in zip(places, speeds, strict=True):
        nearest = np.linalg.norm(found.positions_m - np.array(true), axis=1).argmin()
        assert np.linalg.norm(found.positions_m[nearest] - np.array(true)) < 0.2
        assert found.radial_velocities_m_s[nearest] == pytest.approx(speed, abs=0.1)


def test_a_wrong_order_of_samples_mirrors_the_range() -> None:
    data = bytes_of(lab.samples([place(2.0, 0.0, 0.0)], [0.0]), swapped=True)
    still = replace(PARAMS, still=True, nearest_m=0.05)
    right, wrong = (detect(cube_of(data, SETUP.shape, swapped=swapped), still) for swapped in (True, False))
    most_m = SETUP.range_bin_m * SETUP.shape[3]
    assert np.linalg.norm(right.positions_m[0]) == pytest.approx(2.0, abs=0.05)
    assert np.linalg.norm(wrong.positions_m[0]) == pytest.approx(most_m - 2.0, abs=0.1)


def test_what_stands_still_is_seen_only_when_asked_for() -> None:
    cube = lab.samples([place(2.0, 0.1, 0.0)], [0.0]).astype(np.complex64)
    assert not len(detect(cube, PARAMS).snrs_db)
    assert len(detect(cube, replace(PARAMS, still=True)).snrs_db)


def test_noise_alone_and_nothing_at_all_give_no_points_to_speak_of() -> None:
    counts = [len(detect(lab.samples([], [], seed=seed).astype(np.complex64), PARAMS).snrs_db) for seed in range(5)]
    assert sum(counts) <= 2
    empty = detect(np.zeros(SETUP.shape, np.complex64), PARAMS)
    assert empty.positions_m.shape == (0, 3)


def test_the_noise_is_the_mean_of_the_cells_beside_without_the_guard() -> None:
    power = np.random.default_rng(3).random((40, 5))
    noise = noise_of(power, PARAMS)
    around = [power[20 + step, 2] for step in range(-10, 11) if abs(step) > PARAMS.guard]
    assert noise[20, 2] == pytest.approx(np.mean(around))
    assert noise[0, 2] == pytest.approx(power[PARAMS.guard + 1 : PARAMS.guard + PARAMS.train + 1, 2].mean())


def test_zero_doppler_is_in_the_middle_and_receding_above_it() -> None:
    spectra = np.abs(range_doppler(lab.samples([[0.0, 3.0, 0.0]], [1.0]).astype(np.complex64)))
    _, doppler = np.unravel_index(spectra.sum(axis=(2, 3)).argmax(), spectra.shape[:2])
    assert doppler == 16 + round(1.0 / SETUP.speed_bin_m_s)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("lvdsStreamCfg -1 0 1 0", "lvdsStreamCfg -1 0 0 0"), "raw samples are off"),
        (("lvdsStreamCfg -1 0 1 0", "lvdsStreamCfg -1 1 1 0"), "write lvdsStreamCfg -1 0 1 0"),
        (("channelCfg 15", "channelCfg 7"), "all four receivers"),
        (("chirpCfg 1 1 0 0 0 0 0 4", "chirpCfg 1 1 0 0 0 0 0 5"), "one of IWR6843's transmitters at a time"),
        (("60.75 30.0 25.0 59.1 0 0 54.71 1 96", "60.75 30.0 25.0 59.1 0 0 54.71 1 95"), "expected an even number"),
    ],
)
def test_a_configuration_that_cannot_be_taken_apart_says_what_to_write(change: tuple[str, str], says: str) -> None:
    text = lab.CFG.format(swap=1, lanes="-1 0 1 0").replace(*change)
    with pytest.raises(ConfigError, match=says):
        raw_setup(parse_config(text, "raw.cfg"))


def test_antennas_over_a_square_are_refused() -> None:
    from nodes.devices.ti.config import device_named

    with pytest.raises(ConfigError, match="does not know the antennas"):
        raw_setup(parse_config(lab.CFG.format(swap=1, lanes="-1 0 1 0"), "raw.cfg"), device_named("IWR6843AOP"))
