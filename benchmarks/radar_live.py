"""MARS as a live session: its points over a virtual sensor's serial ports, its Kinect's joints as a camera.

    python -m benchmarks.radar_live [--subject N] [--seconds S] [--start S] [--weights FILE|none] [--json]

The whole graph runs in real time: the virtual sensor on two pseudo-terminals, the radar node that sets it up and
decodes it, fusion, recorder. The Kinect tells every third frame with 3 cm of noise and is away for two seconds of every
ten. Errors are against the Kinect's joints, ``light`` while it tells and ``dark`` while it is away, from the recorded
people at their own times. The radar's place is calibrated on the other subjects, and the network (by default that of
``benchmarks/weights``) has not seen the subject. Needs the data pack; Linux and macOS only.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import radar_live_nodes
from benchmarks.radar_fusion import FLOOR_M, MM_PER_M, SUBJECTS, calibrated, read_stretches
from benchmarks.scenarios import NS_PER_S, data_folder
from fusion.body.catalog import landmark_positions
from fusion.records import Annotation, Float64, Health, People, Record
from fusion.rig import RadarMount
from nodes import fusion, radar, recorder
from nodes.commands.arguments import print_json
from nodes.graph.launcher import run_graph
from nodes.node import NodeParams
from nodes.sessions.reader import SessionReader

CFG = Path(__file__).resolve().parents[1] / "graphs" / "radar" / "xwr1843_mars.cfg"
WEIGHTS = Path(__file__).resolve().parent / "weights"
SETTLING_S = 3.0
TAIL_S = 1.0


@dataclass(frozen=True)
class _Session:
    profile: str
    name: str = "mars"
    time: Literal["live", "data"] = "live"


@dataclass(frozen=True)
class _Graph:
    nodes: dict[str, NodeParams]
    session: _Session


@dataclass(frozen=True)
class _Loaded:
    graph: _Graph
    topics: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    text: str = ""


def loaded(nodes: dict[str, NodeParams], profile: Path) -> _Loaded:
    """A graph of nodes."""
    topics = {topic: name for name, node in nodes.items() for topic in (*node.publishes(name), f"{name}/health")}
    inputs = {
        name: tuple(topic for topic in node.wants(tuple(topics)) if topics[topic] != name)
        for name, node in nodes.items()
    }
    return _Loaded(_Graph(nodes, _Session(str(profile))), topics, inputs)


def write_profile(path: Path, mount: RadarMount) -> None:
    """The radar's place."""
    path.write_text(
        'format = "kinefuse-profile"\nversion = 1\n\n[radars.radar]\n'
        f"rotation = {mount.r_world_from_radar.tolist()}\nposition_m = {mount.position_world_m.tolist()}\n"
        f"azimuth_fov_rad = {mount.azimuth_fov_rad}\nrange_max_m = {mount.range_max_m}\n"
    )


def play(subject: int, start_s: float, seconds: float, weights: str) -> dict[str, Any]:
    """One session, and how well it went."""
    folder = data_folder()
    others = [stretch for other in SUBJECTS if other != subject for stretch in read_stretches(folder, other)]
    recording = str(folder / "mars" / f"subject{subject}.npz")
    with tempfile.TemporaryDirectory(prefix="kinefuse-mars-") as home:
        profile, session, link = Path(home, "mars.toml"), Path(home, "mars.mcap"), str(Path(home, "radar"))
        write_profile(profile, calibrated(others))
        mars = radar_live_nodes.Params(
            recording=recording, start_s=start_s, seconds=seconds, link=link, floor_m=FLOOR_M
        )  # fmt: skip
        nodes: dict[str, NodeParams] = {
            "mars": mars,
            "radar": radar.Params(
                type="radar", driver="ti-sdk3", cli_port=f"{link}-cli", data_port=f"{link}-data", cfg=str(CFG)
            ),
            "fusion": fusion.Params(inputs=("mars/landmarks3d", "radar/points"), radar_network=weights),
            "rec": recorder.Params(type="recorder", path=str(session)),
        }
        report = run_graph(
            loaded(nodes, profile), duration_s=seconds + TAIL_S, headless=True, log_stream=io.StringIO()
        )  # fmt: skip
        with SessionReader(session) as reader:
            records = [envelope.record for _, envelope in reader.envelopes()]
    figures = judged(records, recording, mars)
    return {"subject": subject, "exit_code": report.exit_code, "weights": Path(weights).stem, **figures}


def judged(records: list[Record], recording: str, mars: radar_live_nodes.Params) -> dict[str, Any]:
    """Errors against the Kinect's joints at the times of the people."""
    from nodes.devices.ti.scenes import load_mars

    begun_ns = next(
        record.measured_ns for record in records if isinstance(record, Annotation) and record.text == "begun"
    )
    frames = load_mars(Path(recording), start_s=mars.start_s, seconds=mars.seconds)
    with np.load(recording) as file:
        joints_m = file["labels"][list(frames.rows)].astype(np.float64) + np.array([0.0, 0.0, mars.floor_m])
    times_s = np.array([frame.time_s for frame in frames.frames(0.1)])
    errors: dict[str, list[Float64]] = {"light": [], "dark": []}
    people = [record for record in records if isinstance(record, People) and len(record.ids)]
    for record in people:
        at_s = (record.measured_ns - begun_ns) / NS_PER_S
        truth = _at(at_s, times_s, joints_m)
        if at_s < SETTLING_S or truth is None:
            continue
        told = landmark_positions(
            "kinect_19",
            record.positions_m[0].astype(np.float64),
            record.q_world_from_segment[0].astype(np.float64),
            record.lengths_m[0].astype(np.float64),
        )
        errors["dark" if mars.is_dark(at_s) else "light"].append(np.linalg.norm(told - truth, axis=1))
    health = {record.node: record for record in records if isinstance(record, Health)}
    return {
        "people": len(people),
        "most_at_once": max((len(record.ids) for record in people), default=0),
        **{f"{name}_frames": len(values) for name, values in errors.items()},
        **{
            f"{name}_root_mm": float(np.mean([v[0] for v in values])) * MM_PER_M
            for name, values in errors.items()
            if values
        },
        **{f"{name}_mpjpe_mm": float(np.nanmean(values)) * MM_PER_M for name, values in errors.items() if values},
        "radar": dict(health["radar"].counters) if "radar" in health else {},
        "dropped": int(sum(int(record.drops.sum()) for record in health.values())),
    }


def _at(at_s: float, times_s: Float64, joints_m: Float64) -> Float64 | None:
    """True joints [19, 3] at a time between two frames that follow each other; None where there are none."""
    after = int(np.searchsorted(times_s, at_s))
    if not 0 < after < len(times_s) or times_s[after] - times_s[after - 1] > 0.25:
        return None
    share = (at_s - times_s[after - 1]) / (times_s[after] - times_s[after - 1])
    truth = (1.0 - share) * joints_m[after - 1] + share * joints_m[after]
    return truth if np.isfinite(truth).all() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subject", type=int, choices=SUBJECTS, default=2)
    parser.add_argument("--start", type=float, default=0.0, help="second of the recording to begin at")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--weights", help="of the network, or none; default: those that have not seen the subject")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    weights = given.weights or str(WEIGHTS / f"radar-points-without-{given.subject}.npz")
    figures = play(given.subject, given.start, given.seconds, weights)
    if given.json:
        print_json(figures)
    else:
        for key, value in figures.items():
            print(f"{key:18} {value}")


if __name__ == "__main__":
    main()
