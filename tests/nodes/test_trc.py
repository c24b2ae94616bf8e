"""TRC files: markers, units, axes, and files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nodes.trc import TrcError, parse_trc, read_trc

HEAD = (
    "PathFileType\t4\t(X/Y/Z)\ttry.trc\n"
    "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n"
    "{rate}\t50\t2\t2\t{unit}\t50\t0\t2\n"
    "Frame#\tTime\tRHip\t\t\tNose\t\t\n"
    "\t\tX1\tY1\tZ1\tX2\tY2\tZ2\n"
)


def text(rows: str, rate: str = "50", unit: str = "mm") -> str:
    return HEAD.format(rate=rate, unit=unit) + rows


def test_axes_units_and_gaps() -> None:
    trc = parse_trc(text("1\t0.02\t1000\t2000\t3000\t4\t5\t6\n3\t0.06\t\t\t\t7\t8\t9\n"), "try.trc")
    assert trc.marker_names == ("RHip", "Nose")
    assert trc.rate_hz == 50.0
    np.testing.assert_allclose(trc.times_s, [0.0, 0.04])
    np.testing.assert_allclose(trc.positions_m[0], [[3.0, 1.0, 2.0], [0.006, 0.004, 0.005]])
    assert np.isnan(trc.positions_m[1, 0]).all()
    np.testing.assert_allclose(trc.positions_m[1, 1], [0.009, 0.007, 0.008])


def test_frame_numbers_may_begin_at_0() -> None:
    trc = parse_trc(text("0\t0\t1\t2\t3\t4\t5\t6\n1\t0.02\t1\t2\t3\t4\t5\t6\n"), "try.trc")
    np.testing.assert_allclose(trc.times_s, [0.0, 0.02])


def test_the_reference_of_the_data_pack(data_pack: Path) -> None:
    trc = read_trc(data_pack / "pose2sim" / "single" / "reference" / "Balancing_for_IK.trc")
    assert trc.positions_m.shape == (100, 21, 3)
    head, heel = (trc.marker_names.index(name) for name in ("Head", "RHeel"))
    assert 1.4 < np.median(trc.positions_m[:, head, 2]) < 2.0, "z is up"
    assert np.median(trc.positions_m[:, heel, 2]) < 0.3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x,y,z\n1,2,3\n", r"try.trc:1: no TRC"),
        (text(""), r"try.trc:6: no frames|no TRC"),
        (text("1\t0\t1\t2\t3\t4\t5\t6\n", unit="furlong"), r"try.trc:3: Units 'furlong', allowed: m, cm, mm"),
        (text("1\t0\t1\t2\t3\t4\t5\t6\n", rate="fast"), r"try.trc:3: DataRate 'fast', expected a number"),
        (text("1\t0\t1\t2\t3\t4\t5\t6\n", rate="0"), r"DataRate 0, expected frames a second"),
        (text("1\t0\t1\ttwo\t3\t4\t5\t6\n"), r"try.trc:6: a coordinate 'two', expected a number"),
        (text("\t0\t1\t2\t3\t4\t5\t6\n"), r"try.trc:6: no frame number"),
        (text("2\t0\t1\t2\t3\t4\t5\t6\n1\t0\t1\t2\t3\t4\t5\t6\n"), r"frame 1 follows frame 2, expected rising"),
    ],
)
def test_files_that_are_no_trc_are_refused_with_their_place(content: str, message: str) -> None:
    with pytest.raises(TrcError, match=message):
        parse_trc(content, "try.trc")


def test_a_missing_and_a_binary_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrcError, match="cannot be read"):
        read_trc(tmp_path / "none.trc")
    (tmp_path / "binary.trc").write_bytes(bytes(range(128, 256)))
    with pytest.raises(TrcError, match="is no text"):
        read_trc(tmp_path / "binary.trc")
