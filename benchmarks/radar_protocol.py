"""The decoder of TI radars: cost at full baud rate, a long fuzz, portions, and what damage to one frame costs others.

    python -m benchmarks.radar_protocol [--json] [--only speed,live,resync,fuzz] [--fuzz-mb N] [--tries N] [--seconds S]

``speed`` decodes clean streams in portions as a poll of 4 ms brings them; ``share_at_92_kb_s`` is the processor time
for a second of a full line. ``live`` sends such a stream at 92160 bytes/s through a real pseudo-terminal from a
process of its own and takes this process's time, waiting and reading included. ``resync`` damages one frame of eight in
every way of ``nodes/devices/ti/trial.py`` and counts frames beside it that are lost, changed or late (later than their
own last byte). ``fuzz`` decodes random bytes, frames of all forms and damaged ones, in portions of every size, and
compares frames and counts with those of one portion, and on a part with those of the same bytes one by one; memory is
the peak that the process has grown by.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import random
import resource
import select
import subprocess
import sys
import time
import tty
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from nodes.commands.arguments import print_json
from nodes.devices.ti import encoder, trial
from nodes.devices.ti.figures import DATA_BYTES_S
from nodes.devices.ti.frames import TiDecoder, TiFrame

PARTS = ("speed", "live", "resync", "fuzz")
MB = 1_000_000
POLL_S = 0.004
RANGE_BINS = 128
POINTS = (38, 64)
"""Mean of MARS, and where it was cut."""
SPEED_FRAMES = 500
SPEED_S = 1.0
WARM_UP_S = 1.0
COMPARED_SHARE = 0.01
DAMAGED, STREAM = 3, 8
WRITER = """
import json, os, sys, time
path, bytes_s, chunk_s = json.loads(sys.argv[1])
data = sys.stdin.buffer.read()
line = os.open(path, os.O_WRONLY | os.O_NOCTTY)
begun_s, sent = time.monotonic(), 0
while True:
    due = int((time.monotonic() - begun_s) * bytes_s)
    while sent < due:
        at = sent % len(data)
        try:
            sent += os.write(line, data[at : at + due - sent])
        except OSError:
            sys.exit(0)
    time.sleep(chunk_s)
