"""How the errors of each source of measurements compare with what it claims: the figures of ``Innovations``."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from fusion.filter.innovations import ENOUGH, UNDERSTATED_RATIO
from fusion.records import Innovations
from viz.models.health import Level, Understated
from viz.models.people import node_of


@dataclass(frozen=True, slots=True)
class HonestyParams:
    """Bounds and limits of the table."""

    gone_s: float = 10.0
    """A report that was published longer ago is not shown."""
    overstated_ratio: float = 0.5
    """A source that errs so little of what it claims could be trusted more; no fault."""
    gated_share: float = 0.2
    """Of the observations: more refused than this is marked."""
    max_nodes: int = 32
    max_rows: int = 256


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One source of measurements of one person."""

    node: str
    person: int
    source: str
    ratio: float
    """Real error over claimed error; 1 is honest, NaN unknown."""
    normalised_square: float
    """Running mean per degree of freedom; 1 is honest."""
    observations: int
    gated: int
    gated_share: float
    """Of the observations, 0..1; NaN without any."""
    verdict: str
    """In words."""
    level: Level
    gated_level: Level


@dataclass(slots=True)
class HonestyState:
    """The newest record of each topic and when it was published."""

    reports: dict[str, tuple[Innovations, int]] = field(default_factory=dict)
    refused: int = 0


class HonestyModel:
    """Turns innovation statistics into rows."""

    def __init__(self, params: HonestyParams | None = None) -> None:
        self.params = params or HonestyParams()
        self.state = HonestyState()

    def add(self, topic: str, record: Innovations, published_ns: int) -> None:
        """Keep the newest record of a topic."""
        if topic not in self.state.reports and len(self.state.reports) >= self.params.max_nodes:
            self.state.refused += 1
            return
        self.state.reports[topic] = (record, published_ns)

    def rows(self, now_ns: int, understated: Collection[Understated] = ()) -> tuple[SourceRow, ...]:
        """The table: sources that a node calls understated first, then by node, person and source.

        Args:
            now_ns: session clock.
            understated: what the nodes' health says; the judgement is theirs.
        """
        named = {(item.node, item.source): item for item in understated}
        oldest_ns = now_ns - round(self.params.gone_s * 1e9)
        rows = [
            self._row(node_of(topic), record, person, source, named)
            for topic, (record, published_ns) in sorted(self.state.reports.items())
            if published_ns >= oldest_ns
            for person in range(len(record.ids))
            for source in range(len(record.sources))
            if record.observations[person, source]
        ]
        return tuple(sorted(rows, key=lambda row: row.level != Level.FAULT)[: self.params.max_rows])

    def _row(
        self, node: str, record: Innovations, person: int, source: int, named: dict[tuple[str, str], Understated]
    ) -> SourceRow:
        name = record.sources[source]
        ratio = float(record.claimed_ratio[person, source])
        observations, gated = int(record.observations[person, source]), int(record.gated[person, source])
        share = gated / observations if observations else math.nan
        verdict, level = self._verdict(name, ratio, observations, named.get((node, name)))
        return SourceRow(
            node=node,
            person=int(record.ids[person]),
            source=name,
            ratio=ratio,
            normalised_square=float(record.normalised_squares[person, source]),
            observations=observations,
            gated=gated,
            gated_share=share,
            verdict=verdict,
            level=level,
            gated_level=Level.WARNING if share > self.params.gated_share else Level.FINE,
        )

    def _verdict(self, name: str, ratio: float, observations: int, named: Understated | None) -> tuple[str, Level]:
        """What a ratio means. A node names a source as a whole; a person whom it serves well is not blamed."""
        if not math.isfinite(ratio) or observations < ENOUGH:
            return "too few observations to tell", Level.FINE
        if ratio > UNDERSTATED_RATIO:
            words = Understated("", name, ratio).words()
            return words, Level.FAULT if named else Level.WARNING
        if ratio < self.params.overstated_ratio:
            return "errs less than it claims", Level.FINE
        return "errs about as much as it claims", Level.FINE


def ratio_text(ratio: float) -> str:
    """``0.97 ×``; a dash where nothing is known."""
    return f"{ratio:.2f} ×" if math.isfinite(ratio) else "–"


def share_text(share: float) -> str:
    """``1.2 %``; a dash where nothing is known."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"
