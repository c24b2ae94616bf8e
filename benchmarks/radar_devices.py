"""What a radar costs its node, and how good its stamps are, with virtual sensors on real pseudo-terminals.

    python -m benchmarks.radar_devices [--json] [--seconds S] [--mars FILE] [--only node,stamps]

``node`` runs the radar node in a process of its own beside another that plays a virtual sensor in real time, at the
pace of its line, and takes the node's processor time from the system: somebody who walks (20 Hz), MARS's points at
their 10 Hz if the data are there, and a line that is full. ``stamps`` compares each record's time with the time at
which the virtual sensor's frame was, whose bytes come after its chirps, its processing and its turn on the line.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from nodes.commands.arguments import print_json

PARTS = ("node", "stamps")
REPOSITORY = Path(__file__).resolve().parents[1]
CFGS = {name: REPOSITORY / "graphs" / "radar" / f"{name}.cfg" for name in ("iwr6843", "xwr1843_mars")}
WARM_UP_S = 6.0
FULL_POINTS = 220
"""At 20 Hz: 95 % of 921600 baud."""
EPOCH_NS = 1_700_000_000_000_000_000
PROBE = """
import gc, json, logging, sys, threading, time
from nodes import radar
from nodes.node import SessionInfo

class SteadyClock:
    def now_ns(self): return 1_700_000_000_000_000_000 + time.monotonic_ns()

class Context:
    name, inputs, started_ns, stopping = "radar", (), 0, False
    session = SessionInfo(name="benchmark", profile=None, graph_text="", time="live", headless=True)
    clock, log, counters = SteadyClock(), logging.getLogger("radar"), {}
    def __init__(self, warm_up_s, seconds):
        self.begin_s, self.seconds = time.monotonic() + warm_up_s, seconds
        self.frames, self.points, self.late_ms, self.used_s, self.wait = [], 0, [], None, threading.Event()
    def ready(self): gc.freeze()
    def publish(self, topic, record, cause=None):
        if self.used_s is None: return
        self.frames.append((record.frame, record.measured_ns))
        self.points += len(record.positions_m)
        self.late_ms.append((record.received_ns - record.measured_ns) / 1e6)
    def receive(self, timeout_s):
        now_s = time.monotonic()
        if self.used_s is None and now_s >= self.begin_s:
            self.used_s, self.since_s, self.before = time.process_time(), now_s, dict(self.counters)
        elif self.used_s is not None and now_s - self.since_s >= self.seconds:
            self.used_s, self.since_s = time.process_time() - self.used_s, now_s - self.since_s
            self.stopping = True
        self.wait.wait(timeout_s)

