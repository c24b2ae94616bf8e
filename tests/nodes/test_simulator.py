"""The simulator node: its keys, its profile, and what it publishes in both kinds of time."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from calibration.profile import load_profile, save_profile
from fusion.records import Health, Landmarks2D, Record, Truth
from graphs import FOLDER
from nodes.errors import RequestError
from nodes.graph.launcher import run_graph
from nodes.graph.loader import GraphError, load_graph
from nodes.node import Envelope, SessionInfo
from nodes.sessions.reader import SessionReader
from nodes.simulator import Params, check_profile, lab_of, main, rig_difference, run, simulated_rig

REPOSITORY = Path(__file__).resolve().parents[2]


class SteppingClock:
    """Time passes only while somebody waits."""

    def __init__(self) -> None:
        self.time_ns = 1_000_000_000_000

    def now_ns(self) -> int:
        return self.time_ns


class Stage:
    """A context that keeps what is published and when."""

    def __init__(self, time: str, profile: str | None = None, stop_after: int | None = None) -> None:
        self.name = "sim"
        self.session = SessionInfo(name="try", profile=profile, graph_text="", time=time, headless=True)
        self.clock = SteppingClock()
        self.log = logging.getLogger("try")
        self.counters: dict[str, float] = {}
        self.inputs: tuple[str, ...] = ()
        self.published: list[tuple[int, str, Record]] = []
        self.is_ready = False
        self.started_ns = self.clock.now_ns()
        self._stop_after = stop_after

    @property
    def stopping(self) -> bool:
        return self._stop_after is not None and len(self.published) >= self._stop_after

    def ready(self) -> None:
        self.is_ready = True

    def publish(self, topic: str, record: Record, cause: Envelope | None = None) -> None:
        assert self.is_ready
        self.published.append((self.clock.time_ns, topic, record))

    def receive(self, timeout_s: float) -> Envelope | None:
        assert timeout_s >= 0.0
        self.clock.time_ns += max(round(timeout_s * 1e9), 1)
        return None


def params(**keys: object) -> Params:
    return Params.model_validate({"type": "simulator", **keys})


def test_data_time_begins_at_0_and_comes_in_the_order_of_arrival() -> None:
    stage = Stage("data")
    settings = params(duration_s=1.0)
    run(settings, stage)
    topics = {topic for _, topic, _ in stage.published}
    assert topics == set(settings.publishes("sim"))
    arrivals = [record.received_ns for _, _, record in stage.published]
    assert arrivals == sorted(arrivals)
    assert min(record.measured_ns for _, _, record in stage.published) == 0
    assert max(record.measured_ns for _, _, record in stage.published) < 1_000_000_000
    assert sum(isinstance(record, Truth) for _, _, record in stage.published) == 30


def test_live_records_are_published_when_they_arrive() -> None:
    stage = Stage("live")
    begin_ns = stage.clock.time_ns
    run(params(duration_s=0.6), stage)
    assert len(stage.published) > 100
    for now_ns, _, record in stage.published:
        assert 0 <= now_ns - record.received_ns < 1_000_000, "neither before its arrival nor after"
        assert record.measured_ns >= begin_ns
    delays = [r.received_ns - r.measured_ns for _, _, r in stage.published if isinstance(r, Landmarks2D)]
    assert 0.02e9 < np.mean(delays) < 0.04e9


def test_a_live_simulation_goes_on_until_it_is_stopped() -> None:
    stage = Stage("live", stop_after=500)
    run(params(wearers=[{"script": [{"do": "stand", "duration_s": 1.0}]}]), stage)
    assert len(stage.published) == 500


def test_a_simulator_that_starts_again_goes_on_where_it_would_be() -> None:
    keys = {"wearers": [{"script": [{"do": "walk", "distance_m": 3.0}]}], "imus": None, "radars": None}
    first, again = Stage("live", stop_after=600), Stage("live", stop_after=20)
    again.clock.time_ns += 3_000_000_000
    run(params(**keys), first)
    run(params(**keys), again)
    truths = [{r.measured_ns: r for _, _, r in stage.published if isinstance(r, Truth)} for stage in (first, again)]
    shared = truths[0].keys() & truths[1].keys()
    assert shared
    assert min(truths[1]) >= again.started_ns + 2_500_000_000
    for time_ns in shared:
        np.testing.assert_array_equal(truths[0][time_ns].positions_m, truths[1][time_ns].positions_m)


def test_without_duration_a_data_session_is_one_round() -> None:
    stage = Stage("data")
    run(params(wearers=[{"script": [{"do": "squat"}]}], imus=None, radars=None), stage)
    assert max(record.measured_ns for _, _, record in stage.published) == pytest.approx(2.8e9, abs=0.05e9)


def test_publishes_follows_the_sensors() -> None:
    topics = params(cameras={"count": 2}, imus=None, radars={"count": 2}, pictures={"every": 2}).publishes("lab")
    assert topics == (
        "lab.cam1/landmarks", "lab.cam2/landmarks", "lab.cam1/image", "lab.cam2/image",
        "lab.radar1/points", "lab.radar2/points", "lab/truth",
    )  # fmt: skip


def test_a_clip_drives_the_wearer(data_pack: Path) -> None:
    stage = Stage("data")
    clip = str(data_pack / "motion" / "deepmimic" / "dm_walk.npz")
    run(params(wearers=[{"clip": clip}], imus=None, radars=None), stage)
    pelvis = np.array([r.positions_m[0, 0] for _, _, r in stage.published if isinstance(r, Truth)])
    assert np.linalg.norm(pelvis[-1] - pelvis[0]) > 0.8


@pytest.mark.parametrize(("content", "message"), [(b"nothing", "is no motion clip"), (None, "it lacks clip_start")])
def test_a_file_that_is_no_clip_is_refused_by_name(tmp_path: Path, content: bytes | None, message: str) -> None:
    file = tmp_path / "clip.npz"
    if content is None:
        np.savez(file, clip_name=np.array(["a"]))
    else:
        file.write_bytes(content)
    with pytest.raises(RequestError, match=message) as caught:
        run(params(wearers=[{"clip": str(file)}]), Stage("data"))
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"detector": {"noise_px": -1}}, "noise_px: -1.0, allowed 0 to 1000"),
        ({"cameras": {"cuont": 2}}, "cuont"),
        ({"wearers": []}, "allowed 1 to 16"),
        ({"wearers": [{"id": 1}, {"id": 1}]}, "id 1 is given twice"),
        ({"wearers": [{"script": []}]}, "no actions"),
        ({"wearers": [{"script": [{"do": "fly"}]}]}, "'fly'"),
        ({"wearers": [{"script": [{"do": "walk", "distance_m": -1}]}]}, "distance_m: -1.0, allowed 0.2 to 1000"),
        ({"wearers": [{"clip": "a.npz", "script": [{"do": "stand"}]}]}, "keep one"),
        ({"wearers": [{"clip_name": "a"}]}, "needs the key clip"),
        ({"seed": -1}, "seed"),
    ],
)
def test_wrong_keys_are_named_with_what_is_allowed(keys: dict, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        params(**keys)
    assert message in str(caught.value)


# ---- profile


def test_the_shipped_profile_is_that_of_the_demo() -> None:
    graph = load_graph(FOLDER / "demo.yaml", overrides={"nodes": {"view": None}})
    simulator = graph.graph.nodes["sim"]
    assert isinstance(simulator, Params)
    assert rig_difference(simulated_rig(simulator), load_profile(FOLDER / "demo.toml")) == ""


def test_the_profile_command_writes_what_the_node_accepts(tmp_path: Path) -> None:
    graph = tmp_path / "lab.yaml"
    graph.write_text(
        "session: {profile: lab.toml}\nnodes:\n"
        "  sim: {type: simulator, duration_s: 0.2, cameras: {count: 3, radius_m: 5}, radars: null}\n"
    )
    command = [sys.executable, "-m", "nodes.simulator", "--profile", str(graph), str(tmp_path / "lab.toml")]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    loaded = load_graph(graph)
    stage = Stage("data", profile=str(tmp_path / "lab.toml"))
    run(loaded.graph.nodes["sim"], stage)
    assert len(stage.published) > 10
    assert main(command[3:]) == 2, "an existing profile is kept"
    assert main([*command[3:], "--overwrite"]) == 0


def test_a_profile_of_another_lab_is_refused_with_the_command(tmp_path: Path) -> None:
    save_profile(tmp_path / "other.toml", simulated_rig(params(cameras={"radius_m": 4.5})))
    with pytest.raises(RequestError, match=r"camera 'cam1' stands 0\.\d+ m away; write it with: python -m nodes"):
        run(params(), Stage("data", profile=str(tmp_path / "other.toml")))


@pytest.mark.parametrize(
    ("keys", "difference"),
    [
        ({"cameras": {"count": 3}}, "it lacks camera 'cam4'"),
        ({"cameras": {"width": 640}}, "camera 'cam1' is 640x720"),
        ({"cameras": {"horizontal_fov_rad": 1.0}}, "another lens"),
        ({"cameras": {"look_at_m": [0, 0, 1.2]}}, "camera 'cam1' looks elsewhere"),
        ({"cameras": {"radius_m": 4.5}}, r"camera 'cam1' stands 0.500 m away"),
        ({"imus": {"sites": ["head"]}}, "it lacks inertial sensor of 'pelvis', inertial"),
        ({"radars": None}, "lacks radar 'radar1'"),
        ({"radars": {"height_m": 2.0}}, "radar 'radar1' is placed otherwise"),
    ],
)
def test_every_difference_between_lab_and_profile_is_named(tmp_path: Path, keys: dict, difference: str) -> None:
    file = tmp_path / "profile.toml"
    save_profile(file, simulated_rig(params(**keys)))
    with pytest.raises(RequestError, match=difference):
        check_profile(lab_of(params()), str(file))


def test_a_graph_without_simulator_has_no_profile_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = tmp_path / "none.yaml"
    graph.write_text("nodes:\n  rec: {type: recorder, path: sessions}\n")
    assert main(["--profile", str(graph), str(tmp_path / "out.toml")]) == 2
    assert "0 nodes of type simulator, expected one" in capsys.readouterr().err
    assert not (tmp_path / "out.toml").exists()


def test_every_mistake_in_a_graph_has_its_place_and_what_is_allowed(tmp_path: Path) -> None:
    graph = tmp_path / "bad.yaml"
    graph.write_text(
        """\
