"""The imu node with virtual sensors on real pseudo-terminals and sockets: found, merged, unplugged, taken back."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fusion.records import InertialSamples
from nodes import imu
from nodes.devices.fake import SITES, FakeBody, FakeParams, Faults
from nodes.devices.virtual import VirtualMti
from nodes.errors import RequestError
from nodes.graph.loader import parse_graph
from tests.nodes.lone import LoneContext, running

pytest.importorskip("serial", reason="pyserial is not installed (pip install 'kinefuse[serial]')")


class Context(LoneContext[InertialSamples]):
    """Of inertial sensors."""

    def __init__(self, *, time_mode: str = "live", profile: str | None = None) -> None:
        super().__init__("imus/samples", InertialSamples, time_mode=time_mode, profile=profile)

    def rows(self) -> int:
        return sum(len(record.times_ns) for record in self.records)


@contextmanager
def playing(**keys: Any) -> Iterator[FakeBody]:
    """Virtual sensors that play until the end of the block."""
    body = FakeBody(FakeParams(**keys))
    stop = threading.Event()
    thread = threading.Thread(target=body.run, args=(stop.is_set,))
    thread.start()
    try:
        yield body
    finally:
        stop.set()
        thread.join()
        body.close()


@contextmanager
def node(context: Context, **keys: Any) -> Iterator[Context]:
    """The node in a thread; ends with the block."""
    params = imu.Params.model_validate({"type": "imu", **keys})
    with running(imu.run, params, context):
        yield context


def ports(body: FakeBody) -> dict[str, Any]:
    return {
        port: placement if len(placement) > 1 else next(iter(placement.values())) for port, placement in body.outlets
    }


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def forces(context: Context) -> Any:
    return np.concatenate([record.specific_force_m_s2 for record in context.records])


@pytest.mark.parametrize(
    ("driver", "count", "keys"),
    [
        ("xsens-mti", 6, {"magnetometer": True}),
        ("xsens-mti", 3, {"mux": True}),
        ("witmotion", 2, {"magnetometer": True}),
        ("ximu3", 2, {"magnetometer": True}),
        ("ximu3", 3, {"mux": True, "ascii_text": True}),
    ],
)
def test_sensors_on_serial_ports_become_one_stream(driver: str, count: int, keys: dict[str, Any]) -> None:
    magnetometer = keys.get("magnetometer", False)
    with (
        playing(driver=driver, count=count, **keys) as body,
        node(Context(), driver=driver, port=ports(body), magnetometer=magnetometer) as context,
    ):
        context.wait_for(lambda: context.rows() > 60, "rows")
    first = context.records[0]
    assert first.sensors == SITES[:count]
    times = np.concatenate([record.times_ns for record in context.records])
    assert (np.diff(times) > 0).all()
    assert np.median(np.diff(times)) == pytest.approx(10_000_000, rel=0.02)
    assert all(record.measured_ns == record.times_ns[-1] <= record.received_ns for record in context.records)
    # The wearer stands at first: gravity and nothing else, whatever the vendor's units.
    standing = np.linalg.norm(forces(context), axis=2)
    assert np.nanmedian(standing, axis=0) == pytest.approx(np.full(count, 9.81), abs=0.4)
    assert np.nanmax(np.abs(np.concatenate([record.angular_rate_rad_s for record in context.records]))) < 20.0
    fields = np.concatenate([record.magnetic_field_ut for record in context.records])
    if magnetometer:
        assert np.nanmedian(np.linalg.norm(fields, axis=2)) == pytest.approx(np.hypot(20, 43), abs=2.0)
    else:
        assert np.isnan(fields).all()
    assert context.counters["corrupt"] == context.counters["silent"] == 0
    assert sum(name.startswith("clock_offset_ms/") for name in context.counters) == count


def test_seventeen_trackers_of_mvn_over_udp() -> None:
    number = free_port()
    with (
        node(Context(), driver="xsens-mvn", udp_port=number) as context,
        playing(driver="xsens-mvn", count=17, rate_hz=60.0, udp=("127.0.0.1", number)),
    ):
        context.wait_for(lambda: context.rows() > 60, "rows")
    assert set(context.records[0].sensors) == set(SITES)
    have = ~np.isnan(forces(context)[:, :, 0])
    assert have[5:].all()
    assert context.counters["clock_offset_ms/udp:" + str(number)] > 0


def test_several_x_imu3_send_to_one_udp_port() -> None:
    number = free_port()
    with playing(driver="ximu3", count=2, udp=("127.0.0.1", number)) as body:
        placement = {name: segment for _, pairs in body.outlets for name, segment in pairs.items()}
        with node(Context(), driver="ximu3", udp_port=number, placement=placement) as context:
            context.wait_for(lambda: context.rows() > 30, "rows")
    assert not np.isnan(forces(context)[10:]).any()


def test_an_unplugged_sensor_is_named_and_taken_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    link = str(tmp_path / "imu")
    with (
        playing(driver="xsens-mti", count=2, link=link) as body,
        node(Context(), driver="xsens-mti", port=ports(body)) as context,
    ):
        context.wait_for(lambda: context.rows() > 30, "rows")
        body.unplug(0)
        context.wait_for(lambda: "silent/pelvis" in context.counters, "silence in health")
        before = context.rows()
        context.wait_for(lambda: context.rows() > before + 30, "rows of the other")
        alone = context.records[-1]
        assert np.isnan(alone.specific_force_m_s2[:, 0]).all()
        assert not np.isnan(alone.specific_force_m_s2[:, 1]).any()
        body.plug(0)
        context.wait_for(lambda: not np.isnan(context.records[-1].specific_force_m_s2[:, 0]).any(), "its samples")
        context.wait_for(lambda: context.counters.get("silent") == 0, "no silence")
    assert "silent/pelvis" not in context.counters
    assert context.counters["ports_lost"] == 1
    assert context.counters["lost"] > 0
    times = np.concatenate([record.times_ns for record in context.records])
    assert (np.diff(times) > 0).all()
    for said in (
        "imu-0: gone",
        "Plug it in again",
        "pelvis: nothing heard",
        "imu-0: is there again",
        "pelvis: heard again",
    ):
        assert said in caplog.text


def test_losses_damage_and_repeats_are_counted() -> None:
    faults = Faults(lose=0.05, flip=0.05, double=0.05, noise=0.05)
    with (
        playing(driver="xsens-mti", count=2, faults=faults) as body,
        node(Context(), driver="xsens-mti", port=ports(body)) as context,
    ):
        wanted = ("lost", "corrupt", "doubled", "skipped_bytes", "missing")
        context.wait_for(lambda: all(context.counters.get(name, 0) > 0 for name in wanted), "all counts")
        context.wait_for(lambda: context.rows() > 60, "rows")
    assert np.isfinite(forces(context)).mean() > 0.7


def test_the_wrong_driver_is_told_which_is_right(caplog: pytest.LogCaptureFixture) -> None:
    with (
        playing(driver="witmotion") as body,
        node(Context(), driver="xsens-mti", port=body.outlets[0][0], placement=["pelvis"]) as context,
    ):
        context.wait_for(lambda: "Set driver: witmotion" in caplog.text, "the cure")
        context.wait_for(lambda: context.counters.get("silent/pelvis", 0) > 0, "silence in health")
    assert context.records == []


def test_a_sensor_that_sleeps_is_told_and_configure_wakes_it(caplog: pytest.LogCaptureFixture) -> None:
    with playing(driver="xsens-mti", measuring=False) as body:
        where = {"driver": "xsens-mti", "port": body.outlets[0][0], "placement": ["pelvis"]}
        with node(Context(), **where) as context:
            context.wait_for(lambda: "set configure: true" in caplog.text, "the cure")
        assert context.records == []
        with node(Context(), **where, configure=True) as context:
            context.wait_for(lambda: context.rows() > 10, "rows")
        assert isinstance(body.device, VirtualMti)
        assert body.device.measuring
        assert body.device.outputs


def test_a_port_that_is_not_there_yet_is_awaited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    link = str(tmp_path / "imu")
    with node(Context(), driver="xsens-mti", port=f"{link}-0", placement={"0": "head"}) as context:
        context.wait_for(lambda: "there is no such port now" in caplog.text, "the cure")
        with playing(driver="xsens-mti", link=link):
            context.wait_for(lambda: context.rows() > 10, "rows")
    assert "is there now" in caplog.text


def test_a_segment_that_the_profile_does_not_know_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    profile = str(Path(__file__).resolve().parents[2] / "graphs" / "demo.toml")
    where = {"driver": "xsens-mti", "port": str(tmp_path / "none")}
    with node(Context(profile=profile), **where, placement=["t8"]) as context:
        context.wait_for(context.is_ready.is_set, "a start")
    assert "does not say how the sensor of t8 sits" in caplog.text
    caplog.clear()
    with node(Context(profile=profile), **where, placement=["pelvis"]) as context:
        context.wait_for(context.is_ready.is_set, "a start")
    assert "does not say" not in caplog.text


def test_a_sensor_that_nobody_placed_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with playing(driver="xsens-mti", count=3, mux=True) as body:
        port = body.outlets[0][0]
        with node(Context(), driver="xsens-mti", port=port, placement={"1": "pelvis", "9": "head"}) as context:
            context.wait_for(lambda: context.rows() > 10 and "nothing from sensor 9" in caplog.text, "both")
    assert context.counters["unplaced"] > 0
    assert "sensor '2' is not in the placement" in caplog.text


def test_a_second_sender_is_not_mixed_in() -> None:
    number = free_port()
    with (
        node(Context(), driver="xsens-mvn", udp_port=number, placement=["pelvis"]) as context,
        playing(driver="xsens-mvn", rate_hz=60.0, udp=("127.0.0.1", number)),
        playing(driver="xsens-mvn", rate_hz=60.0, udp=("127.0.0.1", number), seed=5),
    ):
        context.wait_for(lambda: context.counters.get("foreign", 0) > 10 and context.rows() > 10, "foreign datagrams")
    assert context.counters["doubled"] == 0


def test_a_udp_port_that_is_taken_ends_nothing_but_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        number = int(holder.getsockname()[1])
        with node(Context(), driver="xsens-mvn", udp_port=number) as context:
            context.wait_for(lambda: "choose another udp_port" in caplog.text, "the cure")


def test_what_cannot_pass_by_itself_is_a_wrong_request() -> None:
    params = imu.Params(type="imu", driver="xsens-mvn", host="203.0.113.7")
    with pytest.raises(RequestError, match="Set host to an address of this machine"):
        imu.run(params, Context())
    with pytest.raises(RequestError, match=r"session\.time: live"):
        imu.run(params, Context(time_mode="data"))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"driver": "xsens"}, "xsens-mti"),
        ({"driver": "xsens-mti"}, "port is missing"),
        ({"driver": "xsens-mti", "port": "/dev/a"}, "placement is missing"),
        ({"driver": "xsens-mti", "port": "/dev/a", "placement": {"0": "pelvsi"}}, "did you mean 'pelvis'"),
        ({"driver": "xsens-mti", "port": ["/dev/a", "/dev/a"], "placement": ["pelvis", "head"]}, "named twice"),
        ({"driver": "xsens-mti", "port": ["/dev/a", "/dev/b"], "placement": ["pelvis"]}, "for each of 0, 1"),
        ({"driver": "xsens-mti", "port": ["/dev/a", "/dev/b"], "placement": ["pelvis", "pelvis"]}, "two sensors"),
        ({"driver": "xsens-mti", "port": {"/dev/a": "pelvis"}, "placement": ["pelvis"]}, "keep one of them"),
        ({"driver": "xsens-mti", "port": "/dev/a", "placement": ["pelvis", "head"]}, "2 segments for one port"),
        ({"driver": "xsens-mti", "port": "/dev/a", "udp_port": 9, "placement": ["pelvis"]}, "on a serial port"),
        ({"driver": "xsens-mvn", "port": "/dev/a"}, "leave port out"),
        ({"driver": "ximu3", "udp_port": 8000}, "by its address"),
        ({"driver": "ximu3", "port": "/dev/a", "placement": ["pelvis"], "configure": True}, "not for 'ximu3'"),
        ({"driver": "witmotion", "port": "/dev/a", "placement": ["pelvis"], "configure": True}, "needs 33000 bit/s"),
        (
            {"driver": "witmotion", "port": "/dev/a", "placement": ["pelvis"], "configure": True, "rate_hz": 60},
            "a WitMotion sensor has",
        ),
    ],
)
def test_wrong_keys(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        imu.Params.model_validate({"type": "imu", **keys})


def test_wirings() -> None:
    def wired(**keys: Any) -> tuple[tuple[str, str | None, str], ...]:
        return imu.Params.model_validate({"type": "imu", "driver": "xsens-mti", **keys}).wiring()

    assert wired(port="/dev/a", placement={"0": "head"}) == (("/dev/a", None, "head"),)
    assert wired(port="/dev/a", placement={"2": "head"}) == (("/dev/a", "2", "head"),)
    assert wired(port=["/dev/a", "/dev/b"], placement={"1": "head", "0": "pelvis"}) == (
        ("/dev/a", None, "pelvis"),
        ("/dev/b", None, "head"),
    )
    assert wired(port={"/dev/a": "head", "/dev/b": {"1": "pelvis", "2": "t8"}}) == (
        ("/dev/a", None, "head"),
        ("/dev/b", "1", "pelvis"),
        ("/dev/b", "2", "t8"),
    )
    assert len(imu.Params(type="imu", driver="xsens-mvn").wiring()) == 17


def test_numbers_may_be_keys_of_a_placement_in_a_graph_file(tmp_path: Path) -> None:
    text = b"nodes:\n  imus: {type: imu, driver: xsens-mti, port: /dev/ttyUSB0, placement: {0: pelvis}}\n"
    loaded = parse_graph(text, tmp_path / "graph.yaml")
    params = loaded.graph.nodes["imus"]
    assert isinstance(params, imu.Params)
    assert params.placement == {"0": "pelvis"}
    assert "imus/samples" in loaded.topics