"""


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fuzz-mb", type=float, default=100.0, help="bytes of the fuzz, in MB")
    parser.add_argument("--tries", type=int, default=100, help="damages of each sort to each form of frame")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the live stream is measured")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts to run, of {', '.join(PARTS)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    chosen = args.only.split(",")
    unknown = [part for part in chosen if part not in PARTS]
    if unknown:
        print(f"--only {unknown[0]!r}: allowed {', '.join(PARTS)}", file=sys.stderr)
        return 2
    runs: dict[str, Callable[[], Any]] = {
        "speed": lambda: [speed(count) for count in POINTS],
        "live": lambda: [in_own_process(live, count, args.seconds) for count in POINTS],
        "resync": lambda: resync(args.tries),
        "fuzz": lambda: in_own_process(fuzz, args.fuzz_mb),
    }
    report = {part: runs[part]() for part in PARTS if part in chosen}
    print_json(report) if args.json else _print(report)
    return 0


def frame(number: int, count: int) -> bytes:
    """A frame of the out-of-box demo: points, side information, range profile, statistics."""
    places, speeds, snrs, noises = trial.truth(number, count)
    points = [encoder.plain_points(places, speeds), encoder.side_info(snrs, noises)]
    profile = encoder.profile(np.linspace(4.0, 12.0, RANGE_BINS))
    return encoder.encode_frame(number, [*points, profile, encoder.statistics(trial.STATISTICS)], objects=count)


def block(count: int) -> bytes:
    """Consecutive frames of ``count`` points."""
    return b"".join(frame(number, count) for number in range(1, SPEED_FRAMES + 1))


def speed(count: int) -> dict[str, float]:
    """How fast a clean stream of frames with ``count`` points is decoded."""
    data = block(count)
    size = round(DATA_BYTES_S * POLL_S)
    portions = [data[at : at + size] for at in range(0, len(data), size)]
    frames = done = 0
    begun_s = time.process_time()
    while time.process_time() - begun_s < SPEED_S:
        decoder = TiDecoder()
        frames += sum(len(decoder.feed(portion)) for portion in portions)
        done += len(data)
    spent_s = time.process_time() - begun_s
    return {
        "points": count,
        "frame_bytes": len(data) // SPEED_FRAMES,
        "frames": frames,
        "frames_s": frames / spent_s,
        "us_a_frame": spent_s / frames * 1e6,
        "mb_s": done / MB / spent_s,
        "share_at_92_kb_s": DATA_BYTES_S / (done / spent_s),
    }


def live(count: int, seconds: float) -> dict[str, float]:
    """Decode a full line from a pseudo-terminal in real time."""
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    command = [sys.executable, "-c", WRITER, json.dumps([os.ttyname(theirs), DATA_BYTES_S, POLL_S])]
    writer = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert writer.stdin is not None
    writer.stdin.write(block(count))
    writer.stdin.close()
    decoder = TiDecoder()
    gc.freeze()
    begin_s = end_s = used_s = 0.0
    frames = received = 0
    while not end_s or time.monotonic() < end_s:
        select.select([ours], [], [], 1.0)
        data = os.read(ours, 65536)
        now_s = time.monotonic()
        if not begin_s:
            begin_s = now_s
        if not end_s and now_s - begin_s >= WARM_UP_S:
            end_s, used_s, frames, received = now_s + seconds, time.process_time(), decoder.counts.samples, 0
        decoder.feed(data)
        received += len(data)
    share = (time.process_time() - used_s) / seconds
    writer.kill()
    writer.wait()
    os.close(ours)
    os.close(theirs)
    return {
        "points": count,
        "bytes_s": received / seconds,
        "frames_s": (decoder.counts.samples - frames) / seconds,
        "corrupt": decoder.counts.corrupt,
        "skipped_bytes": decoder.counts.skipped_bytes,
        "core_share": share,
    }


# ---- damage


def resync(tries: int) -> dict[str, Any]:
    """Frames beside a damaged one that were lost, changed or late, over all forms and damages."""
    rows = [damage_row(kind, damage, tries) for kind in trial.KINDS for damage in trial.DAMAGES]
    total = {name: sum(row[name] for row in rows) for name in ("damaged", "others", "lost", "late", "invented")}
    return {**total, "most_late_frames": max(row["most_late_frames"] for row in rows), "rows": rows}


def damage_row(kind: str, damage: str, tries: int) -> dict[str, Any]:
    """The same for one form and one damage."""
    frames = [trial.KINDS[kind](k) for k in range(40, 40 + STREAM)]
    decoder = TiDecoder()
    clean = [trial.essence(got) for one in frames for got in decoder.feed(one)]
    lost = late = most_late = invented = 0
    for seed in range(tries):
        spoilt = trial.damaged(frames[DAMAGED], damage, random.Random(f"{kind} {damage} {seed}"))
        came = _came([*frames[:DAMAGED], spoilt, *frames[DAMAGED + 1 :]])
        for k, wanted in enumerate(clean):
            if k == DAMAGED:
                continue
            when = next((at for at, got in came if got == wanted), None)
            lost += when is None
            behind = 0 if when is None else when - k
            late += behind > 0
            most_late = max(most_late, behind)
        invented += max(len(came) - STREAM, 0)
    return {
        "kind": kind,
        "damage": damage,
        "damaged": tries,
        "others": tries * (STREAM - 1),
        "lost": lost,
        "late": late,
        "most_late_frames": most_late,
        "invented": invented,
    }


def _came(parts: list[bytes]) -> list[tuple[int, Any]]:
    """Frames with the number of the part after which they came."""
    decoder = TiDecoder()
    came = [(k, trial.essence(got)) for k, part in enumerate(parts) for got in decoder.feed(part)]
    return came + [(len(parts), trial.essence(got)) for got in decoder.end_of_stream()]


# ---- the fuzz


def in_own_process(run: Callable[..., dict[str, float]], *args: Any) -> dict[str, float]:
    """A part in a process of its own, so that its memory and time are its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_and_send, args=(run, args, theirs))
    process.start()
    theirs.close()
    result: dict[str, float] = ours.recv()
    process.join()
    return result


def _run_and_send(run: Callable[..., dict[str, float]], args: tuple[Any, ...], line: Connection) -> None:
    line.send(run(*args))


