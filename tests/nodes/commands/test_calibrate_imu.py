"""``kinefuse calibrate imu``: from sessions, guided in a graph and beside one, refined by cameras; what is written."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphs
from calibration.inertial.practice import Practice, PracticeParams, exchanged, practise
from calibration.profile import load_profile, profile_text, save_profile
from fusion.maths import quaternion
from fusion.records import Float64, Guide, Record
from fusion.rig import ImuMount, Rig, Subject
from fusion.synthesis.actions import Action, Pose, Stand, Walk
from fusion.synthesis.imus import VirtualImus
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.params import InertialParams, RingParams
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.simulation import IMUS, Lab, Simulation, simulated_rig
from fusion.synthesis.wearer import Wearer
from nodes import simulator
from nodes.cli import main
from nodes.commands.guide_display import GuideDisplay, bar
from nodes.devices.fake import FakeBody, FakeParams
from nodes.graph.loader import load_graph
from nodes.graph.rundir import RUNTIME_VARIABLE
from nodes.node import Envelope
from nodes.sessions.reader import SessionReader
from nodes.sessions.writer import SessionFacts, SessionWriter
from tests.fusion.labs import wearer

SITES = ("pelvis", "left_forearm", "right_forearm", "left_lower_leg", "right_lower_leg")
DEADLINE_S = 120.0
posix = pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")


@pytest.fixture(scope="module")
def played() -> Practice:
    return practise(SITES, 1)


def write(path: Path, records: Sequence[tuple[str, Record]], graph: str = "", profile: str = "") -> Path:
    facts = SessionFacts(name="practice", graph_text=graph, profile_name="lab.toml", profile_text=profile)
    writer = SessionWriter(path, facts)
    counts: dict[str, int] = {}
    for topic, record in records:
        number = counts[topic] = counts.get(topic, -1) + 1
        log_ns = max(record.received_ns, 0)
        writer.write(Envelope(topic, number, log_ns, 0, record), log_ns)
    writer.close({"end": "stopped"})
    return path


@pytest.fixture(scope="module")
def session(played: Practice, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("s") / "practice.mcap"
    return write(path, [("imus/samples", record) for record in played.records])


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("r")
    folder.chmod(0o700)
    monkeypatch.setenv(RUNTIME_VARIABLE, str(folder))
    return folder


def steps(played: Practice) -> str:
    return ",".join(f"{i.step}:{i.begin_ns / 1e9:g}-{i.end_ns / 1e9:g}" for i in played.intervals)


def command(*words: str | Path) -> int:
    return main(["calibrate", "imu", *map(str, words)])


def errors_deg(rig: Rig, truth: dict[str, Float64]) -> dict[str, float]:
    return {
        mount.segment: math.degrees(float(quaternion.angle_between(mount.q_segment_from_sensor, truth[mount.segment])))
        for mount in rig.imus
    }


def graph_file(folder: Path, session: Path, time_rule: str, speed: str, more: str = "") -> Path:
    path = folder / "lab.yaml"
    path.write_text(
        f"session: {{name: lab, time: {time_rule}}}\n"
        f"nodes:\n  play: {{type: replayer, path: {session}, speed: {speed}}}\n{more}"
    )
    return path


# ---------------------------------------------------------------- from a session


def test_a_session_becomes_a_profile(
    played: Practice, session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "lab.toml"
    assert command(profile, "--session", session, "--steps", steps(played), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["written"]
    assert told["steps"] == ["n_pose", "t_pose", "walk"]
    assert [sensor["segment"] for sensor in told["sensors"]] == list(SITES)
    assert all(0.0 < sensor["quality_deg"] < 15.0 for sensor in told["sensors"])
    written = load_profile(profile)
    assert max(errors_deg(written, played.truth).values()) < 10.0
    qualities = [math.degrees(mount.quality_rad) for mount in written.imus]
    assert qualities == pytest.approx([sensor["quality_deg"] for sensor in told["sensors"]])


def test_a_profile_keeps_everything_else(played: Practice, session: Path, tmp_path: Path) -> None:
    profile = tmp_path / "lab.toml"
    lab = simulated_rig(Lab(imus=None))
    old = ImuMount(segment="pelvis", lever_arm_m=np.array([0.1, 0.2, 0.3]))
    gone = ImuMount(segment="head")
    before = Rig(cameras=lab.cameras, radars=lab.radars, imus=(old, gone), subject=Subject(name="me", stature_m=1.8))
    save_profile(profile, before)
    assert command(profile, "--session", session, "--steps", steps(played), "--overwrite") == 0
    after = load_profile(profile)
    assert [mount.segment for mount in after.imus] == list(SITES)
    np.testing.assert_array_equal(after.imus[0].lever_arm_m, old.lever_arm_m)
    assert after.imus[1].lever_arm_m.any()  # the usual place
    assert profile_text(Rig(cameras=after.cameras, radars=after.radars, subject=after.subject)) == profile_text(
        Rig(cameras=before.cameras, radars=before.radars, subject=before.subject)
    )


def test_exchanged_sensors_are_refused_and_the_profile_stays(
    played: Practice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = exchanged(played, "left_forearm", "left_lower_leg")
    recorded = write(tmp_path / "wrong.mcap", [("imus/samples", record) for record in wrong.records])
    profile = tmp_path / "lab.toml"
    save_profile(profile, Rig(subject=Subject(name="me")))
    before = profile.read_bytes()
    assert command(profile, "--session", recorded, "--steps", steps(played), "--overwrite") == 1
    said = capsys.readouterr()
    assert "left_lower_leg and left_forearm look exchanged" in said.err
    assert "refused" in said.out
    assert profile.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--steps", "n_pose:1"], "expected STEP:BEGIN-END in seconds, such as n_pose:1.0-5.0"),
        (["--steps", "dance:1-2"], "with STEP one of n_pose, t_pose, n_to_t, walk"),
        (["--steps", "n_pose:1-900"], "not within the recording; allowed: 0 to"),
        ([], "nothing in it says when the wearer did what"),
        (["--topic", "imu/samples", "--steps", "n_pose:1-3"], "no such topic; did you mean 'imus/samples'?"),
        (["--record", "x.mcap", "--steps", "n_pose:1-3"], "--record: records what --graph runs"),
    ],
)
def test_a_wrong_request_is_told_and_nothing_is_written(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    profile = tmp_path / "lab.toml"
    assert command(profile, "--session", session, *words) == 2
    assert says in capsys.readouterr().err
    assert not profile.exists()


def test_a_profile_is_not_replaced_unasked_and_nobody_poses_in_vain(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "lab.toml"
    save_profile(profile, Rig())
    assert command(profile, "--graph", tmp_path / "no.yaml") == 2
    assert "exists already" in capsys.readouterr().err
    assert command(tmp_path / "no" / "lab.toml", "--session", session) == 2
    assert "there is no folder" in capsys.readouterr().err


# ---------------------------------------------------------------- guided


def test_a_graph_is_guided_recorded_and_calibrated_again(
    played: Practice, session: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    more = "  fusion: {type: fusion, inputs: [imus/samples]}\n"
    graph = graph_file(tmp_path, session, "data", "max", more)
    profile, recorded = tmp_path / "lab.toml", tmp_path / "calibration.mcap"
    assert command(profile, "--graph", graph, "--record", recorded, "--headless", "--json") == 0
    said = capfd.readouterr()
    assert json.loads(said.out)["written"]
    assert "1/4 n_pose: Stand upright" in said.err
    assert "the calibration is done" in said.err
    assert "fusion" not in said.err  # what sends no samples is left out
    guided = load_profile(profile)
    assert max(errors_deg(guided, played.truth).values()) < 10.0
    with SessionReader(recorded) as reader:
        guides = [envelope.record for _, envelope in reader.envelopes(("guide/guide",))]
    assert isinstance(guides[-1], Guide)
    assert guides[-1].step == "done"
    again = tmp_path / "again.toml"
    assert command(again, "--session", recorded) == 0
    apart = errors_deg(load_profile(again), {mount.segment: mount.q_segment_from_sensor for mount in guided.imus})
    assert max(apart.values()) < 0.5


def test_the_simulator_s_wearer_is_guided(tmp_path: Path) -> None:
    graph, profile = tmp_path / "simulated.yaml", tmp_path / "lab.toml"
    text = (Path(graphs.FOLDER) / "calibrate.yaml").read_text("utf-8")
    graph.write_text(text.replace("{name: calibrate}", "{name: calibrate, time: data}"))
    assert command(profile, "--graph", graph, "--headless") == 0
    params = load_graph(graph).graph.nodes["sim"]
    assert isinstance(params, simulator.Params)
    assert params.imus is not None
    worn = VirtualImus(IMUS, params.imus, simulator.wearers_of(params)[0], params.seed)
    truth = {mount.segment: mount.q_segment_from_sensor for mount in worn.mounts}
    assert max(errors_deg(simulator.simulated_rig(params), truth).values()) > 20.0
    errors = errors_deg(load_profile(profile), truth)
    assert len(errors) == 11
    assert max(errors.values()) < 8.0


def test_a_graph_that_ends_too_soon_leaves_the_profile(
    session: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = graph_file(tmp_path, session, "data", "max, end_s: 4.0")
    profile = tmp_path / "lab.toml"
    assert command(profile, "--graph", graph) == 1
    assert "the calibration was not finished" in capfd.readouterr().err
    assert not profile.exists()


def test_a_graph_without_inertial_sensors_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = tmp_path / "lab.yaml"
    graph.write_text("nodes:\n  sim: {type: simulator, imus: null, radars: null}\n")
    assert command(tmp_path / "lab.toml", "--graph", graph) == 2
    assert "none of its nodes sends inertial samples (sim)" in capsys.readouterr().err


def process(*words: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nodes.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def lines_until(stream: Iterator[str], wanted: Callable[[str], bool]) -> str:
    """Everything said up to a line that is wanted; the test's own time limit ends the waiting."""
    said = ""
    for line in stream:
        said += line
        if wanted(line):
            return said
    raise AssertionError(f"it ended before: {said}")


