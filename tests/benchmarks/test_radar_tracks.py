"""The tracker on simulated people and on the MARS recordings, and the scores by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.radar_tracks import (
    MARS_SUBJECTS,
    NEAR_M,
    Score,
    mars_mount,
    mars_records,
    paired,
    room,
    simulated_frames,
    simulated_score,
)
from fusion.body.skeleton import REFERENCE_LENGTHS_M, SEGMENT
from fusion.estimators.radar.tracker import RadarTracker, TrackerParams
from fusion.records import RadarTracks
from fusion.synthesis.actions import Stand, Walk
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.wearer import Wearer

MARS_FRAMES = 50
MARS_SETTLE_NS = 1_500_000_000


def tracks_at(places_m: Sequence[tuple[float, float]], ids: Sequence[int], confirmed: Sequence[int]) -> RadarTracks:
    count = len(ids)
    positions = np.zeros((count, 3), np.float32)
    positions[:, :2] = np.array(places_m).reshape(count, 2)
    return RadarTracks(
        measured_ns=0,
        received_ns=0,
        radars=("radar1",),
        ids=np.array(ids, np.int64),
        positions_m=positions,
        velocities_m_s=np.zeros((count, 3), np.float32),
        covariances=np.zeros((count, 6, 6), np.float32),
        extents_m=np.zeros((count, 3), np.float32),
        points=np.zeros(count, np.int64),
        confirmed=np.array(confirmed, np.uint8),
        unseen_s=np.zeros(count, np.float32),
    )


PLACES = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0]])


def test_people_have_the_nearest_confirmed_tracks() -> None:
    tracks = tracks_at([(0.9, 0.0), (0.2, 0.0), (0.0, 0.0)], [4, 5, 6], [1, 1, 0])
    assert paired(tracks, PLACES, {}) == {0: 1, 1: 0}


def test_who_had_a_track_keeps_it_while_it_is_near() -> None:
    tracks = tracks_at([(0.9, 0.0), (0.2, 0.0)], [4, 5], [1, 1])
    assert paired(tracks, PLACES, {0: 4, 1: 5}) == {0: 0, 1: 1}
    gone = tracks_at([(1.9, 0.0), (0.2, 0.0)], [4, 5], [1, 1])
    assert paired(gone, PLACES, {0: 4}) == {0: 1, 1: 0}


def test_a_track_a_metre_away_is_nobodys() -> None:
    assert paired(tracks_at([(0.0, 1.1)], [1], [1]), PLACES[:1], {}) == {}
    assert paired(tracks_at([], [], []), PLACES, {}) == {}


def test_errors_as_large_as_the_covariance_says_are_honest() -> None:
    random = np.random.default_rng(0)
    covariance = np.diag([0.04, 0.01, 0.09, 0.16])
    score = Score(frames=1, ids=[1])
    score.errors = list(random.normal(size=(4000, 4)) * np.sqrt(covariance.diagonal()))
    score.covariances = [covariance] * 4000
    figures = score.figures()
    assert figures["nees"] == pytest.approx(1.0, abs=0.05)
    assert figures["nees_position"] == pytest.approx(1.0, abs=0.05)
    assert figures["within_95"] == pytest.approx(0.95, abs=0.01)
    assert figures["position_cm"] == pytest.approx(100.0 * math.sqrt(0.05), rel=0.05)
    assert figures["velocity_m_s"] == pytest.approx(0.5, rel=0.05)


def test_a_simulated_walker_is_one_track_without_ghosts() -> None:
    figures = simulated_score(1, 1, 7, 10.0, TrackerParams())
    assert figures["ids"] == 1.0
    assert figures["switches"] == figures["ghosts_per_1000"] == 0
    assert figures["missed_moving_share"] == 0.0
    assert figures["position_cm"] < 25.0
    assert figures["within_95"] > 0.85


def test_two_simulated_people_who_pass_keep_their_tracks() -> None:
    """They meet halfway with 1.2 m between them, before two radars."""
    wearers = [
        Wearer(
            number,
            scripted_motion(
                [Stand(duration_s=0.5), Walk(distance_m=2.4), Stand(duration_s=1.0)],
                REFERENCE_LENGTHS_M,
                start_m=start_m,
                heading_rad=heading_rad,
                repeat=False,
            ),
        )
        for number, start_m, heading_rad in ((1, (-1.2, -0.6), 0.0), (2, (1.2, 0.6), math.pi))
    ]
    params, mounts = room(2)
    tracker = RadarTracker(mounts)
    own: dict[int, int] = {}
    for frame in simulated_frames(mounts, params, wearers, 5, 4.0):
        tracks = tracker.step(frame)
        time_s = frame.frame / params.rate_hz
        places = np.stack([wearer.motion.pose(np.array([time_s]))[0][0, SEGMENT["pelvis"]] for wearer in wearers])
        assert tracks.confirmed.sum() <= 2
        if time_s < 1.5:
            continue
        pairs = paired(tracks, places, own)
        identities = {person: int(tracks.ids[row]) for person, row in pairs.items()}
        own = own or identities
        assert identities == own
        assert len(own) == 2


@pytest.mark.parametrize("subject", MARS_SUBJECTS)
def test_the_person_of_mars_is_tracked_in_every_movement(data_pack: Path, subject: int) -> None:
    """The first frames of each movement of a real recording; a second track is an arm or an echo, and rare."""
    path = data_pack / "mars" / f"subject{subject}.npz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with np.load(path) as arrays:
        movements = [int(number) for number in np.unique(arrays["movement"])]
    frames = covered = second = 0
    for movement in movements:
        records, base = mars_records(path, movement)
        tracker = RadarTracker([mars_mount()])
        for record, truth in zip(records[:MARS_FRAMES], base, strict=False):
            tracks = tracker.step(record)
            if record.measured_ns - records[0].measured_ns < MARS_SETTLE_NS:
                continue
            # The world's origin is the radar's, but for its height; where the truth is not known, anywhere will do.
            shift = tracks.positions_m[tracks.confirmed > 0, :2] - truth[:2]
            near = ~(np.hypot(shift[:, 0], shift[:, 1]) > NEAR_M)
            frames += 1
            covered += bool(near.any())
            second += len(near) > 1
        assert near.any()
    assert covered / frames > 0.95
    assert second / frames < 0.1
