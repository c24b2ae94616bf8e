"""The session clock: one for all processes of a session.

On one host it is the system's steady clock (``CLOCK_MONOTONIC``, the same for
all processes) plus an offset that is drawn once, when the session starts. It
reads like the time of day and never jumps when the time of day is corrected.

On another host the steady clock is mapped to the session's by probes in the
manner of NTP: eight requests, of which the one with the shortest round trip
counts, and a line through those of the last minute.
Source: D. L. Mills, "Internet time synchronization: the network time protocol",
IEEE Trans. Communications 39(10), 1991 (clock filter: minimum delay of eight).
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import msgpack
import zmq

from fusion.timing.clock_map import LineFit, Probe
from nodes.transport.endpoints import CurveKeys, connect

PROBES = 8
PROBE_TIMEOUT_S = 0.5
MAX_PROBE_BYTES = 256

_PROBE = "probe"


def steady_ns() -> int:
    """The system's steady clock; the same for all processes of a host."""
    # On Windows ``monotonic_ns`` ticks every 16 ms; the performance counter is system-wide there.
    return time.perf_counter_ns() if sys.platform == "win32" else time.monotonic_ns()


@dataclass(frozen=True, slots=True)
class SessionClock:
    """Steady clock plus the session's offset."""

    offset_ns: int

    @classmethod
    def start(cls) -> SessionClock:
        """The clock of a session that starts now: it reads like the time of day."""
        return cls(time.time_ns() - steady_ns())

    def now_ns(self) -> int:
        return steady_ns() + self.offset_ns


@dataclass(slots=True)
class ManualClock:
    """A clock that stands until it is set; for tests and for time that records carry."""

    time_ns: int = 0

    def now_ns(self) -> int:
        return self.time_ns


class RemoteClock:
    """The session clock as seen from another host."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, keys: CurveKeys | None = None) -> None:
        """``endpoint`` answers probes with its session time (the session's directory does)."""
        self._fit = LineFit()
        self._socket = context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_PROBE_BYTES)
        connect(self._socket, endpoint, keys)
        self._number = 0

    def now_ns(self) -> int:
        """The session clock. Before the first successful ``synchronise`` it is the time of day."""
        local_ns = steady_ns()
        mapped_ns = self._fit.map(local_ns)
        return time.time_ns() if mapped_ns is None else mapped_ns

    def synchronise(self) -> Probe | None:
        """Probe and correct the mapping; the probe that counted, or None if nobody answered."""
        probes = [probe for probe in (self._probe() for _ in range(PROBES)) if probe is not None]
        if not probes:
            return None
        best = min(probes, key=lambda probe: probe.round_trip_ns)
        self._fit.step(best)
        return best

    def _probe(self) -> Probe | None:
        self._number += 1
        sent_ns = steady_ns()
        self._socket.send(msgpack.packb({"t": _PROBE, "n": self._number}))
        deadline_ns = sent_ns + int(PROBE_TIMEOUT_S * 1e9)
        while (remaining_ns := deadline_ns - steady_ns()) > 0:
            if not self._socket.poll(remaining_ns // 1_000_000 + 1):
                return None
            answer = _read_answer(self._socket.recv_multipart()[-1])
            received_ns = steady_ns()
            if answer is not None and answer[0] == self._number:
                return Probe(sent_ns, answer[1], received_ns)
        return None

    def close(self) -> None:
        self._socket.close(linger=0)


def answer_probe(message: Any, now_ns: int) -> bytes | None:
    """The answer to a probe, or None if ``message`` (unpacked) is none."""
    if not isinstance(message, dict) or message.get("t") != _PROBE or type(message.get("n")) is not int:
        return None
    return bytes(msgpack.packb({"n": message["n"], "now": now_ns}))


def _read_answer(data: bytes) -> tuple[int, int] | None:
    try:
        answer = msgpack.unpackb(data)
        number, now_ns = answer["n"], answer["now"]
    except (msgpack.UnpackException, ValueError, TypeError, KeyError):
        return None
    return (number, now_ns) if type(number) is int and type(now_ns) is int else None
