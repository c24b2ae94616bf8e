"""Conversations with virtual devices."""

from __future__ import annotations

import pytest

from nodes.devices import witmotion, xsens_mti
from nodes.devices.setup import ANSWER_NS, MOST_TRIES, MtiSetup, Setup, WitMotionSetup, make_setup
from nodes.devices.virtual import VirtualMti, VirtualWitMotion
from nodes.devices.ximu3 import Ximu3Decoder
from nodes.devices.xsens_mti import MtiDecoder


def talk(setup: Setup, device: VirtualMti | VirtualWitMotion, decoder: MtiDecoder, *, lose: int = 0) -> int:
    """Let both talk in steps of 10 ms, the first commands lost; returns how many were sent."""
    sent = 0
    for step in range(1000):
        words = setup.step(step * 10_000_000)
        if words:
            sent += 1
            if sent > lose:
                decoder.feed(device.answer(words))
        if setup.done or setup.failed:
            break
    return sent


@pytest.mark.parametrize("measuring", [False, True])
@pytest.mark.parametrize("lose", [0, 2])
def test_an_mti_is_set_up_and_measures(measuring: bool, lose: int) -> None:
    device, decoder = VirtualMti(measuring=measuring), MtiDecoder()
    setup = MtiSetup(decoder, 100, magnetometer=True)
    assert talk(setup, device, decoder, lose=lose) == 3 + lose
    assert (setup.done, setup.failed, device.measuring) == (True, "", True)
    assert device.outputs == bytes.fromhex("1020ffff1060ffff402000648020 0064c0200064".replace(" ", ""))


def test_an_mti_that_does_not_answer_is_given_up() -> None:
    setup = MtiSetup(MtiDecoder(), 100, magnetometer=False)
    assert talk(setup, VirtualMti(), MtiDecoder()) == MOST_TRIES
    assert "no acknowledgement of command 30h" in setup.failed
    assert not setup.done


def test_an_error_of_the_device_is_told() -> None:
    decoder = MtiDecoder()
    setup = MtiSetup(decoder, 100, magnetometer=False)
    assert setup.step(0) == xsens_mti.message(xsens_mti.GO_TO_CONFIG)
    decoder.feed(xsens_mti.message(xsens_mti.ERROR, b"\x04"))
    assert setup.step(1) == b""
    assert "refused command 30h with error 4" in setup.failed
    assert setup.step(ANSWER_NS * 2) == b""


def test_a_witmotion_sensor_is_unlocked_set_and_saved() -> None:
    device = VirtualWitMotion()
    setup = make_setup("witmotion", witmotion.WitMotionDecoder(), 100, magnetometer=True)
    assert isinstance(setup, WitMotionSetup)
    assert talk(setup, device, MtiDecoder()) == 4
    assert setup.done
    assert (device.rate_code, device.content) == (0x09, 0x17)


def test_who_cannot_be_set_up() -> None:
    assert make_setup("ximu3", Ximu3Decoder(), 100, magnetometer=False) is None
