"""One radar: its two ports, its frames on the session clock, and what is to be told of it."""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from nodes.devices.ports import NS_PER_S, Port
from nodes.devices.ti.clock import RadarClock
from nodes.devices.ti.config import TiConfig
from nodes.devices.ti.control import Control
from nodes.devices.ti.diagnosis import (
    Diagnosis,
    Key,
    LineEvidence,
    asks_for_points,
    diagnose_line,
    port_trouble,
    removes_clutter,
)
from nodes.devices.ti.frames import TiFrame
from nodes.devices.ti.line import Arrived, DataLine, Tally

SILENT_NS = 900_000_000
"""A sensor that sends nothing for so long, or for three periods, is named."""
SILENT_PERIODS = 3.0
QUIET_NS = 300_000_000
"""The rest of a frame is not awaited once no byte has come for so long."""
WAKE_FIRST_NS, WAKE_LAST_NS = 3_000_000_000, 30_000_000_000
WINDOW_NS = 5_000_000_000
"""What is wrong with frames is judged by so long."""
RECENT_NS = 2_000_000_000
"""Rate and points in health are those of so long."""
WATCH_NS = 50_000_000
LOOK_S = 0.004
"""The rest of a frame, a command line that talks and a port that cannot be waited for are looked at so often."""
SILENT = "silent/"
"""Health counters of sensors that are not heard, with for how many seconds."""
KEYS: tuple[Key, ...] = ("data_port", "cli_port")
"""Of the graph."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A frame with its times."""

    frame: TiFrame
    measured_ns: int
    received_ns: int


