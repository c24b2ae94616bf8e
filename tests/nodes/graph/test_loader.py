"""Graph files: what a good one becomes, and what each broken one is answered with."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from nodes import registry
from nodes.graph.document import MAX_BYTES, parse
from nodes.graph.loader import GraphError, LoadedGraph, load_graph, parse_graph
from nodes.graph.schema import json_schema
from nodes.node import NodeParams, NodeType

BROKEN = Path(__file__).parent / "broken"

PROFILE = """\
format = "kinefuse-profile"
version = 1
[cameras.front]
size_px = [1280, 720]
matrix = [[900.0, 0.0, 640.0], [0.0, 900.0, 360.0], [0.0, 0.0, 1.0]]
distortion = [0.0, 0.0, 0.0, 0.0, 0.0]
rotation = [[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]]
translation_m = [0.0, 1.2, 4.0]
"""


class RelayParams(NodeParams):
    """A node type for these tests: it takes and gives landmarks."""

    inputs: tuple[str, ...] = ()

    def publishes(self, name: str) -> tuple[str, ...]:
        return (f"{name}/landmarks",)


@pytest.fixture(autouse=True)
def relay(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("nodes_relay_for_tests")
    module.Params = RelayParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(registry.NODE_TYPES, "relay", NodeType("relay", module.__name__, "for tests"))
    registry.params_class.cache_clear()


@dataclass(frozen=True)
class Expected:
    """One problem: its place, and words that its message must have."""

    line: int
    column: int
    words: tuple[str, ...]


def at(line: int, column: int, *words: str) -> Expected:
    return Expected(line, column, words)


CASES: dict[str, tuple[Expected, ...]] = {
    "duplicate_key": (at(5, 3, "'cam1'", "twice", "3:3", "rename"),),
    "unknown_key": (
        at(1, 22, "session.tim", "did you mean 'time'?", "allowed: name, profile, time"),
        at(5, 5, "rec.toppics", "did you mean 'topics'?", "allowed: ", "jpeg_quality"),
        at(6, 15, "rec.restart.polcy", "did you mean 'policy'?", "backoff_s"),
        at(7, 1, "'sesion'", "did you mean 'session'?", "allowed: session, nodes"),
    ),
    "unknown_type": (
        at(2, 15, "'recoder'", "did you mean 'recorder'?", "allowed: camera", "viewer"),
        at(3, 3, "other", "type is missing", "did you mean it by 'typ'?"),
        at(4, 10, "third", "mapping", "['recorder']"),
    ),
    "missing_key": (
        at(2, 3, "again", "'path' is missing", "did you mean it by 'pth'?"),
        at(4, 5, "again.pth", "did you mean 'path'?"),
    ),
    "unknown_topic": (
        at(6, 9, "nobody publishes 'cam1/imgae'", "did you mean 'cam1/image'?", "published: cam1/image"),
        at(7, 9, "nobody publishes 'cam7/image'", "did you mean 'cam1/image'?"),
        at(8, 9, "'cam1' is not a topic (NODE/STREAM)", "did you mean 'cam1/image'?"),
    ),
    "wildcard_nothing": (at(3, 34, "no topic matches '*/landmarks'", "cam1/image", "kinefuse replay SESSION --graph"),),
    "bad_values": (
        at(2, 9, "session.name", "'a b'"),
        at(3, 9, "session.time", "'liv'", "did you mean 'live'?", "allowed: live, data"),
        at(7, 15, "rec.queue_mb", "have 0", "greater than or equal to 1"),
        at(8, 11, "rec.path", "have 7", "valid string", "quotes"),
        at(9, 15, "rec.required", "'perhaps'", "boolean"),
        at(10, 29, "rec.restart.max_restarts", "have -1", "greater than or equal to 0"),
        at(11, 16, "rec.startup_s", "have True", "number"),
    ),
    "missing_files": (
        at(1, 20, "session.profile", "nowhere/lab.toml", "relative to the folder of the graph file"),
        at(3, 32, "cam1.source", "clips/cam01.mp4", "there is no file"),
        at(4, 33, "again.path", "take1.mcap", "there is no file"),
    ),
    "bad_profile": (at(2, 12, "half_profile.toml", "does not load"),),
    "not_yaml": (at(3, 7, "not valid YAML", "begun at 2:8"),),
    "empty": (at(1, 1, "empty", "session and nodes"),),
    "not_a_graph": (at(1, 1, "mapping", "session and nodes"),),
    "no_nodes": (at(2, 7, "nodes", "at least one node"),),
    "alias_bomb": (at(9, 15, "more than 64 aliases"),),
    "endless_alias": (at(1, 1, "endless aliases"),),
    "unset_variable": (
        at(2, 32, "KINEFUSE_TEST_UNSET is not set", "${KINEFUSE_TEST_UNSET:-default}"),
        at(3, 32, "'${broken'", "$$"),
    ),
    "keys_that_are_no_words": (
        at(2, 3, "the key on as bool", "quotes"),
        at(3, 3, "the key 7 as int", "quotes"),
        at(4, 3, "'cam/1'", "letters, digits"),
    ),
    "foreign_tag": (at(2, 31, "python/object/apply", "not allowed"),),
    "ring": (at(2, 3, "here → there → here", "none is fed from outside", "take one"),),
    "ring_in_data_time": (at(4, 3, "here → there → here", "data time"),),
    "own_topic": (at(2, 32, "takes its own topic 'here/landmarks'"),),
    "camera_not_in_profile": (at(5, 35, "camera 'frnt'", "not in the profile", "did you mean 'front'?"),),
}
NEEDS = {"camera_not_in_profile": ("nodes.keypoints", "nodes.fusion")}


def problems_of(path: Path) -> GraphError:
    with pytest.raises(GraphError) as caught:
        load_graph(path)
    return caught.value


@pytest.mark.parametrize("name", CASES)
def test_broken_graph_is_answered_with_place_and_remedy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in NEEDS.get(name, ()):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not there")
    monkeypatch.delenv("KINEFUSE_TEST_UNSET", raising=False)
    path = BROKEN / f"{name}.yaml"
    error = problems_of(path)
    for expected in CASES[name]:
        here = [item for item in error.problems if (item.line, item.column) == (expected.line, expected.column)]
        assert any(all(word in item.message for word in expected.words) for item in here), f"{expected}\n{error}"
    assert all(item.file == str(path) for item in error.problems)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"endless_alias"}))
def test_broken_graph_has_no_other_problem(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KINEFUSE_TEST_UNSET", raising=False)
    for module in NEEDS.get(name, ()):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not there")
    error = problems_of(BROKEN / f"{name}.yaml")
    assert len(error.problems) == len(CASES[name]), str(error)


def test_every_broken_file_is_in_the_table() -> None:
    assert {path.stem for path in BROKEN.glob("*.yaml")} == set(CASES)


def test_message_begins_with_file_line_column() -> None:
    path = BROKEN / "duplicate_key.yaml"
    assert str(problems_of(path)).startswith(f"{path}:5:3: ")


# --- A good graph --------------------------------------------------------------------------------


def write(folder: Path, text: str) -> Path:
    path = folder / "lab one.yaml"
    path.write_text(text, "utf-8")
    return path


def good(folder: Path, text: str, **overrides: object) -> LoadedGraph:
    return load_graph(write(folder, text), overrides=overrides)


def test_good_graph_is_typed_and_wired(tmp_path: Path) -> None:
    (tmp_path / "front.toml").write_text(PROFILE)
    text = """