def fuzz(megabytes: float) -> dict[str, float]:
    """Random, clean and damaged bytes; raises whatever the decoder raises.

    Raises:
        AssertionError: if in other portions the bytes say something else.
    """
    chance = random.Random(1)
    pool = [encode(k) for encode in trial.KINDS.values() for k in range(12)]
    decoders = TiDecoder(), TiDecoder(), TiDecoder()
    whole, parted, one_by_one = decoders
    for decoder in decoders:  # All tables are there before memory is looked at.
        decoder.feed(b"".join(pool))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = compared = samples = most_held = 0
    begun_s = time.perf_counter()
    while done < megabytes * MB:
        data = dirt(pool, chance)
        got = [trial.comparable(one) for one in whole.feed(data)]
        assert got == [trial.comparable(one) for one in _in_portions(parted, data, chance)]
        assert whole.counts == parted.counts
        if compared < COMPARED_SHARE * megabytes * MB:
            singly = [trial.comparable(one) for at in range(len(data)) for one in one_by_one.feed(data[at : at + 1])]
            assert (singly, one_by_one.counts) == (got, whole.counts)
            compared += len(data)
        most_held = max(most_held, whole.held)
        samples += len(got)
        done += len(data)
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    return {
        "mb": done / MB,
        "mb_compared_byte_by_byte": compared / MB,
        "seconds": time.perf_counter() - begun_s,
        "frames": samples,
        "corrupt": whole.counts.corrupt,
        "doubtful": whole.counts.doubtful,
        "most_held_bytes": most_held,
        "peak_growth_mb": grown_kb / 1024.0,
    }


def dirt(pool: list[bytes], chance: random.Random) -> bytes:
    """Some 100 kB: noise, magic words with noise behind, frames, damaged frames."""
    parts: list[bytes] = []
    for _ in range(120):
        what = chance.random()
        one = chance.choice(pool)
        if what < 0.1:
            parts.append(chance.randbytes(chance.randrange(1, 3000)))
        elif what < 0.2:
            parts.append(one[: chance.choice((8, 12, 16, 40, 48))] + chance.randbytes(chance.randrange(200)))
        elif what < 0.6:
            parts.append(trial.damaged(one, chance.choice(tuple(trial.DAMAGES)), chance))
        else:
            parts.append(one)
    return b"".join(parts)


def _in_portions(decoder: TiDecoder, data: bytes, chance: random.Random) -> list[TiFrame]:
    frames: list[TiFrame] = []
    at = 0
    while at < len(data):
        size = chance.choice((1, 7, 64, 256, 4096, 60_000))
        frames += decoder.feed(data[at : at + size])
        at += size
    return frames


def _print(report: dict[str, Any]) -> None:
    for row in report.get("speed", []):
        print(
            f"{row['points']} points, {row['frame_bytes']} bytes: {row['us_a_frame']:.0f} µs a frame,",
            f"{row['frames_s']:.0f} frames/s, {row['mb_s']:.1f} MB/s; at 92 kB/s {100 * row['share_at_92_kb_s']:.2f} %",
            "of a core",
        )
    for row in report.get("live", []):
        print(
            f"{row['points']} points live at {row['bytes_s'] / 1000:.1f} kB/s: {row['frames_s']:.1f} frames/s,",
            f"{100 * row['core_share']:.1f} % of a core with reading, {row['corrupt']:.0f} broken",
        )
    if "resync" in report:
        row = report["resync"]
        print(
            f"{row['damaged']} damaged frames: of {row['others']} beside them {row['lost']} lost or changed,",
            f"{row['late']} late (at most {row['most_late_frames']} frames), {row['invented']} frames too many",
        )
    if "fuzz" in report:
        row = report["fuzz"]
        print(
            f"{row['mb']:.0f} MB of fuzz in {row['seconds']:.0f} s, all in one portion and in many, "
            f"{row['mb_compared_byte_by_byte']:.1f} MB also byte by byte: {row['frames']:.0f} frames, "
            f"{row['corrupt']:.0f} broken, {row['doubtful']:.0f} doubtful; "
            f"held at most {row['most_held_bytes']:.0f} bytes, peak memory +{row['peak_growth_mb']:.1f} MB",
        )


if __name__ == "__main__":
    raise SystemExit(main())
