"""``kinefuse doctor radar`` on virtual sensors in the states in which real ones are found silent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fusion.records import RadarPoints
from nodes.cli import main
from nodes.devices import probe
from nodes.devices.fake import Faults
from nodes.devices.ports import Chunk, GoneError, PortError, SerialSource, Source
from nodes.devices.ti import examine
from nodes.devices.ti.config import load_config
from nodes.devices.ti.examine import Examination, Sensor
from nodes.devices.ti.fake import FakeRadar
from nodes.devices.ti.scenes import Recording
from nodes.devices.ti.virtual import Detections, Quirks
from nodes.sessions.reader import SessionReader

pytest.importorskip("serial", reason="pyserial is not installed (pip install 'kinefuse[serial]')")

REPOSITORY = Path(__file__).resolve().parents[3]
CFG = REPOSITORY / "graphs" / "radar" / "iwr6843.cfg"
PROFILE_LINE = next(k for k, line in enumerate(CFG.read_text().splitlines(), 1) if line.startswith("profileCfg"))
LISTEN_S = "0.6"
PATIENCE_S = 60.0


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examine, "KNOCK_S", 0.15)


def scene(points: int = 10) -> Recording:
    speeds = np.ones(points, np.float32)
    place = np.tile(np.array([[0.1, 2.0, 0.3]], np.float32), (points, 1))
    return Recording([Detections(k * 0.05, place, speeds, 15.0 * speeds) for k in range(1000)], 0.05)


@contextmanager
def playing(points: int = 10, **keys: Any) -> Iterator[FakeRadar]:
    sensor = FakeRadar(scene(points), **keys)
    stop = threading.Event()
    thread = threading.Thread(target=sensor.run, args=(stop.is_set,))
    thread.start()
    try:
        yield sensor
    finally:
        stop.set()
        thread.join()
        sensor.close()


def doctor(
    capsys: pytest.CaptureFixture[str], sensor: FakeRadar, *words: str, cfg: Path | None = CFG
) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit code, and what was found wrong, by name."""
    named = [] if cfg is None else ["--cfg", str(cfg)]
    ports = ["--cli", sensor.cli_port.shown, "--data", sensor.data_port.shown]
    capsys.readouterr()
    code = main(["doctor", "radar", *ports, *named, "--seconds", LISTEN_S, "--json", *words])
    report = json.loads(capsys.readouterr().out)
    wrong = {item["name"]: item for item in report["radars"]["radar"] if item["state"] == "wrong"}
    assert report["ok"] == (not wrong) == (code == 0)
    return code, wrong


