"""Conversations that make a device send what is needed. They know no clock but the one they are told."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from nodes.devices import witmotion, xsens_mti
from nodes.devices.sample import Decoder
from nodes.devices.xsens_mti import MtiDecoder, Reply

ANSWER_NS = 500_000_000
MOST_TRIES = 4
PAUSE_NS = 100_000_000
"""WitMotion sensors lose commands that follow one another faster."""


class Setup(Protocol):
    """A conversation with one device."""

    done: bool
    failed: str
    """Why it was given up; empty if it was not."""

    def step(self, now_ns: int) -> bytes:
        """What to send now; nothing while there is nothing to say."""
        ...


class MtiSetup:
    """To config mode, set the outputs, back to measuring; each step waits for its acknowledgement."""

    def __init__(self, decoder: MtiDecoder, rate_hz: int, *, magnetometer: bool) -> None:
        outputs = xsens_mti.output_configuration(rate_hz, magnetometer=magnetometer)
        self._steps: deque[tuple[int, bytes]] = deque(
            [(xsens_mti.GO_TO_CONFIG, b""), (xsens_mti.SET_OUTPUT, outputs), (xsens_mti.GO_TO_MEASUREMENT, b"")]
        )
        self._replies = decoder.replies
        self._sent_ns: int | None = None
        self._tries = 0
        self.done = False
        self.failed = ""

    def step(self, now_ns: int) -> bytes:
        """The next command once the last one is acknowledged; the same again if no answer comes."""
        while self._replies and self._steps:
            self._take(self._replies.popleft())
        if not self._steps or self.failed:
            self.done = not self.failed
            return b""
        if self._sent_ns is not None and now_ns - self._sent_ns < ANSWER_NS:
            return b""
        kind, data = self._steps[0]
        if self._tries >= MOST_TRIES:
            self.failed = (
                f"no acknowledgement of command {kind:02X}h after {MOST_TRIES} tries: "
                "check that the port can be written to, and the baud rate"
            )
            return b""
        self._tries += 1
        self._sent_ns = now_ns
        return xsens_mti.message(kind, data)

    def _take(self, reply: Reply) -> None:
        kind = self._steps[0][0]
        if reply.message == kind + 1 and self._sent_ns is not None:
            self._steps.popleft()
            self._sent_ns, self._tries = None, 0
        elif reply.message == xsens_mti.ERROR and self._sent_ns is not None:
            code = reply.data[0] if reply.data else 0
            self.failed = f"the device refused command {kind:02X}h with error {code}: does it have these outputs?"


class WitMotionSetup:
    """Unlock, set rate and content, save; the sensor answers nothing."""

    def __init__(self, rate_hz: int, *, magnetometer: bool) -> None:
        self._commands: Sequence[bytes] = (
            witmotion.UNLOCK,
            witmotion.write_register(witmotion.RATE_REGISTER, witmotion.RATE_CODES[rate_hz]),
            witmotion.write_register(witmotion.CONTENT_REGISTER, witmotion.content(magnetometer=magnetometer)),
            witmotion.SAVE,
        )
        self._next = 0
        self._sent_ns: int | None = None
        self.done = False
        self.failed = ""

    def step(self, now_ns: int) -> bytes:
        """The next command after a pause."""
        if self._sent_ns is not None and now_ns - self._sent_ns < PAUSE_NS:
            return b""
        if self._next >= len(self._commands):
            self.done = True
            return b""
        self._next += 1
        self._sent_ns = now_ns
        return self._commands[self._next - 1]


def make_setup(driver: str, decoder: Decoder, rate_hz: int, *, magnetometer: bool) -> Setup | None:
    """The conversation with a device of that driver; None for one that cannot be set up."""
    if isinstance(decoder, MtiDecoder):
        return MtiSetup(decoder, rate_hz, magnetometer=magnetometer)
    return WitMotionSetup(rate_hz, magnetometer=magnetometer) if driver == "witmotion" else None
