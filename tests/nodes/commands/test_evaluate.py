"""``kinefuse evaluate`` on sessions whose errors are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.profile import save_profile
from fusion.body.catalog import SKELETON, landmark_positions, landmark_set
from fusion.body.kinematics import forward_kinematics
from fusion.body.skeleton import COORDINATE, COORDINATES, LENGTHS, REFERENCE_LENGTHS_M, SEGMENT_NAMES, SEGMENTS
from fusion.maths.camera import project
from fusion.records import Landmarks2D, People, Record, Truth
from fusion.rig import Rig
from fusion.synthesis.cameras import ring_of_cameras
from fusion.synthesis.params import RingParams
from nodes.cli import main
from nodes.commands.evaluate import evaluate
from nodes.errors import RequestError
from nodes.node import Envelope
from nodes.sessions.writer import SessionFacts, SessionWriter

START_NS = 1_700_000_000_000_000_000
FRAME_NS = 20_000_000
FRAMES = 100
CAMERA = ring_of_cameras(RingParams(count=1), ["cam1"])[0]
LANDMARKS = "body_25b"


def body(frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Somebody who drifts along x with a moving knee."""
    coordinates = np.zeros(COORDINATES)
    coordinates[:3] = 0.002 * frame, 0.0, 0.98
    coordinates[COORDINATE["left_knee_flexion"]] = 0.5 + 0.3 * np.sin(0.1 * frame)
    return forward_kinematics(coordinates, REFERENCE_LENGTHS_M)


def people(frame: int, shift_m: np.ndarray, ids: tuple[int, ...] = (1,)) -> People:
    positions, quaternions = body(frame)
    count = len(ids)
    return People(
        measured_ns=START_NS + frame * FRAME_NS,
        received_ns=START_NS + frame * FRAME_NS,
        skeleton=SKELETON,
        ids=np.array(ids, dtype=np.int64),
        positions_m=np.tile(positions + shift_m, (count, 1, 1)).astype(np.float32),
        q_world_from_segment=np.tile(quaternions, (count, 1, 1)).astype(np.float32),
        velocities_m_s=np.zeros((count, SEGMENTS, 3), np.float32),
        angular_rates_rad_s=np.zeros((count, SEGMENTS, 3), np.float32),
        covariances_m2=np.zeros((count, SEGMENTS, 3, 3), np.float32),
        measured=np.ones((count, SEGMENTS), np.uint8),
        coordinates=np.zeros((count, COORDINATES), np.float32),
        lengths_m=np.tile(REFERENCE_LENGTHS_M, (count, 1)).astype(np.float32).reshape(count, LENGTHS),
        lengths_locked=np.ones(count, np.uint8),
        angles_rad=np.zeros((count, 0), np.float32),
        centre_of_mass_m=np.zeros((count, 3), np.float32),
    )


def truth(frame: int) -> Truth:
    positions, quaternions = body(frame)
    return Truth(
        measured_ns=START_NS + frame * FRAME_NS,
        received_ns=START_NS + frame * FRAME_NS,
        skeleton=SKELETON,
        ids=np.array([0], dtype=np.int64),
        positions_m=positions[None].astype(np.float32),
        q_world_from_segment=quaternions[None].astype(np.float32),
    )


def landmarks(frame: int, shift_px: tuple[float, float] = (0.0, 0.0)) -> Landmarks2D:
    points = landmark_positions(LANDMARKS, *body(frame), REFERENCE_LENGTHS_M)
    pixels, _ = project(points, CAMERA)
    return Landmarks2D(
        measured_ns=START_NS + frame * FRAME_NS,
        received_ns=START_NS + frame * FRAME_NS,
        camera="cam1",
        landmark_set=LANDMARKS,
        image_width=1280,
        image_height=720,
        pixels=(pixels + np.array(shift_px))[None].astype(np.float32),
        scores=np.ones((1, len(points)), np.float32),
    )


def write(path: Path, rows: list[tuple[str, Record, int, int]], time: str = "live") -> Path:
    """A session of rows of topic, record, publication and cause, in ns after the record's time."""
    profile = path.with_suffix(".toml")
    save_profile(profile, Rig(cameras=(CAMERA,)))
    facts = SessionFacts(name="try", time=time, profile_name="try.toml", profile_text=profile.read_text())
    writer = SessionWriter(path, facts)
    for number, (topic, record, published, cause) in enumerate(rows):
        at = record.measured_ns
        writer.write(Envelope(topic, number, at + published, at + cause if cause else 0, record), at + published)
    writer.close()
    return path