nodes:
  sim:
    type: simulator
    cameras: {cuont: 3}
    detector: {noise_pix: 3}
    wearers:
      - script:
          - {do: wlak}
          - {do: walk, distance_m: -3}
          - {do: walk, distnace_m: 3}
          - {do: reach, side: up}
    imus: {sites: [belly]}
    radars: {count: many}
"""
    )
    with pytest.raises(GraphError) as caught:
        load_graph(graph)
    told = {(problem.line, problem.column): problem.message for problem in caught.value.problems}
    for place, part in {
        (4, 15): "unknown key; did you mean 'count'?; allowed: count, radius_m",
        (5, 16): "unknown key; did you mean 'noise_px'?",
        (8, 18): "'wlak' is not allowed; did you mean 'walk'?; allowed: stand, walk, circle, turn, squat, reach, pose",
        (9, 13): "distance_m: -3.0, allowed 0.2 to 1000",
        (10, 24): "unknown key; did you mean 'distance_m'?; allowed: do, distance_m, speed_m_s",
        (11, 31): "'up' is not allowed; allowed: right, left",
        (12, 11): "'belly' is no segment; segments: pelvis",
        (13, 21): "'many'",
    }.items():
        assert place in told, (place, told)
        assert part in told[place]


def recorded(folder: Path, number: int) -> list[tuple]:
    """Run a data session with real processes; topic, stamps and array bytes of everything that was recorded."""
    graph = folder / f"run{number}.yaml"
    graph.write_text(
        "session: {time: data}\nnodes:\n"
        "  sim: {type: simulator, seed: 3, duration_s: 1.5}\n"
        f"  rec: {{type: recorder, path: {folder}/run{number}.mcap}}\n"
    )
    report = run_graph(load_graph(graph), headless=True)
    assert report.exit_code == 0, report.reason
    rows = []
    with SessionReader(folder / f"run{number}.mcap") as reader:
        for _, envelope in reader.envelopes():
            record = envelope.record
            if envelope.topic.startswith("sim") and not isinstance(record, Health):
                values = [getattr(record, name) for name in record.__slots__]
                arrays = [value.tobytes() for value in values if isinstance(value, np.ndarray)]
                rows.append((envelope.topic, record.measured_ns, record.received_ns, *arrays))
    return sorted(rows)


def test_the_same_seed_gives_the_same_session_bit_by_bit(tmp_path: Path) -> None:
    first = recorded(tmp_path, 1)
    topics = {row[0] for row in first}
    assert topics >= set(params().publishes("sim"))
    assert sum(row[0] == "sim.cam1/landmarks" for row in first) == 45
    assert first == recorded(tmp_path, 2)


def test_a_calibrated_profile_may_have_the_sensors_sit_otherwise_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    rig = simulated_rig(params())
    turned = [replace(mount, q_segment_from_sensor=np.array([0.6, 0.8, 0.0, 0.0])) for mount in rig.imus]
    save_profile(file, replace(rig, imus=tuple(turned)))
    with pytest.raises(RequestError, match="mounted otherwise"):
        check_profile(lab_of(params()), str(file))
    check_profile(lab_of(params()), str(file), calibrated=True)
    save_profile(file, replace(rig, imus=tuple(turned[1:])), overwrite=True)
    with pytest.raises(RequestError, match="it lacks inertial sensor"):
        check_profile(lab_of(params()), str(file), calibrated=True)
