"""The command line as a person meets it: real processes, exit codes, one message for each mistake."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nodes import cli
from nodes.node import Envelope
from nodes.sessions.reader import SessionReader
from nodes.transport.codec import encode_flat
from tests.nodes.sessions.samples import STEP_NS, stream, write_session

ROOT = Path(__file__).resolve().parents[3]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def kinefuse(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process: exit code, stdout, stderr."""

    def run(*words: str | Path) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run


def kinefuse_process(*words: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command as a process of its own."""
    command = [sys.executable, "-m", "nodes.cli", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.fixture
def session(tmp_path: Path) -> Path:
    path = tmp_path / "take.mcap"
    write_session(path, 150, flush_every=30)
    return path


# --- Every wrong request is answered in one message with exit code 2 ------------------------------

WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "no command": ((), "required: COMMAND"),
    "misspelt command": (("repaly", "x"), "did you mean 'replay'?"),
    "unknown option": (("run", "g.yaml", "--headles"), "--headles"),
    "missing argument": (("replay",), "required: SESSION"),
    "bad duration": (("run", "g.yaml", "--duration", "0"), "'0' is not a number of seconds"),
    "bad speed": (("replay", "s.mcap", "--speed", "-1"), "such as 2, or max"),
    "missing graph": (("run", "no_such.yaml"), "no_such.yaml:1:1: there is no such file"),
    "broken graph": (("run", "tests/nodes/graph/broken/duplicate_key.yaml"), "duplicate_key.yaml:5:3: "),
    "several problems": (("check", "tests/nodes/graph/broken/unknown_key.yaml"), "did you mean 'time'?"),
    "check without graph": (("check",), "--schema"),
    "missing session": (("session", "info", "no_such.mcap"), "No such file"),
    "no session file": (("session", "info", "pyproject.toml"), "not a session file"),
    "recover no session": (("session", "recover", "pyproject.toml"), "not a session file"),
    "replay no session": (("replay", "pyproject.toml", "--headless"), "not a session file"),
    "missing folder": (("import", "pose2sim", "no_such", "out.mcap"), "there is no such folder"),
    "wrong import": (("import", "bvh", "x", "y"), "invalid choice: 'bvh'"),
    "span": (("session", "cut", "a.mcap", "b.mcap", "--start", "2", "--end", "1"), "--end 1 is not after --start 2"),
    "replace without graph": (("replay", "SESSION", "--replace", "cam1"), "no such node"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_request(case: str, kinefuse: Run, session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    words, expected = WRONG[case]
    code, out, err = kinefuse(*(str(session) if word == "SESSION" else word for word in words))
    assert code == 2
    assert expected in err
    assert "Traceback" not in err
    assert out == ""


def test_wrong_request_of_a_real_process(tmp_path: Path) -> None:
    done = kinefuse_process("session", "info", tmp_path / "none.mcap")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1


def test_missing_package_names_the_extra(kinefuse: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from nodes.commands import session as command

    def run(args: object) -> int:
        raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    monkeypatch.setattr(command, "run", run)
    code, _, err = kinefuse("session", "info", "x")
    assert code == 2
    assert "pip install 'kinefuse[camera]'" in err


def test_version_and_help(kinefuse: Run) -> None:
    code, out, _ = kinefuse("--version")
    assert code == 0
    assert out.startswith("kinefuse ")
    code, out, _ = kinefuse("--help")
    assert code == 0
    assert "replay" in out
    code, out, _ = kinefuse("replay", "--help")
    assert code == 0
    assert "--speed" in out


def test_every_command_that_is_there_can_be_asked_for_help(kinefuse: Run) -> None:
    import importlib.util

    present = [command for command in cli.COMMANDS if importlib.util.find_spec(command.module)]
    assert {"run", "check", "record", "replay", "session", "import"} <= {command.name for command in present}
    for command in present:
        code, out, err = kinefuse(command.name, "--help")
        assert (code, err) == (0, "")
        assert f"kinefuse {command.name}" in out


def test_checking_a_graph_needs_no_heavy_package(tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text("nodes:\n  cam1: {type: camera, source: 0}\n  rec: {type: recorder, topics: [cam1/image]}\n")
    program = (
        "import sys; from nodes.cli import main; code = main(['check', sys.argv[1]]);"
        "heavy = {'cv2', 'numba', 'PySide6', 'torch', 'ai_edge_litert', 'scipy'} & set(sys.modules);"
        "print(sorted(heavy)); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "[]"), done.stderr


# --- check ----------------------------------------------------------------------------------------


def test_check_tells_what_is_good(kinefuse: Run, tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text("nodes: {rec: {type: recorder}}\n")
    code, out, _ = kinefuse("check", path)
    assert (code, "no problem found" in out) == (0, True)
    code, out, _ = kinefuse("check", path, "--json")
    facts = json.loads(out)
    assert (code, facts["ok"], facts["nodes"]) == (0, True, {"rec": "recorder"})


def test_check_gives_problems_as_json(kinefuse: Run) -> None:
    path = ROOT / "tests/nodes/graph/broken/unknown_key.yaml"
    code, out, _ = kinefuse("check", path, "--json")
    answer = json.loads(out)
    assert (code, answer["ok"], len(answer["problems"])) == (2, False, 4)
    assert answer["problems"][0]["line"] == 1


def test_check_with_the_topics_of_a_session(kinefuse: Run, session: Path, tmp_path: Path) -> None:
    path = tmp_path / "g.yaml"
    path.write_text("nodes: {rec: {type: recorder, topics: ['*/points']}}\n")
    assert kinefuse("check", path)[0] == 2
    assert kinefuse("check", path, "--replay", session)[0] == 0


def test_schema_is_one_json_object(kinefuse: Run) -> None:
    code, out, _ = kinefuse("check", "--schema")
    assert code == 0
    assert "recorder" in json.loads(out)["properties"]["nodes"]["additionalProperties"]["discriminator"]["mapping"]


# --- session --------------------------------------------------------------------------------------


def test_info_counts_gaps_and_losses(kinefuse: Run, tmp_path: Path) -> None:
    from nodes.sessions.writer import SessionWriter
    from tests.nodes.sessions.samples import FACTS, START_NS, landmarks

    path = tmp_path / "a.mcap"
    writer = SessionWriter(path, FACTS)
    for step, sequence in ((0, 0), (1, 1), (2, 2), (10, 5), (11, 6), (12, 0), (13, 1)):
        writer.write(Envelope("cam1/landmarks", sequence, 0, 0, landmarks(step)), START_NS + step * STEP_NS)
    writer.close()
    code, out, _ = kinefuse("session", "info", path, "--json", "--decode")
    info = json.loads(out)
    topic = info["topics"]["cam1/landmarks"]
    assert code == 0
    assert (topic["count"], topic["lost"], topic["restarts"], topic["refused"]) == (7, 2, 1, 0)
    assert topic["longest_gap_s"] == pytest.approx(0.08)
    assert topic["rate_hz"] == pytest.approx(6 / 0.13, rel=1e-3)
    assert (topic["first_s"], topic["last_s"]) == (0, pytest.approx(0.13))
    assert (info["complete"], info["duration_s"], info["session"]["name"]) == (True, pytest.approx(0.13), "lab")
    table = kinefuse("session", "info", path)[1]
    assert "cam1/landmarks" in table
    assert "complete" in table


def test_info_of_a_torn_file_says_so_and_how_to_mend_it(kinefuse: Run, session: Path) -> None:
    session.write_bytes(session.read_bytes()[:-100])
    code, out, _ = kinefuse("session", "info", session)
    assert code == 0
    assert "torn: " in out
    assert "kinefuse session recover" in out
    code, out, _ = kinefuse("session", "recover", session)
    assert (code, "repaired" in out) == (0, True)
    assert json.loads(kinefuse("session", "info", session, "--json")[1])["complete"] is True
    assert "is whole" in kinefuse("session", "recover", session)[1]


def test_info_counts_messages_that_are_garbage(kinefuse: Run, tmp_path: Path) -> None:
    from nodes.sessions.writer import SessionWriter
    from tests.nodes.sessions.samples import FACTS, START_NS

    path = tmp_path / "a.mcap"
    writer = SessionWriter(path, FACTS)
    for number, (log_ns, envelope) in enumerate(stream(10)):
        payload = encode_flat(envelope) if number % 2 else os.urandom(50)
        writer.write_encoded(envelope.topic, envelope.sequence, log_ns, START_NS, payload)
    writer.close()
    topics = json.loads(kinefuse("session", "info", path, "--json", "--decode")[1])["topics"]
    assert sum(topic["refused"] for topic in topics.values()) == 7
    assert sum(topic["count"] for topic in topics.values()) == 14


def test_cut_keeps_records_and_papers(kinefuse: Run, session: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.mcap"
    code, _, err = kinefuse("session", "cut", session, out, "--start", "0.5", "--end", "1")
    assert (code, err) == (0, "")
    expected = [item for item in stream(150) if 50 <= item[1].record.measured_ns // STEP_NS % 1000 < 100]
    with SessionReader(out) as part, SessionReader(session) as whole:
        read = list(part.envelopes())
        assert part.graph_text == whole.graph_text
        assert part.profile_text == whole.profile_text
        assert part.entry("kinefuse.session")["cut_from"] == "take.mcap, 0.5 s to 1 s"
    assert [encode_flat(envelope) for _, envelope in read] == [encode_flat(envelope) for _, envelope in expected]
    assert [log_ns for log_ns, _ in read] == [log_ns for log_ns, _ in expected]
    code, _, err = kinefuse("session", "cut", session, out)
    assert (code, "exists already" in err) == (2, True)
    code, _, err = kinefuse("session", "cut", session, tmp_path / "none.mcap", "--start", "99")
    assert (code, "no records in that span" in err) == (2, True)
    assert not (tmp_path / "none.mcap").exists()


# --- Whole runs -----------------------------------------------------------------------------------


def records_of(path: Path) -> list[bytes]:
    """The records of a session without what the run has put on them, health and ends left out."""
    with SessionReader(path) as session:
        assert session.complete
        envelopes = [item for _, item in session.envelopes() if not item.topic.endswith(("/health", "/end"))]
    return [encode_flat(Envelope(item.topic, item.sequence, 0, 0, item.record)) for item in envelopes]


def test_two_replays_at_max_speed_record_the_same(session: Path, tmp_path: Path) -> None:
    original = records_of(session)
    for name in ("one.mcap", "two.mcap"):
        done = kinefuse_process(
            "replay", session, "--speed", "max", "--record", tmp_path / name, "--headless", "--json"
        )
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert all(topic["drops"] == 0 for node in report["nodes"].values() for topic in node["topics"])
        assert records_of(tmp_path / name) == original


def test_torn_session_is_mended_and_replayed(session: Path, tmp_path: Path) -> None:
    session.write_bytes(session.read_bytes()[:-300])
    done = kinefuse_process("replay", session, "--speed", "max", "--record", tmp_path / "out.mcap", "--headless")
    assert done.returncode == 0, done.stderr
    assert "repaired" in done.stderr
    assert records_of(tmp_path / "out.mcap") == records_of(session)


def test_record_command_adds_a_recorder(session: Path, tmp_path: Path) -> None:
    graph = tmp_path / "g.yaml"
    graph.write_text(f"session: {{time: data}}\nnodes:\n  again: {{type: replayer, path: {session}, speed: max}}\n")
    done = kinefuse_process("record", graph, "--out", tmp_path / "takes", "--headless")
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "takes").iterdir()
    assert path.name.startswith("g_")
    assert records_of(path) == records_of(session)
    with SessionReader(path) as reader:
        assert reader.graph_text == graph.read_text()
