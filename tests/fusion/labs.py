"""Simulated labs for the tests of people and pipeline: who moves, what is lost, what comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fusion.pipeline import Pipeline, PipelineParams
from fusion.records import Float64, Landmarks2D, People, Record, Truth
from fusion.rig import Rig
from fusion.synthesis.actions import DEFAULT_SCRIPT, Action
from fusion.synthesis.motion import draw_lengths
from fusion.synthesis.script import scripted_motion
from fusion.synthesis.simulation import Lab, Simulation, simulated_rig
from fusion.synthesis.wearer import Wearer

CAMERAS_ONLY = Lab(imus=None, radars=None)


def wearer(
    number: int,
    script: Sequence[Action] = DEFAULT_SCRIPT,
    *,
    start_m: tuple[float, float] = (-0.8, 0.0),
    heading_rad: float = 0.0,
) -> Wearer:
    """Somebody with proportions of their own who follows a script again and again."""
    lengths = draw_lengths(number, 1.62 + 0.06 * number)
    return Wearer(number, scripted_motion(script, lengths, seed=number, start_m=start_m, heading_rad=heading_rad))


@dataclass(frozen=True)
class Recording:
    """Everything a lab measures in some seconds, in the order of arrival."""

    rig: Rig
    records: tuple[Record, ...]
    truth: dict[int, Truth]

    def without(self, lost: Callable[[Record], bool]) -> tuple[Record, ...]:
        """The records, but for those that get lost."""
        return tuple(record for record in self.records if not lost(record))


def recorded(lab: Lab, wearers: Sequence[Wearer], duration_s: float, seed: int = 1) -> Recording:
    """Run a simulation to its end."""
    simulation = Simulation(lab, tuple(wearers), seed=seed, origin_ns=0, duration_s=duration_s)
    records: list[Record] = []
    truth: dict[int, Truth] = {}
    while (emission := simulation.pop()) is not None:
        if isinstance(emission.record, Truth):
            truth[emission.record.measured_ns] = emission.record
        else:
            records.append(emission.record)
    return Recording(simulated_rig(lab), tuple(records), truth)


@dataclass
class Run:
    """A pipeline and what it has published."""

    pipeline: Pipeline
    people: list[People] = field(default_factory=list)

    def feed(self, records: Iterable[Record]) -> Run:
        """Take records in, in their order."""
        for record in records:
            people = self.pipeline.step(record)
            if people is not None:
                self.people.append(people)
        return self

    def newest(self) -> dict[int, People]:
        """The last word on each time."""
        return {people.measured_ns: people for people in self.people}


def run(recording: Recording, records: Iterable[Record] | None = None, params: PipelineParams | None = None) -> Run:
    """A new pipeline that takes a recording in, or what is left of it."""
    return Run(Pipeline(recording.rig, params)).feed(recording.records if records is None else records)


def errors_m(people: People, truth: Truth) -> Float64:
    """Mean joint distance [P, W] of each published person to each wearer."""
    apart = people.positions_m[:, None].astype(np.float64) - truth.positions_m[None]
    return np.asarray(np.linalg.norm(apart, axis=-1).mean(-1))


def between(record: Record, begin_s: float, end_s: float) -> bool:
    """Whether it was measured then."""
    return begin_s * 1e9 <= record.measured_ns < end_s * 1e9


def is_picture(record: Record) -> bool:
    """Whether it is what a camera saw."""
    return isinstance(record, Landmarks2D)
