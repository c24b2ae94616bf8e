"""The conversation with a sensor's command line, on a clock of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.devices.ti import console
from nodes.devices.ti.commands import Command
from nodes.devices.ti.console import Console

MS = 1_000_000
LINES = (Command(3, "sensorStop", ()), Command(4, "flushCfg", ()), Command(5, "dfeDataOutputMode", ("1",)))


def talk(
    conversation: Console, device: Callable[[str], str], *, cut: int = 10_000, until_ms: int = 20_000, echo: bool = True
) -> list[str]:
    """Let them talk, a millisecond a step, in portions of at most ``cut`` bytes; returns the lines sent."""
    sent: list[str] = []
    waiting = b""
    for now_ms in range(until_ms):
        heard, waiting = waiting[:cut], waiting[cut:]
        said = conversation.step(now_ms * MS, heard).decode()
        if said:
            sent.append(said)
            waiting += ((said if echo else "") + device(said.strip())).encode()
        if conversation.ended:
            return sent
    raise AssertionError(f"no end: {sent}")


def obedient(line: str) -> str:
    return "\nmmwDemo:/>" if not line else "Done\n\nmmwDemo:/>"


@given(cut=st.integers(1, 40), echo=st.booleans())
def test_each_line_is_sent_once_the_one_before_is_done(cut: int, echo: bool) -> None:
    conversation = Console(LINES)
    assert talk(conversation, obedient, cut=cut, echo=echo) == [
        "\n",
        "sensorStop\n",
        "flushCfg\n",
        "dfeDataOutputMode 1\n",
    ]
    assert conversation.done
    assert conversation.greeted
    assert conversation.refusal is None


def test_a_remark_is_no_refusal() -> None:
    def device(line: str) -> str:
        return "Ignored: Sensor is already stopped\nDone\n\nmmwDemo:/>" if line == "sensorStop" else obedient(line)

    conversation = Console(LINES)
    talk(conversation, device)
    assert conversation.done
    assert conversation.remarks == ["Ignored: Sensor is already stopped"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Error: Invalid usage of the CLI command\nError -1\n\nmmwDemo:/>", "Error: Invalid usage of the CLI command"),
        ("Error -1\n\nmmwDemo:/>", "Error -1"),
        ("Error: no number follows\n", "Error: no number follows"),
        ("'flushCfg' is not recognized as a CLI command\n\nmmwDemo:/>", "not recognized"),
    ],
)
@given(cut=st.integers(1, 60))
def test_a_refused_line_is_named_with_the_sensors_words(answer: str, said: str, cut: int) -> None:
    conversation = Console(LINES)
    sent = talk(conversation, lambda line: answer if line == "flushCfg" else obedient(line), cut=cut)
    assert sent[-1] == "flushCfg\n"
    assert not conversation.done
    assert conversation.refusal is not None
    assert conversation.refusal.command == Command(4, "flushCfg", ())
    assert said in conversation.refusal.said


def test_a_sensor_that_says_nothing_is_given_up() -> None:
    conversation = Console(LINES)
    assert talk(conversation, lambda _: "", echo=False) == ["\n", "sensorStop\n"]
    assert conversation.refusal is not None
    assert (conversation.refusal.command, conversation.refusal.said) == (LINES[0], "")
    assert not conversation.greeted


def test_a_sensor_that_falls_silent_midway_is_given_up_at_that_line() -> None:
    conversation = Console(LINES)
    talk(conversation, lambda line: "" if line == "flushCfg" else obedient(line))
    assert conversation.refusal is not None
    assert conversation.refusal.command.line == 4


def test_starting_may_take_longer_than_other_commands() -> None:
    conversation = Console((Command(0, "sensorStart", ()),))
    conversation.step(0)
    conversation.step(1, b"\nmmwDemo:/>")
    late_ns = console.ANSWER_NS + 2 * MS
    assert conversation.step(late_ns) == b""
    assert not conversation.ended
    conversation.step(late_ns + MS, b"sensorStart\nDebug: Init Calibration Status = 0x1ffe\nDone\n")
    assert conversation.done


def test_no_command_before_the_prompt() -> None:
    conversation = Console(LINES)
    conversation.step(0)
    assert conversation.step(MS, b"\nmmwDemo:/>") == b"sensorStop\n"
    assert conversation.step(2 * MS, b"sensorStop\nDone\n") == b""
    assert conversation.step(3 * MS, b"\nmmwDe") == b""
    assert conversation.step(4 * MS, b"mo:/>") == b"flushCfg\n"
    assert conversation.step(5 * MS, b"flushCfg\nDone\n") == b""  # A firmware with a prompt that nobody knows:
    assert conversation.step(5 * MS + console.PROMPT_NS) == b"dfeDataOutputMode 1\n"


def test_nothing_to_say() -> None:
    conversation = Console(())
    assert conversation.done
    assert conversation.step(0, b"noise") == b""


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_bytes_break_it_and_what_is_kept_is_bounded(portions: list[bytes]) -> None:
    conversation = Console(LINES)
    for now, portion in enumerate(portions):
        conversation.step(now * 100 * MS, portion * 200)
    assert len(conversation._text) <= console.KEPT_BYTES
    assert len(conversation.remarks) <= console.KEPT_LINES


def test_prompt_and_banner() -> None:
    assert console.has_prompt("\nmmwDemo:/>")
    assert console.has_prompt("xwr68xx people counting:\\>")
    assert not console.has_prompt("C:/work")
    assert console.says_it_restarted("******************************************\nxWR64xx MMW Demo 03.05.00.04\n")
    assert not console.says_it_restarted("Done")
