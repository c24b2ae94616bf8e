"""Decoders of inertial devices: speed, what six and seventeen sensors cost the node, and a long fuzz.

    python -m benchmarks.imu_devices [--json] [--seconds S] [--fuzz-mb N] [--only speed,node,fuzz]

``speed`` decodes clean streams whose content is known. ``node`` runs the imu node in a process of its own beside
another that plays virtual sensors on pseudo-terminals or UDP, and takes the node's processor time from the system.
``fuzz`` gives each decoder random bytes and damaged streams, in portions of every size, and compares samples and
counts with those of the same bytes one by one (on a part of them, as that is slow); memory is the peak that the
process has grown by.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import random
import resource
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from typing import Any

from nodes.commands.arguments import print_json
from nodes.devices import trial
from nodes.devices.drivers import DRIVERS

PARTS = ("speed", "node", "fuzz")
MB = 1_000_000
BLOCK_MOMENTS = 2000
COMPARED_SHARE = 0.02
SPEED_S = 1.0
WARM_UP_S = 4.0
BODIES: tuple[tuple[str, int, float], ...] = (
    ("xsens-mti", 6, 100.0),
    ("witmotion", 6, 100.0),
    ("ximu3", 6, 100.0),
    ("xsens-mti", 17, 60.0),
    ("ximu3", 17, 60.0),
    ("xsens-mvn", 17, 60.0),
)
"""Driver, sensors, Hz; one port a sensor but for MVN, which sends datagrams."""
PROBE = """
import gc, json, logging, resource, sys, threading, time
from nodes import imu
from nodes.graph.clock import SessionClock
from nodes.node import SessionInfo

