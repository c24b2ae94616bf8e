"""The graph of a replay, without running it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.profile import profile_text
from fusion.records import Landmarks2D
from fusion.rig import Camera, Rig
from nodes.errors import RequestError
from nodes.graph.loader import GraphError
from nodes.node import Envelope
from nodes.sessions.index import SessionError
from nodes.sessions.reader import SessionReader
from nodes.sessions.replay import ReplayRequest, publisher_of, replay_graph
from nodes.sessions.writer import SessionFacts, SessionWriter

from .samples import PROFILE, START_NS, landmarks, write_session

GRAPH = """
nodes:
  fusion: {type: fusion, inputs: ["*/landmarks"]}
"""


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """Landmarks of ``cam1`` and of ``sim``'s first camera, an earlier pose of ``fusion``, and a profile."""
    turn = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    camera = Camera(
        name="front",
        width=1280,
        height=720,
        matrix=np.array([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]]),
        r_camera_from_world=turn,
        t_camera_from_world_m=np.array([0.0, 1.2, 4.0]),
    )
    path = tmp_path / "take.mcap"
    facts = SessionFacts(name="lab", profile_name="lab.toml", profile_text=profile_text(Rig(cameras=(camera,))))
    writer = SessionWriter(path, facts)
    for number in range(5):
        record: Landmarks2D = landmarks(number)
        for topic in ("cam1/landmarks", "sim.cam1/landmarks", "fusion/landmarks"):
            writer.write(Envelope(topic, number, START_NS, 0, record), START_NS + number)
    writer.close()
    return path


def graph_file(tmp_path: Path, text: str = GRAPH) -> Path:
    path = tmp_path / "graph.yaml"
    path.write_text(text)
    return path


def test_topics_of_nodes_in_the_graph_are_left_out(session: Path, tmp_path: Path) -> None:
    request = ReplayRequest(session=session, graph=graph_file(tmp_path), speed="max")
    with replay_graph(request) as replay:
        graph = replay.graph
        assert graph.topics["cam1/landmarks"] == "replay"
        assert "fusion/landmarks" not in graph.topics
        assert set(graph.inputs["fusion"]) == {"cam1/landmarks", "sim.cam1/landmarks"}
        assert graph.graph.session.time == "data"
        assert any("topics of fusion are not replayed" in remark for remark in replay.remarks)


def test_topics_of_a_node_with_several_sensors_are_left_out_together(session: Path, tmp_path: Path) -> None:
    text = "nodes:\n  sim: {type: recorder}\n  rec: {type: recorder, topics: ['*/landmarks']}\n"
    with replay_graph(ReplayRequest(session=session, graph=graph_file(tmp_path, text))) as replay:
        assert set(replay.graph.inputs["rec"]) == {"cam1/landmarks", "fusion/landmarks"}


def test_recorded_profile_is_there_while_it_runs(session: Path, tmp_path: Path) -> None:
    with replay_graph(ReplayRequest(session=session, graph=graph_file(tmp_path))) as replay:
        profile = replay.graph.graph.session.profile
        assert profile is not None
        with SessionReader(session) as reader:
            assert Path(profile).read_text() == reader.profile_text
    assert not Path(profile).exists()


def test_recorded_profile_that_does_not_load_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    writer = SessionWriter(path, SessionFacts(name="lab", profile_name="../x/lab.toml", profile_text="[cameras"))
    writer.write(Envelope("cam1/landmarks", 0, START_NS, 0, landmarks(0)), START_NS)
    writer.close()
    with replay_graph(ReplayRequest(session=path)) as replay:
        assert "replaying without the recorded profile" in replay.remarks[0]
        assert replay.graph.graph.session.profile is None
    request = ReplayRequest(session=path, graph=graph_file(tmp_path))
    with pytest.raises(SessionError, match="its profile does not load"), replay_graph(request):
        pass


def test_the_graph_s_own_profile_goes_first(session: Path, tmp_path: Path) -> None:
    with SessionReader(session) as reader:
        (tmp_path / "own.toml").write_text(reader.profile_text or "")
    path = graph_file(tmp_path, "session: {profile: own.toml}\n" + GRAPH)
    with replay_graph(ReplayRequest(session=session, graph=path)) as replay:
        assert replay.graph.graph.session.profile == str(tmp_path / "own.toml")


