"""Simulator node: a wearer who moves, seen by simulated cameras, inertial sensors and radars.

In a ``live`` session every record is published at the time of its arrival, in a
``data`` session in the order of arrival, as fast as readers take it, on a time
axis that begins at 0. The same seed gives the same records.

The fusion node has to know where the simulated sensors are, as it would have to
for real ones. ``python -m nodes.simulator --profile GRAPH OUT.toml`` writes the
profile that belongs to a graph; a graph whose profile says something else is
refused.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from fusion.synthesis.actions import DEFAULT_SCRIPT, DEFAULT_START_M, Action
from fusion.synthesis.params import DetectorParams, InertialParams, PictureParams, RadarParams, RingParams
from nodes.errors import RequestError
from nodes.graph.schema import InputPath
from nodes.node import NodeContext, NodeParams

if TYPE_CHECKING:
    from fusion.rig import Camera, ImuMount, RadarMount, Rig
    from fusion.synthesis.motion import BodyMotion
    from fusion.synthesis.simulation import Lab, Simulation
    from fusion.synthesis.wearer import Wearer

MAX_WEARERS = 16
NS_PER_S = 1_000_000_000
AHEAD_NS = 500_000_000
"""Live: records are made up to this long before they arrive,"""
SPARE_NS = 12_000_000
"""but only while the next one is further away than this."""
START_DELAY_NS = 200_000_000
"""Live: the first exposure is so long after the start, so that the first records can be made in time."""
POSITION_TOLERANCE_M = 1e-4
ROTATION_TOLERANCE = 1e-5
PIXEL_TOLERANCE = 1e-3


class WearerParams(BaseModel):
    """One person."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: int = Field(0, ge=0)
    """In the truth; each wearer has another one."""
    stature_m: float = Field(1.75, ge=1.0, le=2.3)
    script: tuple[Annotated[Action, Field(discriminator="do")], ...] = DEFAULT_SCRIPT
    """What to do, in this order."""
    start_m: tuple[float, float] = DEFAULT_START_M
    """Where the script starts, x and y."""
    heading_rad: float = 0.0
    """Where it looks at the start; 0 is +x."""
    repeat: bool = True
    """Walk home at the end of the script and begin anew; a clip stops at its end in any case."""
    clip: InputPath | None = None
    """Motion clip (``.npz`` with joint_names, offsets, root_pos and quat) instead of a script."""
    clip_name: str | None = None
    """Which clip of a file with several; default: the first."""

    @model_validator(mode="after")
    def _script_or_clip(self) -> WearerParams:
        if not self.script:
            raise ValueError("script: no actions; name at least one of stand, walk, circle, turn, squat, reach, pose")
        if self.clip is not None and "script" in self.model_fields_set:
            raise ValueError("script and clip are both given; keep one of them")
        if self.clip is None and self.clip_name is not None:
            raise ValueError(f"clip_name {self.clip_name!r} needs the key clip with the file that holds it")
        return self


class Params(NodeParams):
    """Keys of a simulator node. Leave a kind of sensor out with ``null``."""

    seed: int = Field(0, ge=0)
    """Same seed, same records."""
    duration_s: float | None = Field(None, gt=0)
    """Then the source ends; default: never in a ``live`` session, one round of the movement in a ``data`` session."""
    wearers: tuple[WearerParams, ...] = (WearerParams(),)
    """The first one wears the inertial sensors."""
    cameras: RingParams | None = RingParams()
    """Named ``cam1``, ``cam2`` … in profile and records."""
    detector: DetectorParams = DetectorParams()
    """How the landmarks of the cameras err."""
    imus: InertialParams | None = InertialParams()
    calibrated: bool = False
    """The profile says how the inertial sensors sit by a calibration, and not where they usually do."""
    radars: RadarParams | None = RadarParams()
    """Named ``radar1`` …"""
    pictures: PictureParams | None = None
    """Drawn pictures of the cameras."""
    truth_hz: float | None = Field(None, gt=0, le=1000)
    """Truth at this rate besides that at every exposure."""

    @model_validator(mode="after")
    def _wearers_differ(self) -> Params:
        if not 1 <= len(self.wearers) <= MAX_WEARERS:
            raise ValueError(f"wearers: {len(self.wearers)} of them, allowed 1 to {MAX_WEARERS}")
        ids = [wearer.id for wearer in self.wearers]
        twice = sorted({number for number in ids if ids.count(number) > 1})
        if twice:
            raise ValueError(f"wearers: id {twice[0]} is given twice; give each wearer another id")
        return self

    def publishes(self, name: str) -> tuple[str, ...]:
        """Landmarks, pictures, samples, points and the truth."""
        cameras = [f"{name}.cam{i + 1}" for i in range(self.cameras.count if self.cameras else 0)]
        topics = [f"{camera}/landmarks" for camera in cameras]
        if self.pictures is not None:
            topics += [f"{camera}/image" for camera in cameras]
        if self.imus is not None:
            topics.append(f"{name}.imus/samples")
        topics += [f"{name}.radar{i + 1}/points" for i in range(self.radars.count if self.radars else 0)]
        return (*topics, f"{name}/truth")


