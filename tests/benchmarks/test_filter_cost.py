"""The cost benchmark: whom it compares us with, and that all of its parts run; no time is asserted."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import update_kinds
from benchmarks.filter_cost import (
    THREADS,
    Figure,
    compare,
    contestants,
    frame_cost_ms,
    lab_share,
    load_frames,
    main,
    ratios,
    wearers,
)
from benchmarks.ik.frames import Frames, frames_of
from benchmarks.ik.kinefuse_filter import OurFilter, measurements_of
from fusion.filter.history import PersonFilter


def figure(us: float, residual_mm: float = 10.0) -> Figure:
    return Figure(us=us, us_min=us, us_p99=us, steps=math.nan, residual_mm=residual_mm, truth_mm=5.0)


@pytest.fixture(scope="module")
def walk() -> Frames:
    """Somewhat more than a second of the simulator's own wearer."""
    return frames_of(wearers(1)[0].motion, cameras=4, duration_s=1.2)


def test_the_ratio_is_to_the_fastest_that_converges() -> None:
    figures = {
        "kinefuse": figure(100.0),
        "kinefuse learning lengths": figure(1.0),
        "pinocchio api converged": figure(400.0),
        "pinocchio lean converged": figure(200.0),
        "pinocchio lean 2 steps": figure(125.0, 10.05),
        "pinocchio lean 1 steps": figure(50.0, 10.2),
        "mink lean converged": figure(250.0),
        "opensim accuracy 1e-05": figure(9000.0),
    }
    found = ratios(figures)
    assert (found["fastest_ik"], found["ratio_to_fastest_ik"]) == ("pinocchio lean converged", 0.5)
    assert (found["fastest_api"], found["ratio_to_fastest_api"]) == ("pinocchio api converged", 0.25)
    # One step leaves 0.2 mm more than there need be.
    assert (found["fewest_steps"], found["ratio_to_fewest_steps"]) == ("pinocchio lean 2 steps", 0.8)


def test_without_any_tool_there_is_no_ratio() -> None:
    found = ratios({"kinefuse": figure(100.0)})
    assert found["ratio_to_fastest_ik"] is None
    assert found["fastest_ik"] is None


def test_all_that_are_installed_take_part_and_the_others_are_named(walk: Frames) -> None:
    solvers, missing = contestants(walk)
    tools = {solver.name.split()[0] for solver in solvers}
    assert tools | set(missing) == {"kinefuse", "pinocchio", "mink", "opensim"}
    assert not tools & set(missing)
    assert all("pip install" in reason for reason in missing.values())


def test_our_filter_follows_the_frames_and_updates_once_a_frame(walk: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = OurFilter(walk, learning=False)
    assert ours.start.lengths_locked
    updates = 0
    apply = ours.updater.apply

    def counting(*arguments: object, **named: object) -> int:
        nonlocal updates
        updates += 1
        return apply(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(ours.updater, "apply", counting)
    figures = compare([ours], walk, 1)
    # Two rounds, and in each the four views of a moment are one update.
    assert updates == 2 * len(walk.times_ns)
    assert figures["kinefuse"].truth_mm < 20.0
    assert figures["kinefuse"].us > 0.0


def test_lengths_are_learned_only_where_they_are_not_known(walk: Frames) -> None:
    learning = OurFilter(walk, learning=True)
    assert not learning.start.lengths_locked
    assert isinstance(learning.filter, PersonFilter)
    known = OurFilter(walk, learning=False)
    np.testing.assert_allclose(known.start.lengths_m, walk.lengths_m)


def test_every_kind_of_update_is_timed(walk: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(update_kinds, "_REPEATS", 2)
    ours = OurFilter(walk, learning=False)
    for frame in range(5):
        ours.solve(frame)
    times = update_kinds.kinds_us(ours, measurements_of(walk.rig, walk.views[5]))
    assert {"one view", "four views", "gyro of 6", "orientation of 6", "accelerometer of 6"} <= set(times)
    assert all(math.isfinite(us) and us > 0.0 for us in times.values())


def test_the_lab_and_the_curves_have_their_people() -> None:
    shares = lab_share(3.0)
    assert shares["lab_people"] == 1.0
    assert shares["lab_core_share"] > 0.0
    cost_ms, people = frame_cost_ms(4, 2, 3.0)
    assert people == 2
    assert cost_ms > 0.0


def test_without_the_data_pack_the_simulators_wearer_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINEFUSE_DATA", str(tmp_path))
    frames, _, name = load_frames(None, 0.2)
    assert name == "scripted"
    assert len(frames.times_ns) == 6


def test_a_clip_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in THREADS:
        monkeypatch.setenv(name, "1")
    good_zip, text = tmp_path / "clip.npz", tmp_path / "text.npz"
    np.savez(good_zip, quat=np.zeros(3))
    text.write_text("no clip")
    for clip, reason in ((good_zip, "it lacks"), (text, "text.npz"), (tmp_path / "none.npz", "No such file")):
        monkeypatch.setattr(sys, "argv", ["filter_cost", "--clip", str(clip)])
        assert main() == 2
        said = capsys.readouterr().err
        assert clip.name in said
        assert reason in said
