"""The health table: one row a stream, with how often, how late and how much was lost."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import IntEnum

from fusion.records import Health

QUIET_STREAMS = frozenset({"end", "annotation", "document", "tick", "health", "innovations", "inertial"})
"""Streams whose age means nothing: without a rate of their own, or told now and then (and shown elsewhere)."""
DISCARDING_STREAMS = frozenset({"image"})
"""Streams whose readers skip what they have no time for: drops on the way in are no fault."""

UNDERSTATED = "understated/"
"""Start of a counter that names a source whose errors are larger than it claims; its value says how many times."""


class Level(IntEnum):
    """How much a row should worry."""

    FINE = 0
    WARNING = 1
    FAULT = 2


@dataclass(frozen=True, slots=True)
class HealthParams:
    """Limits of the table."""

    late_s: float = 1.0
    """A stream without news for longer is marked."""
    silent_s: float = 3.0
    """A node without a health report for longer is called silent."""
    max_nodes: int = 64
    max_streams: int = 64
    """Rows per node."""
    max_counters: int = 12


@dataclass(frozen=True, slots=True)
class Understated:
    """A source that claims to know more than it does."""

    node: str
    """Who says so."""
    source: str
    ratio: float
    """Real error over claimed error."""

    def words(self) -> str:
        """What the user should read."""
        return f"{self.source} errs {self.ratio:.1f} times more than it claims"


@dataclass(frozen=True, slots=True)
class Row:
    """One stream of one node, or a node that has none."""

    node: str
    state: str
    restarts: int
    topic: str
    direction: str
    """``out``, ``in``, or empty."""
    rate_hz: float
    age_s: float
    count: int
    drops: int
    errors: int
    figures: str
    """The node's own counters, on its first row; first of all, in words, the sources that understate their errors."""
    figures_level: Level
    node_level: Level
    age_level: Level
    drops_level: Level
    errors_level: Level


