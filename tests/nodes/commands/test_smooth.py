"""``kinefuse smooth`` on simulated sessions: what it keeps, what it adds, and that it is worth it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusion.filter.tracks
from calibration.profile import profile_text
from fusion.body.skeleton import SEGMENTS
from fusion.filter.tracks import Track
from fusion.pipeline import Pipeline
from fusion.records import Landmarks2D, People, Truth
from fusion.rig import Rig
from fusion.synthesis.params import InertialParams, RingParams
from fusion.synthesis.simulation import Lab, Simulation, simulated_rig
from fusion.synthesis.wearer import Wearer
from nodes import fusion as fusion_node
from nodes.cli import main
from nodes.commands.evaluate import evaluate
from nodes.errors import RequestError
from nodes.node import Envelope
from nodes.sessions import smooth
from nodes.sessions.reader import SessionReader
from nodes.sessions.smooth import TOPIC, Smoothed, SmoothRequest, smooth_session
from nodes.sessions.writer import SessionFacts, SessionWriter
from tests.fusion.labs import wearer

START_NS = 10**9
SECONDS = 2.5
WORN = Lab(ring=RingParams(count=3), imus=InertialParams(sites=("pelvis", "head")), radars=None)
BARE = Lab(ring=RingParams(count=2), imus=None, radars=None)
ROOM = Lab(ring=RingParams(count=4), imus=None, radars=None)
GRAPH = 'nodes:\n  fusion: {type: fusion, inputs: ["sim.*/*"], lag_s: 0.1}\n'


def two() -> list[Wearer]:
    """Two people apart from each other."""
    return [wearer(1), wearer(2, start_m=(1.0, 1.0))]


def quiet(_: str) -> None:
    """Nobody listens."""


def record_session(
    path: Path,
    lab: Lab,
    wearers: Sequence[Wearer],
    seconds: float,
    *,
    graph: str = GRAPH,
    fused: Sequence[str] = ("fusion/people",),
    rig: Rig | None = None,
) -> Path:
    """A session of a simulated lab, with its truth and what the pipeline makes of it."""
    known = rig or simulated_rig(lab)
    facts = SessionFacts(
        name="lab", time="data", graph_text=graph, profile_name="lab.toml", profile_text=profile_text(known)
    )
    writer = SessionWriter(path, facts)
    counts: dict[str, int] = {}
    reached = 0

    def put(topic: str, record: Any) -> None:
        counts[topic] = counts.get(topic, -1) + 1
        writer.write(Envelope(topic, counts[topic], reached, 0, record), reached)

    pipeline = Pipeline(known)
    simulation = Simulation(lab, tuple(wearers), seed=1, origin_ns=START_NS, duration_s=seconds)
    while (emission := simulation.pop()) is not None:
        record = emission.record
        reached = max(reached, record.measured_ns)
        put("sim/truth" if isinstance(record, Truth) else f"sim.{emission.stream}", record)
        if not isinstance(record, Truth) and fused and pipeline.take(record):
            people = pipeline.people(record)
            for topic in fused:
                put(topic, people)
    writer.close({"end": "stopped"})
    return path


def smoothed(session: Path, out: Path, **keys: Any) -> Smoothed:
    return smooth_session(SmoothRequest(session=session, out=out, **keys), quiet)


def poses(path: Path, topic: str = TOPIC) -> dict[int, People]:
    """The poses of a topic by time."""
    with SessionReader(path) as reader:
        records = [envelope.record for _, envelope in reader.envelopes((topic,))]
    return {record.measured_ns: record for record in records if isinstance(record, People)}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody with two inertial sensors among three cameras."""
    return record_session(tmp_path_factory.mktemp("take") / "take.mcap", WORN, [wearer(1)], SECONDS)


