"""BlazePose on four real videos: time of each stage, how often a person is found, and multi-view agreement.

    python -m benchmarks.keypoints [--json] [--frames N]

Needs the data pack (``KINEFUSE_DATA``, else ``../shared/data`` beside the checkout) and
``kinefuse models get blazepose-full``. The reprojection error is that of a plain triangulation of twelve
joints: likelihood-weighted linear solution, from the views that agree best: the largest set whose mean
error is below 15 px, down to two views (the rule of Pose2Sim).
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from calibration.profile import load_profile
from fusion.estimators.camera.blazepose import LANDMARKS, BlazePoseState
from fusion.maths.camera import project, undistort
from fusion.records import Float64
from fusion.rig import Camera
from nodes.commands.arguments import print_json
from nodes.errors import RequestError
from nodes.keypoints import Params, ToCalibration, make_estimator
from nodes.video.sources import open_file

REPOSITORY = Path(__file__).resolve().parents[1]
SHRUNK = {"cam01": (1088 / 1080, 0.0, 1088 / 1080, 960 - 960 * 1088 / 1080)}
SHRUNK["cam02"] = SHRUNK["cam01"]
"""Calibration pixels of the two videos that were resized after the calibration: sx, tx, sy, ty."""
JOINTS = (11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
"""Shoulders, elbows, wrists, hips, knees, ankles."""
LEAST_SCORE = 0.3
AGREE_PX = 15.0


class Stopwatch:
    """Wraps callables and keeps how long each call took."""

    def __init__(self) -> None:
        self.times_ms: dict[str, list[float]] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same callable, its calls timed under ``name``."""
        times = self.times_ms.setdefault(name, [])

        def wrapped(*arguments: Any) -> Any:
            begun = time.perf_counter()
            result = function(*arguments)
            times.append((time.perf_counter() - begun) * 1e3)
            return result

        return wrapped

    def summary(self) -> dict[str, dict[str, float]]:
        """Calls, median and 95th percentile by name."""
        return {
            name: {
                "calls": len(times),
                "median_ms": round(float(np.median(times)), 2),
                "p95_ms": round(float(np.percentile(times, 95)), 2),
            }
            for name, times in self.times_ms.items()
            if times
        }


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100, help="pictures of each video")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    folder = Path(os.environ.get("KINEFUSE_DATA", REPOSITORY.parent / "shared" / "data")) / "pose2sim" / "single"
    try:
        result = measure(folder, args.frames)
    except (RequestError, ValueError) as error:
        print(f"benchmarks.keypoints: {error}", file=sys.stderr)
        return 2
    if args.json:
        print_json(result)
    else:
        _print(result)
    return 0


def measure(folder: Path, frames: int) -> dict[str, Any]:
    """Landmarks of all videos, and what they are worth."""
    rig = load_profile(folder / "calibration" / "Calib_qualisys.toml")
    watch = Stopwatch()
    views = [_landmarks(folder / "videos" / f"cam0{number}.mp4", frames, watch) for number in (1, 2, 3, 4)]
    pixels, scores = np.stack([view[0] for view in views]), np.stack([view[1] for view in views])
    errors = {}
    for name, agree_px in (("all_views", np.inf), ("agreeing_views", AGREE_PX)):
        error, used = _triangulation_errors(rig.cameras, pixels, scores, agree_px)
        errors[name] = {
            "mean_px": round(float(np.nanmean(error)), 2),
            "median_px": round(float(np.nanmedian(error)), 2),
            "missing": round(float(np.isnan(error).mean()), 4),
            "views": round(float(np.nanmean(used)), 2),
        }
    found = np.asarray(np.isfinite(pixels[..., 0]).any(-1), dtype=np.float64)
    return {
        "frames": int(pixels.shape[1]),
        "stages": watch.summary(),
        "coverage": {f"cam0{row + 1}": round(float(found[row].mean()), 4) for row in range(len(found))},
        "reprojection": errors,
    }


