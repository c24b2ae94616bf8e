"""The virtual sensor answers as the device does, sends what its configuration asks for, and plays scenes in time."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices.fake import Faults
from nodes.devices.ti import fake
from nodes.devices.ti.config import load_config
from nodes.devices.ti.fake import FakeRadar
from nodes.devices.ti.frames import TiDecoder, TiFrame
from nodes.devices.ti.scenes import Recording, Walk, load_mars
from nodes.devices.ti.virtual import Detections, Quirks, VirtualTi
from nodes.errors import RequestError

CFG = Path(__file__).resolve().parents[4] / "graphs" / "radar" / "iwr6843.cfg"
PATIENCE_S = 30.0
PROMPT = "\nmmwDemo:/>"


def detections(time_s: float = 0.0, points: int = 3) -> Detections:
    ones = np.ones(points, np.float32)
    return Detections(time_s, np.tile(np.array([[0.5, 2.0, -0.3]], np.float32), (points, 1)), ones, 12.0 * ones)


def configured(text: str | None = None) -> VirtualTi:
    sensor = VirtualTi()
    sensor.configure(CFG.read_text() if text is None else text)
    return sensor


def ask(sensor: VirtualTi, line: str) -> str:
    return sensor.answer(f"{line}\n".encode()).decode().replace("\r", "")


def test_answers() -> None:
    sensor = VirtualTi()
    assert ask(sensor, "") == f"\n{PROMPT}"
    assert ask(sensor, "% a remark") == f"% a remark\n{PROMPT}"
    assert ask(sensor, "sensorStop") == f"sensorStop\nIgnored: Sensor is already stopped\nDone\n{PROMPT}"
    assert "not recognized as a CLI command" in ask(sensor, "sensorStrat")
    assert "Error: Full configuration must be provided" in ask(sensor, "sensorStart")
    assert [sensor.started, sensor.starts] == [False, 0]
    assert ask(sensor, "profileCfg 0 60") == (
        f"profileCfg 0 60\nError: Invalid usage of the CLI command\nError -1\n{PROMPT}"
    )
    for line in load_config(CFG).lines:
        assert "Done\n" in ask(sensor, line), line
    assert (sensor.started, sensor.starts) == (True, 1)
    assert "Ignored: Sensor is already started\nDone" in ask(sensor, "sensorStart 0")
    assert ask(sensor, "sensorStop") == f"sensorStop\nDone\n{PROMPT}"
    assert ask(sensor, "sensorStart 0") == f"sensorStart 0\nDone\n{PROMPT}"
    assert sensor.starts == 2
    ask(sensor, "sensorStop")
    ask(sensor, "flushCfg")
    assert "Error" in ask(sensor, "sensorStart 0")


def test_power_goes_and_the_configuration_with_it() -> None:
    sensor = configured()
    assert sensor.starts == 1
    assert b"MMW Demo" in sensor.power_on()
    assert not sensor.started
    assert "Error" in ask(sensor, "sensorStart 0")


def test_quirks_of_the_command_line() -> None:
    sensor = VirtualTi(Quirks(mute=True))
    assert sensor.answer(b"sensorStop\n") == b""
    sensor = VirtualTi(Quirks(refuses={"adcCfg": "Error: ADC"}, unknown=frozenset(["lowPower"])))
    assert "Error: ADC\nError -1" in ask(sensor, "adcCfg 2 1")
    assert "not recognized" in ask(sensor, "lowPower 0 0")


@given(st.lists(st.binary(max_size=400), max_size=8))
def test_no_bytes_break_it(portions: list[bytes]) -> None:
    sensor = VirtualTi()
    for portion in portions:
        sensor.answer(portion)
    assert not sensor.started


def frame_of(sensor: VirtualTi, frame: Detections) -> TiFrame:
    decoder = TiDecoder()
    (found,) = decoder.feed(sensor.encode(7, frame, clock_s=1.5, processing_s=0.003, transmit_s=0.002))
    assert (decoder.counts.corrupt, found.doubtful) == (0, False)
    return found


def test_frames_are_what_the_configuration_asks_for() -> None:
    frame = frame_of(configured(), detections())
    assert (frame.number, frame.cpu_cycles) == (7, 300_000_000)
    assert np.allclose(frame.positions_m, [0.5, 2.0, -0.3])
    assert np.allclose(frame.snrs_db, 12.0)
    assert frame.statistics is not None
    assert (frame.statistics.processing_us, frame.statistics.transmit_us) == (3000, 2000)
    assert frame.range_profile is None
    text = CFG.read_text()
    assert np.isnan(
        frame_of(configured(text.replace("guiMonitor -1 1", "guiMonitor -1 2")), detections()).snrs_db
    ).all()
    none = frame_of(configured(text.replace("guiMonitor -1 1 0", "guiMonitor -1 0 1")), detections())
    assert len(none.positions_m) == 0
    assert none.range_profile is not None
    assert len(none.range_profile) == 128
    assert len(frame_of(configured(), detections(points=0)).positions_m) == 0


def test_period_and_chirps_follow_the_configuration() -> None:
    settings = configured().settings
    assert settings.period_s == pytest.approx(0.05)
    assert settings.active_s == pytest.approx(64 * 3 * 89.1e-6)


# ---- in real time


@contextmanager
def playing(radar: FakeRadar, **keys: object) -> Iterator[FakeRadar]:
    stop = threading.Event()
    thread = threading.Thread(target=radar.run, args=(stop.is_set,), kwargs=keys)
    thread.start()
    try:
        yield radar
    finally:
        stop.set()
        thread.join()
        radar.close()


def frames_from(radar: FakeRadar, count: int) -> list[tuple[float, TiFrame]]:
    """Frames and when each was complete."""
    descriptor = os.open(radar.data_port.name, os.O_RDWR | os.O_NOCTTY)
    decoder = TiDecoder()
    frames: list[tuple[float, TiFrame]] = []
    end_s = time.monotonic() + PATIENCE_S
    try:
        while len(frames) < count:
            assert time.monotonic() < end_s, len(frames)
            if select.select([descriptor], [], [], 0.5)[0]:
                frames += [(time.monotonic(), frame) for frame in decoder.feed(os.read(descriptor, 4096))]
    finally:
        os.close(descriptor)
    return frames


def recording(count: int, points: int = 3) -> Recording:
    return Recording([detections(k * 0.05, points) for k in range(count)], 0.05)


def test_frames_come_at_their_time_and_take_their_time_on_the_line() -> None:
    with playing(FakeRadar(recording(400, points=60), running=CFG.read_text())) as radar:
        frames = frames_from(radar, 20)
        assert radar.begun_s is not None
        first = frames[0][1]
        assert first.length == 1312  # Head, points, side info, statistics; a multiple of 32.
        line_s = first.length * 10 / 921_600
        chirps_s = 0.5 * radar.device.settings.active_s
        for at_s, frame in frames:
            assert at_s > radar.begun_s + (frame.number - 1) * 0.05 + chirps_s + line_s
    numbers = [frame.number for _, frame in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 20))


def test_nothing_is_sent_before_it_is_started_and_each_start_counts_from_one() -> None:
    with playing(FakeRadar(recording(400))) as radar:
        time_out_s = time.monotonic() + PATIENCE_S
        descriptor = os.open(radar.cli_port.name, os.O_RDWR | os.O_NOCTTY)
        try:
            os.write(descriptor, ("\n".join(load_config(CFG).lines) + "\n").encode())
            assert frames_from(radar, 3)[0][1].number == 1
            os.write(descriptor, b"sensorStop\nsensorStart 0\n")
            while radar.device.starts < 2:
                assert time.monotonic() < time_out_s
                select.select([], [], [], 0.01)
            numbers = [frame.number for _, frame in frames_from(radar, 8)]
        finally:
            os.close(descriptor)
    assert any(after < before for before, after in zip([99, *numbers], numbers, strict=False))


def test_a_line_that_is_too_slow_costs_frames_and_their_numbers() -> None:
    radar = FakeRadar(recording(60, points=64), running=CFG.read_text(), data_baud=115_200)
    with playing(radar, to_the_end=True):
        numbers = [frame.number for _, frame in frames_from(radar, 8)]
        assert radar.skipped > 0
    assert max(np.diff(numbers)) > 1


def test_faults_spoil_the_bytes() -> None:
    faults = Faults(lose=0.2, flip=0.2, noise=0.3, double=0.2)
    with playing(FakeRadar(recording(400), running=CFG.read_text(), faults=faults, seed=2)) as radar:
        frames = [frame for _, frame in frames_from(radar, 40)]
    steps = np.diff([frame.number for frame in frames])
    assert (steps == 0).any()
    assert (steps > 1).any()


def test_the_cable_is_pulled_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fake, "UNPLUGGED_S", 0.2)
    links = [tmp_path / "ti-cli", tmp_path / "ti-data"]
    radar = FakeRadar(recording(400), link=str(tmp_path / "ti"), faults=Faults(unplug_s=0.5))
    with playing(radar):
        for there in (False, True):
            end_s = time.monotonic() + PATIENCE_S
            while [link.is_symlink() for link in links] != [there, there]:
                assert time.monotonic() < end_s, there
                select.select([], [], [], 0.01)


def test_a_recording_ends() -> None:
    with FakeOnce(recording(5)) as radar:
        assert radar.sent == 5
        assert radar.ended


class FakeOnce:
    """A sensor that has played its scene to the end."""

    def __init__(self, scene: Recording) -> None:
        self.radar = FakeRadar(scene, running=CFG.read_text())

    def __enter__(self) -> FakeRadar:
        self.radar.run(lambda: False, to_the_end=True)
        return self.radar

    def __exit__(self, *_: object) -> None:
        self.radar.close()


# ---- scenes


def test_somebody_walks_and_goes_on_while_the_sensor_is_stopped() -> None:
    walk = Walk(seed=4)
    first = walk.frames(0.05)
    frames = [next(first) for _ in range(60)]
    assert [frame.time_s for frame in frames] == pytest.approx([k * 0.05 for k in range(60)])
    assert np.concatenate([frame.positions_m for frame in frames])[:, 1].mean() == pytest.approx(3.2, abs=1.0)
    again = walk.frames(0.1)
    after = [next(again) for _ in range(3)]
    assert [frame.time_s for frame in after] == pytest.approx([0.0, 0.1, 0.2])
    assert not np.array_equal(after[0].positions_m, frames[0].positions_m)


def mars_file(folder: Path) -> Path:
    """Two movements of four frames, the second with a gap of its counter."""
    points = np.arange(45, dtype=np.float32).reshape(9, 5)
    path = folder / "subject9.npz"
    np.savez(
        path,
        points=points,
        point_offset=np.array([0, 2, 3, 3, 5, 6, 7, 8, 9]),
        frame_index=np.array([10, 11, 12, 13, 3, 4, 7, 8], np.int32),
        movement=np.array([1, 1, 1, 1, 2, 2, 2, 2], np.uint8),
    )
    return path


def test_recorded_points_keep_the_gaps_of_their_counter(tmp_path: Path) -> None:
    scene = load_mars(mars_file(tmp_path))
    frames = list(scene.frames(0.1))
    assert [frame.time_s for frame in frames] == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.8, 0.9])
    assert [len(frame.positions_m) for frame in frames] == [2, 1, 0, 2, 1, 1, 1, 1]
    assert frames[1].positions_m[0] == pytest.approx([10, 11, 12])
    assert frames[1].radial_velocities_m_s[0] == 13
    assert frames[1].snrs_db[0] == pytest.approx(10 * np.log10(14))
    part = load_mars(mars_file(tmp_path), start_s=0.45, seconds=0.4)
    assert part.rows == (5, 6)
    assert [frame.time_s for frame in part.frames(0.1)] == pytest.approx([0.0, 0.3])
    assert part.seconds == pytest.approx(0.4)


def test_files_that_are_no_recordings(tmp_path: Path) -> None:
    path = mars_file(tmp_path)
    with pytest.raises(RequestError, match="nothing from 50 s on; it ends after 1 s"):
        load_mars(path, start_s=50.0)
    np.savez(tmp_path / "other.npz", points=np.zeros((1, 5)))
    with pytest.raises(RequestError, match="has no point_offset, frame_index, movement"):
        load_mars(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("text.npz", "absent.npz"):
        with pytest.raises(RequestError, match="cannot be read"):
            load_mars(tmp_path / name)


def test_real_recordings_are_played(data_pack: Path) -> None:
    scene = load_mars(data_pack / "mars" / "subject2.npz", start_s=20.0, seconds=10.0)
    assert 80 <= len(scene) <= 100
    points = np.concatenate([frame.positions_m for frame in scene.frames(0.1)])
    assert points[:, 1].mean() == pytest.approx(1.9, abs=0.4)
