"""How fast sessions are written and read, how long a writer stalls, and what a killed recorder loses.

    python -m benchmarks.sessions [--json] [--seconds S] [--kills N]

* ``write``, ``read``: records of one person's landmarks, as fast as it goes.
* ``paced``: the records of a lab (4 cameras at 30 fps, 6 inertial sensors at 100 Hz, radar at 20 Hz, a pose for each
  picture) put into the recorder's queue at their times; ``put`` is what the reader of the bus waits for, ``work``
  what the writing thread takes for one round.
* ``kill``: a graph with a simulator and a recorder; the recorder's process is killed, and the time from the last
  record in its repaired file to the kill is what was lost. Linux only.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fusion.records import InertialSamples, Landmarks2D, People, RadarPoints, Record
from nodes.commands.arguments import print_json
from nodes.node import Envelope
from nodes.sessions.index import SessionError
from nodes.sessions.reader import SessionReader
from nodes.sessions.repair import repair
from nodes.sessions.writer import FLUSH_S, QueuedWriter, SessionFacts, SessionWriter

NS_PER_S = 1_000_000_000
FACTS = SessionFacts(name="benchmark")
RECORDS = 50_000
JOINTS, COORDINATES, LENGTHS, ANGLES = 23, 44, 11, 41
SENSORS = ("pelvis", "thorax", "left_hand", "right_hand", "left_foot", "right_foot")
POLL_S = 0.05
START_UP_S = 60.0
RECORD_BEFORE_KILL_S = 3.0

GRAPH = """
session: {name: kill, profile: lab.toml}
nodes:
  sim: {type: simulator, seed: 1}
  rec: {type: recorder, path: takes}
"""


def landmarks(time_ns: int, generator: np.random.Generator) -> Landmarks2D:
    return Landmarks2D(
        measured_ns=time_ns,
        received_ns=time_ns,
        camera="cam1",
        landmark_set="blazepose_33",
        image_width=1280,
        image_height=720,
        pixels=(generator.random((1, 33, 2)) * 1000).astype(np.float32),
        scores=generator.random((1, 33)).astype(np.float32),
    )


def samples(time_ns: int, generator: np.random.Generator) -> InertialSamples:
    shape = (1, len(SENSORS), 3)
    return InertialSamples(
        measured_ns=time_ns,
        received_ns=time_ns,
        sensors=SENSORS,
        times_ns=np.array([time_ns]),
        specific_force_m_s2=generator.normal(size=shape).astype(np.float32),
        angular_rate_rad_s=generator.normal(size=shape).astype(np.float32),
        magnetic_field_ut=np.full(shape, np.nan, np.float32),
    )


def points(time_ns: int, generator: np.random.Generator) -> RadarPoints:
    count = int(generator.integers(5, 60))
    return RadarPoints(
        measured_ns=time_ns,
        received_ns=time_ns,
        radar="radar1",
        frame=0,
        positions_m=generator.normal(size=(count, 3)).astype(np.float32),
        radial_velocities_m_s=generator.normal(size=count).astype(np.float32),
        snrs_db=generator.normal(size=count).astype(np.float32),
    )


def people(time_ns: int, generator: np.random.Generator) -> People:
    def random(*shape: int) -> Any:
        return generator.normal(size=(1, *shape)).astype(np.float32)

    return People(
        measured_ns=time_ns,
        received_ns=time_ns,
        skeleton="joints_23",
        ids=np.zeros(1, np.int64),
        positions_m=random(JOINTS, 3),
        q_world_from_segment=random(JOINTS, 4),
        velocities_m_s=random(JOINTS, 3),
        angular_rates_rad_s=random(JOINTS, 3),
        covariances_m2=random(JOINTS, 3, 3),
        measured=np.ones((1, JOINTS), np.uint8),
        coordinates=random(COORDINATES),
        lengths_m=random(LENGTHS),
        lengths_locked=np.ones(1, np.uint8),
        angles_rad=random(ANGLES),
        centre_of_mass_m=random(3),
    )


def lab_stream(seconds: float) -> Iterator[tuple[int, Envelope]]:
    """The records of a lab by time."""
    generator = np.random.default_rng(0)
    streams: list[tuple[str, float, Any]] = [(f"cam{n}/landmarks", 30.0, landmarks) for n in range(1, 5)]
    streams += [("imus/samples", 100.0, samples), ("radar1/points", 20.0, points), ("fusion/people", 120.0, people)]
    times = [
        (round(index * NS_PER_S / rate), topic, index, make)
        for topic, rate, make in streams
        for index in range(int(seconds * rate))
    ]
    for time_ns, topic, index, make in sorted(times, key=lambda item: item[:2]):
        record: Record = make(time_ns, generator)
        yield time_ns, Envelope(topic, index, time_ns, 0, record)


def measure_throughput(folder: Path) -> dict[str, float]:
    """Records a second, as fast as it goes."""
    generator = np.random.default_rng(0)
    envelopes = [Envelope("cam1/landmarks", n, n, 0, landmarks(n, generator)) for n in range(1000)]
    path = folder / "throughput.mcap"
    writer = SessionWriter(path, FACTS)
    begun = time.perf_counter()
    for number in range(RECORDS):
        writer.write(envelopes[number % len(envelopes)], number)
        writer.tick()
    writer.close()
    write_s = time.perf_counter() - begun
    begun = time.perf_counter()
    with SessionReader(path) as session:
        read = sum(1 for _ in session.envelopes())
        decode_s = time.perf_counter() - begun
        begun = time.perf_counter()
        scanned = sum(1 for _ in session.messages())
    assert read == scanned == RECORDS
    scan_s = time.perf_counter() - begun
    return {"write_hz": RECORDS / write_s, "read_hz": RECORDS / decode_s, "scan_hz": RECORDS / scan_s}


class _TimedWriter(SessionWriter):
    """Keeps the longest time that one record or one flush took."""

    longest_s = 0.0

    def write(self, envelope: Envelope, log_ns: int) -> None:
        begun = time.perf_counter()
        super().write(envelope, log_ns)
        self.longest_s = max(self.longest_s, time.perf_counter() - begun)

    def tick(self) -> None:
        begun = time.perf_counter()
        super().tick()
        self.longest_s = max(self.longest_s, time.perf_counter() - begun)


def measure_paced(folder: Path, seconds: float) -> dict[str, float]:
    """The recorder's queue at the pace of a lab."""
    content = list(lab_stream(seconds))
    path = folder / "paced.mcap"
    inner = _TimedWriter(path, FACTS)
    writer = QueuedWriter(inner)
    waits_s = []
    begun_cpu, begun = time.process_time(), time.perf_counter()
    for log_ns, envelope in content:
        left_s = log_ns / NS_PER_S - (time.perf_counter() - begun)
        if left_s > 0:
            time.sleep(left_s)
        before = time.perf_counter()
        writer.put(envelope, log_ns)
        waits_s.append(time.perf_counter() - before)
    cpu_s = time.process_time() - begun_cpu
    writer.close()
    size = path.stat().st_size
    return {
        "records_hz": len(content) / seconds,
        "put_p99_ms": float(np.percentile(waits_s, 99)) * 1e3,
        "put_longest_ms": max(waits_s) * 1e3,
        "work_longest_ms": inner.longest_s * 1e3,
        "cpu_share": cpu_s / seconds,
        "dropped": float(writer.dropped),
        "mb_per_60_s": size / seconds * 60 / 1e6,
    }


