"""The network between sensors and filter: what it is given, when it begins, and what becomes of what it tells."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from fusion.body.kinematics import forward_kinematics_batch
from fusion.body.limits import resting_coordinates
from fusion.body.skeleton import COORDINATE, REFERENCE_LENGTHS_M, SEGMENT
from fusion.estimators.inertial.features import six_of
from fusion.estimators.inertial.layout import PARTS, SITES, TOLD_SEGMENTS
from fusion.estimators.inertial.packing import NetworkWeights, shapes
from fusion.estimators.inertial.poser import InertialPoser, PoseTold, whole_pose
from fusion.maths import quaternion
from fusion.pipeline import Pipeline, PipelineParams
from fusion.posing import Posing, PosingParams, Seen
from fusion.records import Array, Float64, InertialSamples, Int64, Tick
from fusion.rig import Rig
from fusion.synthesis.imus import VirtualImus, nominal_mounts
from fusion.synthesis.motion import BodyMotion
from fusion.synthesis.params import InertialParams
from fusion.synthesis.wearer import Wearer

SECONDS = 6.0
QUIET = InertialParams(
    sites=SITES, specific_force_bias_m_s2=0.0, angular_rate_bias_rad_s=0.0, mounting_error_rad=0.0, lever_error_m=0.0,
    drop_share=0.0,
)  # fmt: skip
LEFT_ARM_RAD = 0.9


def constant_weights(hidden: int = 8) -> NetworkWeights:
    """A network that tells, whatever it is given, arms lifted ahead with small variances, and a root that walks."""
    arrays = {name: np.zeros(shape, dtype=np.float32) for name, shape in shapes(hidden, hidden).items()}
    told = told_rotations()
    for part in PARTS:
        rows = [TOLD_SEGMENTS.index(name) for name in part.segments]
        arrays[f"{part.name}.pose.out.bias"] = six_of(quaternion.to_matrix(told[rows])).ravel().astype(np.float32)
        arrays[f"{part.name}.pose.variance.bias"] += np.float32(2.0 * math.log(0.05))
        arrays[f"{part.name}.velocity.variance.bias"] += np.float32(2.0 * math.log(0.05))
        if "pelvis" in part.joints:
            arrays[f"{part.name}.velocity.out.bias"][3 * part.joints.index("pelvis")] = 0.5
    return NetworkWeights.from_arrays(arrays)


def told_rotations() -> Float64:
    """Rotations [11, 4] against the root of a body that stands with its left arm lifted."""
    coordinates = resting_coordinates()
    coordinates[COORDINATE["left_arm_x"]] += LEFT_ARM_RAD
    _, q = forward_kinematics_batch(coordinates[None], REFERENCE_LENGTHS_M)
    return quaternion.multiply(quaternion.conjugate(q[0, 0]), q[0, [SEGMENT[name] for name in TOLD_SEGMENTS]])


def standing(heading_rad: float = 0.0) -> BodyMotion:
    """Somebody who stands, arms hanging."""
    samples = np.repeat(resting_coordinates()[None], 8, axis=0)
    samples[:, COORDINATE["root_rz"]] = heading_rad
    samples[:, COORDINATE["root_pz"]] = 0.99
    return BodyMotion(samples, 1.0, REFERENCE_LENGTHS_M, periodic=False)


def recorded(motion: BodyMotion, params: InertialParams = QUIET) -> list[InertialSamples]:
    worn = VirtualImus("imus", params, Wearer(0, motion), 1)
    return [record for _, record in worn.records(0, int(SECONDS * params.rate_hz / params.samples_per_record), 0)]


def rig() -> Rig:
    return Rig(imus=nominal_mounts(QUIET))


def played(pipeline: Pipeline, records: list[InertialSamples]) -> Float64:
    """Orientations [23, 4] of the one person at the end."""
    for record in records:
        pipeline.take(record)
    end = Tick(measured_ns=records[-1].measured_ns, received_ns=records[-1].measured_ns)
    people = pipeline.people(end)
    assert len(people.ids) == 1
    return people.q_world_from_segment[0].astype(np.float64)


def against_root(q: Float64, name: str) -> Float64:
    return quaternion.multiply(quaternion.conjugate(q[0]), q[SEGMENT[name]])


def test_the_filter_goes_where_the_network_points() -> None:
    records = recorded(standing())
    without = played(Pipeline(rig()), records)
    with_network = played(Pipeline(rig(), network=constant_weights()), records)
    wanted = told_rotations()[TOLD_SEGMENTS.index("left_upper_arm")]
    before, after = (
        float(quaternion.angle_between(against_root(q, "left_upper_arm"), wanted)) for q in (without, with_network)
    )
    assert before > 0.7 * LEFT_ARM_RAD
    assert after < 0.35 * before


def test_velocities_of_the_root_move_the_wearer() -> None:
    pipelines = [
        Pipeline(rig(), PipelineParams(posing=PosingParams(segments=(), joints=joints)), constant_weights())
        for joints in (("pelvis",), ())
    ]
    records = recorded(standing())
    moved = []
    for pipeline in pipelines:
        played(pipeline, records)
        moved.append(float(pipeline.bank.people[0].filter.state.coordinates[0]))
    assert moved[0] > moved[1] + 0.2


def test_a_network_that_is_told_nothing_changes_nothing() -> None:
    records = recorded(standing())
    silent = PipelineParams(posing=PosingParams(segments=(), joints=()))
    np.testing.assert_array_equal(
        played(Pipeline(rig(), silent, constant_weights()), records), played(Pipeline(rig()), records)
    )


def test_the_same_records_give_the_same_bits() -> None:
    records = recorded(standing())
    one, other = (played(Pipeline(rig(), network=constant_weights()), records) for _ in range(2))
    np.testing.assert_array_equal(one, other)


def seen_by(records: list[InertialSamples]) -> list[Seen]:
    silent = PipelineParams(posing=PosingParams(segments=(), joints=()))
    pipeline = Pipeline(rig(), silent, constant_weights())
    assert pipeline.posed() == []
    seen: list[Seen] = []
    for record in records:
        pipeline.take(record)
        seen += pipeline.posed()
    return seen


def test_headings_of_the_sensors_are_taken_off() -> None:
    """Whatever the wearer faces, and wherever each sensor's own heading began, the frames are of one body."""
    motion = standing(heading_rad=2.0)
    seen = seen_by(recorded(motion))
    assert len(seen) > 100
    assert seen[0].begins
    assert not any(item.begins for item in seen[1:])
    _, q = motion.pose(np.array([1.0]))
    truth = q[0, [SEGMENT[site] for site in SITES]]
    last = seen[-1].q_world_from_site
    for k in range(1, len(SITES)):
        wanted = quaternion.multiply(quaternion.conjugate(truth[0]), truth[k])
        found = quaternion.multiply(quaternion.conjugate(last[0]), last[k])
        assert quaternion.angle_between(found, wanted) < 0.15
    assert np.abs(seen[-1].acceleration_m_s2).max() < 0.6


