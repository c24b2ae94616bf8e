"""The live benchmark on MARS: what is judged, and the figures of a session made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import radar_live, radar_live_nodes
from benchmarks.radar_fusion import FLOOR_M, mount_at
from benchmarks.scenarios import NS_PER_S
from calibration.profile import load_profile
from fusion.body.catalog import landmark_positions
from fusion.body.kinematics import forward_kinematics
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, REFERENCE_LENGTHS_M
from fusion.pipeline import Pipeline
from fusion.records import Annotation, Float64, Landmarks3D, Record
from fusion.rig import Rig
from nodes import fusion, radar, recorder
from nodes.devices.ti.scenes import load_mars
from tests.training.radar.made_up import write_recordings

BEGUN_NS = 40 * NS_PER_S
SECONDS = 12.0


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_recordings(folder, frames=150)
    path = folder / "mars" / "subject2.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["labels"] = np.tile(standing() - [0.0, 0.0, FLOOR_M], (len(arrays["labels"]), 1, 1)).astype(np.float32)
    np.savez(path, **arrays)
    return path


def standing() -> Float64:
    """Joints [19, 3] of somebody who stands on the floor."""
    coordinates = resting_coordinates()
    coordinates[COORDINATE["root_pz"]] = 0.97
    positions, quaternions = forward_kinematics(coordinates, REFERENCE_LENGTHS_M)
    return landmark_positions("kinect_19", positions, quaternions, REFERENCE_LENGTHS_M)


def params(recording: Path) -> radar_live_nodes.Params:
    return radar_live_nodes.Params(
        recording=str(recording), start_s=0.0, seconds=SECONDS, link="radar", floor_m=FLOOR_M
    )


def test_the_kinect_is_away_for_two_seconds_of_ten(recording: Path) -> None:
    mars = params(recording)
    dark = [mars.is_dark(time_s) for time_s in np.arange(0.05, 20.0, 0.1)]
    assert sum(dark) == 40
    assert [mars.is_dark(time_s) for time_s in (7.9, 8.1, 9.9, 10.1, 18.1)] == [False, True, True, False, True]


def test_the_profile_is_the_radars_place(tmp_path: Path) -> None:
    mount = mount_at(np.array([0.1, -0.2, 0.9]))
    path = tmp_path / "mars.toml"
    radar_live.write_profile(path, mount)
    (found,) = load_profile(path).radars
    np.testing.assert_allclose(found.position_world_m, mount.position_world_m)
    assert (found.azimuth_fov_rad, found.range_max_m) == (mount.azimuth_fov_rad, mount.range_max_m)


def test_its_graph_joins_what_belongs_together(recording: Path, tmp_path: Path) -> None:
    nodes = {
        "mars": params(recording),
        "radar": radar.Params(type="radar", driver="ti-sdk3", cli_port="a", data_port="b", cfg=str(radar_live.CFG)),
        "fusion": fusion.Params(inputs=("mars/landmarks3d", "radar/points"), radar_network="none"),
        "rec": recorder.Params(type="recorder", path=str(tmp_path / "s.mcap")),
    }
    graph = radar_live.loaded(nodes, tmp_path / "mars.toml")
    assert set(graph.inputs["fusion"]) == {"mars/landmarks3d", "radar/points"}
    assert {"fusion/people", "radar/points", "mars/annotation"} <= set(graph.inputs["rec"])


def told(recording: Path, shift_m: Float64) -> list[Record]:
    """What a session would hold of somebody who stands, and is seen elsewhere in the dark."""
    mars, frames = params(recording), load_mars(recording, start_s=0.0, seconds=SECONDS)
    records: list[Record] = [Annotation(measured_ns=BEGUN_NS, received_ns=BEGUN_NS, text="begun")]
    pipeline = Pipeline(Rig())
    for frame in frames.frames(0.1):
        time_ns = BEGUN_NS + round(frame.time_s * NS_PER_S)
        people = pipeline.step(
            Landmarks3D(
                measured_ns=time_ns, received_ns=time_ns, source="mars", landmark_set="kinect_19",
                positions_m=standing()[None].astype(np.float32), sigmas_m=np.full((1, 19), 0.005, np.float32),
            )
        )  # fmt: skip
        if people is not None:
            moved = (people.positions_m + shift_m * mars.is_dark(frame.time_s)).astype(np.float32)
            records.append(replace(people, positions_m=moved))
    return records


def test_errors_are_told_apart_by_light_and_dark(recording: Path) -> None:
    figures = radar_live.judged(told(recording, np.array([0.3, 0.0, 0.0])), str(recording), params(recording))
    assert figures["people"] > 100
    assert figures["most_at_once"] == 1
    # From 3 s to 8 s and from 10 s to the end, but for people between frames that are too far apart; dark: 8 s to 10 s.
    assert 55 <= figures["light_frames"] <= 72
    assert 18 <= figures["dark_frames"] <= 20
    assert figures["light_root_mm"] < 10.0
    assert figures["dark_root_mm"] == pytest.approx(300.0, abs=10.0)
    assert figures["dark_mpjpe_mm"] == pytest.approx(300.0, abs=25.0)
    assert figures["dropped"] == 0


def test_six_seconds_go_through_the_whole_graph(data_pack: Path) -> None:
    """Virtual sensor on pseudo-terminals, radar node, fusion, recorder: of processes of their own, in real time."""
    figures = radar_live.play(2, 0.0, 6.0, "none")
    assert figures["exit_code"] == 0
    assert figures["radar"]["configured"] == 1.0
    assert figures["radar"]["frames"] > 0.0
    assert figures["radar"]["corrupt"] == figures["radar"]["unknown"] == 0.0
    assert figures["most_at_once"] == 1
    assert figures["light_root_mm"] < 150.0
