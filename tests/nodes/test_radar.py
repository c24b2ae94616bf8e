"""The radar node with a virtual sensor on two real pseudo-terminals: set up, silent, unplugged, taken back."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fusion.records import RadarPoints
from nodes import radar
from nodes.devices.fake import Faults
from nodes.devices.ti import control, system
from nodes.devices.ti.fake import FakeRadar
from nodes.devices.ti.scenes import Recording, load_mars
from nodes.devices.ti.virtual import Detections, Quirks
from nodes.errors import RequestError
from nodes.graph.loader import GraphError, load_graph, parse_graph
from tests.nodes.lone import LoneContext, running

pytest.importorskip("serial", reason="pyserial is not installed (pip install 'kinefuse[serial]')")

REPOSITORY = Path(__file__).resolve().parents[2]
CFG = REPOSITORY / "graphs" / "radar" / "iwr6843.cfg"
PERIOD_S = 0.05


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge sooner than for people."""
    monkeypatch.setattr(system, "WINDOW_NS", 1_500_000_000)
    monkeypatch.setattr(control, "RETRY_FIRST_S", 0.3)


class Context(LoneContext[RadarPoints]):
    """Of a radar."""

    def __init__(self, *, time_mode: str = "live", profile: str | None = None) -> None:
        super().__init__("radar/points", RadarPoints, time_mode=time_mode, profile=profile)


def scene(frames: int = 4000, points: int = 20, period_s: float = PERIOD_S) -> Recording:
    """Frame k has its number in the first point's place."""
    chance = np.random.default_rng(1)
    rows = []
    for k in range(frames):
        positions = chance.uniform(0.5, 3.0, (points, 3)).astype(np.float32)
        positions[0, 0] = k * 0.01
        speeds = chance.normal(0.0, 1.0, points).astype(np.float32)
        rows.append(Detections(k * period_s, positions, speeds, np.full(points, 17.3, np.float32)))
    return Recording(rows, period_s)


@contextmanager
def playing(**keys: Any) -> Iterator[FakeRadar]:
    """A virtual sensor that plays until the end of the block."""
    sensor = FakeRadar(keys.pop("scene", None) or scene(), **keys)
    stop = threading.Event()
    thread = threading.Thread(target=sensor.run, args=(stop.is_set,))
    thread.start()
    try:
        yield sensor
    finally:
        stop.set()
        thread.join()
        sensor.close()


@contextmanager
def node(context: Context, sensor: FakeRadar, **keys: Any) -> Iterator[Context]:
    """The node in a thread; ends with the block."""
    where = {"cli_port": sensor.cli_port.shown, "data_port": sensor.data_port.shown, "cfg": str(CFG)}
    params = radar.Params.model_validate({"type": "radar", **where, **keys})
    with running(radar.run, params, context):
        yield context