@pytest.fixture(scope="module")
def out(session: Path) -> Path:
    path = session.with_name("smooth.mcap")
    assert smoothed(session, path).people == 1
    return path


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A moment of somebody who wears nothing."""
    return record_session(tmp_path / "short.mcap", BARE, [wearer(1)], 0.3)


# --- What comes out -------------------------------------------------------------------------------


def test_every_record_is_kept_as_it_was(session: Path, out: Path) -> None:
    with SessionReader(session) as before, SessionReader(out) as after:
        kept = [(m.topic, m.sequence, m.log_ns, m.publish_ns, bytes(m.payload)) for m in before.messages()]
        found = [(m.topic, m.sequence, m.log_ns, m.publish_ns, bytes(m.payload)) for m in after.messages()]
        assert after.complete
        assert after.graph_text == before.graph_text
        assert after.profile_text == before.profile_text
        assert after.entry("kinefuse.session")["smoothed_from"] == session.name
    assert sorted(kept) == sorted(row for row in found if row[0] != TOPIC)
    assert [row[2] for row in found] == sorted(row[2] for row in found)


def test_the_poses_have_the_times_of_the_people(session: Path, out: Path) -> None:
    causal, after = poses(session, "fusion/people"), poses(out)
    assert list(after) == sorted(causal)
    with_somebody = [time_ns for time_ns, record in after.items() if len(record.ids)]
    assert len(with_somebody) > 0.9 * len(after)
    for time_ns in with_somebody:
        assert after[time_ns].ids.tolist() == [1]
        assert after[time_ns].received_ns == causal[time_ns].received_ns
        assert after[time_ns].lengths_locked.all()


def test_it_is_nearer_to_the_truth_and_smoother(out: Path) -> None:
    causal = evaluate(out, people="fusion/people")
    after = evaluate(out, people=TOPIC)
    assert after["mpjpe_mm"] < 0.9 * causal["mpjpe_mm"]
    assert after["jitter_m_s3"] < 0.5 * causal["jitter_m_s3"]
    assert after["coverage"] >= causal["coverage"]
    assert after["bone_spread_mm"] < 0.01


def test_it_is_more_certain(out: Path) -> None:
    causal, after = poses(out, "fusion/people"), poses(out)
    for time_ns in list(after)[30:-30:10]:
        before_m2 = np.trace(causal[time_ns].covariances_m2[0], axis1=1, axis2=2)
        assert (np.trace(after[time_ns].covariances_m2[0], axis1=1, axis2=2) < before_m2).all()


def test_a_rate_gives_even_times(session: Path, tmp_path: Path) -> None:
    done = smoothed(session, tmp_path / "even.mcap", rate_hz=25.0)
    times = np.array(list(poses(done.path)))
    assert done.times_of is None
    assert set(np.diff(times)) == {40_000_000}
    assert len(times) == pytest.approx(SECONDS * 25, abs=2)


def test_in_stretches_it_is_the_same_and_holds_less(
    session: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what a body's lengths are learned from, which is then the first stretch and its overlap."""
    taken: list[int] = []
    original = fusion.filter.tracks.smooth_track

    def counted(track: Track, *rest: Any) -> Iterator[Any]:
        taken.append(len(track.measurements))
        return original(track, *rest)

    monkeypatch.setattr(fusion.filter.tracks, "smooth_track", counted)
    done = smoothed(session, tmp_path / "parts.mcap", stretch_s=1.3, overlap_s=0.8)
    assert len(taken) == 2
    whole, parts = poses(out), poses(done.path)
    assert list(whole) == list(parts)
    apart = [
        np.linalg.norm(whole[t].positions_m - parts[t].positions_m, axis=-1).max()
        for t in whole
        if len(whole[t].ids)
        if len(parts[t].ids)
    ]
    assert len(apart) == sum(len(record.ids) for record in whole.values())
    assert max(apart) < 0.003
    assert np.median(apart) < 0.001