def test_a_lost_sensor_is_stood_in_for_and_taken_back() -> None:
    records = recorded(standing())
    holed = []
    lost = SITES.index("left_forearm")
    for record in records:
        force, rate = record.specific_force_m_s2.copy(), record.angular_rate_rad_s.copy()
        if 3.5e9 < record.measured_ns < 4.5e9:
            force[:, lost] = rate[:, lost] = np.nan
        holed.append(replace(record, specific_force_m_s2=force, angular_rate_rad_s=rate))
    seen = seen_by(holed)
    during = [item for item in seen if 3.8e9 < item.time_ns < 4.4e9]
    after = [item for item in seen if item.time_ns > 5.8e9]
    assert len(during) > 20
    assert after
    for item in (*during, *after):
        assert np.isfinite(item.q_world_from_site).all()
        assert (
            quaternion.angle_between(item.q_world_from_site[lost], item.q_world_from_segment[SEGMENT["left_forearm"]])
            < 0.3
        )


def test_a_gap_of_all_sensors_begins_anew() -> None:
    records = recorded(standing())
    seen = seen_by([record for record in records if not 3.0e9 < record.measured_ns < 4.0e9])
    assert sum(item.begins for item in seen) == 2


def test_fewer_sensors_than_the_network_needs_go_on_without_it() -> None:
    few = replace(QUIET, sites=SITES[:4])
    pipeline = Pipeline(Rig(imus=nominal_mounts(few)), network=constant_weights())
    played(pipeline, recorded(standing(), few))
    assert pipeline.posed() == []
    assert not Posing.possible(SITES[:4])


def test_whole_poses_keep_what_is_sensed_and_what_is_told() -> None:
    random = np.random.default_rng(1)
    sensed, told = (quaternion.normalize(random.standard_normal((n, 4))) for n in (6, 11))
    nothing: Float64 = np.empty((0, 3))
    none: Int64 = np.empty(0, dtype=np.int64)
    segments: Int64 = np.array([SEGMENT[name] for name in TOLD_SEGMENTS], dtype=np.int64)
    q = whole_pose(PoseTold(0, segments, told, nothing, none, nothing, nothing), sensed)
    assert np.isfinite(q).all()
    for k, site in enumerate(SITES):
        np.testing.assert_array_equal(q[SEGMENT[site]], sensed[k])
    np.testing.assert_allclose(against_root(q, "neck"), told[TOLD_SEGMENTS.index("neck")], atol=1e-12)
    np.testing.assert_array_equal(q[SEGMENT["left_toe"]], q[SEGMENT["left_lower_leg"]])


@pytest.mark.parametrize("broken", ["q", "acceleration", "rate"])
def test_frames_that_cannot_be_are_counted(broken: str) -> None:
    poser = InertialPoser(constant_weights())
    arrays: dict[str, Array] = {
        "q": np.tile([1.0, 0.0, 0.0, 0.0], (6, 1)), "acceleration": np.zeros((6, 3)), "rate": np.zeros(3)
    }  # fmt: skip
    assert poser.step(0, arrays["q"], arrays["acceleration"], arrays["rate"]) is not None
    before = poser.state.copy()
    arrays[broken] = arrays[broken] * np.nan
    assert poser.step(1, arrays["q"], arrays["acceleration"], arrays["rate"]) is None
    assert poser.refused == 1
    np.testing.assert_array_equal(poser.state, before)
