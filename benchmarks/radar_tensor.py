"""The 4D tensor modality: sizes and costs of the network, the synthesiser, and what is learned from simulated people.

    python -m benchmarks.radar_tensor [--run OUT] [--frames N] [--json]

* ``network``: parameters, multiplications and time a frame of HRRadarPose's sizes on its whole region, and of the small
  network on the small one, one thread;
* ``synthesis``: how far the closed form is from samples and FFTs (also with targets that move while the frame lasts,
  which it leaves out), and time a frame;
* ``learned``: MPJPE on people who were not learned from, beside the mean pose, of a run of
  ``kinefuse train radar-tensor OUT --synthetic`` (``--run OUT``; without it such a run is made, some minutes).

All people are simulated: nothing here says how well a real radar tells joints. That needs RT-Pose's recordings.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fusion.synthesis.radar_adc import closed_form_spectra, converter_samples, spectra_of
from fusion.synthesis.radar_tensor import SMALL_CHIRP, ChirpParams, Scatterers, TensorMaker
from nodes.commands.arguments import print_json, print_table
from nodes.errors import RequestError

FRAMES = 3
"""Of each measurement of time."""
_TARGETS = 4
_WALKING_M_S = 1.0


def network_figures(frames: int) -> dict[str, Any]:
    """Sizes and time of both networks."""
    import torch

    from training.radar_tensor.layout import RT_POSE_GRID
    from training.radar_tensor.model import SMALL, NetworkParams, TensorNetwork, multiplications_of, parameters_of
    from training.radar_tensor.synthetic import SMALL_GRID

    torch.set_num_threads(1)
    found = {}
    for name, params, grid in (("full", NetworkParams(), RT_POSE_GRID), ("small", SMALL, SMALL_GRID)):
        network = TensorNetwork(params).eval()
        power = torch.rand(1, params.doppler, *grid.shape)

        def run(network: TensorNetwork = network, power: torch.Tensor = power) -> None:
            with torch.inference_mode():
                network(power)

        found[name] = {
            "input": [params.doppler, *grid.shape],
            "parameters": parameters_of(network),
            "gflops": 2e-9 * multiplications_of(params, grid.shape),
            **_times_ms(run, frames),
        }
    return found


def _times_ms(run: Callable[[], object], frames: int) -> dict[str, float]:
    """Median time on the wall and of the processor, after one run that does not count."""
    run()
    walls, processors = [], []
    for _ in range(frames):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        walls.append(1e3 * (time.perf_counter() - wall))
        processors.append(1e3 * (time.process_time() - processor))
    return {"frame_ms": statistics.median(walls), "processor_ms": statistics.median(processors)}


def synthesis_figures(frames: int) -> dict[str, Any]:
    """Agreement with the FFTs, and time a frame with one person."""
    from training.radar_tensor.synthetic import SyntheticParams, radar_of, recording

    found = {}
    for name, chirp in (("full", _fewer_bins()), ("small", SMALL_CHIRP)):
        maker = TensorMaker(*radar_of(SyntheticParams(full=name == "full")))
        virtual = recording(maker, 1)
        numbers = iter(range(1, 1000))
        found[name] = {
            "fft_error": consistency(replace(chirp, parts=1), exact=False),
            "fft_error_moving": consistency(chirp, exact=True),
            "range_bin_m": chirp.range_bin_m,
            "speed_bin_m_s": chirp.speed_bin_m_s,
            "antennas": len(maker.array.across),
            **_times_ms(lambda virtual=virtual, numbers=numbers: virtual.tensor(next(numbers)), frames),  # type: ignore[misc]
        }
    return found


def _fewer_bins() -> ChirpParams:
    """The whole radar with angle FFTs of a fourth, so that an explicit frame takes 0.5 GB; antennas stay."""
    return ChirpParams(azimuth_bins=88, elevation_bins=8)


def consistency(chirp: ChirpParams, *, exact: bool) -> float:
    """Norm of the difference over the norm of what samples and FFTs give, for four targets that walk about."""
    random = np.random.default_rng(5)
    scatterers = Scatterers(
        random.uniform([-1.5, 1.5, -0.8], [1.5, 4.5, 0.8], (_TARGETS, 3)),
        random.uniform(-_WALKING_M_S, _WALKING_M_S, _TARGETS),
        np.exp(2j * np.pi * random.random(_TARGETS)),
    )
    explicit = spectra_of(converter_samples(scatterers, chirp, exact=exact), chirp)
    difference = closed_form_spectra(scatterers, chirp) - explicit
    return float(np.linalg.norm(difference) / np.linalg.norm(explicit))


def learned_figures(run: Path) -> dict[str, Any]:
    """Judge the weights of a run on the test recordings beside them."""
    from training.radar_tensor.judge import answers, coverage, figures_of, mean_pose_teller, network_teller
    from training.radar_tensor.layout import open_dataset
    from training.radar_tensor.train import WEIGHTS
    from training.radar_tensor.weights import network_of, read_weights

    weights = read_weights(run / WEIGHTS)
    learned, test = open_dataset(run / "data", "Train"), open_dataset(run / "data", "Test")
    found = answers(network_teller(network_of(weights), weights.grid), test)
    settings = weights.about.get("settings", {})
    return {
        "settings": {name: settings.get(name) for name in ("size", "epochs", "batch", "seed", "mirror")},
        "learned_frames": weights.about.get("figures", {}).get("learned_frames"),
        "network": figures_of(found),
        "mean_pose": figures_of(answers(mean_pose_teller(learned.frames), test)),
        "coverage_95": coverage(found, weights.sigmas_m),
        "motion_correlation": correlation(found),
    }


def correlation(found: list[Any]) -> float:
    """Correlation of the joints' motion about the pelvis with the truth, so that an answer that is the mean shows.

    Of each recording, joint but the pelvis, and axis, then the median.
    """
    values = []
    for one in found:
        told, true = (joints[:, 1:] - joints[:, :1] for joints in (one.told_m, one.true_m))
        told, true = told - told.mean(0), true - true.mean(0)
        scale = np.sqrt((told**2).sum(0) * (true**2).sum(0))
        values.append(np.divide((told * true).sum(0), scale, out=np.zeros_like(scale), where=scale > 0.0))
    return float(np.median(values))


def trained(out: Path) -> Path:
    """A run of the command's own settings in a folder."""
    from nodes.cli import main as kinefuse

    if kinefuse(["train", "radar-tensor", str(out), "--synthetic", "--threads", "1"]) != 0:
        raise RequestError("the training did not end well; see above")
    return out


