"""Points in every form: there and back, units, saturation, and what does not suit its type."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices.ti import encoder, layout, trial
from nodes.devices.ti.points import POINT_READERS, Points, cartesian, plausible, side_info

PLACES, SPEEDS, SNRS, NOISES = trial.truth(3, 40)


def read(tlv: tuple[int, bytes]) -> Points:
    points = POINT_READERS[tlv[0]](tlv[1])
    assert points is not None
    return points


def test_plain_points_are_floats() -> None:
    points = read(encoder.plain_points(PLACES, SPEEDS))
    assert np.array_equal(points.positions_m, PLACES.astype(np.float32))
    assert np.array_equal(points.radial_velocities_m_s, SPEEDS.astype(np.float32))
    assert np.isnan(points.snrs_db).all()
    assert np.isnan(points.noises_db).all()
    assert points.positions_m.dtype == points.snrs_db.dtype == np.float32


def test_side_information_in_tenths_of_a_decibel() -> None:
    points = side_info(read(encoder.plain_points(PLACES, SPEEDS)), encoder.side_info(SNRS, NOISES)[1])
    assert points is not None
    assert points.snrs_db == pytest.approx(SNRS, abs=0.0501)
    assert points.noises_db == pytest.approx(NOISES, abs=0.0501)
    assert side_info(points, encoder.side_info(SNRS[1:], NOISES[1:])[1]) is None


@pytest.mark.parametrize("bits", [7, 8, 9, 10])
def test_fixed_points_are_fractions_with_doppler_bins(bits: int) -> None:
    bins = np.arange(-20, 20)
    points = read(encoder.fixed_points(PLACES, bins, bits))
    assert points.positions_m == pytest.approx(PLACES, abs=0.5001 / 2**bits)
    assert points.doppler_bins is not None
    assert points.doppler_bins.tolist() == bins.tolist()
    assert np.isnan(points.radial_velocities_m_s).all()


def test_one_fixed_point_is_no_float_point() -> None:
    """Both forms have 16 bytes."""
    payload = encoder.fixed_points(PLACES[:1], [3])[1]
    assert len(payload) == 16
    assert read((1, payload)).positions_m == pytest.approx(PLACES[:1], abs=0.001)
    assert read(encoder.plain_points(PLACES[:1], SPEEDS[:1])).positions_m == pytest.approx(PLACES[:1], abs=1e-6)


def test_spherical_points() -> None:
    points = read(encoder.spherical_points(PLACES, SPEEDS))
    assert points.positions_m == pytest.approx(PLACES, abs=2e-6)
    assert points.radial_velocities_m_s == pytest.approx(SPEEDS, abs=1e-6)


def test_packed_points_are_within_half_a_unit() -> None:
    points = read(encoder.packed_points(PLACES, SPEEDS, SNRS))
    ranges, azimuths, elevations = encoder.polar(PLACES)
    got_ranges, got_azimuths, got_elevations = encoder.polar(points.positions_m)
    low = np.abs(elevations) < 1.27
    assert got_ranges == pytest.approx(ranges, abs=0.000126)
    assert got_azimuths == pytest.approx(azimuths, abs=0.00501)
    assert got_elevations[low] == pytest.approx(elevations[low], abs=0.00501)
    assert points.radial_velocities_m_s == pytest.approx(SPEEDS, abs=0.000141)
    assert points.snrs_db == pytest.approx(SNRS, abs=0.02)


def test_packed_angles_saturate() -> None:
    points = read(encoder.packed_points([(3.0, 0.1, 0.0)], [0.0], [10.0]))
    assert encoder.polar(points.positions_m)[1] == pytest.approx(1.27)


@pytest.mark.parametrize("count", [0, 1, 5, 10, 40])
def test_old_points_are_floats_or_packed(count: int) -> None:
    places, speeds, snrs = PLACES[:count], SPEEDS[:count], SNRS[:count]
    floats = read(encoder.old_points(places, speeds, snrs))
    packed = read((layout.OLD_POINTS, encoder.packed_points(places, speeds, snrs)[1]))
    assert floats.positions_m == pytest.approx(places, abs=2e-6)
    assert floats.snrs_db == pytest.approx(snrs, abs=1e-4)
    assert packed.positions_m == pytest.approx(places, abs=0.04)


def test_extended_points() -> None:
    points = read(encoder.extended_points(PLACES, SPEEDS, SNRS, NOISES / 3.0))
    assert points.positions_m == pytest.approx(PLACES, abs=0.000501)
    assert points.radial_velocities_m_s == pytest.approx(SPEEDS, abs=0.0501)
    assert points.snrs_db == pytest.approx(SNRS, abs=0.0501)
    assert points.noises_db == pytest.approx(NOISES / 3.0, abs=0.0501)


@pytest.mark.parametrize("kind", POINT_READERS)
@given(payload=st.binary(max_size=400))
def test_no_payload_raises(kind: int, payload: bytes) -> None:
    points = POINT_READERS[kind](payload)
    if points is not None:
        count = len(points.positions_m)
        assert points.positions_m.shape == (count, 3)
        assert len(points.radial_velocities_m_s) == len(points.snrs_db) == len(points.noises_db) == count


@pytest.mark.parametrize("kind", [layout.SPHERICAL_POINTS, layout.EXTENDED_POINTS, layout.PACKED_POINTS])
def test_a_size_that_does_not_suit_is_refused(kind: int) -> None:
    assert POINT_READERS[kind](bytes(37)) is None


def test_units_that_are_no_numbers_leave_no_points() -> None:
    payload = struct.pack("<5f", math.nan, 0.01, 0.01, math.inf, 0.04) + bytes(range(16))
    points = read((layout.PACKED_POINTS, payload))
    assert not plausible(points.positions_m, points.radial_velocities_m_s).any()


@given(
    r=st.floats(0.1, 50.0),
    azimuth=st.floats(-1.5, 1.5),
    elevation=st.floats(-1.5, 1.5),
)
def test_polar_and_back(r: float, azimuth: float, elevation: float) -> None:
    numbers = [np.array([value], np.float32) for value in (r, azimuth, elevation)]
    back = encoder.polar(cartesian(*numbers))
    assert back[0][0] == pytest.approx(r, rel=1e-5)
    assert back[1][0] == pytest.approx(azimuth, abs=1e-4)
    assert back[2][0] == pytest.approx(elevation, abs=1e-4)


def test_axes() -> None:
    one = np.ones(1, np.float32)
    zero = np.zeros(1, np.float32)
    right = np.array([math.pi / 2], np.float32)
    assert cartesian(one, zero, zero)[0] == pytest.approx((0, 1, 0), abs=1e-6)
    assert cartesian(one, right, zero)[0] == pytest.approx((1, 0, 0), abs=1e-6)
    assert cartesian(one, zero, right)[0] == pytest.approx((0, 0, 1), abs=1e-6)


def test_what_can_be() -> None:
    places = np.array([(0, 2, 0), (np.nan, 2, 0), (0, 301, 0), (0, 2, 0), (0, 2, 0)], np.float32)
    speeds = np.array([0, 0, 0, np.nan, -250], np.float32)
    assert plausible(places, speeds).tolist() == [True, False, False, False, False]
    assert plausible(places, speeds, bins=True).tolist() == [True, False, False, True, False]