session: {profile: front.toml}
nodes:
  cam1: {type: camera, source: 0}
  rec: {type: recorder, path: takes, topics: ["*/image", "cam1/health"]}
"""
    loaded = good(tmp_path, text)
    assert loaded.graph.session.name == "lab-one"
    assert loaded.graph.session.profile == str(tmp_path / "front.toml")
    assert loaded.graph.session.time == "live"
    assert loaded.text == text
    assert loaded.topics["cam1/image"] == "cam1"
    assert loaded.topics["rec/health"] == "rec"
    assert loaded.inputs["rec"] == ("cam1/image", "cam1/health")
    assert loaded.graph.nodes["rec"].model_dump()["path"] == str(Path.cwd() / "takes")


def test_parameters_survive_the_way_to_a_node(tmp_path: Path) -> None:
    loaded = good(tmp_path, "nodes: {rec: {type: recorder, path: takes}}")
    params = loaded.graph.nodes["rec"]
    assert type(params).model_validate(params.model_dump(mode="json")) == params


@pytest.mark.parametrize(("imus", "said"), [("{magnetometer: true}", ""), ("{rate_hz: true}", "sim.imus.rate_hz")])
def test_a_boolean_inside_a_simulated_sensor(tmp_path: Path, imus: str, said: str) -> None:
    path = write(tmp_path, f"nodes:\n  sim: {{type: simulator, imus: {imus}}}\n")
    if said:
        assert said in str(problems_of(path))
    else:
        assert load_graph(path).graph.nodes["sim"].imus.magnetometer is True  # type: ignore[attr-defined]


def test_recorder_takes_every_logged_stream_but_no_picture(tmp_path: Path) -> None:
    text = "nodes: {rec: {type: recorder}, cam1: {type: camera, source: 0}, r: {type: relay, inputs: [cam1/image]}}"
    loaded = good(tmp_path, text)
    assert "r/landmarks" in loaded.inputs["rec"]
    assert "cam1/image" not in loaded.inputs["rec"]


def test_variables_are_replaced_and_keep_their_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINEFUSE_TEST_MB", "32")
    monkeypatch.setenv("KINEFUSE_TEST_EMPTY", "")
    text = """
nodes:
  rec:
    type: recorder
    queue_mb: "${KINEFUSE_TEST_MB}"
    path: ${KINEFUSE_TEST_EMPTY:-takes}/$$x
    required: ${KINEFUSE_TEST_UNSET:-false}
"""
    params = good(tmp_path, text).graph.nodes["rec"]
    assert params.model_dump()["queue_mb"] == 32
    assert params.required is False
    assert params.model_dump()["path"] == str(Path.cwd() / "takes" / "$x")


def test_merge_keys_and_anchors_work(tmp_path: Path) -> None:
    text = """