def figures(run: Path | None, frames: int) -> dict[str, Any]:
    """All of them; the headline ones also at the top."""
    found: dict[str, Any] = {"network": network_figures(frames), "synthesis": synthesis_figures(frames)}
    if run is not None:
        found["learned"] = learned_figures(run)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found["learned"] = learned_figures(trained(Path(folder) / "run"))
    learned = found["learned"]
    return {
        "frames": learned["network"]["frames"],
        "mpjpe_cm": learned["network"]["mpjpe_cm"],
        "absolute_mpjpe_cm": learned["network"]["absolute_mpjpe_cm"],
        "mean_pose_mpjpe_cm": learned["mean_pose"]["mpjpe_cm"],
        "mean_pose_absolute_mpjpe_cm": learned["mean_pose"]["absolute_mpjpe_cm"],
        "coverage_95": learned["coverage_95"],
        "motion_correlation": learned["motion_correlation"],
        "frame_ms": found["network"]["full"]["frame_ms"],
        "people": "simulated",
        **found,
    }


def print_figures(found: dict[str, Any]) -> None:
    """Write them as tables."""
    rows: list[tuple[str, ...]] = [
        (name, " x ".join(map(str, row["input"])), f"{row['parameters']}", f"{row['gflops']:.1f}",
         f"{row['frame_ms']:.0f}", f"{row['processor_ms']:.0f}")
        for name, row in found["network"].items()
    ]  # fmt: skip
    print_table(("network", "input", "parameters", "GFLOPs", "frame ms", "processor ms"), rows)
    print()
    rows = [
        (name, f"{100 * row['range_bin_m']:.1f} cm, {row['speed_bin_m_s']:.3f} m/s", f"{row['antennas']}",
         f"{row['fft_error']:.1e}", f"{row['fft_error_moving']:.1e}", f"{row['frame_ms']:.0f}")
        for name, row in found["synthesis"].items()
    ]  # fmt: skip
    print_table(("radar", "bins", "antennas", "FFT error", "while moving", "frame ms"), rows)
    print()
    rows = [
        (name, f"{row['recordings']}", f"{row['frames']}", f"{row['mpjpe_cm']:.1f}", f"{row['absolute_mpjpe_cm']:.1f}",
         f"{row['pelvis_cm']:.1f}")
        for name, row in ((key, found["learned"][key]) for key in ("network", "mean_pose"))
    ]  # fmt: skip
    print_table(("simulated people", "recordings", "frames", "MPJPE cm", "absolute cm", "pelvis cm"), rows)
    print(
        f"95 % intervals hold {100 * found['coverage_95']:.1f} %; "
        f"motion correlation {found['motion_correlation']:.2f}. "
        "All people are simulated: this says nothing of a real radar."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="folder that kinefuse train radar-tensor --synthetic has filled")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each measurement of time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    try:
        found = figures(given.run, max(given.frames, 1))
    except RequestError as error:
        parser.exit(2, f"{error}\n")
    assert math.isfinite(found["mpjpe_cm"])
    if given.json:
        print_json(found)
    else:
        print_figures(found)


if __name__ == "__main__":
    main()