class RadarSystem:
    """One sensor.

    Args:
        name: of the node, for messages.
        line: the data port.
        control: the command line; None for a sensor that is only listened to.
        config: what it runs; None if nobody says.
        clock: of its frames.
        delay_s: known time from measuring to arrival that no stamp shows.
        now_ns: session time.
        say: where news go that the user should read.
        present: ports that this machine has, for messages.
    """

    def __init__(
        self,
        name: str,
        line: DataLine,
        control: Control | None,
        config: TiConfig | None,
        clock: RadarClock,
        *,
        delay_s: float,
        now_ns: int,
        say: Say,
        present: Callable[[], tuple[str, ...]],
    ) -> None:
        self.line, self.control, self.clock = line, control, clock
        self.targets = 0
        """People in the last frame, where the firmware tracks them."""
        self._name, self._config = name, config
        self._sub_frames = max(1, len(config.frames)) if config is not None else 1
        self._delay_ns = round(delay_s * NS_PER_S)
        self._say, self._present = say, present
        ports = [line.port] if control is None else [control.port, line.port]
        self._ports = {id(port): _Watched(port, key) for port, key in zip(reversed(ports), KEYS, strict=False)}
        self._told: set[str] = set()
        self._lacking: set[str] = set()
        """What frames lack, as far as it was said."""
        self._silent = self._named = False
        self._woken_ns, self._wake_ns = 0, WAKE_FIRST_NS
        self._watched_ns = 0
        self._recent: deque[tuple[int, int]] = deque()
        """When frames came lately, and how many points they had."""
        self.begin(now_ns)

    def begin(self, now_ns: int) -> None:
        """Listen from now on; what has come while the graph was set up is old."""
        self.line.port.discard(now_ns)
        self._heard_ns = now_ns
        self._restart_window(now_ns)

    def step(self, now_ns: Callable[[], int], wait_s: float) -> list[Shot]:
        """Read both ports and hand out the frames that are complete.

        Args:
            now_ns: the session clock.
            wait_s: how long to wait for bytes; those that begin a frame are stamped when they come.
        """
        self._wait(wait_s)
        at_ns = now_ns()
        shots = [shot for arrived in self.line.read(at_ns) if (shot := self._shot(arrived)) is not None]
        if self.control is not None:
            self.control.step(at_ns)
        if at_ns - self._watched_ns >= WATCH_NS:
            self._watched_ns = at_ns
            for watched in self._ports.values():
                self._watch_port(watched, at_ns)
            self._watch_frames(at_ns)
        return shots

    def close(self, now_ns: Callable[[], int]) -> None:
        """Stop the sensor if it is ours to stop, and let go of the ports."""
        if self.control is not None:
            self.control.close(now_ns)
        self.line.port.close()

    # ---- frames

    def _wait(self, wait_s: float) -> None:
        """Until bytes come; the rest of a frame that has begun is not worth a waking for each of its portions."""
        mid_frame = self.line.unframed > 0
        waited = [] if mid_frame else [self.line.port.descriptor]
        if self.control is not None:
            waited.append(self.control.port.descriptor)
            if self.control.talking:
                wait_s = min(wait_s, LOOK_S)
        if mid_frame or None in waited:
            wait_s = min(wait_s, LOOK_S)
        numbers = [number for number in waited if number is not None]
        if not numbers:
            time.sleep(wait_s)  # The pace of looking, where the system cannot wait for bytes or there is no port.
            return
        try:
            select.select(numbers, [], [], wait_s)
        except (OSError, ValueError):
            return  # One was closed meanwhile; reading says which.

    def _shot(self, arrived: Arrived) -> Shot | None:
        frame = arrived.frame
        number = frame.number * self._sub_frames + (frame.sub_frame if self._sub_frames > 1 else 0)
        told = frame.statistics
        processing_s = None if told is None else told.processing_us * 1e-6
        self._heard_ns = arrived.received_ns
        measured_ns = self.clock.step(number, arrived.began_ns, processing_s)
        if measured_ns is None:
            return None
        self.targets = len(frame.targets)
        self._recent.append((arrived.received_ns, len(frame.positions_m)))
        return Shot(frame, measured_ns - self._delay_ns, arrived.received_ns)

    # ---- news

    def _watch_port(self, watched: _Watched, now_ns: int) -> None:
        port = watched.port
        if port.losses != watched.losses:
            watched.losses = port.losses
            watched.told = "gone"
            self._say(f"{port.name}: gone ({port.error}). Plug the sensor in again: it is set up and heard by itself")
        if port.opened != watched.opened:
            if watched.opened or watched.told:
                self._say(f"{port.name}: is there again" if watched.opened else f"{port.name}: is there now")
            watched.opened, watched.told = port.opened, ""
            self._restart_window(now_ns)
        if port.error is not None and not watched.told:
            watched.told = port.error.trouble
            self._say(self.trouble(port, watched.key).message)

    def trouble(self, port: Port, key: Key) -> Diagnosis:
        """Why a port cannot be opened."""
        assert port.error is not None
        return port_trouble(port.name, key, port.error.trouble, str(port.error), self._present())

    @property
    def ports(self) -> list[tuple[Port, Key]]:
        """With the key that names each."""
        return [(watched.port, watched.key) for watched in self._ports.values()]

    def _expected_ns(self) -> int | None:
        """Since when frames should have come; None while nobody can expect any."""
        if not self.line.port.is_open:
            return self._heard_ns
        if self.control is None:
            return self._heard_ns
        if self.control.running_since_ns is None:
            return None
        return max(self._heard_ns, self.control.running_since_ns)

    def _watch_frames(self, now_ns: int) -> None:
        limit_ns = max(SILENT_NS, SILENT_PERIODS * (self.clock.period.seconds or 0.0) * NS_PER_S)
        self._silent = now_ns - self._heard_ns > limit_ns
        expected_ns = self._expected_ns()
        if self._silent and self.line.unframed and now_ns - self.line.heard_ns >= QUIET_NS:
            self.line.drop_rest()  # What stopped within a frame is as silent as what stopped behind one.
        if not self._silent:
            self._take_back(now_ns)
        elif expected_ns is not None and now_ns - expected_ns > limit_ns:
            self._name_silence(now_ns, expected_ns)
        if now_ns - self._window.at_ns >= WINDOW_NS:
            self._judge(now_ns)
        while self._recent and now_ns - self._recent[0][0] > RECENT_NS:
            self._recent.popleft()

    def _take_back(self, now_ns: int) -> None:
        """Frames come."""
        if self._named:
            self._say(f"{self._name}: heard again")
            self._restart_window(now_ns)
        self._named, self._wake_ns = False, WAKE_FIRST_NS
        if self.control is not None:
            self.control.frames_come()

    def _name_silence(self, now_ns: int, expected_ns: int) -> None:
        """Say once that nothing comes though it should, and why; try to wake the sensor now and then."""
        line = self.line
        if not line.port.is_open:
            return  # That has been said.
        if not self._named:
            self._named, self._woken_ns = True, 0
            silence_s = (now_ns - expected_ns) / NS_PER_S
            found = diagnose_line(self._evidence(now_ns, seconds=silence_s))
            why = "" if found is None else f": {found.message}"
            self._say(f"{self._name}: no frame for {silence_s:.1f} s{why}")
        if self.control is not None and not line.unframed and now_ns - self._woken_ns >= self._wake_ns:
            self._wake_ns = min(2 * self._wake_ns, WAKE_LAST_NS) if self._woken_ns else WAKE_FIRST_NS
            self._woken_ns = now_ns
            self.control.wake(now_ns)

    def _judge(self, now_ns: int) -> None:
        """Say what is wrong with the frames of the last window, once for each cause."""
        found = None if self._silent else diagnose_line(self._evidence(now_ns))
        if found is not None and found.cause == "no points" and asks_for_points(self._config):
            found = None  # Nobody is there.
        if found is None or found.cause in ("silent", "stopped"):
            self._told.clear()
        elif found.cause not in self._told:
            self._told.add(found.cause)
            self._say(found.message)
        for what in self.line.decoder.counts.lacking.keys() - self._lacking:
            self._lacking.add(what)
            self._say(f"{self._name}: its frames lack {what}; name the .cfg that it runs: cfg: FILE")
        self._restart_window(now_ns)

    def _restart_window(self, now_ns: int) -> None:
        self._window: Tally = self.line.tally(now_ns)
        self._window_lost = self.clock.numbers.lost

    def _evidence(self, now_ns: int, seconds: float | None = None) -> LineEvidence:
        """Of the present window; of a silence that began with the last frame if its length is given."""
        then, now = self._window, self.line.tally(now_ns)
        silence = seconds is not None
        config, period = self._config, self.clock.period
        received = now.received_bytes - then.received_bytes
        return LineEvidence(
            port=self.line.port.name,
            baud=self.line.baud,
            seconds=seconds if seconds is not None else (now_ns - then.at_ns) / NS_PER_S,
            received_bytes=self.line.unframed if silence else received,
            captured=self.line.captured,
            frames=0 if silence else now.frames - then.frames,
            points=now.points - then.points,
            lost=0 if silence else self.clock.numbers.lost - self._window_lost,
            corrupt=now.corrupt - then.corrupt,
            period_s=period.configured_s,
            observed_s=period.seconds if period.contradicts else None,
            sends_points=asks_for_points(config),
            removes_clutter=removes_clutter(config),
            started=self.control is not None and self.control.running_since_ns is not None,
        )

    def counters(self, now_ns: int) -> dict[str, float]:
        """Figures for health: first what is wrong now, then totals, then the clock."""
        counts, numbers = self.line.decoder.counts, self.clock.numbers
        figures: dict[str, float] = {"silent": float(self._silent)}
        if self._silent:
            figures[f"{SILENT}{self._name}"] = round((now_ns - self._heard_ns) / NS_PER_S, 1)
        span_s = (self._recent[-1][0] - self._recent[0][0]) / NS_PER_S if self._recent else 0.0
        frames = len(self._recent)
        figures |= {
            "refused": float(self.control is not None and self.control.problem is not None),
            "lost": numbers.lost,
            "corrupt": counts.corrupt,
            "restarts": numbers.restarts,
            "frames": counts.samples,
            "rate_hz": round((frames - 1) / span_s, 2) if span_s > 0.0 else 0.0,
            "points_per_frame": round(sum(points for _, points in self._recent) / frames, 1) if frames else 0.0,
            "targets": self.targets,
            "doubled": numbers.repeats,
            "doubtful": numbers.doubtful + counts.doubtful,
            "absurd": counts.absurd,
            "unknown": counts.unknown,
            "skipped_bytes": counts.skipped_bytes,
            "received_bytes": self.line.received_bytes,
            "configured": 0 if self.control is None else self.control.configured,
            "ports_lost": sum(watched.port.losses for watched in self._ports.values()),
            "ports_open": sum(watched.port.is_open for watched in self._ports.values()),
            "clock_skew_ppm": round(self.clock.skew_ppm, 2),
            "clock_jumps": self.clock.jumps,
        }
        return figures


class _Watched:
    """What has been said of a port."""

    def __init__(self, port: Port, key: Key) -> None:
        self.port, self.key = port, key
        self.losses = self.opened = 0
        self.told = ""