def test_a_sensor_that_works(capsys: pytest.CaptureFixture[str]) -> None:
    with playing() as sensor:
        assert doctor(capsys, sensor) == (0, {})
        assert not sensor.device.started  # It was stopped again.
        words = ["--cli", sensor.cli_port.shown, "--data", sensor.data_port.shown, "--cfg", str(CFG)]
        assert main(["doctor", "radar", *words, "--seconds", LISTEN_S]) == 0
    said = capsys.readouterr().out
    for part in (
        "range: resolution 8.42 cm",
        "answers at 115200 baud",
        "took 31 lines",
        "0 lost",
        "SDK 3.5.0.4",
        "ready",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("keys", "name", "found", "remedy"),
    [
        ({"exchange": True}, "command line", "answers on the data port", "The ports are exchanged: set cli_port: /dev"),
        (
            {"exchange": True, "running": CFG.read_text(), "quirks": Quirks(mute=True)},
            "command line",
            "frames come on the port of the command line",
            "The ports are exchanged",
        ),
        ({"quirks": Quirks(mute=True)}, "command line", "does not answer at 115200 baud", "SOP switches"),
        (
            {"quirks": Quirks(refuses={"profileCfg": "Error: Invalid profile"})},
            "set-up",
            f"iwr6843.cfg:{PROFILE_LINE}: the sensor refuses 'profileCfg 0 60.75",
            "Correct the line",
        ),
        (
            {"quirks": Quirks(unknown=frozenset(["aoaFovCfg"]))},
            "set-up",
            "'aoaFovCfg' is not recognized as a CLI command",
            "does not know the command",
        ),
        (
            {"quirks": Quirks(sends="nothing")},
            "data",
            "no byte in 0.6 s, though the sensor says",
            "Auxiliary Data Port",
        ),
        ({"quirks": Quirks(sends="noise")}, "data", "no magic word", "data_baud"),
        ({"quirks": Quirks(sends="text")}, "data", "bytes of text, no frame", "exchange cli_port and data_port"),
        ({"quirks": Quirks(empty=True)}, "frames", "without a single point", "clutterRemoval takes away"),
        ({"faults": Faults(lose=0.4), "seed": 3}, "frames", "frames are missing", "longer frame period"),
        ({"data_baud": 57_600}, "frames", "frames are missing", ""),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(
    keys: dict[str, Any], name: str, found: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with playing(30, **keys) as sensor:
        code, wrong = doctor(capsys, sensor)
    assert code == 1
    assert found in wrong[name]["found"]
    assert remedy in wrong[name]["remedy"]
    assert len(wrong) == 1


def test_a_line_that_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    with playing(30, data_baud=115_200) as sensor:
        _, wrong = doctor(capsys, sensor, "--data-baud", "115200")
    assert "of what 115200 baud carry is needed" in wrong["frames"]["found"]
    assert "guiMonitor without heat maps" in wrong["frames"]["remedy"]


def test_points_that_the_configuration_switches_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = tmp_path / "mute.cfg"
    cfg.write_text(CFG.read_text().replace("guiMonitor -1 1 0", "guiMonitor -1 0 0"))
    with playing() as sensor:
        _, wrong = doctor(capsys, sensor, cfg=cfg)
    assert "switches points off" in wrong["frames"]["remedy"]


def test_a_sensor_that_runs_is_only_listened_to(capsys: pytest.CaptureFixture[str]) -> None:
    with playing(running=CFG.read_text()) as sensor:
        assert doctor(capsys, sensor, "--listen")[0] == 0
        assert doctor(capsys, sensor, cfg=None)[0] == 0
        assert (sensor.device.started, sensor.device.starts) == (True, 1)
        sensor.device.answer(b"sensorStop\n")
        _, wrong = doctor(capsys, sensor, "--listen")
    assert "It is not started" in wrong["data"]["remedy"]


def test_a_probe_tells_that_it_is_a_radar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "LISTEN_S", 0.5)
    with playing(running=CFG.read_text()) as sensor:
        assert main(["devices", "probe", sensor.data_port.shown]) == 1
    assert "this is a TI radar" in capsys.readouterr().out


def test_another_baud_rate_of_the_command_line() -> None:
    with playing() as sensor:

        def opener(name: str, baud: int) -> Source:
            source = SerialSource(name, baud)
            if name == sensor.cli_port.shown and baud != 9600:
                source.write = lambda data: None  # type: ignore[method-assign] # What the sensor cannot understand.
            return source

        sent = Sensor(cli_port=sensor.cli_port.shown, data_port=sensor.data_port.shown, config=load_config(CFG))
        (wrong,) = (item for item in Examination(sent, tuple, opener).run(0.5) if item.state == "wrong")
    assert "answers at 9600 baud, not at 115200" in wrong.found
    assert wrong.remedy == "Set cli_baud: 9600"


@pytest.mark.parametrize(
    ("trouble", "remedy"),
    [
        ("denied", "dialout"),
        ("busy", "mmWave Demo Visualizer"),
        ("package", "pip install"),
        ("other", "plug it in again"),
    ],
)
def test_ports_that_cannot_be_opened(trouble: Any, remedy: str) -> None:
    def opener(name: str, baud: int) -> Source:
        raise PortError(trouble, "no")

    findings = Examination(Sensor(cli_port="/dev/a", data_port="/dev/b"), tuple, opener).run(0.1)
    assert [item.name for item in findings if item.state == "wrong"] == ["cli port", "data port"]
    assert all(remedy in item.remedy for item in findings)


def test_a_sensor_that_goes_while_it_is_asked_is_a_finding() -> None:
    class Pulled:
        descriptor = None

        def read(self) -> list[Chunk]:
            return []

        def write(self, data: bytes) -> None:
            raise GoneError("pulled")

        def discard(self) -> None:
            return

        def close(self) -> None:
            return

    findings = Examination(Sensor(cli_port="/dev/a", config=load_config(CFG)), tuple, lambda *_: Pulled()).run(0.1)
    (wrong,) = (item for item in findings if item.state == "wrong")
    assert (wrong.name, wrong.found) == ("cli port", "/dev/a: there is no such port now")


def test_a_graph_is_examined_and_what_is_not_there_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KINEFUSE_RADAR", str(tmp_path / "ti"))
    graph = str(REPOSITORY / "graphs" / "radar.yaml")
    assert main(["doctor", "radar", graph]) == 1
    said = capsys.readouterr().out
    assert f"{tmp_path}/ti-cli: there is no such port now" in said
    assert "correct cli_port" in said
    with playing(link=str(tmp_path / "ti")):
        assert main(["doctor", "radar", graph, "--seconds", LISTEN_S, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["radars"]) == ["radar"]


def test_a_configuration_alone_is_checked_and_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "radar", "--cfg", str(CFG)]) == 0
    assert "velocity: resolution 0.144 m/s" in capsys.readouterr().out
    wrong = tmp_path / "wrong.cfg"
    wrong.write_text(CFG.read_text().replace("frameCfg 0 2 64 0 50 1 0", "% none"))
    assert main(["doctor", "radar", "--cfg", str(wrong)]) == 1
    assert "frameCfg" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a graph, or a sensor"),
        (["--cfg", "/nowhere/a.cfg"], "/nowhere/a.cfg"),
        (["graphs/radar.yaml", "--cfg", "a.cfg"], "not both"),
        (["graphs/radar.yaml", "--device", "IWR6843"], "not both"),
        (["graphs/radar.yaml", "--data-baud", "1250000"], "--data-baud: name a graph or a sensor"),
        (["--cli", "/dev/a", "--cli-baud", "0"], "allowed 300 to 12000000"),
        (["graphs/imus.yaml"], "no node of type radar"),
        (["--cli", "/dev/a", "--data", "/dev/a", "--listen"], "a sensor has two ports"),
        (["--cfg", "graphs/radar/iwr6843.cfg", "--device", "IWR1"], "IWR6843AOP"),
    ],
)
def test_wrong_words(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    assert main(["doctor", "radar", *words]) == 2
    assert said in capsys.readouterr().err


# ---- the virtual sensor as a command


@contextmanager
def fake(*words: str) -> Iterator[dict[str, Any]]:
    """The command in a process of its own: what it announced."""
    command = [sys.executable, "-m", "nodes.cli", "devices", "fake", "ti-sdk3", *words, "--json"]
    with subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or lines[-1].rstrip() != "}":
            line = process.stdout.readline()
            assert line, process.communicate()
            lines.append(line)
        try:
            yield json.loads("".join(lines))
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=PATIENCE_S)
            assert process.returncode == 0, said