SHIFT_M = np.array([0.03, 0.0, 0.04])


def session(path: Path, *, time: str = "live", first_pose: int = 10, gap: range = range(0)) -> Path:
    rows: list[tuple[str, Record, int, int]] = []
    for frame in range(FRAMES):
        rows.append(("sim.cam1/landmarks", landmarks(frame, (3.0, 4.0)), 1_000_000, 0))
        rows.append(("sim/truth", truth(frame), 1_000_000, 0))
        if frame >= first_pose and frame not in gap:
            # A first answer that is far off, replaced by the one that counts.
            rows.append(("fusion/people", people(frame, np.array([9.0, 0.0, 0.0])), 2_000_000, 1_000_000))
            rows.append(("fusion/people", people(frame, SHIFT_M), 5_000_000, 1_000_000))
    return write(path, rows, time)


def test_known_errors_come_out(tmp_path: Path) -> None:
    figures = evaluate(session(tmp_path / "s.mcap"))
    assert figures["frames"] == FRAMES - 10
    assert figures["coverage"] == 1.0
    assert figures["mpjpe_mm"] == pytest.approx(50.0, abs=0.01)
    assert figures["median_mm"] == pytest.approx(50.0, abs=0.01)
    assert figures["pa_mpjpe_mm"] == pytest.approx(0.0, abs=0.01)
    assert figures["angle_deg"] == pytest.approx(0.0, abs=0.05)
    assert figures["sip_deg"] == pytest.approx(0.0, abs=0.05)
    assert figures["angular_deg"] == pytest.approx(0.0, abs=0.05)
    assert figures["position_cm"] == pytest.approx(0.0, abs=0.01)
    assert figures["root_drift_percent"] is None  # nobody goes 2 m
    assert figures["bone_spread_mm"] == pytest.approx(0.0, abs=0.001)
    assert figures["latency_ms"] == {"p50": 2.5, "p99": 4.0, "max": 4.0}
    assert set(figures["per_joint_mm"]) == set(SEGMENT_NAMES)
    assert figures["per_joint_mm"]["left_foot"] == pytest.approx(50.0, abs=0.01)
    assert figures["jitter_m_s3"] > 0.0


def test_poses_of_the_first_half_second_do_not_count_and_gaps_do(tmp_path: Path) -> None:
    """Half a second is 25 frames; 10 of the other 75 are missing."""
    figures = evaluate(session(tmp_path / "s.mcap", first_pose=25, gap=range(50, 60)))
    assert figures["coverage"] == pytest.approx(65 / 75)
    assert figures["frames"] == 65
    assert evaluate(session(tmp_path / "t.mcap", first_pose=30))["coverage"] == pytest.approx(70 / 75)


def test_reprojection_is_the_median_over_trusted_landmarks(tmp_path: Path) -> None:
    rows: list[tuple[str, Record, int, int]] = []
    for frame in range(60):
        record = landmarks(frame, (3.0, 4.0))
        record.scores[0, :10] = 0.1
        record.pixels[0, :10] += 500.0
        rows += [("cam1/landmarks", record, 0, 0), ("fusion/people", people(frame, np.zeros(3)), 0, 0)]
    figures = evaluate(write(tmp_path / "s.mcap", rows))
    assert figures["reprojection_px"] == pytest.approx(5.0, abs=0.01)
    assert figures["mpjpe_mm"] is None
    assert figures["per_joint_mm"] is None
    assert figures["latency_ms"] is None
    assert figures["coverage"] == 1.0, "without truth, of the landmark records' times"


def test_latency_does_not_apply_where_time_is_data(tmp_path: Path) -> None:
    assert evaluate(session(tmp_path / "s.mcap", time="data"))["latency_ms"] is None


def test_a_ghost_beside_the_person_does_not_help(tmp_path: Path) -> None:
    rows: list[tuple[str, Record, int, int]] = []
    for frame in range(FRAMES):
        rows += [("sim.cam1/landmarks", landmarks(frame), 0, 0), ("sim/truth", truth(frame), 0, 0)]
        record = people(frame, SHIFT_M, ids=(1, 2) if 40 <= frame < 50 else (1,))
        if len(record.ids) == 2:
            record.positions_m[1] -= SHIFT_M.astype(np.float32)
        rows.append(("fusion/people", record, 0, 0))
    assert evaluate(write(tmp_path / "s.mcap", rows))["mpjpe_mm"] == pytest.approx(50.0, abs=0.01)