def _landmarks(video: Path, frames: int, watch: Stopwatch) -> tuple[Float64, Float64]:
    """Calibration pixels [T, 33, 2] (NaN where nobody) and scores [T, 33]."""
    estimator = make_estimator(Params(type="keypoints", input="camera/image"))
    for name, attribute in (("detector", "detector"), ("landmark network", "landmarker"), ("crop", "warp")):
        # The estimator is frozen; the benchmark looks inside for once.
        object.__setattr__(estimator, attribute, watch.timed(name, getattr(estimator, attribute)))
    step = watch.timed("whole step", estimator.step)
    sx, tx, sy, ty = SHRUNK.get(video.stem, (1.0, 0.0, 1.0, 0.0))
    to_calibration = ToCalibration((sx, sy), (tx, ty), 0, 0)
    source = open_file(str(video), None)
    grab, decode = watch.timed("video decoding", source.grab), watch.timed("video colours", source.decode)
    state = BlazePoseState()
    pixels: list[Float64] = []
    scores: list[Float64] = []
    while len(pixels) < frames and grab():
        result = step(decode(), state)
        state = result.state
        person = result.people[0] if result.people else None
        pixels.append(
            to_calibration.apply(person.pixels).astype(np.float64) if person else np.full((LANDMARKS, 2), np.nan)
        )
        scores.append(person.scores.astype(np.float64) if person else np.zeros(LANDMARKS))
    source.close()
    return np.array(pixels), np.array(scores)


def _triangulation_errors(
    cameras: tuple[Camera, ...], pixels: Float64, scores: Float64, agree_px: float
) -> tuple[Float64, Float64]:
    """Mean reprojection error [T, K] of the views used and their number [T, K]."""
    frames = pixels.shape[1]
    points = pixels[:, :, JOINTS].reshape(len(cameras), -1, 2)
    weights = scores[:, :, JOINTS].reshape(len(cameras), -1)
    weights = np.where((weights > LEAST_SCORE) & np.isfinite(points).all(-1), weights, 0.0)
    rays = np.stack([undistort(view, camera) for view, camera in zip(points, cameras, strict=True)])
    best = np.full(points.shape[1], np.nan)
    used = np.zeros(points.shape[1])
    for size in range(len(cameras), 1, -1):
        open_points = np.isnan(best) | (best > agree_px)
        round_best, round_used = best.copy(), used.copy()
        for subset in itertools.combinations(range(len(cameras)), size):
            error = _errors_of(subset, cameras, points, rays, weights)
            better = open_points & (np.isnan(round_best) | (error < round_best))
            round_best[better], round_used[better] = error[better], size
        best, used = round_best, round_used
        if not np.isfinite(agree_px):
            break
    return best.reshape(frames, -1), used.reshape(frames, -1)


def _errors_of(
    subset: tuple[int, ...], cameras: tuple[Camera, ...], points: Float64, rays: Float64, weights: Float64
) -> Float64:
    """Mean reprojection error [N] of a linear solution from these views; NaN where one does not see the point."""
    rows = []
    for view in subset:
        camera = cameras[view]
        matrix = np.concatenate([camera.r_camera_from_world, camera.t_camera_from_world_m[:, None]], axis=1)
        rows.append(weights[view, :, None, None] * (rays[view][:, :, None] * matrix[2] - matrix[:2]))
    system = np.concatenate(rows, axis=1)
    seen = np.isfinite(system).all((1, 2)) & (weights[list(subset)] > 0).all(0)
    errors = np.full(len(seen), np.nan)
    solution = np.linalg.svd(system[seen])[2][:, -1]
    world = solution[:, :3] / solution[:, 3:]
    distances = [np.linalg.norm(project(world, cameras[view])[0] - points[view][seen], axis=1) for view in subset]
    errors[seen] = np.mean(distances, axis=0)
    return errors


def _print(result: dict[str, Any]) -> None:
    print(f"{result['frames']} pictures of each of {len(result['coverage'])} cameras")
    for name, row in result["stages"].items():
        print(f"  {name:18} {row['median_ms']:7.2f} ms median {row['p95_ms']:7.2f} ms p95 {row['calls']:6.0f} calls")
    print("  a person was found in " + ", ".join(f"{value:.1%} ({name})" for name, value in result["coverage"].items()))
    for name, row in result["reprojection"].items():
        print(f"  {name:16} {row['mean_px']:6.2f} px mean {row['median_px']:6.2f} px median, {row['views']:.2f} views")


if __name__ == "__main__":
    raise SystemExit(main())
