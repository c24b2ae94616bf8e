"""Pose2Sim folders to sessions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.profile import load_profile
from fusion.records import Landmarks2D
from nodes.errors import RequestError
from nodes.sessions.pose2sim import import_pose2sim
from nodes.sessions.reader import SessionReader

CALIBRATION = """\
[cam_1]
name = "cam_1"
size = [1088.0, 1920.0]
matrix = [[1681.0, 0.0, 532.0], [0.0, 1681.0, 948.0], [0.0, 0.0, 1.0]]
distortions = [-0.0007, 0.002, 9.5e-06, 1.07e-05]
rotation = [1.68, 1.04, -0.41]
translation = [0.32, 0.95, 2.89]
fisheye = false

[cam_2]
name = "cam_2"
size = [1088.0, 1920.0]
matrix = [[1681.0, 0.0, 532.0], [0.0, 1681.0, 948.0], [0.0, 0.0, 1.0]]
distortions = [0.0, 0.0, 0.0, 0.0]
rotation = [1.4, -1.0, 0.8]
translation = [-0.3, 0.9, 3.1]
fisheye = false
"""


@pytest.mark.parametrize(("scene", "people"), [("single", 1), ("multi", 2)])
def test_data_pack(data_pack: Path, tmp_path: Path, scene: str, people: int) -> None:
    folder = data_pack / "pose2sim" / scene
    done = import_pose2sim(folder, tmp_path / "a.mcap")
    assert done.fps == 60.0
    assert done.frames == {f"cam0{n}": 100 for n in range(1, 5)}
    pack = np.load(folder / "pose2d" / "body25b.npz")
    with SessionReader(tmp_path / "a.mcap") as session:
        records = [envelope.record for _, envelope in session.envelopes(("cam02/landmarks",))]
        ends = [envelope.topic for _, envelope in session.envelopes() if envelope.topic.endswith("/end")]
        profile = tmp_path / "profile.toml"
        profile.write_text(session.profile_text or "")
    assert ends == [f"cam0{n}/end" for n in range(1, 5)]
    assert len(load_profile(profile).cameras) == 4
    assert len(records) == 100
    offsets = pack["cam02_offsets"]
    for index, record in enumerate(records):
        assert isinstance(record, Landmarks2D)
        assert record.measured_ns == round(index * 1e9 / 60)
        assert record.landmark_set == "body_25b"
        assert record.camera == "cam_02"
        assert (record.image_width, record.image_height) == (1088, 1920)
        published = pack["cam02_people"][offsets[index] : offsets[index + 1]]
        assert len(record.pixels) == len(published) >= people
        seen = published[..., 2] > 0
        np.testing.assert_array_equal(record.pixels[seen], published[seen][:, :2])
        assert np.isnan(record.pixels[~seen]).all()
        assert (record.scores[~seen] == 0).all()


def project(folder: Path, cameras: tuple[str, ...] = ("cam1", "cam2")) -> Path:
    """A Pose2Sim project with OpenPose files of three frames."""
    (folder / "calibration").mkdir(parents=True)
    (folder / "calibration" / "Calib.toml").write_text(CALIBRATION)
    (folder / "Config.toml").write_text("[project]\nframe_rate = 30\n")
    for number, camera in enumerate(cameras):
        home = folder / "pose" / f"{camera}_json"
        home.mkdir(parents=True)
        for frame in range(3):
            row = [float(value) for point in range(26) for value in (point + number, frame, 0.5 * (point > 0))]
            people = [{"pose_keypoints_2d": row}, {"pose_keypoints_2d": []}] if frame != 1 else []
            (home / f"{camera}_{frame:06d}_keypoints.json").write_text(json.dumps({"version": 1.3, "people": people}))
    return folder


def test_openpose_files(tmp_path: Path) -> None:
    done = import_pose2sim(project(tmp_path / "trial"), tmp_path / "a.mcap")
    assert (done.fps, done.landmark_set, done.unreadable) == (30.0, "halpe_26", 0)
    with SessionReader(tmp_path / "a.mcap") as session:
        read = [envelope for _, envelope in session.envelopes(("cam2/landmarks",))]
    records = [envelope.record for envelope in read]
    assert [len(record.pixels) for record in records] == [1, 0, 1]
    assert [record.measured_ns for record in records] == [0, 33333333, 66666667]
    assert records[2].camera == "cam_2"
    np.testing.assert_array_equal(records[2].pixels[0, 5], [6.0, 2.0])
    assert np.isnan(records[2].pixels[0, 0]).all()


def test_frames_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    folder = project(tmp_path / "trial")
    home = folder / "pose" / "cam1_json"
    (home / "cam1_000002_keypoints.json").write_text("{not json")
    (home / "cam1_000007_keypoints.json").write_text('{"people": [{"pose_keypoints_2d": [1, 2]}]}')
    (home / "notes.json").write_text("{}")
    done = import_pose2sim(folder, tmp_path / "a.mcap")
    assert done.unreadable == 3
    assert done.frames == {"cam1": 2, "cam2": 3}


def test_cameras_of_other_names_are_taken_in_order(tmp_path: Path) -> None:
    import_pose2sim(project(tmp_path / "trial", ("left", "right")), tmp_path / "a.mcap")
    with SessionReader(tmp_path / "a.mcap") as session:
        cameras = {
            envelope.topic: envelope.record.camera
            for _, envelope in session.envelopes()
            if isinstance(envelope.record, Landmarks2D)
        }
    assert cameras == {"left/landmarks": "cam_1", "right/landmarks": "cam_2"}


def without(folder: Path, name: str) -> Path:
    (folder / name).rename(folder / "elsewhere")
    return folder


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    out = tmp_path / "a.mcap"
    with pytest.raises(RequestError, match="there is no such folder"):
        import_pose2sim(tmp_path / "none", out)
    with pytest.raises(RequestError, match="no calibration"):
        import_pose2sim(without(project(tmp_path / "a"), "calibration"), out)
    with pytest.raises(RequestError, match="no 2D landmarks"):
        import_pose2sim(without(project(tmp_path / "b"), "pose"), out)
    with pytest.raises(RequestError, match="give --fps"):
        import_pose2sim(without(project(tmp_path / "c"), "Config.toml"), out)
    with pytest.raises(RequestError, match="cannot be matched"):
        import_pose2sim(project(tmp_path / "d", ("left", "right", "back")), out)
    with pytest.raises(RequestError, match="26 landmarks a person, but coco_17 has 17"):
        import_pose2sim(project(tmp_path / "e"), out, landmarks="coco_17")
    with pytest.raises(RequestError, match=r"--landmarks halpe.*halpe_26"):
        import_pose2sim(project(tmp_path / "f"), out, landmarks="halpe")
    assert not out.exists()


def test_file_that_is_no_landmark_file_is_refused(tmp_path: Path) -> None:
    folder = project(tmp_path / "trial")
    (folder / "pose2d").mkdir()
    (folder / "pose2d" / "x.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(RequestError, match="not a file of 2D landmarks"):
        import_pose2sim(folder, tmp_path / "a.mcap")
    np.savez(folder / "pose2d" / "x.npz", fps=60.0, camera_names=["cam1"], cam1_people=np.zeros((3, 25)))
    with pytest.raises(RequestError, match="not a file of 2D landmarks"):
        import_pose2sim(folder, tmp_path / "a.mcap")
