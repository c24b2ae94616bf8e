"""Keeps a sensor configured and running over its command line, whatever happens to it."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from nodes.devices.ports import NS_PER_S, Port
from nodes.devices.ti.commands import Command, TiConfig
from nodes.devices.ti.console import Console, says_it_restarted
from nodes.devices.ti.diagnosis import Diagnosis, no_answer, refused

RETRY_FIRST_S, RETRY_LAST_S = 2.0, 30.0
SETTLE_NS = 300_000_000
"""From the banner of a sensor that has just got power to the first command."""
STOP_NS = 400_000_000
"""The answer to the last ``sensorStop`` is awaited so long at most."""
LOOK_S = 0.02
_HEARD_BYTES = 1024
STOP = Command(0, "sensorStop", ())
FLUSH = Command(0, "flushCfg", ())
START = Command(0, "sensorStart", ())
START_AGAIN = Command(0, "sensorStart", ("0",))


def conversation(config: TiConfig) -> tuple[Command, ...]:
    """The commands of a configuration, with stopping, flushing and starting where it leaves them out."""
    names = [command.name for command in config.commands]
    head = [command for command in (STOP, FLUSH) if command.name not in names]
    tail = [] if names[-1:] == ["sensorStart"] else [START]
    return (*head, *config.commands, *tail)


class Control:
    """The command line of one sensor.

    Args:
        port: of the command line.
        config: what the sensor is to run.
        say: where news go that the user should read.
    """

    def __init__(self, port: Port, config: TiConfig, say: Callable[[str], None]) -> None:
        self.port = port
        self.running_since_ns: int | None = None
        """When the sensor said that it was started; None while it has not."""
        self.configured = 0
        """How often it took the whole configuration."""
        self.problem: Diagnosis | None = None
        """Why it does not take it."""
        self._config = config
        self._commands = conversation(config)
        self._say = say
        self._talk: Console | None = None
        self._waking = False
        self._woken = 0
        self._opened = 0
        self._again_ns: int | None = None
        self._retry_s = RETRY_FIRST_S
        self._heard = b""

    @property
    def talking(self) -> bool:
        """Whether an answer is awaited."""
        return self._talk is not None

    def step(self, now_ns: int) -> None:
        """Take what the sensor said and say what comes next."""
        heard = b"".join(chunk.data for chunk in self.port.read(now_ns))
        if not self.port.is_open:
            self._talk = self.running_since_ns = self._again_ns = None
            return
        if self.port.opened != self._opened:
            self._opened = self.port.opened
            self._configure()
        if self._talk is None:
            self._listen(heard, now_ns)
        if self._talk is None:
            return
        words = self._talk.step(now_ns, heard)
        if words:
            self.port.write(words, now_ns)
        if self._talk is not None and self._talk.ended:
            self._ended(self._talk, now_ns)

    def wake(self, now_ns: int) -> None:
        """No frame comes: start it again, and if that was no use, configure it anew."""
        if self._talk is not None or not self.port.is_open:
            return
        self._woken += 1
        if self._woken == 1:
            self._waking, self._talk = True, Console([START_AGAIN])
        else:
            self._configure()

    def frames_come(self) -> None:
        """All is well."""
        self._woken = 0

    def close(self, now_ns: Callable[[], int]) -> None:
        """Stop the sensor and let go of the port."""
        if self.port.is_open:
            talk = Console([STOP], knock=False)
            end_ns = now_ns() + STOP_NS
            while not talk.ended and self.port.is_open and (at_ns := now_ns()) < end_ns:
                words = talk.step(at_ns, b"".join(chunk.data for chunk in self.port.read(at_ns)))
                if words:
                    self.port.write(words, at_ns)
                self._pause()
        self.port.close()

    def _pause(self) -> None:
        if self.port.descriptor is not None:
            select.select([self.port.descriptor], [], [], LOOK_S)
        else:
            time.sleep(LOOK_S)  # The pace of looking, where the system cannot wait for bytes.

    def _configure(self) -> None:
        self._waking, self._talk = False, Console(self._commands)
        self.running_since_ns = self._again_ns = None
        self._heard = b""

    def _listen(self, heard: bytes, now_ns: int) -> None:
        """What the sensor says by itself while nothing is asked."""
        self._heard = (self._heard + heard)[-_HEARD_BYTES:]
        if says_it_restarted(self._heard.decode("ascii", "replace")):
            self._say(
                f"{self.port.name}: the sensor has begun anew (its power or its reset button); it is set up again"
            )
            self._again_ns = now_ns + SETTLE_NS
            self._heard = b""
            self.running_since_ns = None
        if self._again_ns is not None and now_ns >= self._again_ns:
            self._configure()

    def _ended(self, talk: Console, now_ns: int) -> None:
        self._talk = None
        if talk.refusal is None:
            self.running_since_ns, self._retry_s = now_ns, RETRY_FIRST_S
            if not self._waking:
                self.configured += 1
            if self.problem is not None:
                self._say(f"{self.port.name}: the sensor takes its configuration now")
            self.problem = None
            return
        if self._waking:
            self._configure()  # It does not know its configuration any more.
            return
        known = talk.greeted or talk.refusal.said
        found = refused(talk.refusal, self._config.name) if known else no_answer(self.port.name, self.port.baud or 0)
        if self.problem is None or self.problem.found != found.found:
            self._say(found.message if known else f"{found.message}. kinefuse doctor radar GRAPH looks further")
        self.problem = found
        self._again_ns = now_ns + round(self._retry_s * NS_PER_S)
        self._retry_s = min(2.0 * self._retry_s, RETRY_LAST_S)