def test_node_can_be_replaced_by_its_records(session: Path, tmp_path: Path) -> None:
    text = "nodes:\n  cam1: {type: camera, source: 0}\n  rec: {type: recorder, topics: [cam1/landmarks]}\n"
    path = graph_file(tmp_path, text)
    with (
        pytest.raises(GraphError, match="nobody publishes 'cam1/landmarks'"),
        replay_graph(ReplayRequest(session=session, graph=path)),
    ):
        pass
    with replay_graph(ReplayRequest(session=session, graph=path, replace=("cam1",))) as replay:
        assert replay.graph.topics["cam1/landmarks"] == "replay"
    with (
        pytest.raises(RequestError, match="did you mean 'cam1'"),
        replay_graph(ReplayRequest(session=session, graph=path, replace=("cam2",))),
    ):
        pass


def test_without_a_graph_everything_is_replayed_and_shown(session: Path) -> None:
    with replay_graph(ReplayRequest(session=session, viewer=True, start_s=0.5, end_s=2, speed=2.0)) as replay:
        nodes = replay.graph.graph.nodes
        assert [params.type for params in nodes.values()] == ["replayer", "viewer"]
        assert nodes["replay"].model_dump()["speed"] == 2.0
        assert replay.graph.graph.session.name == "lab"


def test_recorder_is_added_and_never_overwrites(session: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mcap"
    with replay_graph(ReplayRequest(session=session, record=out)) as replay:
        assert replay.graph.graph.nodes["rec"].model_dump()["path"] == str(out)
    out.touch()
    with pytest.raises(SessionError, match="exists already"), replay_graph(ReplayRequest(session=session, record=out)):
        pass


def test_torn_session_is_repaired_before_it_is_replayed(session: Path) -> None:
    session.write_bytes(session.read_bytes()[:-200])
    with replay_graph(ReplayRequest(session=session)) as replay:
        assert "repaired" in replay.remarks[0]
    with SessionReader(session) as reader:
        assert reader.complete


def test_problems_of_the_graph_have_their_places(session: Path, tmp_path: Path) -> None:
    path = graph_file(tmp_path, "nodes:\n  rec: {type: recorder, topics: [cam9/landmarks]}\n")
    with (
        pytest.raises(GraphError, match="did you mean 'cam1/landmarks'") as caught,
        replay_graph(ReplayRequest(session=session, graph=path)),
    ):
        pass
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (2, 34)


def test_publisher_of_a_topic() -> None:
    assert publisher_of("sim.cam1/landmarks") == "sim"
    assert publisher_of("fusion/people") == "fusion"


def test_replay_of_a_replay_does_not_take_its_predecessor_s_name(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    write_session(path, 3)
    with replay_graph(ReplayRequest(session=path)) as first:
        assert list(first.graph.graph.nodes) == ["replay"]
    writer = SessionWriter(tmp_path / "b.mcap", SessionFacts(name="lab"))
    for topic in ("cam1/landmarks", "replay/landmarks"):
        writer.write(Envelope(topic, 0, START_NS, 0, landmarks(0)), START_NS)
    writer.close()
    with replay_graph(ReplayRequest(session=tmp_path / "b.mcap")) as second:
        assert list(second.graph.graph.nodes) == ["replay2"]


def test_hostile_names_in_a_session_choose_no_path_and_no_topic(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    facts = SessionFacts(name="../../x\n$HOME", profile_name="../../evil.toml", profile_text=PROFILE)
    writer = SessionWriter(path, facts)
    for topic in ("cam1/landmarks", "a b/landmarks", "*/landmarks", f"{'x' * 200}/landmarks"):
        writer.write(Envelope(topic, 0, START_NS, 0, landmarks(0)), START_NS)
    writer.close()
    with replay_graph(ReplayRequest(session=path)) as replay:
        assert replay.graph.graph.session.name == "replay"
        assert [topic for topic in replay.graph.topics if topic.endswith("/landmarks")] == ["cam1/landmarks"]
        profile = Path(replay.graph.graph.session.profile or "")
        assert profile.name == "_.._evil.toml"
        assert profile.parent.name.startswith("kinefuse-")