def test_after_a_cut_the_journal_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once lengths are known, what has been smoothed is forgotten."""
    graph = GRAPH.replace("0.1", "0.1, lock_after_s: 0.1")
    path = record_session(tmp_path / "long.mcap", BARE, [wearer(1)], 4.0, graph=graph)
    taken: list[int] = []
    original = fusion.filter.tracks.smooth_track

    def counted(track: Track, *rest: Any) -> Iterator[Any]:
        taken.append(len(track.measurements))
        return original(track, *rest)

    monkeypatch.setattr(fusion.filter.tracks, "smooth_track", counted)
    smoothed(path, tmp_path / "o.mcap", stretch_s=0.5, overlap_s=0.2)
    assert len(taken) >= 6
    assert max(taken[-3:]) < 2 * 30 * (0.5 + 0.2 + 0.3 + 0.2)


def test_everybody_is_in_it(tmp_path: Path) -> None:
    path = record_session(tmp_path / "two.mcap", ROOM, two(), 0.8)
    done = smoothed(path, tmp_path / "out.mcap")
    assert done.people == 2
    last = list(poses(done.path).values())[-1]
    assert last.ids.tolist() == [1, 2]
    assert last.positions_m.shape == (2, SEGMENTS, 3)


# --- Whose keys and times -------------------------------------------------------------------------


def used_params(monkeypatch: pytest.MonkeyPatch) -> list[fusion_node.Params]:
    """The keys that pipelines are made with from now on."""
    seen: list[fusion_node.Params] = []

    def noted(params: fusion_node.Params) -> Any:
        seen.append(params)
        return fusion_node.pipeline_params(params)

    monkeypatch.setattr(smooth, "pipeline_params", noted)
    return seen


def test_the_recorded_nodes_keys_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = 'inputs: ["sim.cam[1-3]/*", sim.cam4/landmarks], subject: {height_m: 1.9}, max_people: 1, floor: false'
    graph = f"nodes:\n  left: {{type: fusion, inputs: [x/landmarks]}}\n  right: {{type: fusion, {keys}}}\n"
    path = record_session(tmp_path / "s.mcap", ROOM, two(), 0.8, graph=graph, fused=("left/people", "right/people"))
    seen = used_params(monkeypatch)
    assert smoothed(path, tmp_path / "o.mcap", topic="right/people").people == 1
    assert (seen[0].subject.height_m, seen[0].max_people, seen[0].floor) == (1.9, 1, False)


def test_topics_that_the_node_did_not_take_are_not_used(tmp_path: Path) -> None:
    """One camera of the two is not the node's: its landmarks are of somebody else's business."""
    path = record_session(tmp_path / "s.mcap", BARE, [wearer(1)], 0.2, graph=GRAPH.replace("sim.*/*", "sim.cam9/*"))
    with pytest.raises(RequestError, match="no measurements to smooth"):
        smoothed(path, tmp_path / "o.mcap")


def test_without_a_graph_the_defaults_hold(tmp_path: Path) -> None:
    path = record_session(tmp_path / "s.mcap", BARE, [wearer(1)], 0.3, graph="", fused=())
    said: list[str] = []
    done = smooth_session(SmoothRequest(session=path, out=tmp_path / "o.mcap"), said.append)
    assert any("defaults" in line for line in said)
    with SessionReader(path) as reader:
        records = [e.record for _, e in reader.envelopes(("sim.cam1/landmarks", "sim.cam2/landmarks"))]
    assert list(poses(done.path)) == sorted({r.measured_ns for r in records if isinstance(r, Landmarks2D)})


def test_a_smoothed_session_can_be_smoothed_again(short: Path, tmp_path: Path) -> None:
    once = smoothed(short, tmp_path / "once.mcap")
    twice = smoothed(once.path, tmp_path / "twice.mcap")
    assert twice.poses == once.poses
    with SessionReader(once.path) as first, SessionReader(twice.path) as second:
        assert [bytes(m.payload) for m in first.messages((TOPIC,))] == [
            bytes(m.payload) for m in second.messages((TOPIC,))
        ]


# --- The command ----------------------------------------------------------------------------------


def test_the_command_sums_up(short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "o.mcap"
    assert main(["smooth", str(short), str(target), "--json"]) == 0
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    assert (figures["path"], figures["topic"], figures["times_of"]) == (str(target), TOPIC, "fusion/people")
    assert figures["people"] == 1
    assert figures["poses"] == len(poses(target))
    assert {"read: 100 %", "smoothed: 50 %"} <= set(printed.err.splitlines())
    assert main(["evaluate", str(target), "--people", TOPIC, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] > 0
    assert main(["evaluate", str(target)]) == 2
    assert "choose one with --people" in capsys.readouterr().err


def test_nothing_is_overwritten(short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "o.mcap"
    target.write_bytes(b"mine")
    assert main(["smooth", str(short), str(target)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert target.read_bytes() == b"mine"
    before = short.read_bytes()
    assert main(["smooth", str(short), str(short)]) == 2
    assert short.read_bytes() == before


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such topic": ({"topic": "fusoin/people"}, "did you mean 'fusion/people'"),
    "another kind of topic": ({"topic": "sim.cam1/landmarks"}, "topics with people: fusion/people"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_requests(case: str, short: Path, tmp_path: Path) -> None:
    keys, expected = WRONG[case]
    with pytest.raises(RequestError, match=expected):
        smoothed(short, tmp_path / "o.mcap", **keys)
    assert not (tmp_path / "o.mcap").exists()


@pytest.mark.parametrize("rate", ["0", "-3", "fast", "nan", "1e9"])
def test_rates_that_cannot_be(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["smooth", "a.mcap", "b.mcap", "--rate", rate]) == 2
    assert "poses a second" in capsys.readouterr().err


def test_several_topics_with_people(tmp_path: Path) -> None:
    path = record_session(tmp_path / "s.mcap", BARE, [wearer(1)], 0.1, fused=("a/people", "b/people"))
    with pytest.raises(RequestError, match="a/people, b/people; choose one with --topic"):
        smoothed(path, tmp_path / "o.mcap")


def test_a_session_without_times_needs_a_rate(tmp_path: Path) -> None:
    lab = replace(WORN, ring=None)
    path = record_session(tmp_path / "s.mcap", lab, [wearer(1)], 2.5, fused=())
    with pytest.raises(RequestError, match="give --rate"):
        smoothed(path, tmp_path / "o.mcap")
    assert smoothed(path, tmp_path / "o.mcap", rate_hz=50.0).people == 1


def test_cameras_that_the_profile_does_not_know(tmp_path: Path) -> None:
    path = record_session(tmp_path / "s.mcap", BARE, [wearer(1)], 0.1, rig=Rig())
    with pytest.raises(RequestError, match=r"nobody was found in sim\.cam.*refused: .*'cam1' is not in the profile"):
        smoothed(path, tmp_path / "o.mcap")
    assert not (tmp_path / "o.mcap").exists()


def test_a_graph_of_another_version(tmp_path: Path) -> None:
    path = record_session(tmp_path / "s.mcap", BARE, [wearer(1)], 0.1, graph=GRAPH.replace("lag_s", "lag_days"))
    with pytest.raises(RequestError, match=r"does not fit this version: nodes\.fusion\.lag_days"):
        smoothed(path, tmp_path / "o.mcap")


def test_a_profile_that_does_not_load(tmp_path: Path) -> None:
    path = tmp_path / "s.mcap"
    writer = SessionWriter(path, SessionFacts(name="lab", profile_name="lab.toml", profile_text="[cameras"))
    with SessionReader(record_session(tmp_path / "t.mcap", BARE, [wearer(1)], 0.1)) as reader:
        for message in reader.messages():
            writer.write_encoded(
                message.topic, message.sequence, message.log_ns, message.publish_ns, bytes(message.payload)
            )
    writer.close()
    with pytest.raises(RequestError, match="its profile does not load"):
        smoothed(path, tmp_path / "o.mcap")


def test_what_is_no_session(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["smooth", "pyproject.toml", str(tmp_path / "o.mcap")]) == 2
    assert "not a session file" in capsys.readouterr().err