def measure_kills(folder: Path, kills: int) -> list[dict[str, float]]:
    """Seconds lost by each kill of a real recorder, and until its successor has a file."""
    graph = folder / "kill.yaml"
    graph.write_text(GRAPH)
    profile = [sys.executable, "-m", "nodes.simulator", "--profile", str(graph), str(folder / "lab.toml")]
    subprocess.run(profile, check=True, stdout=subprocess.DEVNULL)
    takes = folder / "takes"
    run = [sys.executable, "-m", "nodes.cli", "run", str(graph), "--headless"]
    process = subprocess.Popen(run, stderr=subprocess.DEVNULL)
    results = []
    try:
        for number in range(kills):
            _wait(
                lambda number=number: (
                    len(_files(takes)) == number + 1 and _recorded_s(_files(takes)[-1]) > RECORD_BEFORE_KILL_S
                )
            )
            torn = _files(takes)[-1]
            # The condition has just seen a flush; spread the kills over the time between two.
            time.sleep(FLUSH_S * number / kills)
            pid = _recorder_pid(process.pid)
            os.kill(pid, signal.SIGKILL)
            killed_ns, killed_s = time.time_ns(), time.perf_counter()
            _wait(lambda number=number: len(_files(takes)) == number + 2)
            back_s = time.perf_counter() - killed_s
            repair(torn)
            with SessionReader(torn) as session:
                results.append({"lost_s": (killed_ns - session.last_ns) / NS_PER_S, "back_s": back_s})
    finally:
        process.terminate()
        process.wait(timeout=START_UP_S)
    return results


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.mcap"), key=lambda path: path.stat().st_mtime_ns) if folder.is_dir() else []


def _recorded_s(path: Path) -> float:
    try:
        with SessionReader(path) as session:
            return (session.last_ns - session.first_ns) / NS_PER_S
    except SessionError:
        return 0.0  # Created at this moment, its header is not there yet.


def _wait(condition: Any) -> None:
    deadline = time.monotonic() + START_UP_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the recorder did not come up")
        time.sleep(POLL_S)


def _recorder_pid(parent: int) -> int:
    """The process of the node ``rec``, by the launch file that its environment names."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            environment = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        launched = any(item.startswith(b"KINEFUSE_LAUNCH=") and item.endswith(b"/rec.json") for item in environment)
        if int(status[1]) == parent and launched:
            return int(folder.name)
    raise RuntimeError("no recorder process")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sessions", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the paced measurement")
    parser.add_argument("--kills", type=int, default=3, help="how often a recorder is killed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kinefuse-") as name:
        folder = Path(name)
        result: dict[str, Any] = {**measure_throughput(folder), "paced": measure_paced(folder, args.seconds)}
        if sys.platform == "linux" and args.kills > 0:
            result["kills"] = measure_kills(folder, args.kills)
    if args.json:
        print_json(result)
        return 0
    for key, value in result.items():
        print(f"{key:10} {value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
