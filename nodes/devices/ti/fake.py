"""A virtual TI radar on two real pseudo-terminals, in real time, as fast as its line would let it.

    radar = FakeRadar(Walk(), link="/tmp/kinefuse-radar")    # or a Recording, or any scene
    radar.run(stopped)

A frame's bytes come after its chirps and the processing, in pieces at the pace of
the data port's baud rate. A frame for which the line is not free is not sent; its
number is missing then, as with a real sensor.
"""

from __future__ import annotations

import random
import select
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from nodes.devices.fake import UNPLUGGED_S, Faults, PtyPort
from nodes.devices.ti.scenes import Scene
from nodes.devices.ti.virtual import Detections, Quirks, VirtualTi

DATA_BAUD = 921_600
BITS_PER_BYTE = 10
FIRST_BYTES, PIECE_BYTES = 64, 512
START_DELAY_S = 0.05
"""From the answer to ``sensorStart`` to the first chirp."""
AHEAD_S = 0.5
"""A frame is looked up so long before it is due."""
IDLE_S = 0.05
_PROCESSING_S = (0.002, 0.005)
_MOST_SKEW = 50e-6


class FakeRadar:
    """One virtual sensor.

    Args:
        scene: what it sees.
        link: make links ``LINK-cli`` and ``LINK-data`` to the pseudo-terminals.
        seed: of its clock, its delays and its faults.
        faults: what goes wrong on the data port; when it is unplugged both ports go, and it forgets its configuration.
        quirks: what is wrong with the sensor.
        running: a configuration that it runs from the beginning; None for a sensor that waits for one.
        exchange: its command line is on the port that is called data, and the other way round.

    Raises:
        RequestError: if a link cannot be made.
    """

    def __init__(
        self,
        scene: Scene,
        *,
        link: str | None = None,
        seed: int = 0,
        faults: Faults | None = None,
        quirks: Quirks | None = None,
        running: str | None = None,
        data_baud: int = DATA_BAUD,
        exchange: bool = False,
    ) -> None:
        self.device = VirtualTi(quirks)
        self.begun_s: float | None = None
        """``time.monotonic`` at the time 0 of the scene's frames that are being played; None while it is stopped."""
        self.sent = 0
        """Frames."""
        self.skipped = 0
        """Frames for which the line was not free."""
        self.ended = False
        """The scene has no more frames."""
        self._scene = scene
        self._faults = faults or Faults()
        self._chance = random.Random(seed)
        self.skew = self._chance.uniform(-_MOST_SKEW, _MOST_SKEW)
        """True seconds a second of its crystal, minus one."""
        self._byte_s = BITS_PER_BYTE / data_baud
        self._running = running
        self._starts = 0
        self._frames: Iterator[Detections] = iter(())
        self._next: Detections | None = None
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._free_s = 0.0
        """When the line has sent all that was given to it."""
        self._transmitted_s = 0.0
        self._power_s = time.monotonic()
        self._unplugged = False
        ports = [PtyPort(None if link is None else Path(f"{link}-{name}")) for name in ("cli", "data")]
        self.cli_port, self.data_port = ports
        self._console, self._line = reversed(ports) if exchange else ports
        self._begin()

    @property
    def overflows(self) -> int:
        """Pieces that nobody took in time."""
        return self.data_port.overflows

    def run(
        self,
        stopped: Callable[[], bool],
        *,
        wake: int | None = None,
        seconds: float | None = None,
        to_the_end: bool = False,
    ) -> None:
        """Play in real time until told to stop.

        Args:
            stopped: asked before every piece.
            wake: file that ends a wait when it can be read.
            seconds: how long to play; None for ever.
            to_the_end: return when the scene has ended.
        """
        begun_s = time.monotonic()
        while not stopped():
            now_s = time.monotonic()
            if seconds is not None and now_s - begun_s >= seconds:
                return
            self._unplug_now_and_then(now_s - begun_s)
            self._follow(now_s)
            self._send(now_s)
            if to_the_end and self.ended and not self._pieces:
                return
            if self._listen(wake):
                return

    def unplug(self) -> None:
        """Pull the cable of both ports; it loses its power, too."""
        for port in (self.cli_port, self.data_port):
            port.unplug()
        self.device.power_on()
        self._pieces.clear()

    def plug(self) -> None:
        """Put it back."""
        for port in (self.cli_port, self.data_port):
            port.plug()
        self._begin()

    def reset(self) -> None:
        """As its button does: the ports stay, the configuration goes."""
        self._pieces.clear()
        self._console.send(self.device.power_on())

    def close(self) -> None:
        """Close the ports and remove the links."""
        for port in (self.cli_port, self.data_port):
            port.close()

    def _begin(self) -> None:
        self._power_s = time.monotonic()
        if self._running is not None:
            self.device.configure(self._running)

    # ---- the command line

    def _listen(self, wake: int | None) -> bool:
        """Answer commands until the next piece is due; True if woken."""
        due_s = self._pieces[0][0] if self._pieces else time.monotonic() + IDLE_S
        left_s = min(max(due_s - time.monotonic(), 0.0), IDLE_S)
        owners = {port.master: port for port in (self._console, self._line) if port.master is not None}
        ready, _, _ = select.select([*owners, *([] if wake is None else [wake])], [], [], left_s)
        if wake is not None and wake in ready:
            return True
        for descriptor in ready:
            heard = owners[descriptor].receive()
            if owners[descriptor] is self._console:
                said = self.device.answer(heard)
                if said:
                    self._console.send(said)
        return False

    # ---- frames

    def _follow(self, now_s: float) -> None:
        """Begin when the sensor is started, end when it is stopped, and make what is due soon."""
        device = self.device
        if not device.started:
            self.begun_s, self._next = None, None
            self._pieces.clear()
            self._starts = device.starts
            return
        if self.begun_s is None or device.starts != self._starts:
            self._starts = device.starts
            self.begun_s, self.ended = now_s + START_DELAY_S, False
            self._free_s = now_s
            self._frames = self._scene.frames(self._scene.period_s or device.settings.period_s)
            self._next = next(self._frames, None)
        while self._next is not None and self._chirped_s(self._next) - now_s < AHEAD_S and len(self._pieces) < 256:
            self._queue(self._next)
            self._next = next(self._frames, None)
        self.ended = self._next is None

    def _chirped_s(self, frame: Detections) -> float:
        """When its last chirp is over."""
        assert self.begun_s is not None
        return self.begun_s + frame.time_s * (1.0 + self.skew) + 0.5 * self.device.settings.active_s

    def _queue(self, frame: Detections) -> None:
        """Cut a frame into pieces, each with the time at which its last byte arrives."""
        quirks = self.device.quirks
        period_s = self._scene.period_s or self.device.settings.period_s
        processing_s = self._chance.uniform(*_PROCESSING_S)
        start_s = self._chirped_s(frame) + processing_s
        if self._chance.random() < quirks.forgets_numbers:
            return
        if self._free_s > start_s + 0.5 * period_s:
            self.skipped += 1
            return
        start_s = max(start_s, self._free_s)
        number = 1 + round(frame.time_s / period_s)
        data = self._bytes(number, frame, start_s, processing_s)
        self._transmitted_s = len(data) * self._byte_s
        self._free_s = start_s + self._transmitted_s
        place = 0
        while place < len(data):
            size = FIRST_BYTES if place == 0 else PIECE_BYTES
            end = min(place + size, len(data))
            self._pieces.append((start_s + end * self._byte_s, data[place:end]))
            place = end
        self.sent += 1

    def _bytes(self, number: int, frame: Detections, start_s: float, processing_s: float) -> bytes:
        """What comes down the line for a frame."""
        quirks, faults, chance = self.device.quirks, self._faults, self._chance
        if quirks.sends == "nothing" or chance.random() < faults.lose:
            return b""
        if quirks.sends == "noise":
            return bytes(value | 0x80 for value in chance.randbytes(300))
        if quirks.sends == "text":
            return b"mmwDemo:/>Done\r\n"
        if quirks.empty:
            nothing = np.zeros(0, np.float32)
            frame = Detections(frame.time_s, np.zeros((0, 3), np.float32), nothing, nothing)
        data = self.device.encode(
            number,
            frame,
            clock_s=start_s - self._power_s,
            processing_s=processing_s,
            transmit_s=self._transmitted_s,
        )
        if chance.random() < faults.flip:
            wrong = bytearray(data)
            wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
            data = bytes(wrong)
        if chance.random() < faults.noise:
            data = chance.randbytes(chance.randrange(1, 30)) + data
        return data + data if chance.random() < faults.double else data

    def _send(self, now_s: float) -> None:
        while self._pieces and self._pieces[0][0] <= now_s:
            self._line.send(self._pieces.popleft()[1])

    def _unplug_now_and_then(self, playing_s: float) -> None:
        every_s = self._faults.unplug_s
        if not every_s:
            return
        gone = playing_s >= every_s and playing_s % every_s < UNPLUGGED_S
        if gone != self._unplugged:
            self._unplugged = gone
            self.unplug() if gone else self.plug()