nodes:
  a: &common {type: recorder, queue_mb: 5}
  b: {<<: *common, queue_mb: 6}
"""
    nodes = good(tmp_path, text).graph.nodes
    assert [nodes[name].model_dump()["queue_mb"] for name in "ab"] == [5, 6]


def test_overrides_are_laid_over_the_file(tmp_path: Path) -> None:
    text = "session: {time: live}\nnodes: {a: {type: recorder}, b: {type: recorder, queue_mb: 5}}"
    loaded = good(
        tmp_path, text, session={"time": "data"}, nodes={"a": None, "b": {"queue_mb": 7}, "c": {"type": "relay"}}
    )
    assert loaded.graph.session.time == "data"
    assert list(loaded.graph.nodes) == ["b", "c"]
    assert loaded.graph.nodes["b"].model_dump()["queue_mb"] == 7
    assert loaded.text == text


def test_ring_that_is_fed_from_outside_may_run_live(tmp_path: Path) -> None:
    text = """
nodes:
  cam1: {type: camera, source: 0}
  here: {type: relay, inputs: [there/landmarks, cam1/image]}
  there: {type: relay, inputs: [here/landmarks]}
"""
    assert good(tmp_path, text).inputs["there"] == ("here/landmarks",)


def test_broken_node_does_not_blame_those_who_read_it(tmp_path: Path) -> None:
    text = """
nodes:
  cam1: {type: camera, source: 0, lop: true}
  rec: {type: recorder, topics: [cam1/image, "*/image"]}
"""
    error = problems_of(write(tmp_path, text))
    assert [item.line for item in error.problems] == [3]


# --- Files that are no graph files ----------------------------------------------------------------


def test_huge_file_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as stream:
        stream.truncate(200 * MAX_BYTES)
    assert "allowed are" in str(problems_of(path))


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"\x00\xff\xfe\x80binary", "UTF-8"),
        (b"nodes: \x01", "not valid YAML"),
        (b"[" * 100_000, "levels of nesting"),
        (b"a: " + b"{b: " * 5000, "levels of nesting"),
        (b"a: 1\n---\nb: 2\n", "more than 1 YAML document"),
        (b"nodes: {a: &x {type: recorder}, b: *y}", "not valid YAML"),
        (b"? [a]\n: 1\n", "a key must be a word"),
        (b"nodes: {a: {type: recorder, queue_mb: 99999999999999999999999}}", "queue_mb"),
        (b"nodes: {a: {type: recorder, queue_mb: 0b}}", "queue_mb"),
        (b"nodes: {a: {type: recorder, queue_mb: .inf}}", "queue_mb"),
        (b"nodes: {<<: 7, a: {type: recorder}}", "<<"),
        (b"nodes: {a: {type: !!int x}}", "cannot be read"),
        (b"nodes: {a: {type: {x: y}}}", "unknown node type"),
    ],
)
def test_hostile_text_is_refused_with_a_message(data: bytes, word: str) -> None:
    with pytest.raises(GraphError) as caught:
        parse_graph(data, Path("hostile.yaml"))
    assert word in str(caught.value)


def test_missing_graph_file_offers_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, "nodes: {}")
    assert "did you mean 'lab one.yaml'?" in str(problems_of(tmp_path / "lab_one.yaml"))


def test_places_count_from_one_and_in_characters() -> None:
    document = parse("ä: {b: 1,\n  ü: 2}\n".encode(), "x")
    assert document.places["ä", "b"] == (1, 8)
    assert document.key_places["ä", "ü"] == (2, 3)


# --- Node types and the schema --------------------------------------------------------------------


def test_type_whose_module_is_missing_is_a_problem_at_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.NODE_TYPES, "ghost", NodeType("ghost", "nodes.ghost_for_tests", ""))
    error = problems_of(write(tmp_path, "nodes: {a: {type: ghost}}"))
    assert (error.problems[0].line, error.problems[0].column) == (1, 19)
    assert "nodes.ghost_for_tests is missing" in str(error)


def test_type_without_params_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nodes_empty_for_tests", ModuleType("nodes_empty_for_tests"))
    monkeypatch.setitem(registry.NODE_TYPES, "hollow", NodeType("hollow", "nodes_empty_for_tests", ""))
    assert "no class Params" in str(problems_of(write(tmp_path, "nodes: {a: {type: hollow}}")))


def test_schema_tells_node_types_apart() -> None:
    schema = json_schema({name: registry.params_class(name) for name in ("recorder", "replayer", "relay")})
    node = schema["properties"]["nodes"]["additionalProperties"]
    assert set(node["discriminator"]["mapping"]) == {"recorder", "replayer", "relay"}
    recorder = schema["$defs"][node["discriminator"]["mapping"]["recorder"].rpartition("/")[2]]
    assert recorder["properties"]["type"]["const"] == "recorder"
    assert recorder["additionalProperties"] is False
    assert "queue_mb" in recorder["properties"]
    assert json.loads(json.dumps(schema)) == schema
