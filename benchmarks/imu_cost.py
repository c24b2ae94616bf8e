"""What six inertial sensors at 100 Hz cost: samples, orientation filters, network, filter updates, the people.

    python -m benchmarks.imu_cost [--json] [--seconds S]

One simulated wearer, six sensors at 100 Hz (two samples a record), four cameras at 30 a second. Figures are shares
of a core: processor seconds a second of data, after the first four. What is read off a socket is not in them.

* ``imu``, ``imu+network``: the sensors alone, without and with the network that tells the rest of the body;
* ``cameras``, ``cameras+imu``, ``cameras+imu+network``: a record is published for each picture.

``total`` is the pipeline's ``take`` and ``people`` (filter updates are computed when somebody asks for the people, so
they are in the latter), ``inertial_take`` the ``take`` of samples, ``orientation`` that of the orientation filters
alone on the same samples, measured by itself; ``least`` is the smallest total of the rounds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np

from benchmarks.filter_cost import lab_records, wearers
from fusion.estimators.inertial.orientation import OrientationFilter
from fusion.estimators.inertial.packing import NetworkWeights
from fusion.pipeline import Pipeline
from fusion.records import InertialSamples, Landmarks2D, Record
from fusion.rehearsal import rehearse
from fusion.rig import Rig
from fusion.synthesis.simulation import Lab, simulated_rig
from nodes.commands.arguments import print_json, print_table
from nodes.models.inertial import DEFAULT, load

SETTLED_NS = 4_000_000_000
ROUNDS = 3
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
COLUMNS = ("total", "least", "inertial_take", "orientation")


def pipeline_shares(
    rig: Rig, records: Sequence[Record], seconds: float, network: NetworkWeights | None
) -> tuple[float, float]:
    """Shares of a core: the pipeline in all, and its taking in of samples."""
    pipeline = Pipeline(rig, network=network)
    total_s = inertial_s = 0.0
    for record in records:
        begun = time.process_time()
        due = pipeline.take(record)
        taken = time.process_time()
        if due:
            pipeline.people(record)
        if record.measured_ns >= SETTLED_NS:
            total_s += time.process_time() - begun
            inertial_s += (taken - begun) * isinstance(record, InertialSamples)
    span_s = seconds - SETTLED_NS * 1e-9
    return total_s / span_s, inertial_s / span_s


def orientation_share(records: Sequence[Record], seconds: float) -> float:
    """Share of a core of the orientation filters alone."""
    estimator: OrientationFilter | None = None
    spent_s = 0.0
    for record in records:
        if not isinstance(record, InertialSamples):
            continue
        estimator = estimator or OrientationFilter(len(record.sensors))
        begun = time.process_time()
        estimator.stretches(
            record.times_ns, record.specific_force_m_s2, record.angular_rate_rad_s, record.magnetic_field_ut
        )
        spent_s += (time.process_time() - begun) * (record.measured_ns >= SETTLED_NS)
    return spent_s / (seconds - SETTLED_NS * 1e-9)


def inertial_costs(seconds: float) -> dict[str, dict[str, float]]:
    """Shares of a core by what is there."""
    lab = Lab(radars=None)
    records = lab_records(lab, wearers(1), seconds)
    rig, network = simulated_rig(lab), load(DEFAULT)
    samples = [record for record in records if isinstance(record, InertialSamples)]
    pictures = [record for record in records if isinstance(record, Landmarks2D)]
    rehearse(network)
    cases: dict[str, tuple[Sequence[Record], NetworkWeights | None]] = {
        "imu": (samples, None),
        "imu+network": (samples, network),
        "cameras": (pictures, None),
        "cameras+imu": (records, None),
        "cameras+imu+network": (records, network),
    }
    rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (given, weights) in cases.items():
            shares = pipeline_shares(rig, given, seconds, weights)
            rounds[name].append((*shares, orientation_share(given, seconds)))
    return {name: _summary(runs) for name, runs in rounds.items()}


def _summary(runs: list[tuple[float, float, float]]) -> dict[str, float]:
    total, inertial, orientation = np.median(runs, axis=0).tolist()
    return dict(zip(COLUMNS, (total, min(run[0] for run in runs), inertial, orientation), strict=True))


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the simulated lab, more than 4")
    args = parser.parse_args()
    if args.seconds <= SETTLED_NS * 1e-9:
        parser.error(f"--seconds {args.seconds:g}: expected more than {SETTLED_NS * 1e-9:g}")
    if any(os.environ.get(name) != "1" for name in THREADS):
        # The libraries read these when they are loaded, and they are by now.
        command = [sys.executable, "-m", "benchmarks.imu_cost", *sys.argv[1:]]
        return subprocess.run(command, env={**os.environ, **dict.fromkeys(THREADS, "1")}, check=False).returncode
    costs = inertial_costs(args.seconds)
    if args.json:
        print_json(costs)
        return 0
    rows = [(name, *(f"{100.0 * shares[column]:.2f}" for column in COLUMNS)) for name, shares in costs.items()]
    print_table(("% of a core", *COLUMNS), rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