class Context:
    name, inputs, started_ns, stopping = "imus", (), 0, False
    session = SessionInfo(name="benchmark", profile=None, graph_text="", time="live", headless=True)
    clock, log, counters = SessionClock(1_700_000_000_000_000_000), logging.getLogger("imus"), {}
    def __init__(self, warm_up_s, seconds):
        self.begin_s, self.seconds = time.monotonic() + warm_up_s, seconds
        self.rows, self.present, self.late_ms, self.used_s, self.wait = 0, 0, [], None, threading.Event()
    def ready(self): gc.freeze()
    def publish(self, topic, record, cause=None):
        if self.used_s is None: return
        have = record.specific_force_m_s2[:, :, 0]
        self.rows += have.shape[0]
        self.present += int((have == have).sum())
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
imu.run(imu.Params.model_validate(keys), context)
late = sorted(context.late_ms)
counted = ("lost", "late", "doubled", "corrupt", "missing")
print(json.dumps({
    "core_share": context.used_s / context.since_s,
    "rows_hz": context.rows / context.since_s,
    "present_share": context.present / max(context.rows, 1) / len(imu.Params.model_validate(keys).wiring()),
    "latency_median_ms": late[len(late) // 2] if late else None,
    "latency_p95_ms": late[len(late) * 95 // 100] if late else None,
    **{name: context.counters.get(name, 0) - context.before.get(name, 0) for name in counted},
}))
"""


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each node is measured")
    parser.add_argument("--fuzz-mb", type=float, default=100.0, help="bytes for each decoder, in MB")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts to run, of {', '.join(PARTS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    chosen = args.only.split(",")
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        print(f"--only {unknown[0]!r}: allowed {', '.join(PARTS)}", file=sys.stderr)
        return 2
    report: dict[str, Any] = {}
    if "speed" in chosen:
        report["speed"] = {kind: speed(kind) for kind in trial.ENCODERS}
    if "node" in chosen:
        report["node"] = [node_cost(*body, seconds=args.seconds) for body in BODIES]
    if "fuzz" in chosen:
        report["fuzz"] = {kind: in_own_process(kind, args.fuzz_mb) for kind in trial.ENCODERS}
    print_json(report) if args.json else _print(report)
    return 0


def block(kind: str, count: int = BLOCK_MOMENTS) -> bytes:
    """Consecutive moments of a stream."""
    encode = trial.ENCODERS[kind][1]
    return b"".join(encode(k) for k in range(count))


def speed(kind: str) -> dict[str, float]:
    """How fast a clean stream is decoded in portions as a poll of 4 ms brings them."""
    data = block(kind)
    portions = [data[at : at + 256] for at in range(0, len(data), 256)]
    samples = done = 0
    begun_s = time.perf_counter()
    while time.perf_counter() - begun_s < SPEED_S:
        decoder = DRIVERS[trial.ENCODERS[kind][0]].decoder()
        samples += sum(len(decoder.feed(portion)) for portion in portions)
        done += len(data)
    spent_s = time.perf_counter() - begun_s
    return {"mb_s": done / MB / spent_s, "us_a_sample": spent_s / samples * 1e6}


# ---- the node


def node_cost(driver: str, count: int, rate_hz: float, *, seconds: float) -> dict[str, Any]:
    """Processor time and losses of the node while a body is played to it."""
    from nodes.devices.fake import FakeParams

    number = _free_port()
    params = FakeParams(
        driver=driver, count=count, rate_hz=rate_hz, udp=("127.0.0.1", number) if driver == "xsens-mvn" else None
    )
    ours, theirs = multiprocessing.Pipe()
    player = multiprocessing.get_context("spawn").Process(target=_play, args=(params, theirs), daemon=True)
    player.start()
    keys = {"type": "imu", "driver": driver, **ours.recv()}
    command = [sys.executable, "-c", PROBE, json.dumps([WARM_UP_S, seconds, keys])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_one_thread())
    ours.send("stop")
    player.join()
    if done.returncode:
        raise RuntimeError(done.stderr)
    return {"driver": driver, "sensors": count, "rate_hz": rate_hz, **json.loads(done.stdout)}


def _play(params: Any, line: Connection) -> None:
    """Play a body until told to stop."""
    from nodes.devices.fake import FakeBody

    body = FakeBody(params)
    if params.udp is not None:
        line.send({"udp_port": params.udp[1], "placement": body.segments})
    else:
        line.send({"port": {port: next(iter(pairs.values())) for port, pairs in body.outlets}})
    gc.freeze()  # As the command does.
    body.run(lambda: line.poll(0))
    body.close()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _one_thread() -> dict[str, str]:
    return {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


# ---- the fuzz


def in_own_process(kind: str, megabytes: float) -> dict[str, float]:
    """The fuzz in a process of its own, so that its memory is its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_fuzz_and_send, args=(kind, megabytes, theirs))
    process.start()
    theirs.close()
    result: dict[str, float] = ours.recv()
    process.join()
    return result


def _fuzz_and_send(kind: str, megabytes: float, line: Connection) -> None:
    line.send(fuzz(kind, megabytes))


def fuzz(kind: str, megabytes: float) -> dict[str, float]:
    """Random and damaged bytes in random portions; raises whatever the decoder raises.

    Raises:
        AssertionError: if one by one the bytes say something else.
    """
    driver = DRIVERS[trial.ENCODERS[kind][0]]
    chance = random.Random(1)
    clean = block(kind, 3000)
    whole = driver.decoder()
    one_by_one = driver.decoder()
    for decoder in (whole, one_by_one):
        decoder.feed(clean)  # All tables are there before memory is looked at.
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = compared = samples = 0
    comparing = True
    begun_s = time.perf_counter()
    while done < megabytes * MB:
        data = chance.randbytes(200_000) + trial.damaged(clean, chance, trial.Damage(3.0, 1.0, 1.0, 1.0))
        got = []
        at = 0
        while at < len(data):
            size = chance.choice((1, 7, 64, 256, 4096, 60_000))
            got += whole.feed(data[at : at + size])
            at += size
        samples += len(got)
        if comparing:
            same = [sample for at in range(len(data)) for sample in one_by_one.feed(data[at : at + 1])]
            assert (same, one_by_one.counts) == (got, whole.counts), kind
            compared += len(data)
            comparing = compared < COMPARED_SHARE * megabytes * MB
        done += len(data)
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    return {
        "mb": done / MB,
        "mb_compared_byte_by_byte": compared / MB,
        "seconds": time.perf_counter() - begun_s,
        "samples": samples,
        "packets": whole.counts.packets,
        "corrupt": whole.counts.corrupt,
        "peak_growth_mb": grown_kb / 1024.0,
        "buffered_bytes": len(getattr(whole, "_buffer", b"")),
    }


def _print(report: dict[str, Any]) -> None:
    for kind, row in report.get("speed", {}).items():
        print(f"{kind:16} {row['mb_s']:7.1f} MB/s {row['us_a_sample']:7.1f} µs a sample")
    for row in report.get("node", []):
        print(
            f"{row['sensors']:3} x {row['rate_hz']:3.0f} Hz {row['driver']:10}",
            f"{100 * row['core_share']:5.1f} % of a core,",
            f"{row['rows_hz']:.1f} rows/s, {100 * row['present_share']:.2f} % present, lost {row['lost']:.0f},",
            f"latency median {row['latency_median_ms']:.1f}, p95 {row['latency_p95_ms']:.1f} ms",
        )
    for kind, row in report.get("fuzz", {}).items():
        print(
            f"{kind:16} {row['mb']:.0f} MB in {row['seconds']:.0f} s",
            f"({row['mb_compared_byte_by_byte']:.1f} MB also byte by byte), {row['samples']:.0f} samples,",
            f"{row['corrupt']:.0f} broken packets, peak memory +{row['peak_growth_mb']:.1f} MB",
        )


if __name__ == "__main__":
    raise SystemExit(main())
