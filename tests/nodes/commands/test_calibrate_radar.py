"""``kinefuse calibrate radar``: from recorded sessions and from a graph that it runs; what is written and refused."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.profile import load_profile, profile_text, save_profile
from calibration.radar.practice import RADAR, Placed, exact, placed, seen, walker
from calibration.radar.recording import Trail
from fusion.body.skeleton import SEGMENT_NAMES
from fusion.maths import quaternion
from fusion.records import Landmarks2D, People, Record
from fusion.rig import ImuMount, RadarMount, Rig, Subject
from fusion.synthesis.actions import Stand, Walk
from fusion.synthesis.params import DetectorParams, RadarParams, RingParams
from fusion.synthesis.simulation import Lab, Simulation, simulated_rig
from fusion.synthesis.wearer import Wearer
from nodes.cli import main
from nodes.graph.rundir import RUNTIME_VARIABLE
from nodes.node import Envelope
from nodes.sessions.reader import SessionReader
from nodes.sessions.writer import SessionFacts, SessionWriter

SEED = 31
LAB = Lab(ring=RingParams(count=2), detector=DetectorParams(rate_hz=20.0), imus=None, radars=None)
CAPTURE_NS = 18 * 10**9
Message = tuple[str, Record]
DEADLINE_S = 120.0
posix = pytest.mark.skipif(os.name == "nt", reason="signals as POSIX has them")


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("r")
    folder.chmod(0o700)
    monkeypatch.setenv(RUNTIME_VARIABLE, str(folder))
    return folder


@pytest.fixture(scope="module")
def person() -> Wearer:
    return walker(SEED)


@pytest.fixture(scope="module")
def radar(person: Wearer) -> Placed:
    return placed(SEED, person)


@pytest.fixture(scope="module")
def points(person: Wearer, radar: Placed) -> list[Message]:
    return [(f"{RADAR}/points", record) for record in seen(radar, person, SEED)]


@pytest.fixture(scope="module")
def session(person: Wearer, points: list[Message], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cameras and a radar for 18 s."""
    simulation = Simulation(LAB, (person,), seed=SEED, origin_ns=0, duration_s=CAPTURE_NS / 1e9)
    records = [item for item in points if item[1].measured_ns < CAPTURE_NS]
    while (emission := simulation.pop()) is not None:
        if isinstance(emission.record, Landmarks2D):
            records.append((emission.stream, emission.record))
    path = tmp_path_factory.mktemp("s") / "walk.mcap"
    return write(path, records, profile=profile_text(simulated_rig(LAB)))