def test_a_graph_records_what_is_played(tmp_path: Path) -> None:
    graph = tmp_path / "radar.yaml"
    with fake("--link", str(tmp_path / "ti")) as announced:
        assert announced["cli_port"] == f"{tmp_path}/ti-cli"
        line = announced["graph_line"].replace("radar/iwr6843.cfg", str(CFG))
        graph.write_text(
            f'session: {{name: radar}}\nnodes:\n  {line}\n  rec: {{type: recorder, path: "{tmp_path}/out.mcap"}}\n'
        )
        command = [sys.executable, "-m", "nodes.cli", "run", str(graph), "--duration", "2", "--headless"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "resolution 8.42 cm" in done.stdout + done.stderr
    with SessionReader(tmp_path / "out.mcap") as session:
        records = [envelope.record for _, envelope in session.envelopes(("radar/points",))]
    points = [record for record in records if isinstance(record, RadarPoints)]
    assert len(points) > 20
    assert np.concatenate([record.positions_m for record in points])[:, 1].mean() > 1.0
    assert sorted(os.listdir(tmp_path)) == ["out.mcap", "radar.yaml"]  # The links are gone.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--count", "2"], "for worn sensors"),
        (["--start", "3"], "name it with --mars"),
        (["--mars", "/nowhere.npz"], "/nowhere.npz"),
        (["--cfg", "/nowhere.cfg"], "/nowhere.cfg"),
        (["--faults", "lose=7"], "allowed lose"),
    ],
)
def test_wrong_words_for_a_virtual_sensor(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "fake", "ti-sdk3", *words]) == 2
    assert said in capsys.readouterr().err
