"""Every cause comes with its cure."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nodes.devices import trial, xsens_mti, xsens_mvn
from nodes.devices.diagnosis import Diagnosis, Evidence, diagnose, recognise
from nodes.devices.drivers import DRIVERS
from nodes.devices.sample import DecoderCounts


def seen(driver: str = "xsens-mti", captured: bytes = b"", **keys: Any) -> Diagnosis | None:
    """What is said of bytes that came to a driver."""
    decoder = DRIVERS[driver].decoder()
    samples = decoder.feed(captured)
    known: dict[str, Any] = {
        "driver": DRIVERS[driver],
        "port": "/dev/ttyUSB0",
        "baud": DRIVERS[driver].baud,
        "seconds": 2.0,
        "received_bytes": len(captured),
        "captured": captured,
        "counts": decoder.counts,
        "heard": tuple({sample.sensor for sample in samples}),
    }
    return diagnose(Evidence(**{**known, **keys}))


def stream(kind: str, count: int = 30) -> bytes:
    return b"".join(trial.ENCODERS[kind][1](k) for k in range(count))


@pytest.mark.parametrize("kind", trial.ENCODERS)
def test_a_good_stream_is_well(kind: str) -> None:
    assert seen(trial.ENCODERS[kind][0], stream(kind)) is None


@pytest.mark.parametrize("kind", trial.ENCODERS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_another_device_is_recognised_and_its_driver_named(driver: str, kind: str) -> None:
    owner = trial.ENCODERS[kind][0]
    if owner == driver:
        return
    found = seen(driver, stream(kind))
    assert found is not None
    assert found.cause == "other device"
    assert f"Set driver: {owner}" in found.message


@pytest.mark.parametrize("driver", ["xsens-mti", "witmotion", "ximu3"])
def test_noise_means_a_wrong_baud_rate_and_others_are_listed(driver: str) -> None:
    found = seen(driver, random.Random(1).randbytes(4000))
    assert found is not None
    assert found.cause == "baud"
    assert "Set baud: to one of" in found.message
    assert all(str(baud) in found.message for baud in DRIVERS[driver].bauds)
    assert recognise(random.Random(2).randbytes(4000)) is None


def test_something_else_on_a_udp_port() -> None:
    found = seen("xsens-mvn", random.Random(1).randbytes(4000), port="udp:9763", baud=None)
    assert found is not None
    assert (found.cause, "another one" in found.message) == ("noise", True)


@pytest.mark.parametrize(
    ("driver", "port", "said"),
    [
        ("xsens-mti", "/dev/ttyUSB0", "configure: true"),
        ("witmotion", "/dev/ttyUSB0", "Modbus"),
        ("ximu3", "/dev/ttyACM0", "asleep"),
        ("xsens-mvn", "udp:9763", "Network Streamer"),
    ],
)
def test_silence(driver: str, port: str, said: str) -> None:
    found = seen(driver, port=port)
    assert found is not None
    assert found.cause == "silent"
    assert "no byte in 2 s" in found.message
    assert said in found.message


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ("denied", "dialout"),
        ("busy", "another program"),
        ("absent", "Ports here: /dev/ttyACM0"),
        ("package", "pip install 'kinefuse[serial]'"),
        ("address", "host"),
        ("other", "plug it in again"),
    ],
)
def test_ports_that_cannot_be_opened(trouble: Any, said: str) -> None:
    found = seen(trouble=trouble, error="why", present=("/dev/ttyACM0",))
    assert found is not None
    assert found.cause == "port"
    assert said in found.message
    assert "/dev/ttyUSB0" in found.message


def test_a_missing_output_is_named_with_how_to_switch_it_on() -> None:
    only = xsens_mti.message(xsens_mti.MTDATA2, xsens_mti.item(xsens_mti.ACCELERATION, (0, 0, 9.8)))
    found = seen(captured=only * 10)
    assert found is not None
    assert found.cause == "output"
    assert "802" in found.message
    assert "configure: true" in found.message
    pose = xsens_mvn.header(2, 5, 0, 1, 32) + bytes(32)
    found = seen("xsens-mvn", pose * 10, port="udp:9763")
    assert found is not None
    assert "Motion Tracker Kinematics" in found.message


def test_every_lack_has_a_remedy() -> None:
    for name, driver in DRIVERS.items():
        for lacking in driver.outputs:
            counts = DecoderCounts(packets=10, lacking={lacking: 10})
            found = seen(name, counts=counts, received_bytes=1000)
            assert found is not None
            assert driver.outputs[lacking] in found.message


def test_sensors_that_are_not_where_the_placement_says() -> None:
    found = seen(captured=stream("xsens-mti"), wanted=("1", "0"))
    assert found is not None
    assert found.cause == "placement"
    assert "sensor 1" in found.message


@pytest.mark.parametrize(
    ("force", "said"),
    [(1.0, "in g"), (96.0, "twice"), (0.02, "free"), (4.9, "range"), (19.6, "range"), (7.5, "calibrate")],
)
def test_gravity_that_is_not_g_at_rest(force: float, said: str) -> None:
    found = seen(captured=stream("xsens-mti"), forces_m_s2=(force, force + 0.01, force))
    assert found is not None
    assert found.cause == "scale"
    assert said in found.message


@pytest.mark.parametrize("forces", [(9.6, 9.9, 9.8), (5.0, 20.0, 1.0), (1.0,)])
def test_gravity_that_is_g_and_movement_say_nothing(forces: tuple[float, ...]) -> None:
    assert seen(captured=stream("xsens-mti"), forces_m_s2=forces) is None


def test_a_bad_line() -> None:
    torn = trial.damaged(stream("xsens-mti", 60), random.Random(1), trial.Damage(flips=30.0, losses=10.0))
    found = seen(captured=torn)
    assert found is not None
    assert (found.cause, "cable" in found.message) == ("noise", True)