@pytest.fixture(scope="module")
def followed(person: Wearer, points: list[Message], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The people that somebody has recorded, and a radar."""
    path = tmp_path_factory.mktemp("s") / "followed.mcap"
    return write(path, [*points, *people_of([exact(person)])])


def write(path: Path, records: Sequence[Message], profile: str = "") -> Path:
    writer = SessionWriter(path, SessionFacts(name="walk", profile_name="lab.toml", profile_text=profile))
    counts: dict[str, int] = {}
    for topic, record in sorted(records, key=lambda item: item[1].received_ns):
        number = counts[topic] = counts.get(topic, -1) + 1
        log_ns = max(record.received_ns, 0)
        writer.write(Envelope(topic, number, log_ns, 0, record), log_ns)
    writer.close({"end": "stopped"})
    return path


def people_of(trails: Sequence[Trail], every: int = 2) -> Iterable[Message]:
    """Records of people who are where trails say."""
    joints, count = len(SEGMENT_NAMES), len(trails)
    for index in range(0, len(trails[0].times_ns), every):
        positions = np.stack([trail.positions_m[index] for trail in trails]).astype(np.float32)
        time_ns = int(trails[0].times_ns[index])
        yield (
            "fusion/people",
            People(
                measured_ns=time_ns,
                received_ns=time_ns,
                skeleton="joints_23",
                ids=np.arange(count),
                positions_m=positions,
                q_world_from_segment=np.stack([t.q_world_from_segment[index] for t in trails]).astype(np.float32),
                velocities_m_s=positions * 0,
                angular_rates_rad_s=positions * 0,
                covariances_m2=np.zeros((count, joints, 3, 3), dtype=np.float32),
                measured=np.ones((count, joints), dtype=np.uint8),
                coordinates=np.zeros((count, 44), dtype=np.float32),
                lengths_m=np.stack([trail.lengths_m for trail in trails]).astype(np.float32),
                lengths_locked=np.ones(count, dtype=np.uint8),
                angles_rad=np.zeros((count, 41), dtype=np.float32),
                centre_of_mass_m=np.zeros((count, 3), dtype=np.float32),
            ),
        )


def command(*words: str | Path) -> int:
    return main(["calibrate", "radar", *map(str, words)])


def check(mount: RadarMount, truth: RadarMount, time_offset_s: float) -> None:
    """Within the goals: 2 degrees, 5 cm, 10 ms."""
    turned = quaternion.from_matrix(mount.r_world_from_radar.T @ truth.r_world_from_radar)
    assert math.degrees(float(np.linalg.norm(quaternion.to_rotvec(turned)))) < 2.0
    assert np.linalg.norm(mount.position_world_m - truth.position_world_m) < 0.05
    assert mount.time_offset_s == pytest.approx(time_offset_s, abs=0.010)


# ---------------------------------------------------------------- written


def test_a_session_with_cameras_becomes_a_pose_in_the_profile_that_keeps_all_else(
    session: Path, radar: Placed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, other = tmp_path / "lab.toml", replace(radar.mount, name="roof")
    old = replace(radar.mount, r_world_from_radar=np.eye(3), position_world_m=np.zeros(3), range_max_m=7.5)
    before = replace(
        simulated_rig(LAB), radars=(other, old), imus=(ImuMount(segment="head"),), subject=Subject(name="me")
    )
    save_profile(profile, before)
    assert command(profile, "--session", session, "--overwrite", "--json") == 0
    said = capsys.readouterr()
    assert "following the person" in said.err
    (told,) = json.loads(said.out)["radars"]
    assert told["accepted"]
    assert told["moved"]["position_cm"] > 100.0
    assert 0.0 < told["pose"]["rotation_95_deg"] < 2.0
    assert 0.0 < told["pose"]["position_95_cm"] < 8.0
    after = load_profile(profile)
    check(after.radars[1], radar.mount, radar.time_offset_s)
    assert after.radars[1].range_max_m == 7.5
    kept = replace(after, radars=(after.radars[0], old))
    assert profile_text(kept) == profile_text(before)


def test_a_new_profile_begins_with_that_of_the_session(
    session: Path, radar: Placed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "new.toml"
    assert command(profile, "--session", session, "--radar", RADAR) == 0
    said = capsys.readouterr().out
    assert "stamps late by" in said
    assert "radial velocity" in said
    written = load_profile(profile)
    assert [camera.name for camera in written.cameras] == ["cam1", "cam2"]
    check(written.radars[0], radar.mount, radar.time_offset_s)


def test_without_landmarks_the_people_that_were_recorded_are_used(
    followed: Path, radar: Placed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "lab.toml"
    assert command(profile, "--session", followed) == 0
    assert "the people that were recorded as fusion/people are used" in capsys.readouterr().err
    check(load_profile(profile).radars[0], radar.mount, radar.time_offset_s)


def test_of_two_radars_the_one_that_sees_somebody_is_written(
    person: Wearer, points: list[Message], radar: Placed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = replace(radar.mount, name="blind", position_world_m=np.array([40.0, 0.0, 1.0]))
    ghosts = [("blind/points", record) for record in seen(Placed(blind, 0.0), person, 3)]
    recorded = write(tmp_path / "two.mcap", [*points, *ghosts, *people_of([exact(person)])])
    profile = tmp_path / "lab.toml"
    assert command(profile, "--session", recorded, "--json") == 1
    said = capsys.readouterr()
    told = {item["radar"]: item for item in json.loads(said.out)["radars"]}
    assert told[RADAR]["accepted"]
    assert not told["blind"]["accepted"]
    assert told["blind"]["pose"] is None
    assert "blind: radar 'blind' and cameras see somebody together for 0.0 s" in said.err
    assert [mount.name for mount in load_profile(profile).radars] == [RADAR]


# ---------------------------------------------------------------- refused


def test_two_people_and_who_stands_still_are_refused_and_the_profile_stays(
    person: Wearer, points: list[Message], radar: Placed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "lab.toml"
    save_profile(profile, Rig(subject=Subject(name="me")))
    before = profile.read_bytes()
    two = write(tmp_path / "two.mcap", [*points, *people_of([exact(person), exact(walker(4))])])
    assert command(profile, "--session", two, "--overwrite") == 1
    assert "cameras show several people for 100 % of the time" in capsys.readouterr().err
    still = walker(SEED, (Walk(distance_m=0.3, speed_m_s=0.3), Stand(duration_s=40.0)))
    records = [(f"{RADAR}/points", record) for record in seen(radar, still, 1, RadarParams(full_speed_m_s=0.001))]
    recorded = write(tmp_path / "still.mcap", [*records, *people_of([exact(still)])])
    assert command(profile, "--session", recorded, "--overwrite") == 1
    said = capsys.readouterr()
    assert "m/s in the mean, at least 0.25 m/s; walk for 30 s" in said.err
    assert "the profile is as it was" in said.err
    assert "refused" in said.out
    assert profile.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--radar", "rader1"), "--radar 'rader1': no such radar; did you mean 'radar1'?; it has: radar1"),
        (("--people", "fusion/peple"), "--people 'fusion/peple': no such topic; did you mean 'fusion/people'?"),
        (("--record", "out.mcap"), "--record: records what --graph runs"),
    ],
)
def test_a_wrong_request_is_told_and_nothing_is_written(
    followed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    profile = tmp_path / "lab.toml"
    assert command(profile, "--session", followed, *words) == 2
    assert says in capsys.readouterr().err
    assert not profile.exists()


def test_an_absurd_tilt_is_told(followed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path / "lab.toml", "--session", followed, "--level", "100") == 2
    assert "'100' is no tilt in degrees (from -60 to 60)" in capsys.readouterr().err


def test_a_session_that_lacks_something_is_told(
    points: list[Message], person: Wearer, session: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "lab.toml"
    dark = write(tmp_path / "dark.mcap", points)
    assert command(profile, "--session", dark) == 2
    assert "nothing shows where the person was: no landmarks, no people; has radar1/points" in capsys.readouterr().err
    deaf = write(tmp_path / "deaf.mcap", list(people_of([exact(person)], every=60)))
    assert command(profile, "--session", deaf) == 2
    assert "no radar points; its topics: fusion/people" in capsys.readouterr().err
    save_profile(profile, Rig(subject=Subject(name="me")))
    assert command(profile, "--session", session, "--overwrite") == 2
    assert "the profile has no cameras, and camera 'cam1' shows the person" in capsys.readouterr().err


def test_a_profile_is_not_replaced_unasked_and_nobody_walks_in_vain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "lab.toml"
    save_profile(profile, Rig())
    assert command(profile, "--graph", tmp_path / "no.yaml") == 2
    assert "exists already" in capsys.readouterr().err
    assert command(tmp_path / "no" / "lab.toml", "--graph", tmp_path / "no.yaml") == 2
    assert "there is no folder" in capsys.readouterr().err


# ---------------------------------------------------------------- with a graph


def graph_file(folder: Path, time_rule: str, more: str) -> Path:
    path = folder / "lab.yaml"
    path.write_text(
        f"session: {{name: walk, time: {time_rule}}}\n"
        "nodes:\n"
        f"  sim: {{type: simulator, seed: 1, imus: null, cameras: {{count: 2}}, {more}}}\n"
    )
    return path


def test_a_graph_is_run_recorded_and_its_radar_calibrated(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lab = Lab(ring=RingParams(count=2), imus=None, radars=RadarParams())
    truth = simulated_rig(lab).radars[0]
    profile, recorded = tmp_path / "lab.toml", tmp_path / "walk.mcap"
    save_profile(profile, replace(simulated_rig(lab), radars=()))
    graph = graph_file(tmp_path, "data", "duration_s: 20, detector: {rate_hz: 20}")
    words = ("--graph", graph, "--headless", "--overwrite", "--record", recorded, "--level", "0")
    assert command(profile, *words) == 0
    assert "walk now, for 30 s" in capfd.readouterr().err
    check(load_profile(profile).radars[0], truth, 0.0)
    with SessionReader(recorded) as reader:
        assert "sim.radar1/points" in reader.kinds
    assert command(profile, *words) == 2
    assert "exists already" in capfd.readouterr().err


def test_too_short_a_walk_before_a_live_graph_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    profile = tmp_path / "lab.toml"
    save_profile(profile, simulated_rig(Lab(ring=RingParams(count=2), imus=None)))
    before = profile.read_bytes()
    graph = graph_file(tmp_path, "live", "detector: {rate_hz: 20}")
    assert command(profile, "--graph", graph, "--headless", "--seconds", "3", "--overwrite") == 1
    assert "s, at least 10 s" in capfd.readouterr().err
    assert profile.read_bytes() == before


@posix
def test_ctrl_c_in_the_midst_leaves_the_profile(tmp_path: Path) -> None:
    profile = tmp_path / "lab.toml"
    save_profile(profile, Rig(subject=Subject(name="me")))
    before = profile.read_bytes()
    graph = graph_file(tmp_path, "live", "detector: {rate_hz: 20}")
    words = ("calibrate", "radar", profile, "--graph", graph, "--headless", "--overwrite")
    with subprocess.Popen(
        [sys.executable, "-m", "nodes.cli", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as running:
        assert running.stderr is not None
        # The test's own time limit ends the waiting.
        said = next(line for line in running.stderr if "are ready" in line)
        running.send_signal(signal.SIGINT)
        said += running.stderr.read()
        assert running.wait(DEADLINE_S) == 1
    assert "the walk was not finished (Ctrl-C)" in said
    assert profile.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab.toml", "lab.yaml"]


def test_a_graph_without_radar_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = graph_file(tmp_path, "data", "radars: null")
    assert command(tmp_path / "lab.toml", "--graph", graph) == 2
    assert "none of its nodes sends radar points (sim)" in capsys.readouterr().err
