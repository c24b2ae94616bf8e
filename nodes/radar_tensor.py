"""Radar tensor node: plays tensors from a folder in RT-Pose's layout, as a radar would send them.

In a ``live`` session frame k is due k / ``rate_hz`` after the graph was told to go; in a ``data`` session its time is
k / ``rate_hz`` from 0 and readers hold the node back.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from nodes.errors import RequestError
from nodes.graph.schema import InputPath
from nodes.node import NodeContext, NodeParams

if TYPE_CHECKING:
    from fusion.maths.voxels import VoxelGrid
    from fusion.records import Float64

NS_PER_S = 1_000_000_000
START_MARGIN_NS = 750_000_000
"""From the start of the graph to time 0: by then all readers are connected."""
LATE_LIMIT_NS = 100_000_000
"""A live frame later than this is left out, as a radar would have sent the next one."""


class Params(NodeParams):
    """Keys of a radar tensor node."""

    source: InputPath
    """Folder with ``NAME/DZYX_npy_f16/*.npy``, such as RT-Pose's or one that ``kinefuse train radar-tensor`` made."""
    sequence: str | None = Field(None, min_length=1)
    """NAME in it; default: the first one."""
    radar: str | None = Field(None, min_length=1)
    """Name in the profile; default: the node's name."""
    rate_hz: float = Field(10.0, gt=0, le=1000)
    loop: bool = False
    """Begin again at the end; stamps go on."""

    def publishes(self, name: str) -> tuple[str, ...]:
        """The tensors, and that they are over."""
        return (f"{name}/tensor", f"{name}/end")


def run(params: Params, context: NodeContext) -> None:
    """Publish the frames of one sequence until they end or the graph stops.

    Raises:
        DatasetError: there is no such sequence, or no tensor can be read.
    """
    from training.radar_tensor.layout import lattice_of, tensor_files

    root = Path(params.source)
    files = tensor_files(root, params.sequence)
    grid, velocities = lattice_of(root)
    player = _Player(params, context, grid, velocities)
    player.check(files[0])
    context.ready()
    player.begin()
    while not context.stopping:
        player.play(files)
        if not params.loop:
            break
    player.say_end(files[0].parent.parent.name)


class _Player:
    """Goes through the files once or more; stamps keep rising."""

    def __init__(self, params: Params, context: NodeContext, grid: VoxelGrid, velocities: Float64 | None) -> None:
        self._params = params
        self._context = context
        self._grid = grid
        self._velocities = velocities
        self._live = context.session.time == "live"
        self._origin_ns = 0
        self._index = 0
        self._last_ns = 0
        context.counters.update(dict.fromkeys(("frames", "refused", "skipped_late"), 0.0))

    def check(self, file: Path) -> None:
        """Say before the start what is wrong with the first file."""
        from training.radar_tensor.layout import read_power

        power = read_power(file, self._grid)
        if self._velocities is not None and len(self._velocities) != power.shape[0]:
            raise RequestError(
                f"{file}: {power.shape[0]} Doppler channels, but lattice.json has "
                f"{len(self._velocities)} radial_velocities_m_s; correct that file"
            )

    def begin(self) -> None:
        """Set time 0."""
        self._origin_ns = self._context.started_ns + START_MARGIN_NS if self._live else 0

    def play(self, files: list[Path]) -> None:
        """One pass."""
        for file in files:
            due_ns = self._origin_ns + round(self._index / self._params.rate_hz * NS_PER_S)
            self._index += 1
            if self._live and not self._wait_until(due_ns):
                if self._context.stopping:
                    return
                self._context.counters["skipped_late"] += 1.0
                continue
            if self._context.stopping:
                return
            self._publish(file, due_ns)

    def _publish(self, file: Path, due_ns: int) -> None:
        import numpy as np

        from fusion.records import RadarTensor
        from training.radar_tensor.layout import DatasetError, read_power

        context = self._context
        try:
            power = read_power(file, self._grid)
        except DatasetError as error:
            context.counters["refused"] += 1.0
            context.log.warning("left out: %s", error)
            return
        velocities = np.full(power.shape[0], np.nan) if self._velocities is None else self._velocities
        record = RadarTensor(
            measured_ns=due_ns,
            received_ns=context.clock.now_ns() if self._live else due_ns,
            radar=self._params.radar or context.name,
            frame=self._index - 1,
            power=power,
            origin_m=self._grid.origin_m,
            steps_m=self._grid.steps_m,
            radial_velocities_m_s=velocities,
        )
        context.publish(f"{context.name}/tensor", record)
        context.counters["frames"] += 1.0
        self._last_ns = due_ns

    def _wait_until(self, due_ns: int) -> bool:
        """Whether the frame's time has come; False if it is long past or the graph stops."""
        context = self._context
        while not context.stopping:
            late_ns = context.clock.now_ns() - due_ns
            if late_ns >= 0:
                return late_ns <= LATE_LIMIT_NS
            context.receive(-late_ns / NS_PER_S)
        return False

    def say_end(self, name: str) -> None:
        """Tell readers that no more will come."""
        from fusion.records import StreamEnd

        context = self._context
        end = StreamEnd(measured_ns=self._last_ns, received_ns=self._last_ns, reason=f"end of {name}")
        context.publish(f"{context.name}/end", end)
