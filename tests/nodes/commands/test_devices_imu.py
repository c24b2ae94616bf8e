"""``kinefuse devices fake`` and ``kinefuse devices probe``, and a graph that hears what they play."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from fusion.records import InertialSamples
from nodes.cli import main
from nodes.commands import devices, doctor
from nodes.devices import probe
from nodes.devices.fake import FakeBody, FakeParams, graph_line, parse_faults
from nodes.errors import RequestError
from nodes.graph.loader import load_graph
from nodes.imu import Params
from nodes.sessions.reader import SessionReader

pytest.importorskip("serial", reason="pyserial is not installed (pip install 'kinefuse[serial]')")
REPOSITORY = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0


@contextmanager
def fake(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """The command in a process of its own, with what it announced."""
    command = [sys.executable, "-m", "nodes.cli", "devices", "fake", *words, "--json"]
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
            yield process, json.loads("".join(lines))
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=PATIENCE_S)


def test_played_probed_and_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "LISTEN_S", 0.6)
    with fake("xsens-mti", "--count", "2", "--link", str(tmp_path / "imu")) as (process, announced):
        assert announced["ports"] == [
            {"port": f"{tmp_path}/imu-0", "placement": {"0": "pelvis"}},
            {"port": f"{tmp_path}/imu-1", "placement": {"0": "left_lower_leg"}},
        ]
        assert main(["devices", "probe", f"{tmp_path}/imu-0", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["driver"], found["baud"], found["problem"]) == ("xsens-mti", 115200, "")
        assert found["sensors"]["0"] == pytest.approx(100.0, rel=0.01)
        assert found["gravity_m_s2"] == pytest.approx(9.81, abs=2.0)
        assert Params.model_validate(yaml.safe_load(found["graph_line"])["imus"]).driver == "xsens-mti"
        assert main(["devices", "probe", f"{tmp_path}/imu-1", "--driver", "ximu3"]) == 1
        assert "Set driver: xsens-mti" in capsys.readouterr().out
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []  # The links are gone.


def test_a_silent_port_and_one_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "LISTEN_S", 0.2)
    body = FakeBody(FakeParams(driver="xsens-mti", link=str(tmp_path / "imu")))
    try:
        assert main(["devices", "probe", f"{tmp_path}/imu-0"]) == 1
        assert "no byte" in capsys.readouterr().out
    finally:
        body.close()
    assert main(["devices", "probe", f"{tmp_path}/imu-0"]) == 1
    assert "there is no such port now" in capsys.readouterr().out


def test_a_graph_records_what_is_played(tmp_path: Path) -> None:
    graph = tmp_path / "imus.yaml"
    with fake("ximu3", "--count", "3") as (_, announced):
        graph.write_text(
            f"session: {{name: imus}}\nnodes:\n  {announced['graph_line']}\n"
            f'  rec: {{type: recorder, path: "{tmp_path}/out.mcap"}}\n'
        )
        command = [sys.executable, "-m", "nodes.cli", "run", str(graph), "--duration", "2", "--headless"]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    with SessionReader(tmp_path / "out.mcap") as session:
        records = [envelope.record for _, envelope in session.envelopes(("imus/samples",))]
    samples = [record for record in records if isinstance(record, InertialSamples)]
    assert len(samples) > 20
    assert {record.sensors for record in samples} == {("pelvis", "left_lower_leg", "right_lower_leg")}


def test_the_shipped_graph_is_that_of_the_virtual_sensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KINEFUSE_IMU", raising=False)
    params = load_graph(REPOSITORY / "graphs" / "imus.yaml").graph.nodes["imus"]
    assert isinstance(params, Params)
    body = FakeBody(FakeParams(driver=params.driver, count=6))
    try:
        assert [segment for _, _, segment in params.wiring()] == body.segments
        assert [port for port, _, _ in params.wiring()] == [f"/tmp/kinefuse-imu-{k}" for k in range(6)]
    finally:
        body.close()


@pytest.mark.parametrize(
    ("driver", "keys"),
    [
        ("xsens-mti", {"count": 2}),
        ("xsens-mti", {"count": 2, "mux": True}),
        ("ximu3", {"count": 3, "mux": True}),
        ("ximu3", {"count": 2, "udp": ("127.0.0.1", 8000)}),
        ("witmotion", {}),
        ("xsens-mvn", {"count": 5, "udp": ("127.0.0.1", 9763)}),
    ],
)
def test_the_line_for_a_graph_is_one(driver: str, keys: dict[str, Any]) -> None:
    body = FakeBody(FakeParams(driver=driver, **keys))
    try:
        line = yaml.safe_load("{" + graph_line(body.params, body.outlets) + "}")
        params = Params.model_validate(line["imus"])
        assert sorted(segment for _, _, segment in params.wiring()) == sorted(body.segments)
    finally:
        body.close()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nobody"], "invalid choice"),
        (["xsens-mti", "--count", "0"], "allowed 1 to 17"),
        (["xsens-mti", "--rate", "0"], "allowed 1 to 1000 Hz"),
        (["xsens-mti", "--udp", "127.0.0.1:9"], "serial port"),
        (["xsens-mvn", "--udp", "nowhere"], "HOST:PORT"),
        (["witmotion", "--mux"], "--mux"),
        (["xsens-mti", "--faults", "lose=2"], "allowed lose"),
        (["xsens-mti", "--faults", "unplug=1"], "from 3 s on"),
        (["xsens-mti", "--link", "/nowhere/imu"], "cannot be made"),
    ],
)
def test_wrong_words(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "fake", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_file_is_not_replaced_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "imu-1").write_text("mine")
    with pytest.raises(RequestError, match="there is a file already"):
        FakeBody(FakeParams(driver="xsens-mti", count=2, link=str(tmp_path / "imu")))
    assert os.listdir(tmp_path) == ["imu-1"]


def test_faults_by_name() -> None:
    faults = parse_faults("lose=0.5,unplug=10")
    assert (faults.lose, faults.unplug_s, faults.flip) == (0.5, 10.0, 0.0)


def test_the_list_of_devices_is_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    devices.add_parser(parser.add_subparsers())
    args = parser.parse_args(["devices", "--json"])
    assert args.run(args) == 0
    assert {"cameras", "serial_ports", "remark"} <= json.loads(capsys.readouterr().out).keys()


@pytest.mark.parametrize(("readable", "state"), [(True, "ok"), (False, "missing")])
def test_the_doctor_looks_at_serial_ports(readable: bool, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = [{"port": "/dev/ttyUSB0", "name": "", "usb_id": None, "serial_number": None, "readable": readable}]
    monkeypatch.setattr(devices, "serial_ports", lambda: (ports, ""))
    (finding,) = doctor.check_serial_ports()
    assert (finding.state, "/dev/ttyUSB0" in finding.found) == (state, True)
    assert ("dialout" in finding.remedy) is not readable
