"""Where sensors usually sit: what stands in until something is measured."""

from __future__ import annotations

from fusion.rig import ImuMount
from fusion.synthesis.imus import nominal_mounts
from fusion.synthesis.params import InertialParams


def usual_mount(segment: str) -> ImuMount:
    """The usual place on a segment; at its origin, axes aligned, where there is no usual one."""
    return nominal_mounts(InertialParams(sites=(segment,)))[0]