warm_up_s, seconds, keys = json.loads(sys.argv[1])
context = Context(warm_up_s, seconds)
radar.run(radar.Params.model_validate(keys), context)
late = sorted(context.late_ms)
counted = ("lost", "corrupt", "doubled", "doubtful", "restarts", "skipped_bytes")
print(json.dumps({
    "core_share": context.used_s / context.since_s,
    "rate_hz": len(late) / context.since_s,
    "points_per_frame": context.points / max(len(late), 1),
    "kb_s": (context.counters["received_bytes"] - context.before.get("received_bytes", 0)) / context.since_s / 1e3,
    "latency_median_ms": late[len(late) // 2] if late else None,
    "latency_p95_ms": late[len(late) * 95 // 100] if late else None,
    **{name: context.counters.get(name, 0) - context.before.get(name, 0) for name in counted},
    "skew_ppm": context.counters["clock_skew_ppm"],
    "stamps": context.frames,
}))
"""


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each node is measured")
    parser.add_argument("--mars", type=Path, default=_mars_file(), help="subjectN.npz of the MARS data")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts to run, of {', '.join(PARTS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    chosen = args.only.split(",")
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        print(f"--only {unknown[0]!r}: allowed {', '.join(PARTS)}", file=sys.stderr)
        return 2
    scenes = ["walk", *(["mars"] if args.mars.is_file() else []), "full line"]
    rows = [measured(scene, args.mars, args.seconds) for scene in scenes]
    report: dict[str, Any] = {}
    if "node" in chosen:
        report["node"] = [{key: value for key, value in row.items() if key != "stamp_error"} for row in rows]
    if "stamps" in chosen:
        report["stamps"] = {row["scene"]: row["stamp_error"] for row in rows}
    print_json(report) if args.json else _print(report)
    return 0


def _mars_file() -> Path:
    folder = Path(os.environ.get("KINEFUSE_DATA", REPOSITORY.parent / "shared" / "data"))
    return folder / "mars" / "subject2.npz"


def measured(scene: str, mars: Path, seconds: float) -> dict[str, Any]:
    """Processor time, losses and stamps of the node while a scene is played to it.

    Raises:
        RuntimeError: if the node fails.
    """
    ours, theirs = multiprocessing.Pipe()
    player = multiprocessing.get_context("spawn").Process(target=_play, args=(scene, mars, theirs), daemon=True)
    player.start()
    cli_port, data_port = ours.recv()
    cfg = CFGS["xwr1843_mars" if scene == "mars" else "iwr6843"]
    keys = {"type": "radar", "cli_port": cli_port, "data_port": data_port, "cfg": str(cfg)}
    command = [sys.executable, "-c", PROBE, json.dumps([WARM_UP_S, seconds, keys])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_one_thread())
    ours.send("stop")
    begun_s, period_s, skipped, overflows = ours.recv()
    player.join()
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout)
    stamps = found.pop("stamps")
    errors_ms = sorted(
        (measured_ns - EPOCH_NS) / 1e6 - 1e3 * (begun_s + (frame - 1) * period_s) for frame, measured_ns in stamps
    )
    player_row = {"skipped_by_sensor": skipped, "untaken_pieces": overflows}
    return {"scene": scene, **found, **player_row, "stamp_error": _spread(errors_ms)}


def _spread(errors_ms: list[float]) -> dict[str, float]:
    """Of stamp minus truth; the virtual sensor's crystal, off by up to 50 ppm, is in it."""
    count = len(errors_ms)
    if not count:
        return {}
    return {
        "median_ms": errors_ms[count // 2],
        "p5_ms": errors_ms[count * 5 // 100],
        "p95_ms": errors_ms[count * 95 // 100],
        "worst_ms": max(abs(errors_ms[0]), abs(errors_ms[-1])),
    }


def _play(scene: str, mars: Path, line: Connection) -> None:
    """Play until told to stop; then say when the scene began."""
    from nodes.devices.ti.fake import FakeRadar
    from nodes.devices.ti.scenes import Scene, Walk, load_mars

    played: Scene = Walk() if scene == "walk" else load_mars(mars) if scene == "mars" else _full_line()
    radar = FakeRadar(played)
    line.send((radar.cli_port.shown, radar.data_port.shown))
    gc.freeze()  # As the command does.
    begun_s = 0.0

    def stopped() -> bool:
        nonlocal begun_s
        begun_s = radar.begun_s or begun_s
        return line.poll(0)

    radar.run(stopped)
    period_s = (played.period_s or 0.05) * (1.0 + radar.skew)
    line.send((begun_s, period_s, radar.skipped, radar.overflows))
    radar.close()


def _full_line() -> Any:
    """Frames that hardly fit."""
    import numpy as np

    from nodes.devices.ti.scenes import Recording
    from nodes.devices.ti.virtual import Detections

    chance = np.random.default_rng(1)
    frames = [
        Detections(
            k * 0.05,
            chance.uniform(0.5, 5.0, (FULL_POINTS, 3)).astype(np.float32),
            chance.normal(0.0, 1.0, FULL_POINTS).astype(np.float32),
            chance.uniform(8.0, 25.0, FULL_POINTS).astype(np.float32),
        )
        for k in range(200)
    ]
    return Recording([frames[k % 200]._replace(time_s=k * 0.05) for k in range(20 * 3600)], 0.05)


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def _print(report: dict[str, Any]) -> None:
    for row in report.get("node", []):
        print(
            f"{row['scene']:10} {100 * row['core_share']:5.1f} % of a core, {row['rate_hz']:.1f} Hz,",
            f"{row['points_per_frame']:.0f} points, {row['kb_s']:.1f} kB/s, lost {row['lost']:.0f},",
            f"broken {row['corrupt']:.0f}, latency median {row['latency_median_ms']:.1f},",
            f"p95 {row['latency_p95_ms']:.1f} ms",
        )
    for scene, spread in report.get("stamps", {}).items():
        print(
            f"{scene:10} stamp minus truth: median {spread['median_ms']:+.2f} ms, 5 to 95 % {spread['p5_ms']:+.2f}",
            f"to {spread['p95_ms']:+.2f}, worst {spread['worst_ms']:.2f}",
        )


if __name__ == "__main__":
    raise SystemExit(main())