@dataclass(slots=True)
class HealthState:
    """The last report of each node and when it was published."""

    reports: dict[str, tuple[Health, int]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    refused: int = 0


class HealthModel:
    """Turns health reports into rows."""

    def __init__(self, params: HealthParams | None = None) -> None:
        self.params = params or HealthParams()
        self.state = HealthState()

    def add(self, report: Health, published_ns: int) -> None:
        """Keep the newest report of a node."""
        lengths = {len(report.directions), len(report.rates_hz), len(report.topics)}
        known = report.node in self.state.reports
        if len(lengths) != 1 or (not known and len(self.state.reports) >= self.params.max_nodes):
            self.state.refused += 1
            return
        self.state.reports[report.node] = (report, published_ns)

    def add_end(self, topic: str) -> None:
        """A source has said its last word; its silence is no fault from here on."""
        node = topic.rpartition("/")[0]
        if node in self.state.ended or len(self.state.ended) < self.params.max_nodes:
            self.state.ended.add(node)

    def rows(self, now_ns: int) -> tuple[Row, ...]:
        """The table, by node name; a node's outputs before its inputs."""
        ended = self._ended_topics()
        return tuple(
            row
            for node, (report, published_ns) in sorted(self.state.reports.items())
            for row in self._node_rows(node, report, max(0.0, (now_ns - published_ns) / 1e9), ended)
        )

    def figures(self) -> dict[str, str]:
        """What each node says of itself, by its name: its own counters that are not zero."""
        most = self.params.max_counters
        return {
            node: counters_text({name: value for name, value in report.counters.items() if value}, most)
            for node, (report, _) in self.state.reports.items()
        }

    def understated(self) -> tuple[Understated, ...]:
        """Sources that are named in the newest reports, the worst first."""
        found = [item for _, (report, _) in sorted(self.state.reports.items()) for item in understated_of(report)]
        return tuple(sorted(found, key=lambda item: -item.ratio))

    def _ended_topics(self) -> set[str]:
        """What the nodes that have said their last word used to publish."""
        reports = [report for node, (report, _) in self.state.reports.items() if node in self.state.ended]
        return {
            topic
            for report in reports
            for topic, direction in zip(report.topics, report.directions, strict=True)
            if direction == "out"
        }

    def _node_rows(self, node: str, report: Health, waited_s: float, ended: set[str]) -> list[Row]:
        state = self._node_state(node, report, waited_s)
        level = _state_level(state)
        figures, wrong = figures_text(report, self.params.max_counters), bool(understated_of(report))
        figures_level = Level.FAULT if wrong else Level.FINE
        order = sorted(range(len(report.topics)), key=lambda s: (report.directions[s] != "out", report.topics[s]))
        rows = [
            self._stream_row(node, state, level, report, stream, waited_s, ended)
            for stream in order[: self.params.max_streams]
            if _worth_a_row(report, stream)
        ]
        if not rows:
            none, fine = math.nan, Level.FINE
            levels = (figures_level, level, fine, fine, fine)
            return [Row(node, state, report.restarts, "", "", none, none, 0, 0, 0, figures, *levels)]
        rows[0] = replace(rows[0], figures=figures, figures_level=figures_level)
        return rows

    def _node_state(self, node: str, report: Health, waited_s: float) -> str:
        if report.state == "running" and waited_s > self.params.silent_s:
            return "silent"
        if report.state == "running" and node in self.state.ended:
            return "ended"
        return report.state

    def _stream_row(
        self, node: str, state: str, level: Level, report: Health, stream: int, waited_s: float, ended: set[str]
    ) -> Row:
        topic, direction = report.topics[stream], report.directions[stream]
        kind = topic.rpartition("/")[2]
        age_s = float(report.ages_s[stream]) + waited_s
        expected = state == "running" and kind not in QUIET_STREAMS and topic not in ended
        late = expected and not age_s <= self.params.late_s
        drops, errors = int(report.drops[stream]), int(report.errors[stream])
        discards = direction == "in" and kind in DISCARDING_STREAMS
        return Row(
            node=node,
            state=state,
            restarts=report.restarts,
            topic=topic,
            direction=direction,
            rate_hz=float(report.rates_hz[stream]),
            age_s=age_s,
            count=int(report.counts[stream]),
            drops=drops,
            errors=errors,
            figures="",
            figures_level=Level.FINE,
            node_level=level,
            age_level=Level.WARNING if late else Level.FINE,
            drops_level=Level.WARNING if drops and not discards else Level.FINE,
            errors_level=Level.FAULT if errors else Level.FINE,
        )


def _worth_a_row(report: Health, stream: int) -> bool:
    """Outputs that have a rate; anything else once something was lost on it. What a reader takes in order is its
    publisher's row already."""
    lossy = bool(report.drops[stream] or report.errors[stream])
    kind = report.topics[stream].rpartition("/")[2]
    return lossy or (report.directions[stream] == "out" and kind not in QUIET_STREAMS)


def _state_level(state: str) -> Level:
    if state in ("failed", "silent"):
        return Level.FAULT
    return Level.WARNING if state in ("starting", "restarting") else Level.FINE


def understated_of(report: Health) -> list[Understated]:
    """The sources that one report names."""
    return [
        Understated(report.node, name.removeprefix(UNDERSTATED), value)
        for name, value in report.counters.items()
        if name.startswith(UNDERSTATED)
    ]


def figures_text(report: Health, most: int) -> str:
    """What a node says of itself: the sources that understate their errors in words, then its other counters."""
    plain = {name: value for name, value in report.counters.items() if not name.startswith(UNDERSTATED)}
    words = [item.words() for item in understated_of(report)][:most]
    return "  ·  ".join([*words, *filter(None, [counters_text(plain, most)])])


def counters_text(counters: dict[str, float], most: int) -> str:
    """``step_ms 1.2 · refused_late 3``: the first ``most`` of a node's own figures."""
    shown = list(counters.items())[:most]
    return "  ·  ".join(f"{name} {number_text(value)}" for name, value in shown)


def number_text(value: float) -> str:
    """Whole numbers in full, others with four digits."""
    return f"{value:.0f}" if math.isfinite(value) and value == round(value) else f"{value:.4g}"


def rate_text(rate_hz: float) -> str:
    """Records a second, with as many digits as are read at a glance."""
    if not math.isfinite(rate_hz):
        return "–"
    return f"{rate_hz:.0f}" if rate_hz >= 100 else f"{rate_hz:.1f}"


def age_text(age_s: float) -> str:
    """Milliseconds below a second, then seconds, then minutes."""
    if not math.isfinite(age_s):
        return "–"
    if age_s < 1.0:
        return f"{age_s * 1e3:.0f} ms"
    return f"{age_s:.1f} s" if age_s < 60.0 else f"{age_s / 60.0:.0f} min"