def run(params: Params, context: NodeContext) -> None:
    """Publish the simulation until its end or until the graph stops.

    Raises:
        RequestError: if the session's profile does not describe what is simulated, or a clip cannot be used.
    """
    lab = lab_of(params)
    check_profile(lab, context.session.profile, calibrated=params.calibrated)
    wearers = wearers_of(params)
    data_time = context.session.time == "data"
    duration_s = params.duration_s
    if duration_s is None and data_time:
        duration_s = max(wearer.motion.duration_s for wearer in wearers)
    _warm_up(lab, wearers, params.seed)
    context.ready()
    # Live, the movement belongs to the session: a simulator that starts again goes on where it would be by now.
    origin_ns = 0 if data_time else context.started_ns + START_DELAY_NS
    begin_s = 0.0 if data_time else max(context.clock.now_ns() - origin_ns, 0) / NS_PER_S
    from fusion.synthesis.simulation import Simulation

    simulation = Simulation(lab, wearers, seed=params.seed, origin_ns=origin_ns, duration_s=duration_s, begin_s=begin_s)
    if data_time:
        _run_data(simulation, context)
    else:
        _run_live(simulation, context)


def _run_data(simulation: Simulation, context: NodeContext) -> None:
    while not context.stopping and (emission := simulation.pop()) is not None:
        context.publish(topic_of(context.name, emission.stream), emission.record)


def _run_live(simulation: Simulation, context: NodeContext) -> None:
    """Publish each record when it is due; use the time in between to make the next ones."""
    late_ns = 0
    while not context.stopping:
        emission = simulation.peek()
        if emission is None:
            return
        now_ns = context.clock.now_ns()
        wait_ns = emission.arrival_ns - now_ns
        if wait_ns <= 0:
            simulation.pop()
            late_ns = max(late_ns, -wait_ns)
            context.counters["latest_ms"] = late_ns / 1e6
            context.publish(topic_of(context.name, emission.stream), emission.record)
            continue
        horizon_ns = simulation.horizon_ns
        if horizon_ns is not None and horizon_ns < now_ns + AHEAD_NS and wait_ns > SPARE_NS:
            simulation.extend()
        else:
            context.receive(wait_ns / NS_PER_S)


def topic_of(node: str, stream: str) -> str:
    """``sim.cam1/landmarks`` for the stream ``cam1/landmarks``, ``sim/truth`` for ``truth``."""
    return f"{node}.{stream}" if "/" in stream else f"{node}/{stream}"


def lab_of(params: Params) -> Lab:
    """The sensors that the parameters ask for."""
    from fusion.synthesis.simulation import Lab

    return Lab(
        ring=params.cameras,
        detector=params.detector,
        imus=params.imus,
        radars=params.radars,
        pictures=params.pictures,
        truth_hz=params.truth_hz,
    )


def simulated_rig(params: Params) -> Rig:
    """The profile that belongs to the parameters: what a calibration of this lab would know."""
    from fusion.synthesis import simulation

    return simulation.simulated_rig(lab_of(params))


def wearers_of(params: Params) -> tuple[Wearer, ...]:
    """The people who move.

    Raises:
        RequestError: if a clip cannot be used.
    """
    from fusion.synthesis.wearer import Wearer

    return tuple(Wearer(wearer.id, _motion(wearer, params.seed)) for wearer in params.wearers)


def _motion(wearer: WearerParams, seed: int) -> BodyMotion:
    from fusion.synthesis.motion import draw_lengths
    from fusion.synthesis.script import scripted_motion

    if wearer.clip is not None:
        return _clip_motion(wearer.clip, wearer.clip_name)
    # Another id, another body and other idle movements.
    own_seed = seed + wearer.id
    return scripted_motion(
        wearer.script,
        draw_lengths(own_seed, wearer.stature_m),
        seed=own_seed,
        start_m=wearer.start_m,
        heading_rad=wearer.heading_rad,
        repeat=wearer.repeat,
    )


def _clip_motion(path: str, name: str | None) -> BodyMotion:
    import zipfile

    import numpy as np

    from fusion.synthesis.clips import ClipError, clip_motion

    try:
        with np.load(path, allow_pickle=False) as file:
            return clip_motion({key: file[key] for key in file.files}, name)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        kind = "" if isinstance(error, ClipError) else "is no motion clip: "
        raise RequestError(f"clip {path}: {kind}{error}") from error


def _warm_up(lab: Lab, wearers: tuple[Wearer, ...], seed: int) -> None:
    """Compile the kernels before the first record is due."""
    from fusion.synthesis.simulation import Simulation

    trial = Simulation(lab, wearers, seed=seed, origin_ns=0, duration_s=0.01)
    while trial.pop() is not None:
        pass


