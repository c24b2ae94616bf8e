"""The profile file: exact round trip, atomic writing, errors that say where."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from calibration.profile import load_profile, profile_text, save_profile
from calibration.tables import CalibrationError
from fusion.body.skeleton import REFERENCE_LENGTHS_M
from fusion.rig import Camera, ImuMount, RadarMount, Rig, Subject


def example_rig(seed: int = 0, camera_name: str = "front") -> Rig:
    draw = np.random.default_rng(seed)
    rotations = Rotation.random(3, random_state=seed).as_matrix()
    camera = Camera(
        name=camera_name,
        width=1280,
        height=720,
        matrix=np.array([[900.0 + draw.random(), 0, 640], [0, 900.0, 360], [0, 0, 1]]),
        distortion=draw.normal(0.0, 0.1, 5),
        r_camera_from_world=rotations[0],
        t_camera_from_world_m=draw.normal(0.0, 3.0, 3),
        delay_s=0.0125,
        residual_px=0.4,
    )
    imu = ImuMount(
        segment="pelvis",
        q_segment_from_sensor=Rotation.from_matrix(rotations[1]).as_quat(scalar_first=True),
        lever_arm_m=draw.normal(0.0, 0.1, 3),
        quality_rad=float(draw.uniform(0.0, 0.5)),
    )
    radar = RadarMount(
        name="radar",
        r_world_from_radar=rotations[2],
        position_world_m=draw.normal(size=3),
        time_offset_s=float(draw.uniform(-0.3, 0.3)),
    )
    subject = Subject(name="A. N. Other", stature_m=1.71, lengths_m=REFERENCE_LENGTHS_M * 0.96)
    return Rig(cameras=(camera,), imus=(imu,), radars=(radar,), subject=subject)


@given(seed=st.integers(0, 2**32 - 1), name=st.text(min_size=1, max_size=12).filter(lambda text: text.isprintable()))
@settings(max_examples=25, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, seed: int, name: str) -> None:
    rig = example_rig(seed, name)
    file = tmp_path_factory.mktemp("profile") / "lab.toml"
    save_profile(file, rig)
    again = load_profile(file)
    assert profile_text(again) == profile_text(rig)
    one, other = rig.cameras[0], again.cameras[0]
    assert (one.name, one.width, one.height, one.delay_s, one.residual_px) == (
        other.name, other.width, other.height, other.delay_s, other.residual_px,
    )  # fmt: skip
    np.testing.assert_array_equal(one.matrix, other.matrix)
    np.testing.assert_array_equal(one.distortion, other.distortion)
    np.testing.assert_array_equal(one.r_camera_from_world, other.r_camera_from_world)
    np.testing.assert_array_equal(one.t_camera_from_world_m, other.t_camera_from_world_m)
    np.testing.assert_allclose(rig.imus[0].q_segment_from_sensor, again.imus[0].q_segment_from_sensor, atol=1e-15)
    np.testing.assert_array_equal(rig.imus[0].lever_arm_m, again.imus[0].lever_arm_m)
    assert rig.imus[0].quality_rad == again.imus[0].quality_rad
    np.testing.assert_array_equal(rig.radars[0].r_world_from_radar, again.radars[0].r_world_from_radar)
    np.testing.assert_array_equal(rig.radars[0].position_world_m, again.radars[0].position_world_m)
    assert rig.radars[0].time_offset_s == again.radars[0].time_offset_s
    assert again.subject.stature_m == rig.subject.stature_m
    np.testing.assert_array_equal(again.subject.lengths_m, rig.subject.lengths_m)


def test_an_empty_rig_and_an_unknown_residual(tmp_path: Path) -> None:
    file = tmp_path / "empty.toml"
    save_profile(file, Rig())
    assert load_profile(file).cameras == ()
    assert "residual" not in profile_text(Rig())


def test_an_existing_profile_is_kept_unless_told(tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    save_profile(file, example_rig(1))
    before = file.read_bytes()
    with pytest.raises(CalibrationError, match="exists already"):
        save_profile(file, example_rig(2))
    assert file.read_bytes() == before
    save_profile(file, example_rig(2), overwrite=True)
    assert file.read_bytes() != before
    assert os.listdir(tmp_path) == ["lab.toml"]


def test_a_write_that_fails_leaves_the_old_file_and_no_scrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "lab.toml"
    save_profile(file, example_rig(1))
    before = file.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CalibrationError, match="No space left"):
        save_profile(file, example_rig(2), overwrite=True)
    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["lab.toml"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="No such file"):
        save_profile(tmp_path / "none" / "lab.toml", Rig())


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version = 1", "version = 2", ("version", "2", "reads version 1")),
        ('"kinefuse-profile"', '"other"', ("format", "'other'", "kinefuse-profile")),
        ("delay_s = 0.0125", "delay_s = 12.5", ("cameras.front.delay_s", "12.5", "from -5 to 5")),
        ("delay_s = 0.0125", "dealy_s = 0.0125", ("cameras.front.dealy_s", "did you mean 'delay_s'", "allowed:")),
        ("size_px = [1280, 720]", "size_px = [0, 720]", ("cameras.front.size_px", "[0, 720]", "above 0")),
        ("[imus.pelvis]", "[imus.hip]", ("imus.hip", "'hip' is no segment", "right_upper_leg")),
        ("[imus.pelvis]", "[imus]\npelvis = 3\n[imus.l5]", ("imus.pelvis", "3", "expected a table")),
        ("stature_m = 1.71", "stature_m = 171", ("subject.stature_m", "171", "from 0.3 to 2.8")),
        ("stature_m = 1.71", "stature_m = true", ("subject.stature_m", "True", "expected a number")),
        ("thigh =", "thihg =", ("subject.lengths_m.thihg", "did you mean 'thigh'")),
        ("[radars.radar]", "[radar.radar]", ("radar", "did you mean 'radars'")),
        ("[radars.radar]\nrotation = [[", "[radars.radar]\nrotation = [[9", ("radars.radar", "rotation")),
    ],
)
def test_a_wrong_value_is_named_with_its_place(tmp_path: Path, old: str, new: str, said: tuple[str, ...]) -> None:
    text = profile_text(example_rig())
    assert old in text
    file = tmp_path / "lab.toml"
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(CalibrationError) as caught:
        load_profile(file)
    assert str(file) in str(caught.value)
    for part in said:
        assert part in str(caught.value)


def test_calibrations_of_other_software_are_profiles_too(data_pack: Path) -> None:
    folder = data_pack / "pose2sim" / "single" / "calibration"
    assert load_profile(folder / "Calib_qualisys.toml").cameras[0].name == "cam_01"
    assert load_profile(folder / "Calib.qca.txt").cameras[0].name == "cam01"
