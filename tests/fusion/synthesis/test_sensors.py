"""Simulated sensors: their statistics against their settings, and numbers by place."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fusion.body.catalog import landmark_positions_batch, landmark_set
from fusion.body.skeleton import SEGMENT
from fusion.maths import quaternion
from fusion.maths.camera import project
from fusion.rig import Camera
from fusion.synthesis.actions import DEFAULT_SCRIPT, Stand
from fusion.synthesis.cameras import VirtualCamera, landmark_biases, occluded, ring_of_cameras
from fusion.synthesis.imus import GRAVITY_M_S2, VirtualImus, nominal_mounts
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.params import (
    DetectorParams,
    InertialParams,
    ParamsError,
    PictureParams,
    RadarParams,
    RingParams,
)
from fusion.synthesis.pictures import Painter
from fusion.synthesis.radars import VirtualRadar, from_polar, radar_mounts, to_polar
from fusion.synthesis.randomness import RandomStream
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.wearer import Wearer

CLEAN = DetectorParams(
    noise_px=0.0, bias_m=0.0, occlusion=False, limb_dropout_rate_hz=0.0, outlier_share=0.0, miss_share=0.0, jitter_s=0.0
)
SEED = 9


@pytest.fixture(scope="module")
def wearer() -> Wearer:
    return Wearer(0, scripted_motion(DEFAULT_SCRIPT, draw_lengths(1, 1.75), seed=1))


@pytest.fixture(scope="module")
def camera() -> Camera:
    return ring_of_cameras(RingParams(), ["cam1", "cam2", "cam3", "cam4"])[0]


def pixels_of(camera: Camera, params: DetectorParams, wearer: Wearer, count: int = 300) -> np.ndarray:
    frames = VirtualCamera(camera, params, [wearer], SEED).frames(0, count, 0)
    missing = np.full((1, len(landmark_set(params.landmark_set).landmark_names), 2), np.nan)
    return np.concatenate([record.pixels if len(record.pixels) else missing for _, record in frames])


# ---- cameras


def test_the_ring_looks_at_its_middle() -> None:
    for camera in ring_of_cameras(RingParams(), ["a", "b", "c", "d"]):
        pixels, depth = project(np.array([RingParams().look_at_m]), camera)
        np.testing.assert_allclose(pixels[0], [640.0, 360.0], atol=1e-9)
        assert depth[0] > 3.0
        above, _ = project(np.array([[0.0, 0.0, 1.2]]), camera)
        assert above[0, 1] < 360.0, "up in the world is up in the picture"


def test_a_perfect_detector_sees_the_projected_landmarks(camera: Camera, wearer: Wearer) -> None:
    virtual = VirtualCamera(camera, CLEAN, [wearer], SEED)
    for time_s, record in virtual.frames(30, 5, 0):
        record.validate()
        pose = wearer.motion.pose(np.array([time_s]))
        landmarks = landmark_positions_batch("blazepose_33", *pose, wearer.motion.lengths_m)[0]
        expected, _ = project(landmarks, camera)
        np.testing.assert_allclose(record.pixels[0], expected, atol=1e-3)
        assert record.measured_ns == round(time_s * 1e9)
        assert record.received_ns == record.measured_ns + 30_000_000


def test_noise_has_the_size_that_was_asked_for(camera: Camera, wearer: Wearer) -> None:
    clean = pixels_of(camera, CLEAN, wearer)
    noisy = pixels_of(camera, replace(CLEAN, noise_px=3.0), wearer)
    error = noisy - clean
    assert np.nanstd(error) == pytest.approx(3.0, rel=0.03)
    assert abs(np.nanmean(error)) < 0.1


def test_outliers_and_misses_have_the_share_that_was_asked_for(camera: Camera, wearer: Wearer) -> None:
    clean = pixels_of(camera, CLEAN, wearer)
    wild = pixels_of(camera, replace(CLEAN, outlier_share=0.05), wearer)
    assert (np.linalg.norm(wild - clean, axis=2) > 1.0).mean() == pytest.approx(0.05, abs=0.008)
    frames = VirtualCamera(camera, replace(CLEAN, miss_share=0.2), [wearer], SEED).frames(0, 600, 0)
    assert np.mean([len(record.pixels) == 0 for _, record in frames]) == pytest.approx(0.2, abs=0.05)


def test_landmark_bias_is_constant_in_the_body_and_the_same_for_all_cameras() -> None:
    params = replace(CLEAN, bias_m=0.005)
    biases = np.concatenate([landmark_biases(params, wearer, SEED) for wearer in range(40)])
    assert np.sqrt((biases**2).sum(1).mean()) == pytest.approx(0.005, rel=0.05)
    np.testing.assert_array_equal(landmark_biases(params, 0, SEED), landmark_biases(params, 0, SEED))
    assert not np.array_equal(landmark_biases(params, 0, SEED), landmark_biases(params, 1, SEED))


def test_hidden_landmarks_are_worse_lower_in_score_and_partly_missing(camera: Camera, wearer: Wearer) -> None:
    params = replace(CLEAN, noise_px=2.0, occlusion=True)
    clean = pixels_of(camera, CLEAN, wearer)
    frames = VirtualCamera(camera, params, [wearer], SEED).frames(0, 300, 0)
    pixels = np.concatenate([record.pixels for _, record in frames])
    scores = np.concatenate([record.scores for _, record in frames])
    missing = np.isnan(pixels[..., 0])
    low = (scores < 0.5) & ~missing
    error = pixels - clean
    assert 0.05 < low.mean() < 0.4
    assert missing.sum() / (missing.sum() + low.sum()) == pytest.approx(params.occluded_missing, abs=0.03)
    assert np.nanstd(error[low]) == pytest.approx(8.0, rel=0.1)
    assert np.nanstd(error[scores > 0.5]) == pytest.approx(2.0, rel=0.05)
    assert (scores[missing] == 0.0).all()


def test_a_torso_hides_the_far_arm_and_not_the_near_one() -> None:
    """Seen from the right, the left elbow of a standing person is hidden."""
    motion = scripted_motion([Stand(duration_s=5.0)], draw_lengths(0, 1.75), start_m=(0.0, 0.0))
    aside = RingParams(count=1, first_azimuth_rad=-np.pi / 2, height_m=1.2)
    virtual = VirtualCamera(
        ring_of_cameras(aside, ["cam"])[0], replace(CLEAN, occlusion=True), [Wearer(0, motion)], SEED
    )
    scores = np.mean([record.scores[0] for _, record in virtual.frames(0, 60, 0)], axis=0)
    names = landmark_set("blazepose_33").landmark_names
    for joint in ("elbow", "shoulder"):
        assert scores[names.index(f"right_{joint}")] > 0.9
        assert scores[names.index(f"left_{joint}")] < 0.5


def test_a_capsule_hides_what_is_behind_it_only() -> None:
    eye = np.zeros(3)
    start, end = np.array([[[2.0, 0.0, -1.0]]]), np.array([[[2.0, 0.0, 1.0]]])
    points = np.array([[[[4.0, 0.0, 0.0], [1.0, 0.0, 0.0], [4.0, 0.5, 0.0], [2.0, 0.0, 0.0], [4.0, 0.0, 5.0]]]])
    hidden = occluded(eye, points, start, end, np.array([0.1]))
    np.testing.assert_array_equal(hidden[0, 0], [True, False, False, False, False])


def test_limbs_drop_out_for_whole_stretches(camera: Camera, wearer: Wearer) -> None:
    params = replace(CLEAN, limb_dropout_rate_hz=0.3, limb_dropout_s=(0.3, 0.8), occluded_missing=1.0)
    lost = np.isnan(pixels_of(camera, params, wearer, 900)[..., 0])
    names = landmark_set("blazepose_33").landmark_names
    wrist, ankle, hip = (lost[:, names.index(f"left_{joint}")] for joint in ("wrist", "ankle", "hip"))
    assert wrist.mean() == pytest.approx(0.3 * 0.55, abs=0.08)
    assert not np.array_equal(wrist, ankle)
    assert not hip.any(), "the trunk is never lost"
    changes = np.flatnonzero(np.diff(wrist.astype(int)))
    assert np.diff(changes).min() >= 0.1 * 30


def test_swapped_sides_are_mirror_names(camera: Camera, wearer: Wearer) -> None:
    clean = pixels_of(camera, CLEAN, wearer, 200)
    swapped = pixels_of(camera, replace(CLEAN, swap_share=1.0), wearer, 200)
    names = landmark_set("blazepose_33").landmark_names
    left, right = names.index("left_ankle"), names.index("right_ankle")
    legs = np.abs(swapped[:, left] - clean[:, right]).max(axis=1) == 0.0
    assert 0.5 < legs.mean() < 0.85, "legs alone, arms alone or both"
    nose = names.index("nose")
    np.testing.assert_array_equal(swapped[:, nose], clean[:, nose])


def test_false_detections_are_counted_as_people(camera: Camera, wearer: Wearer) -> None:
    frames = VirtualCamera(camera, replace(CLEAN, false_rate_hz=6.0), [wearer], SEED).frames(0, 600, 0)
    extra = np.array([len(record.pixels) - 1 for _, record in frames])
    assert extra.mean() == pytest.approx(0.2, abs=0.05)


def test_arrival_jitters_about_the_latency(camera: Camera, wearer: Wearer) -> None:
    params = replace(CLEAN, latency_s=0.030, jitter_s=0.005)
    frames = VirtualCamera(camera, params, [wearer], SEED).frames(0, 1500, 0)
    delays = np.array([record.received_ns - record.measured_ns for _, record in frames]) / 1e9
    assert delays.mean() == pytest.approx(0.030, abs=0.0005)
    assert delays.std() == pytest.approx(0.005, rel=0.06)


def test_frames_do_not_depend_on_what_else_was_made(camera: Camera, wearer: Wearer) -> None:
    params = DetectorParams()
    in_order = [record for _, record in VirtualCamera(camera, params, [wearer], SEED).frames(0, 20, 0)]
    alone = VirtualCamera(camera, params, [wearer], SEED).frames(13, 1, 0)[0][1]
    assert alone.pixels.tobytes() == in_order[13].pixels.tobytes()
    assert alone.scores.tobytes() == in_order[13].scores.tobytes()
    assert alone.received_ns == in_order[13].received_ns
    other = VirtualCamera(camera, params, [wearer], SEED + 1).frames(13, 1, 0)[0][1]
    assert alone.pixels.tobytes() != other.pixels.tobytes()


def test_random_streams_differ_by_seed_name_and_index() -> None:
    draws = [
        tuple(RandomStream(seed, name).at(index).random(3))
        for seed in (0, 1)
        for name in ("a", "b")
        for index in (0, 1, 2**40)
    ]
    assert len(set(draws)) == len(draws)
    first, second = RandomStream(0, "a").at(5).random(10_000), RandomStream(0, "a").at(6).random(10_000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.04, "neighbouring indices share nothing"


# ---- inertial sensors

STILL_IMUS = InertialParams(
    specific_force_noise_m_s2=0.0,
    angular_rate_noise_rad_s=0.0,
    specific_force_bias_m_s2=0.0,
    angular_rate_bias_rad_s=0.0,
    specific_force_walk=0.0,
    angular_rate_walk=0.0,
    mounting_error_rad=0.0,
    lever_error_m=0.0,
    drop_share=0.0,
    samples_per_record=1,
    jitter_s=0.0,
)


def test_ideal_sensors_agree_with_the_movement(wearer: Wearer) -> None:
    """Integrating the angular rate gives the turn; the mean specific force in the world is gravity."""
    imus = VirtualImus("imus", STILL_IMUS, wearer, SEED)
    rate_hz = 500.0
    times = np.arange(2.0, 8.0, 1.0 / rate_hz)
    ideal = imus.ideal(times)
    q = ideal.q_world_from_sensor[0]
    for rate in ideal.angular_rate_rad_s[:-1] * 0.5 + ideal.angular_rate_rad_s[1:] * 0.5:
        q = quaternion.multiply(q, quaternion.from_rotvec(rate / rate_hz))
    assert quaternion.angle_between(q, ideal.q_world_from_sensor[-1]).max() < 0.01
    force = quaternion.rotate(ideal.q_world_from_sensor, ideal.specific_force_m_s2)
    np.testing.assert_allclose(force.mean(0)[:, 2], GRAVITY_M_S2, atol=0.35)
    # Twice integrated, the pelvis sensor follows its own place.
    _, quaternions = wearer.motion.pose(times)
    positions, _ = wearer.motion.pose(times)
    mount = imus.mounts[0]
    place = positions[:, SEGMENT["pelvis"]] + quaternion.rotate(quaternions[:, SEGMENT["pelvis"]], mount.lever_arm_m)
    acceleration = np.gradient(np.gradient(place, times, axis=0), times, axis=0)
    np.testing.assert_allclose(
        force[10:-10, 0] - [0.0, 0.0, GRAVITY_M_S2], acceleration[10:-10], atol=0.25, err_msg="free acceleration"
    )


def test_a_sensor_at_rest_reads_gravity_up() -> None:
    standing = Wearer(0, scripted_motion([Stand(duration_s=4.0)], draw_lengths(0, 1.75)))
    ideal = VirtualImus("imus", STILL_IMUS, standing, SEED).ideal(np.arange(0.0, 4.0, 0.1))
    np.testing.assert_allclose(np.linalg.norm(ideal.specific_force_m_s2, axis=2), GRAVITY_M_S2, atol=0.3)
    assert np.linalg.norm(ideal.angular_rate_rad_s, axis=2).max() < 0.2


def test_inertial_noise_has_the_size_that_was_asked_for(wearer: Wearer) -> None:
    noisy = replace(STILL_IMUS, specific_force_noise_m_s2=0.3, angular_rate_noise_rad_s=0.02, drop_share=0.05)
    clean_records = VirtualImus("imus", STILL_IMUS, wearer, SEED).records(0, 800, 0)
    noisy_records = VirtualImus("imus", noisy, wearer, SEED).records(0, 800, 0)

    pairs = list(zip(noisy_records, clean_records, strict=True))

    def difference(name: str) -> np.ndarray:
        return np.array([getattr(a, name)[0] - getattr(b, name)[0] for (_, a), (_, b) in pairs])

    assert np.nanstd(difference("specific_force_m_s2")) == pytest.approx(0.3, rel=0.03)
    assert np.nanstd(difference("angular_rate_rad_s")) == pytest.approx(0.02, rel=0.03)
    assert np.isnan(difference("angular_rate_rad_s")).mean() == pytest.approx(0.05, abs=0.015)


def test_bias_is_constant_and_walks(wearer: Wearer) -> None:
    sites = ("pelvis",)
    exact = replace(STILL_IMUS, sites=sites, rate_hz=2.0, samples_per_record=21)
    biased = replace(exact, angular_rate_bias_rad_s=0.01)
    walking = replace(exact, angular_rate_walk=0.01)

    def rates(params: InertialParams, seed: int) -> np.ndarray:
        (_, record), *_ = VirtualImus("imus", params, wearer, seed).records(0, 1, 0)
        return record.angular_rate_rad_s[:, 0]

    clean = rates(exact, 0)
    constant = np.array([rates(biased, seed) - clean for seed in range(40)])
    assert np.ptp(constant, axis=1).max() < 1e-5
    assert constant[:, 0].std() == pytest.approx(0.01, rel=0.25)
    walked = np.array([rates(walking, seed)[-1] - clean[-1] for seed in range(40)])
    assert walked.std() == pytest.approx(0.01 * np.sqrt(10.0), rel=0.25)


def test_mounting_errors_have_the_size_that_was_asked_for(wearer: Wearer) -> None:
    params = replace(STILL_IMUS, mounting_error_rad=0.1, lever_error_m=0.01)
    nominal = nominal_mounts(params)
    angles, shifts = [], []
    scaled = [mount.lever_arm_m for mount in VirtualImus("imus", STILL_IMUS, wearer, 0).mounts]
    for seed in range(60):
        for k, worn in enumerate(VirtualImus("imus", params, wearer, seed).mounts):
            angles.append(quaternion.angle_between(nominal[k].q_segment_from_sensor, worn.q_segment_from_sensor))
            shifts.append(np.linalg.norm(worn.lever_arm_m - scaled[k]))
    assert np.sqrt(np.mean(np.square(angles))) == pytest.approx(0.1, rel=0.08)
    assert np.sqrt(np.mean(np.square(shifts))) == pytest.approx(0.01, rel=0.08)


def test_records_carry_batches_and_sensor_clocks(wearer: Wearer) -> None:
    params = replace(STILL_IMUS, samples_per_record=4, clock_offset_s=0.5, clock_skew=1e-3, magnetometer=True)
    (_, first), (newest_s, second) = VirtualImus("imus", params, wearer, SEED).records(0, 2, 1_000)
    first.validate()
    assert first.specific_force_m_s2.shape == (4, 6, 3)
    assert newest_s == pytest.approx(0.07)
    assert second.times_ns[-1] == second.measured_ns == 1_000 + round((0.07 * 1.001 + 0.5) * 1e9)
    field = np.linalg.norm(first.magnetic_field_ut, axis=2)
    assert 44.0 < field.mean() < 51.0


def test_iron_bends_the_field_for_its_time(wearer: Wearer) -> None:
    plain = replace(STILL_IMUS, magnetometer=True, magnetic_noise_ut=0.0)
    beside = replace(plain, iron_ut=(0.0, 20.0, 0.0), iron_s=(1.0, 2.0))
    seconds = np.arange(150 * plain.samples_per_record) / plain.rate_hz
    without, bent = (
        np.concatenate([r.magnetic_field_ut for _, r in VirtualImus("imus", params, wearer, SEED).records(0, 150, 0)])
        for params in (plain, beside)
    )
    added = np.linalg.norm(bent.astype(np.float64) - without, axis=2)
    near = (seconds >= 1.0) & (seconds < 2.0)
    np.testing.assert_allclose(added[near], 20.0, rtol=1e-5)
    assert not added[~near].any()


def test_inertial_records_do_not_depend_on_what_else_was_made(wearer: Wearer) -> None:
    params = InertialParams()
    in_order = VirtualImus("imus", params, wearer, SEED).records(0, 300, 0)[250][1]
    alone = VirtualImus("imus", params, wearer, SEED).records(250, 1, 0)[0][1]
    np.testing.assert_array_equal(alone.specific_force_m_s2, in_order.specific_force_m_s2)
    np.testing.assert_array_equal(alone.angular_rate_rad_s, in_order.angular_rate_rad_s)
    assert alone.received_ns == in_order.received_ns


def test_a_site_that_is_no_segment_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"'belly' is no segment; segments: pelvis"):
        InertialParams(sites=("belly",))


# ---- radars


def radar_frames(wearer: Wearer, params: RadarParams, count: int = 500) -> list:
    mount = radar_mounts(params, ["radar1"])[0]
    return [record for _, record in VirtualRadar(mount, params, [wearer], SEED).frames(0, count, 0)]


def test_radar_axes_are_right_forward_up() -> None:
    mount = radar_mounts(RadarParams(), ["radar1"])[0]
    middle = mount.r_world_from_radar.T @ (np.array([0.0, 0.0, 1.0]) - mount.position_world_m)
    np.testing.assert_allclose(middle, [0.0, RadarParams().radius_m, 0.0], atol=1e-12)
    assert np.linalg.det(mount.r_world_from_radar) == pytest.approx(1.0)


def test_polar_coordinates_and_back() -> None:
    points = np.random.default_rng(0).uniform(-2, 2, (50, 3))
    points[:, 1] = np.abs(points[:, 1]) + 0.1
    np.testing.assert_allclose(from_polar(*to_polar(points)), points, atol=1e-12)


def test_radar_points_lie_on_the_near_side_of_who_moves(wearer: Wearer) -> None:
    exact = RadarParams(
        range_noise_m=0.0, azimuth_noise_rad=0.0, elevation_noise_rad=0.0, radial_velocity_noise_m_s=0.0,
        radial_velocity_step_m_s=0.001, clutter_points=0.0, miss_share=0.0,
    )  # fmt: skip
    mount = radar_mounts(exact, ["radar1"])[0]
    checked = 0
    for record in radar_frames(wearer, exact, 120)[30:]:
        record.validate()
        if len(record.snrs_db) == 0:
            continue
        at = np.array([record.measured_ns / 1e9])
        positions, _ = wearer.motion.pose(at)
        world = record.positions_m @ mount.r_world_from_radar.T + mount.position_world_m
        gaps = np.linalg.norm(world[:, None] - positions, axis=2).min(1)
        assert gaps.max() < 0.45
        body_range = np.linalg.norm(positions[0] - mount.position_world_m, axis=1)
        assert np.linalg.norm(record.positions_m, axis=1).mean() < body_range.mean() + 0.1
        later, _ = wearer.motion.pose(at + 0.01)
        pelvis_rate = (
            np.linalg.norm(later[0, 0] - mount.position_world_m)
            - np.linalg.norm(positions[0, 0] - mount.position_world_m)
        ) / 0.01
        if abs(pelvis_rate) > 0.6:
            assert np.sign(np.median(record.radial_velocities_m_s)) == np.sign(pelvis_rate), "+ is receding"
            checked += 1
    assert checked > 20


def test_radar_statistics_are_those_measured_on_mars(wearer: Wearer) -> None:
    params = RadarParams()
    frames = radar_frames(wearer, params)
    doppler = np.concatenate([record.radial_velocities_m_s for record in frames])
    steps = doppler / params.radial_velocity_step_m_s
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert 0.1 < (doppler == 0.0).mean() < 0.3
    moving = [len(record.snrs_db) for record in frames if 1.5e9 < record.measured_ns < 7.0e9]
    assert 30.0 < np.mean(moving) < 46.0
    assert max(len(record.snrs_db) for record in frames) <= params.max_points
    numbers = [record.frame for record in frames]
    assert 0 < 500 - len(numbers) < 12, "lost frames leave gaps in the counter"


def test_who_stands_still_vanishes_for_the_radar() -> None:
    standing = Wearer(0, scripted_motion([Stand(duration_s=20.0)], draw_lengths(0, 1.75), start_m=(0.0, 0.0)))
    counts = [len(record.snrs_db) for record in radar_frames(standing, replace(RadarParams(), clutter_points=0.0), 300)]
    assert np.mean(counts) < 10.0


def test_radar_frames_do_not_depend_on_what_else_was_made(wearer: Wearer) -> None:
    mount = radar_mounts(RadarParams(), ["radar1"])[0]
    in_order = {r.frame: r for _, r in VirtualRadar(mount, RadarParams(), [wearer], SEED).frames(0, 60, 0)}
    alone = VirtualRadar(mount, RadarParams(), [wearer], SEED).frames(57, 1, 0)[0][1]
    np.testing.assert_array_equal(alone.positions_m, in_order[57].positions_m)


# ---- pictures


def test_the_drawn_wearer_is_where_the_landmarks_are(camera: Camera, wearer: Wearer) -> None:
    picture = Painter(camera, PictureParams(), (wearer,)).draw(3.0)
    assert picture.shape == (720, 1280, 3)
    landmarks = landmark_positions_batch("blazepose_33", *wearer.motion.pose(np.array([3.0])), wearer.motion.lengths_m)[
        0
    ]
    pixels, _ = project(landmarks, camera)
    names = landmark_set("blazepose_33").landmark_names
    background = Painter(camera, PictureParams(), ()).draw(3.0)
    for name in ("left_knee", "right_elbow", "left_hip", "right_wrist"):
        x, y = np.round(pixels[names.index(name)]).astype(int)
        assert (picture[y, x] != background[y, x]).any(), name
    assert (picture[5, 5] == background[5, 5]).all()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: DetectorParams(noise_px=-1.0),
        lambda: DetectorParams(outlier_share=1.5),
        lambda: RingParams(count=0),
        lambda: RingParams(distortion=(0.0,) * 6),
        lambda: InertialParams(rate_hz=0.0),
        lambda: InertialParams(sites=()),
        lambda: InertialParams(sites=("head", "head")),
        lambda: DetectorParams(landmark_set="coco"),
        lambda: RadarParams(rate_hz=-20.0),
        lambda: PictureParams(background=(0, 0, 300)),
    ],
)
def test_settings_that_cannot_be_are_refused_with_the_allowed_values(wrong) -> None:
    with pytest.raises(ParamsError, match="allowed"):
        wrong()
