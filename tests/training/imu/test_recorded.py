"""Takes of recorded sessions: what a file holds is what is learned from, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fusion.records import Array
from tests.training.imu.motions import waving
from training.imu.judge import IDEAL
from training.imu.recorded import SHAPES, recorded_take, recorded_takes
from training.imu.takes import Take, plain_take


def made() -> tuple[Take, dict[str, Array]]:
    take = plain_take(waving("a", 4.0), np.random.default_rng(1), IDEAL)
    frames = len(take.features)
    arrays = {
        "q_world_from_site": take.q_seen,
        "acceleration_m_s2": np.zeros((frames, 6, 3)),
        "root_rate_rad_s": np.zeros((frames, 3)),
        "q_world_from_segment": take.q_world_from_segment,
        "positions_m": take.positions_m,
    }
    return take, arrays


def test_a_file_is_the_take_that_it_was_made_of(tmp_path: Path) -> None:
    take, arrays = made()
    np.savez(tmp_path / "one.npz", **arrays)  # type: ignore[arg-type]
    (found,) = recorded_takes(tmp_path)
    np.testing.assert_allclose(found.six, take.six, atol=1e-6)
    np.testing.assert_allclose(found.velocities[2:-2], take.velocities[2:-2], atol=0.02)


def test_wrong_files_are_named_with_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recorded takes"):
        recorded_takes(tmp_path)
    path = tmp_path / "one.npz"
    path.write_bytes(b"not a file")
    with pytest.raises(ValueError, match=r"one\.npz: is no file of a recorded take"):
        recorded_take(path)
    for key in SHAPES:
        _, arrays = made()
        arrays[key] = arrays[key][..., :2]
        np.savez(path, **arrays)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=key):
            recorded_take(path)
    _, arrays = made()
    arrays["positions_m"][3] = np.nan
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="all finite"):
        recorded_take(path)