def check_profile(lab: Lab, profile: str | None, *, calibrated: bool = False) -> None:
    """Compare the session's profile with the simulated sensors; a session without a profile passes.

    Args:
        lab: what is simulated.
        profile: file of the session's profile.
        calibrated: the inertial sensors may sit in any way.

    Raises:
        RequestError: naming the first difference and the command that writes the right profile.
    """
    if profile is None:
        return
    from calibration.profile import load_profile
    from fusion.synthesis import simulation

    difference = rig_difference(simulation.simulated_rig(lab), load_profile(profile), calibrated=calibrated)
    if difference:
        raise RequestError(
            f"profile {profile} does not describe the simulated sensors: {difference}; "
            f"write it with: python -m nodes.simulator --profile GRAPH {profile} --overwrite"
        )


def rig_difference(simulated: Rig, profile: Rig, *, calibrated: bool = False) -> str:
    """The first simulated sensor that the profile lacks or has otherwise, in words; empty if there is none."""
    cameras = {camera.name: camera for camera in profile.cameras}
    mounts = {mount.segment: mount for mount in profile.imus}
    radars = {radar.name: radar for radar in profile.radars}
    lacking = [f"camera {camera.name!r}" for camera in simulated.cameras if camera.name not in cameras]
    lacking += [f"inertial sensor of {mount.segment!r}" for mount in simulated.imus if mount.segment not in mounts]
    lacking += [f"radar {radar.name!r}" for radar in simulated.radars if radar.name not in radars]
    if lacking:
        return f"it lacks {', '.join(lacking)}"
    differences = [_camera_difference(camera, cameras[camera.name]) for camera in simulated.cameras]
    differences += [_mount_difference(mount, mounts[mount.segment]) for mount in simulated.imus if not calibrated]
    differences += [_radar_difference(radar, radars[radar.name]) for radar in simulated.radars]
    return next((difference for difference in differences if difference), "")


def _camera_difference(simulated: Camera, have: Camera) -> str:
    import numpy as np

    name = f"camera {simulated.name!r}"
    if (have.width, have.height) != (simulated.width, simulated.height):
        return f"{name} is {have.width}x{have.height}, simulated {simulated.width}x{simulated.height}"
    if np.abs(have.matrix - simulated.matrix).max() > PIXEL_TOLERANCE or have.fisheye != simulated.fisheye:
        return f"{name} has another lens"
    if np.abs(have.distortion - simulated.distortion).max() > ROTATION_TOLERANCE:
        return f"{name} has another lens"
    apart = float(np.linalg.norm(have.centre_world_m - simulated.centre_world_m))
    if apart > POSITION_TOLERANCE_M:
        return f"{name} stands {apart:.3f} m away"
    turned = float(np.abs(have.r_camera_from_world - simulated.r_camera_from_world).max())
    return f"{name} looks elsewhere" if turned > ROTATION_TOLERANCE else ""


def _mount_difference(simulated: ImuMount, have: ImuMount) -> str:
    import numpy as np

    turned = 1.0 - abs(float(np.dot(have.q_segment_from_sensor, simulated.q_segment_from_sensor)))
    shifted = float(np.abs(have.lever_arm_m - simulated.lever_arm_m).max())
    if turned > ROTATION_TOLERANCE or shifted > POSITION_TOLERANCE_M:
        return f"the inertial sensor of {simulated.segment!r} is mounted otherwise"
    return ""


def _radar_difference(simulated: RadarMount, have: RadarMount) -> str:
    import numpy as np

    turned = float(np.abs(have.r_world_from_radar - simulated.r_world_from_radar).max())
    shifted = float(np.abs(have.position_world_m - simulated.position_world_m).max())
    if turned > ROTATION_TOLERANCE or shifted > POSITION_TOLERANCE_M:
        return f"radar {simulated.name!r} is placed otherwise"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Write the profile of the simulator in a graph; exit code 0, or 2 with a message."""
    parser = argparse.ArgumentParser(prog="python -m nodes.simulator", description=main.__doc__)
    parser.add_argument("--profile", nargs=2, metavar=("GRAPH", "OUT.toml"), required=True)
    parser.add_argument("--overwrite", action="store_true", help="replace OUT.toml if it is there")
    args = parser.parse_args(arguments)
    graph_path, out = args.profile
    try:
        write_profile(graph_path, out, overwrite=args.overwrite)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def write_profile(graph_path: str, out: str, *, overwrite: bool = False) -> None:
    """Write the profile of the one simulator in a graph file.

    Raises:
        RequestError: if the graph has no simulator or several.
        ValueError: if the graph or the profile cannot be read or written; the message says why.
    """
    from calibration.profile import save_profile
    from nodes.graph.loader import load_graph

    # The profile that the graph names may be the very one that is to be written.
    loaded = load_graph(graph_path, overrides={"session": {"profile": None}})
    found = [node for node in loaded.graph.nodes.values() if node.type == "simulator"]
    if len(found) != 1:
        raise RequestError(f"{graph_path}: {len(found)} nodes of type simulator, expected one")
    # The graph's class may come from another import of this module than ``__main__``.
    params = Params.model_validate(found[0].model_dump())
    save_profile(out, simulated_rig(params), overwrite=overwrite)


if __name__ == "__main__":
    sys.exit(main())
