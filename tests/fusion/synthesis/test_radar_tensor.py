"""The closed form of the tensor radar answers to its samples and FFTs, and a body shows up where it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion.maths.voxels import VoxelGrid
from fusion.rig import RadarMount
from fusion.synthesis.actions import Stand, Walk
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.radar_adc import closed_form_spectra, converter_samples, spectra_of
from fusion.synthesis.radar_tensor import (
    SMALL_CHIRP,
    ChirpParams,
    Scatterers,
    TensorMaker,
    TensorRadarParams,
    VirtualArray,
    VirtualTensorRadar,
    dirichlet,
    hann,
    noise_spectra,
)
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.wearer import Wearer

TINY = replace(SMALL_CHIRP, samples=32, loops=8, azimuth_bins=32, elevation_bins=8)
GRID = VoxelGrid(np.array([-1.5, 1.2, -1.2]), np.array([0.2, 0.183, 0.3]), (8, 16, 20))
QUIET = TensorRadarParams(chirp=SMALL_CHIRP, channels=16, range_span_m=None, centred=True, noise=1e-3, clutter=0)
MOUNT = RadarMount(name="radar1", r_world_from_radar=np.eye(3), position_world_m=np.array([0.0, -3.0, 1.0]))

places = st.tuples(st.floats(-2.0, 2.0), st.floats(0.8, 4.0), st.floats(-1.0, 1.0))
targets = st.lists(
    st.tuples(places, st.floats(-3.0, 3.0), st.floats(0.1, 2.0), st.floats(-3.1, 3.1)), min_size=1, max_size=4
)


def scatterers_of(drawn: list[tuple[tuple[float, float, float], float, float, float]]) -> Scatterers:
    amplitudes = np.array([size * np.exp(1j * turn) for _, _, size, turn in drawn])
    return Scatterers(np.array([place for place, *_ in drawn]), np.array([speed for _, speed, *_ in drawn]), amplitudes)


@settings(deadline=None, max_examples=25)
@given(drawn=targets)
def test_the_closed_form_is_what_the_ffts_make(
    drawn: list[tuple[tuple[float, float, float], float, float, float]],
) -> None:
    """Also for speeds that fold over and for targets between bins."""
    scatterers = scatterers_of(drawn)
    explicit = spectra_of(converter_samples(scatterers, TINY), TINY)
    closed = closed_form_spectra(scatterers, TINY)
    # Several targets may cancel: what counts is the error beside the largest that one could give.
    full = np.abs(scatterers.amplitudes).sum() * 0.5 * TINY.samples * TINY.loops * len(VirtualArray.of(TINY).across)
    assert np.abs(closed - explicit).max() < 2e-6 * full


def test_wandering_over_range_bins_is_told_by_parts() -> None:
    """Somebody who moves over a range bin while the frame lasts: the more parts, the nearer to the samples."""
    fine = replace(SMALL_CHIRP, slope_hz_s=60e12, samples=64, loops=16, interval_s=440e-6)
    scatterers = scatterers_of([((0.3, 1.5, -0.2), 0.9, 1.0, 0.4), ((-0.3, 1.9, 0.1), -0.6, 0.7, 1.0)])
    explicit = spectra_of(converter_samples(scatterers, fine, exact=True), fine)
    errors = [
        np.linalg.norm(closed_form_spectra(scatterers, replace(fine, parts=parts)) - explicit)
        / np.linalg.norm(explicit)
        for parts in (1, 4, 16)
    ]
    assert errors[0] > 2.5 * errors[1] > 6.0 * errors[2]
    assert errors[2] < 0.02


def test_parts_have_to_divide_the_loops() -> None:
    with pytest.raises(ValueError, match="parts: 3, expected a divisor of the 64 loops"):
        ChirpParams(parts=3)


@given(offset=st.floats(-70.0, 70.0), count=st.integers(2, 32))
def test_window_transforms_are_their_sums(offset: float, count: int) -> None:
    n = np.arange(count)
    turns = np.exp(-2j * np.pi * n * offset / count)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * n / count)
    assert abs(dirichlet(np.array(offset), count) - turns.sum()) < 1e-6 * count
    assert abs(hann(np.array(offset), count) - (window * turns).sum()) < 1e-6 * count


def test_the_array_of_the_recordings() -> None:
    """86 places in the bottom row, 16 in each of the three above, as the cascade board has."""
    array = VirtualArray.of(ChirpParams())
    assert array.rows.tolist() == [0, 1, 4, 6]
    assert sorted(array.across[array.row == 0].tolist()) == list(range(86))
    assert [int((array.row == row).sum()) for row in range(4)] == [86, 16, 16, 16]
    assert ChirpParams().range_bin_m == pytest.approx(0.0451, abs=1e-4)
    assert ChirpParams().speed_bin_m_s == pytest.approx(0.0380, abs=1e-4)


def test_a_reflector_stands_in_its_voxel_and_channel() -> None:
    maker = TensorMaker(replace(QUIET, range_span_m=None), GRID)
    place = GRID.to_metres(np.array([7.0, 9.0, 4.0]))  # At the height of the radar, where all angles are true.
    random = np.random.default_rng(1)
    for speed in (0.0, 0.47, -0.47):
        one = Scatterers(place[None], np.array([speed]), np.array([50.0 + 0j]))
        power = maker.power(one, random)
        channel, up, across, forward = np.unravel_index(int(np.argmax(power)), power.shape)
        assert abs(maker.radial_velocities_m_s[channel] - speed) < 0.6 * SMALL_CHIRP.speed_bin_m_s
        assert abs(across - 7) <= 1
        assert abs(forward - 9) <= 1
        assert up == 4


def test_right_is_right_and_up_is_up() -> None:
    maker = TensorMaker(QUIET, GRID)
    random = np.random.default_rng(1)

    def centre(place: tuple[float, float, float]) -> np.ndarray:
        power = np.expm1(
            maker.power(Scatterers(np.array([place]), np.zeros(1), np.array([50.0 + 0j])), random).astype(float)
        )
        weight = power.sum(0) ** 2
        return np.einsum("uaf,uafc->c", weight, GRID.centres_m()) / weight.sum()

    left, right = centre((-0.8, 2.6, 0.0)), centre((0.8, 2.6, 0.0))
    low, high = centre((0.0, 2.6, -0.4)), centre((0.0, 2.6, 0.4))
    assert left[0] < -0.4 < 0.4 < right[0]
    assert low[2] < high[2] - 0.05  # Most antennas stand in one row: heights are told weakly, as by the real array.


def test_elevation_is_squeezed_as_in_the_recordings() -> None:
    """Evenly spaced angles are taken for evenly spaced sines: a reflector at 14.5 degrees is drawn at 7.5."""
    grid = VoxelGrid(np.array([0.0, 2.0, -1.0]), np.array([0.2, 0.1, 0.05]), (41, 1, 1))
    maker = TensorMaker(replace(QUIET, range_span_m=None), grid)
    spacing = SMALL_CHIRP.array_step_m / SMALL_CHIRP.wavelength_m
    sine = 0.25 / (2.0 * spacing)
    drawn_m = 2.0 * np.tan(np.radians(60.0) * 0.25 / 2.0)
    # As far away as the voxel that it is drawn in.
    distance = np.hypot(2.0, drawn_m)
    place = distance * np.array([0.0, np.sqrt(1.0 - sine**2), sine])
    power = maker.power(Scatterers(place[None], np.zeros(1), np.array([50.0 + 0j])), np.random.default_rng(0))
    seen = grid.centres_m()[int(np.argmax(power.max(0)[:, 0, 0])), 0, 0, 2]
    assert abs(seen - drawn_m) < 0.1
    assert place[2] - seen > 0.2


def test_noise_has_its_size_and_the_correlation_of_the_window() -> None:
    noise = noise_spectra(np.random.default_rng(3), SMALL_CHIRP, 40).astype(complex)
    size = SMALL_CHIRP.samples * SMALL_CHIRP.loops
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(0.375 * size, rel=0.03)
    neighbours = np.mean(noise[:-1] * noise[1:].conj())
    assert neighbours.real == pytest.approx(-0.25 * size, rel=0.05)
    # The same from samples and an FFT.
    random = np.random.default_rng(4)
    window = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(64) / 64)
    samples = (random.standard_normal((4000, 64)) + 1j * random.standard_normal((4000, 64))) * np.sqrt(0.5)
    ranged = np.fft.fft(samples * window, axis=1)
    assert np.mean(ranged[:, :-1] * ranged[:, 1:].conj()).real == pytest.approx(-0.25 * 64, rel=0.05)


def walker() -> Wearer:
    script = [Walk(distance_m=1.6, speed_m_s=0.7), Stand(duration_s=3.0)]
    motion = scripted_motion(script, draw_lengths(2, 1.8), start_m=(0.0, -0.8), heading_rad=np.pi / 2, repeat=False)
    return Wearer(0, motion)


def test_a_walker_is_seen_where_the_joints_are_and_recedes() -> None:
    radar = VirtualTensorRadar(MOUNT, TensorMaker(QUIET, GRID), [walker()], seed=5)
    record = radar.tensor(9)
    record.validate()
    joints = radar.joints_m(9)[0]
    assert joints.shape == (15, 3)
    power = np.expm1(record.power.astype(float)) ** 2
    where = np.einsum("uaf,uafc->c", power.sum(0), GRID.centres_m()) / power.sum()
    assert np.abs(where[:2] - joints[0, :2]).max() < 0.35
    # Limbs fold over, the trunk does not.
    assert 0.3 < record.radial_velocities_m_s[np.argmax(power.sum((1, 2, 3)))] < 0.9
    assert record.measured_ns == 900_000_000


def test_the_same_seed_gives_the_same_frame_in_any_order() -> None:
    maker = TensorMaker(replace(QUIET, noise=1.0, clutter=4), GRID)
    first, second = (VirtualTensorRadar(MOUNT, maker, [walker()], seed=5) for _ in range(2))
    first.tensor(3)
    np.testing.assert_array_equal(first.tensor(7).power, second.tensor(7).power)
    other = VirtualTensorRadar(MOUNT, maker, [walker()], seed=6)
    assert not np.array_equal(other.tensor(7).power, second.tensor(7).power)


def test_far_is_weak() -> None:
    """Amplitude falls with the square of the distance."""
    radar = VirtualTensorRadar(MOUNT, TensorMaker(QUIET, GRID), [walker()], seed=5)
    moved = VirtualTensorRadar(
        RadarMount(name="radar1", r_world_from_radar=np.eye(3), position_world_m=np.array([0.0, -12.0, 1.0])),
        radar.maker,
        [walker()],
        seed=5,
    )
    near, far = (
        np.mean([np.square(np.abs(one.scatterers(k, np.random.default_rng(k)).amplitudes)).sum() for k in range(20)])
        for one in (radar, moved)
    )
    assert 0.5 < near / far * (2.4 / 11.4) ** 4 < 2.0


def test_channels_have_to_divide_the_bins() -> None:
    with pytest.raises(ValueError, match="channels: 5, expected a divisor of the 64"):
        TensorRadarParams(channels=5)