def test_a_sensor_is_set_up_heard_and_stopped(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with playing() as sensor:
        with node(Context(), sensor) as context:
            context.wait_for(lambda: len(context.records) > 40, "frames")
            assert sensor.begun_s is not None
            begun_ns = context.clock.now_ns() - round((time.monotonic() - sensor.begun_s) * 1e9)
            context.wait_for(lambda: context.counters.get("rate_hz", 0.0) > 0.0, "a rate in health")
        assert not sensor.device.started  # It was stopped at the end.
    assert [record.frame for record in context.records[:40]] == list(range(1, 41))
    assert all(record.radar == "radar" for record in context.records)
    first = context.records[0]
    assert first.positions_m.shape == (20, 3)
    assert context.records[30].positions_m[0, 0] == pytest.approx(0.30)
    assert np.allclose(first.snrs_db, 17.3, atol=0.06)
    errors_ms = [(record.measured_ns - begun_ns) * 1e-6 - (record.frame - 1) * 50.0 for record in context.records]
    assert np.median(np.abs(errors_ms)) < 50.0  # Less than a frame; how well is for the benchmark on a quiet machine.
    assert all(record.measured_ns < record.received_ns for record in context.records)
    assert context.counters["rate_hz"] == pytest.approx(20.0, abs=10.0)
    assert context.counters["points_per_frame"] == 20.0
    wrong = ("silent", "refused", "lost", "corrupt", "restarts", "doubled", "skipped_bytes")
    assert {name: context.counters[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert "resolution 8.42 cm" in caplog.text


def test_recorded_points_come_out_of_the_node_as_they_were(data_pack: Path) -> None:
    played = load_mars(data_pack / "mars" / "subject2.npz", start_s=30.0, seconds=4.0)
    truth = {1 + round(frame.time_s / 0.1): frame for frame in played.frames(0.1)}
    cfg = str(CFG.with_name("xwr1843_mars.cfg"))
    with playing(scene=played) as sensor, node(Context(), sensor, cfg=cfg) as context:
        context.wait_for(lambda: len(context.records) >= 15, "frames")
    for record in context.records:
        frame = truth[record.frame]
        assert np.array_equal(record.positions_m, frame.positions_m)
        assert np.array_equal(record.radial_velocities_m_s, frame.radial_velocities_m_s)
        assert np.allclose(record.snrs_db, frame.snrs_db, atol=0.051)


def test_lines_go_to_the_sensor_as_they_stand_in_the_file() -> None:
    with playing() as sensor, node(Context(), sensor) as context:
        context.wait_for(lambda: bool(context.records), "frames")
        heard = list(sensor.device.heard)
    lines = [line for line in CFG.read_text().splitlines() if line and not line.startswith("%")]
    assert heard == [line for line in lines if line.split()[0] not in ("sensorStop", "flushCfg", "sensorStart")]


def test_a_sensor_that_runs_already_is_only_listened_to() -> None:
    with playing(running=CFG.read_text()) as sensor:
        with node(Context(), sensor, configure=False, cli_port=None, cfg=None) as context:
            context.wait_for(lambda: len(context.records) > 30, "frames")
            context.wait_for(lambda: context.counters.get("frames", 0) > 30, "health")
        assert sensor.device.started
        assert sensor.device.starts == 1


def test_a_line_that_the_sensor_refuses_is_named(caplog: pytest.LogCaptureFixture) -> None:
    quirks = Quirks(refuses={"cfarCfg": "Error: Invalid usage of the CLI command"})
    with playing(quirks=quirks) as sensor, node(Context(), sensor) as context:
        context.wait_for(lambda: context.counters.get("refused") == 1, "refusal in health")
    number = next(k for k, line in enumerate(CFG.read_text().splitlines(), 1) if line.startswith("cfarCfg"))
    assert (
        f"iwr6843.cfg:{number}: the sensor refuses 'cfarCfg -1 0 2 8 4 3 0 12 1': Error: Invalid usage" in caplog.text
    )
    assert context.records == []


def test_a_sensor_that_does_not_answer_is_told_once_and_taken_when_it_does(caplog: pytest.LogCaptureFixture) -> None:
    with playing(quirks=Quirks(mute=True)) as sensor, node(Context(), sensor) as context:
        context.wait_for(lambda: "does not answer at 115200 baud" in caplog.text, "the cause")
        sensor.device.quirks = Quirks()
        context.wait_for(lambda: len(context.records) > 5, "frames")
    assert caplog.text.count("does not answer") == 1
    assert "takes its configuration now" in caplog.text
    assert context.counters["configured"] == 1


def test_a_silent_sensor_is_named_with_cause_and_cure(caplog: pytest.LogCaptureFixture) -> None:
    with playing(quirks=Quirks(sends="nothing")) as sensor, node(Context(), sensor) as context:
        context.wait_for(lambda: context.counters.get("silent/radar", 0) > 0, "silence in health")
        context.wait_for(lambda: "though the sensor says that it is started" in caplog.text, "the cause")
        sensor.device.quirks = Quirks()
        context.wait_for(lambda: len(context.records) > 5 and "radar: heard again" in caplog.text, "frames")
        context.wait_for(lambda: context.counters.get("silent") == 0, "no silence in health")
    assert caplog.text.count("no frame for") == 1
    assert "Auxiliary Data Port" in caplog.text


@pytest.mark.parametrize(("sends", "said"), [("noise", "no magic word"), ("text", "exchange cli_port and data_port")])
def test_bytes_that_are_no_frames_are_told(sends: str, said: str, caplog: pytest.LogCaptureFixture) -> None:
    with playing(quirks=Quirks(sends=sends)) as sensor, node(Context(), sensor) as context:
        context.wait_for(lambda: said in caplog.text, "the cause")
    assert context.records == []


def test_a_sensor_that_was_stopped_is_started_again() -> None:
    with playing() as sensor, node(Context(), sensor) as context:
        context.wait_for(lambda: len(context.records) > 5, "frames")
        sensor.device.answer(b"sensorStop\n")
        context.wait_for(lambda: sensor.device.starts == 2, "another start")
        before = len(context.records)
        context.wait_for(lambda: len(context.records) > before + 5, "frames")
        context.wait_for(lambda: context.counters.get("restarts") == 1, "health")
    assert context.counters["configured"] == 1
    assert context.counters["lost"] == 0


def test_a_sensor_that_was_reset_is_set_up_again(caplog: pytest.LogCaptureFixture) -> None:
    with playing() as sensor, node(Context(), sensor) as context:
        context.wait_for(lambda: len(context.records) > 5, "frames")
        sensor.reset()
        context.wait_for(lambda: context.counters.get("configured") == 2, "another configuration")
        before = len(context.records)
        context.wait_for(lambda: len(context.records) > before + 5, "frames")
    assert "the sensor has begun anew" in caplog.text
    times = [record.measured_ns for record in context.records]
    assert times == sorted(times)


def test_an_unplugged_sensor_is_told_and_set_up_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with playing(link=str(tmp_path / "ti")) as sensor, node(Context(), sensor) as context:
        context.wait_for(lambda: len(context.records) > 5, "frames")
        sensor.unplug()
        context.wait_for(lambda: context.counters.get("ports_open") == 0, "the loss in health")
        context.wait_for(lambda: context.counters.get("silent/radar", 0) > 0, "silence in health")
        sensor.plug()
        before = len(context.records)
        context.wait_for(lambda: len(context.records) > before + 5, "frames")
        context.wait_for(lambda: context.counters.get("silent") == 0, "health")
    assert context.counters["ports_lost"] == 2
    assert context.counters["configured"] == 2
    for said in ("ti-cli: gone", "ti-data: gone", "ti-cli: is there again", "ti-data: is there again"):
        assert said in caplog.text


def test_ports_that_are_not_there_yet_are_awaited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    link = str(tmp_path / "ti")
    context = Context()

    class Nowhere:
        class cli_port:
            shown = f"{link}-cli"

        class data_port:
            shown = f"{link}-data"

    with node(context, Nowhere()):  # type: ignore[arg-type]
        context.wait_for(lambda: caplog.text.count("there is no such port now") == 2, "the causes")
        assert "'Auxiliary Data Port' or 'Standard'" in caplog.text
        with playing(link=link):
            context.wait_for(lambda: len(context.records) > 5, "frames")
    assert "ti-data: is there now" in caplog.text


def test_losses_and_damage_are_counted_and_said(caplog: pytest.LogCaptureFixture) -> None:
    faults = Faults(lose=0.1, flip=0.05, noise=0.1, double=0.05)
    with playing(faults=faults) as sensor, node(Context(), sensor) as context:
        wanted = ("lost", "skipped_bytes", "doubled")
        context.wait_for(lambda: all(context.counters.get(name, 0) > 0 for name in wanted), "all counts")
        context.wait_for(lambda: "frames are missing" in caplog.text, "the cause")
    assert context.counters["frames"] > 10


def test_another_pace_than_the_configuration_says_is_told(caplog: pytest.LogCaptureFixture) -> None:
    slow = CFG.read_text().replace("frameCfg 0 2 64 0 50 1 0", "frameCfg 0 2 64 0 100 1 0")
    with (
        playing(running=slow, scene=scene(frames=500, period_s=0.1)) as sensor,
        node(Context(), sensor, configure=False) as context,
    ):
        context.wait_for(lambda: "frames come every 100 ms, frameCfg says 50 ms" in caplog.text, "the cause")


def test_an_empty_room_is_no_fault(caplog: pytest.LogCaptureFixture) -> None:
    with playing(quirks=Quirks(empty=True)) as sensor, node(Context(), sensor) as context:
        context.wait_for(lambda: len(context.records) > 60, "frames")
    assert all(len(record.positions_m) == 0 for record in context.records)
    assert "without a single point" not in caplog.text


def test_a_radar_that_the_profile_does_not_know_is_told(caplog: pytest.LogCaptureFixture) -> None:
    profile = str(REPOSITORY / "graphs" / "demo.toml")
    with playing() as sensor, node(Context(profile=profile), sensor) as context:
        context.wait_for(lambda: bool(context.records), "frames")
    assert "does not say where radar radar is (it has: radar1)" in caplog.text


def test_a_sensor_in_data_time_is_a_wrong_request() -> None:
    params = radar.Params(type="radar", cli_port="/dev/a", data_port="/dev/b", cfg=str(CFG))
    with pytest.raises(RequestError, match=r"session\.time: live"):
        radar.run(params, Context(time_mode="data"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"data_port": "/dev/b", "cli_port": "/dev/a"}, "cfg is missing"),
        ({"data_port": "/dev/b", "cfg": str(CFG)}, "cli_port is missing"),
        ({"data_port": "/dev/b", "cli_port": "/dev/b", "cfg": str(CFG)}, "is the cli_port, too"),
        ({"cli_port": "/dev/a", "cfg": str(CFG)}, "data_port"),
        ({"data_port": "/dev/b", "configure": False, "device": "IWR1234"}, "IWR6843AOP"),
        ({"data_port": "/dev/b", "configure": False, "driver": "ti"}, "ti-sdk3"),
    ],
)
def test_wrong_keys(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        radar.Params.model_validate({"type": "radar", **keys})


def test_a_fault_in_the_cfg_is_told_with_file_and_line_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "wrong.cfg").write_text(CFG.read_text().replace("channelCfg 15 7 0", "channelCfg 15 seven 0"))
    text = b"nodes:\n  r: {type: radar, cli_port: /dev/a, data_port: /dev/b, cfg: wrong.cfg}\n"
    with pytest.raises(GraphError, match=r"wrong\.cfg, line \d+: channelCfg mask of transmitters"):
        parse_graph(text, tmp_path / "graph.yaml")
    with pytest.raises(GraphError, match="there is no file"):
        parse_graph(text.replace(b"wrong", b"none"), tmp_path / "graph.yaml")


def test_the_cfg_is_judged_by_the_device_that_is_to_run_it() -> None:
    keys = {"type": "radar", "cli_port": "/dev/a", "data_port": "/dev/b", "cfg": str(CFG)}
    assert radar.Params.model_validate({**keys, "device": "iwr6843aop"}).device == "IWR6843AOP"
    with pytest.raises(ValidationError, match="allowed 76 to 81 on xWR1843"):
        radar.Params.model_validate({**keys, "device": "xWR1843"})


def test_a_cfg_that_runs_already_need_only_tell_period_and_chirps(tmp_path: Path) -> None:
    cfg = tmp_path / "running.cfg"
    cfg.write_text(CFG.read_text().replace("sensorStart\n", ""))
    keys = {"type": "radar", "cli_port": "/dev/a", "data_port": "/dev/b", "cfg": str(cfg)}
    with pytest.raises(ValidationError, match="no sensorStart"):
        radar.Params.model_validate(keys)
    assert not radar.Params.model_validate({**keys, "configure": False}).configure
    cfg.write_text(CFG.read_text().replace("frameCfg 0", "% frameCfg 0"))
    with pytest.raises(ValidationError, match="no frameCfg"):
        radar.Params.model_validate({**keys, "configure": False})


def test_the_shipped_graph_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KINEFUSE_RADAR", raising=False)
    loaded = load_graph(REPOSITORY / "graphs" / "radar.yaml")
    params = loaded.graph.nodes["radar"]
    assert isinstance(params, radar.Params)
    assert (params.cli_port, params.data_port) == ("/tmp/kinefuse-radar-cli", "/tmp/kinefuse-radar-data")
    assert "radar/points" in loaded.inputs["fusion"]