@posix
def test_ctrl_c_in_the_midst_leaves_the_profile(session: Path, tmp_path: Path) -> None:
    profile = tmp_path / "lab.toml"
    save_profile(profile, Rig(subject=Subject(name="me")))
    before = profile.read_bytes()
    graph = graph_file(tmp_path, session, "live", "1")
    with process("calibrate", "imu", profile, "--graph", graph, "--overwrite") as running:
        assert running.stderr is not None
        lines_until(running.stderr, lambda line: "n_pose" in line)
        running.send_signal(signal.SIGINT)
        said = running.stderr.read()
        assert running.wait(DEADLINE_S) == 1
    assert "not finished (Ctrl-C)" in said
    assert profile.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab.toml", "lab.yaml"]


@posix
def test_a_running_session_is_guided_without_being_part_of_it(
    played: Practice, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The wearer stands for a while at first, so that somebody can attach.
    slow = practise(SITES, 1, PracticeParams(poses=("n_pose", "n_pose", "n_pose", "t_pose", "n_pose")))
    recorded = write(tmp_path / "slow.mcap", [("imus/samples", record) for record in slow.records])
    graph = graph_file(tmp_path, recorded, "live", "4")
    profile = tmp_path / "lab.toml"
    with process("run", graph) as running:
        assert running.stderr is not None
        lines_until(running.stderr, lambda line: "are ready" in line or "is ready" in line)
        try:
            assert command(profile, "--attach", "lab") == 0
        finally:
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=DEADLINE_S)
    assert "4/4 walk" in capsys.readouterr().err
    assert max(errors_deg(load_profile(profile), slow.truth).values()) < 12.0