def trc_text(frames: int) -> str:
    names = {"RKnee": "right_knee", "LElbow": "left_elbow", "Neck": "upper_neck", "Tail": None}
    lines = [
        "PathFileType\t4\t(X/Y/Z)\tref.trc",
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"50\t50\t{frames}\t{len(names)}\tm\t50\t0\t{frames}",
        "Frame#\tTime\t" + "\t\t\t".join(names) + "\t\t",
        "\t\t" + "\t".join(f"{axis}{i + 1}" for i in range(len(names)) for axis in "XYZ"),
    ]
    order = landmark_set(LANDMARKS).landmark_names
    for frame in range(frames):
        points = landmark_positions(LANDMARKS, *body(frame), REFERENCE_LENGTHS_M)
        cells = []
        for name in names.values():
            x, y, z = points[order.index(name)] if name else (0.0, 0.0, 0.0)
            cells += [f"{y:.7f}", f"{z:.7f}", f"{x:.7f}"]
        lines.append(f"{frame + 1}\t{(frame + 1) / 50:.4f}\t" + "\t".join(cells))
    return "\n".join(lines) + "\n"


def test_against_a_trc_the_same_landmarks_of_the_body_are_compared(tmp_path: Path) -> None:
    reference = tmp_path / "ref.trc"
    reference.write_text(trc_text(FRAMES))
    figures = evaluate(session(tmp_path / "s.mcap"), truth=str(reference))
    assert figures["mpjpe_mm"] == pytest.approx(50.0, abs=0.01)
    assert set(figures["per_joint_mm"]) == {"RKnee", "LElbow", "Neck"}
    assert figures["angle_deg"] is None
    assert [figures[key] for key in ("sip_deg", "angular_deg", "position_cm", "root_drift_percent")] == [None] * 4
    assert figures["bone_spread_mm"] == pytest.approx(0.0, abs=0.001)
    assert figures["coverage"] == 1.0


def test_the_command_prints_one_object_or_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(session(tmp_path / "s.mcap"))
    assert main(["evaluate", file, "--json"]) == 0
    keys = (
        "frames coverage mpjpe_mm median_mm pa_mpjpe_mm angle_deg sip_deg angular_deg position_cm root_drift_percent "
        "reprojection_px bone_spread_mm jitter_m_s3 latency_ms per_joint_mm"
    )
    assert list(json.loads(capsys.readouterr().out)) == keys.split()
    assert main(["evaluate", file]) == 0
    assert "MPJPE" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"people": "fuson/people"}, r"--people 'fuson/people'.*did you mean 'fusion/people'\?"),
        ({"truth": "sim/tru"}, "--truth 'sim/tru': no such topic"),
        ({"truth": "none.trc"}, "none.trc: cannot be read"),
    ],
)
def test_what_the_session_has_not_is_refused(tmp_path: Path, options: dict[str, str], message: str) -> None:
    file = session(tmp_path / "s.mcap")
    with pytest.raises(RequestError, match=message):
        evaluate(file, **options)


def test_sessions_without_poses_or_with_several_are_refused(tmp_path: Path) -> None:
    none = write(tmp_path / "none.mcap", [("sim/truth", truth(0), 0, 0)])
    with pytest.raises(RequestError, match=r"no topic with people; its topics: sim/truth; record a graph"):
        evaluate(none)
    rows: list[tuple[str, Record, int, int]] = [
        ("a/people", people(0, SHIFT_M), 0, 0),
        ("b/people", people(0, SHIFT_M), 0, 0),
    ]
    with pytest.raises(RequestError, match="several topics with people: a/people, b/people; choose one with --people"):
        evaluate(write(tmp_path / "two.mcap", rows))


def test_the_smoothed_skeletons_are_taken_only_when_asked_for(tmp_path: Path) -> None:
    rows: list[tuple[str, Record, int, int]] = []
    for frame in range(FRAMES):
        rows.append(("sim/truth", truth(frame), 1_000_000, 0))
        rows.append(("fusion/people", people(frame, np.array([0.03, 0.0, 0.0])), 2_000_000, 1_000_000))
        rows.append(("fusion/smoothed", people(frame, np.array([0.01, 0.0, 0.0])), 2_000_000, 1_000_000))
    path = write(tmp_path / "two.mcap", rows)
    assert evaluate(path)["median_mm"] == pytest.approx(30.0, abs=0.1)
    assert evaluate(path, people="fusion/smoothed")["median_mm"] == pytest.approx(10.0, abs=0.1)


def test_a_file_that_is_no_session_ends_with_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "no.mcap"
    file.write_bytes(b"hello")
    assert main(["evaluate", str(file)]) == 2
    assert "no.mcap" in capsys.readouterr().err