@posix
def test_serial_bytes_become_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual MTi sensors on pseudo-terminals, the imu node, the guide, the profile."""
    script: tuple[Action, ...] = (
        Pose(duration_s=10.0),
        Stand(duration_s=2.0),
        Walk(distance_m=2.0),
        Stand(duration_s=9.0),
    )
    monkeypatch.setattr("fusion.synthesis.actions.DEFAULT_SCRIPT", script)
    body = FakeBody(FakeParams(driver="xsens-mti", count=3))
    placement = {port: segment for port, places in body.outlets for segment in places.values()}
    graph, profile = tmp_path / "lab.yaml", tmp_path / "lab.toml"
    keys = f"port: [{', '.join(placement)}], placement: [{', '.join(placement.values())}]"
    graph.write_text(f"nodes:\n  imus: {{type: imu, driver: xsens-mti, {keys}}}\n")
    reading, writing = os.pipe()
    stopping = threading.Event()
    playing = threading.Thread(target=lambda: body.run(stopping.is_set, wake=reading, seconds=None))
    playing.start()
    try:
        assert command(profile, "--graph", graph, "--steps", "n_pose,walk") == 0
    finally:
        stopping.set()
        os.write(writing, b"\0")
        playing.join()
        body.close()
        os.close(reading)
        os.close(writing)
    sensors = InertialParams(sites=tuple(placement.values()))
    motion = scripted_motion(script, draw_lengths(0, 1.75))
    truth = {
        mount.segment: mount.q_segment_from_sensor
        for mount in VirtualImus("fake", sensors, Wearer(0, motion), 0).mounts
    }
    errors = errors_deg(load_profile(profile), truth)
    assert set(errors) == set(placement.values())
    assert max(errors.values()) < 5.0


def test_a_session_that_does_not_run_cannot_be_attached_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path / "lab.toml", "--attach", "lab") == 2
    assert "no session 'lab' runs" in capsys.readouterr().err


# ---------------------------------------------------------------- refined


LAB = Lab(
    ring=RingParams(count=1),
    imus=InertialParams(sites=("pelvis", "left_lower_leg"), mounting_error_rad=math.radians(14.0)),
    radars=None,
)
SECONDS = 8.0


def capture(lab: Lab) -> tuple[list[tuple[str, Any]], dict[str, Float64]]:
    """Records of a wearer, and how the sensors really sit."""
    worn = wearer(0)
    assert lab.imus is not None
    simulation = Simulation(lab, [worn], seed=1, origin_ns=10**9, duration_s=SECONDS)
    records = []
    while (emission := simulation.pop()) is not None:
        records.append((f"sim/{emission.stream}" if "/" not in emission.stream else emission.stream, emission.record))
    truth = {mount.segment: mount.q_segment_from_sensor for mount in VirtualImus(IMUS, lab.imus, worn, 1).mounts}
    return records, truth


def test_what_a_camera_has_shown_makes_the_mountings_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records, truth = capture(LAB)
    profile, rig = tmp_path / "lab.toml", simulated_rig(LAB)
    save_profile(profile, rig)
    recorded = write(tmp_path / "capture.mcap", records)
    assert command(profile, "--refine", recorded, "--overwrite", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seen_s"] > 5.0
    sensors = {sensor["segment"]: sensor for sensor in told["sensors"]}
    before, after = errors_deg(rig, truth), errors_deg(load_profile(profile), truth)
    assert sensors["left_lower_leg"]["refined"]
    mounts = {mount.segment: mount for mount in load_profile(profile).imus}
    assert math.degrees(mounts["left_lower_leg"].quality_rad) == pytest.approx(sensors["left_lower_leg"]["sigma_deg"])
    assert before["left_lower_leg"] > 8.0
    assert after["left_lower_leg"] < 4.0
    for name, sensor in sensors.items():
        if not sensor["refined"]:
            assert after[name] == pytest.approx(before[name], abs=1e-9)
            assert "known to" in sensor["reason"]


def test_without_cameras_nothing_is_refined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dark = Lab(ring=None, imus=LAB.imus, radars=None)
    records, _ = capture(dark)
    profile = tmp_path / "lab.toml"
    save_profile(profile, simulated_rig(dark))
    before = profile.read_bytes()
    recorded = write(tmp_path / "dark.mcap", records)
    assert command(profile, "--refine", recorded, "--overwrite") == 2
    assert "no landmarks, so no camera tells how the sensors sit" in capsys.readouterr().err
    assert profile.read_bytes() == before


def test_a_profile_without_sensors_cannot_be_refined(
    session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "lab.toml"
    assert command(profile, "--refine", session) == 2
    assert "--refine needs the profile" in capsys.readouterr().err
    save_profile(profile, Rig())
    assert command(profile, "--refine", session, "--overwrite") == 2
    assert "no inertial sensors to refine" in capsys.readouterr().err


LIVE = """
session: {name: live, profile: lab.toml}
nodes:
  sim: {type: simulator, cameras: {count: 1}, radars: null, seed: 1, imus: IMUS}
  fusion: {type: fusion, inputs: ["sim.*/landmarks", sim.imus/samples]}
"""


@posix
def test_a_running_capture_makes_the_profile_better(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    imus = "{sites: [left_lower_leg], mounting_error_rad: 0.25}"
    graph, profile = tmp_path / "live.yaml", tmp_path / "lab.toml"
    graph.write_text(LIVE.replace("IMUS", imus))
    params = simulator.Params(
        type="simulator",
        seed=1,
        cameras=RingParams(count=1),
        radars=None,
        imus=InertialParams(sites=("left_lower_leg",), mounting_error_rad=0.25),
    )
    save_profile(profile, simulator.simulated_rig(params))
    before = load_profile(profile)
    assert params.imus is not None
    worn = VirtualImus(IMUS, params.imus, simulator.wearers_of(params)[0], params.seed)
    truth = {mount.segment: mount.q_segment_from_sensor for mount in worn.mounts}
    with process("run", graph) as running:
        assert running.stderr is not None
        lines_until(running.stderr, lambda line: "are ready" in line)
        try:
            assert command(profile, "--refine-live", "live", "--seconds", "60", "--overwrite", "--json") == 0
        finally:
            running.send_signal(signal.SIGINT)
            running.communicate(timeout=DEADLINE_S)
    told = {sensor["segment"]: sensor for sensor in json.loads(capsys.readouterr().out)["sensors"]}
    assert told["left_lower_leg"]["refined"]
    errors = errors_deg(load_profile(profile), truth)
    assert errors["left_lower_leg"] < 0.6 * errors_deg(before, truth)["left_lower_leg"]


def test_what_cannot_be_refined_live_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "lab.toml"
    save_profile(profile, simulated_rig(LAB))
    assert command(profile, "--refine-live", "lab", "--overwrite") == 2
    assert "no session 'lab' runs" in capsys.readouterr().err


# ---------------------------------------------------------------- on a terminal


@posix
def test_on_a_terminal_the_guide_is_drawn_in_place() -> None:
    import pty

    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        display = GuideDisplay(terminal)
        display.show(guide("t_pose", "left_forearm moves", 0.5))
        display.show(guide("done", "", 1.0))
        display.close()
        said = os.read(leader, 65536).decode()
    os.close(leader)
    assert "Raise the arms" in said
    assert "left_forearm moves" in said
    assert bar(7.0) in said
    assert "4.0°" in said
    assert "\x1b[" in said


def test_elsewhere_a_line_is_printed_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    display = GuideDisplay()
    for progress in (0.1, 0.2):
        display.show(guide("t_pose", "left_forearm moves", progress))
    display.close()
    assert capsys.readouterr().err == "2/4 t_pose: Raise the arms (left_forearm moves)\n"


@pytest.mark.parametrize(("activity", "length"), [(0.0, 0), (1.0, 10), (2.0, 20), (50.0, 20)])
def test_half_a_bar_is_the_bound_of_stillness(activity: float, length: int) -> None:
    assert bar(activity) == "█" * length


def guide(step: str, message: str, progress: float) -> Guide:
    over = step == "done"
    return Guide(
        measured_ns=0,
        received_ns=0,
        step=step,
        number=2,
        steps=4,
        instruction="" if over else "Raise the arms",
        message=message,
        progress=progress,
        sensors=("pelvis", "left_forearm"),
        activity=np.array([0.5, 7.0]),
        quality_rad=np.radians([4.0, 5.0]) if over else np.full(2, math.nan),
    )
