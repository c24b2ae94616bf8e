"""The end of a training run: the file of weights, and the model card beside it with figures on frames not learned."""

from __future__ import annotations

import io
import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fusion.estimators.radar.packing import RadarWeights
from training.radar.judge import figures_of, runtime
from training.radar.recordings import SUBJECTS, Clip, read_clips
from training.radar.train import Settings

META = "meta.json"
LICENCE = "Apache-2.0 (trained on MARS, MIT licence)"
CREDIT = (
    "MARS (S. An and U. Ogras, ACM TECS 20(5s), 2021; repository SizheAn/MARS, Copyright (c) 2021 SizheAn, MIT "
    "License): points of one TI IWR1443 of four people, ten movements, Kinect v2 joints"
)


def file_name(settings: Settings) -> str:
    """Name of the weights without ending."""
    if settings.split == "official":
        return "radar-official"
    return "radar-points" + "".join(f"-without-{subject}" for subject in settings.leave_out)


def command_of(settings: Settings) -> str:
    """The command line that trains with these settings."""
    words = ["kinefuse", "train", "radar", "OUT", "--split", settings.split]
    words += [word for subject in settings.leave_out for word in ("--leave-out", str(subject))]
    for name in ("members", "steps", "judge_steps", "seed"):
        words += [f"--{name.replace('_', '-')}", str(getattr(settings, name))]
    return shlex.join(words)


def held_out_clips(settings: Settings, data: Path) -> list[Clip]:
    """What nothing was learned from: the official test frames, or the subjects left out."""
    if settings.split == "official":
        return [clip for clip in read_clips(data, settings.subjects) if clip.part == "test"]
    return read_clips(data, settings.leave_out)


def finish(weights: RadarWeights, settings: Settings, data: Path, out: Path, seconds: float) -> dict[str, Any]:
    """Judge what was trained on what it has not seen, write the weights and the card.

    Args:
        weights: trained, deviations scaled.
        settings: of the run.
        data: the data pack's folder.
        out: where to write.
        seconds: that training took.

    Returns:
        What the command prints: file, card, parameters, and the held-out figures where frames are left.
    """
    kept = rounded(weights)
    clips = held_out_clips(settings, data)
    held_out: dict[str, Any] = {}
    for name, followed in (("place_known", False), ("followed", True)):
        if clips:
            tell = runtime(kept, followed=followed)
            held_out[name] = figures_of(clips, [tell(clip) for clip in clips])
    description = {
        "about": "joints of one person from the points of a radar, point by point and over time",
        "licence": LICENCE,
        "command": command_of(settings),
        "settings": asdict(settings),
        "parameters": parameters_of(kept),
        "sigma_scale": kept.arrays["sigma_scale"].tolist(),
        "truth_offset_m": kept.arrays["truth_offset_m"].tolist(),
        "seconds": round(seconds),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "held_out": held_out,
    }
    file = out / f"{file_name(settings)}.npz"
    write_weights(file, kept, description)
    card = file.with_suffix(".md")
    card.write_text(card_text(settings, description), encoding="utf-8")
    return {"file": str(file), "card": str(card), "parameters": description["parameters"], "held_out": held_out}


def parameters_of(weights: RadarWeights) -> int:
    """How many numbers were learned."""
    return sum(array.size for name, array in weights.arrays.items() if array.ndim > 1 and name[-2:] != "_m")


def rounded(weights: RadarWeights) -> RadarWeights:
    """The same in half precision, as it is stored."""
    return RadarWeights.from_arrays({name: array.astype(np.float16) for name, array in weights.arrays.items()})


def write_weights(path: Path, weights: RadarWeights, description: dict[str, Any]) -> None:
    """Write an ``.npz`` file, in half precision, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: array.astype(np.float16) for name, array in weights.arrays.items()}
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(description, indent=1).encode(), dtype=np.uint8)
    np.savez_compressed(buffer, **arrays, **{META: text})  # type: ignore[arg-type]
    partial = path.with_suffix(".part")
    partial.write_bytes(buffer.getvalue())
    partial.replace(path)


def card_text(settings: Settings, description: dict[str, Any]) -> str:
    """The model card, Markdown."""
    v = settings.variation
    bodies = f"Bodies drawn anew from adults (head {v.head_m:.2f} ± {v.head_spread_m:.2f} m)"
    if not v.head_spread_m:
        bodies = "Bodies of their own size"
    scales = [" ".join(f"{value:.2f}" for value in row) for row in description["sigma_scale"]]
    learned = {
        "official": "the official train frames of subjects 2 to 4 and the validate frames of subject 1 (whose train "
        "frames have no joints in our source)",
        "all": f"every frame with joints of subjects {', '.join(map(str, settings.subjects))}",
    }[settings.split]
    lines = [
        f"# {file_name(settings)}",
        "",
        f"{description['about'][0].upper()}{description['about'][1:]}. {settings.members} networks that answer "
        f"together, {description['parameters']:,} numbers, hidden size {settings.hidden}, 10 frames a second, causal.",
        "",
        f"* **Licence of the weights**: {LICENCE}.",
        f"* **Data**: {CREDIT}.",
        f"* **Learned from** {learned}. {bodies}, mirrored or not, points and frames lost "
        "(`training/radar/windows.py`).",
        f"* **Made by** `{description['command']}` on {description['date']}, {description['seconds'] / 60:.0f} minutes "
        f"(torch {description['torch']}, numpy {description['numpy']}, cpu, {settings.threads} thread"
        f"{'s' if settings.threads > 1 else ''}, other work beside it). No step was chosen: the weights are the "
        "running mean at the last one.",
        f"* **Deviations** are scaled (right, away, up; place known: {scales[0]}; followed: {scales[1]}) "
        f"{_scaled(settings)}.",
        f"* **Joints** of MARS stand {description['truth_offset_m'][0]:.2f} m to the right of where its radar sees "
        "people; that is taken off in use.",
        "",
        *_held_out(settings, description["held_out"]),
        "Not for: other movements than these ten, several people within 1.3 m, people who walk or turn their back, "
        "other distances than about 2 m, medical decisions. See `docs/radar_network.md`.",
    ]
    return "\n".join(lines) + "\n"


def _scaled(settings: Settings) -> str:
    if settings.split == "official":
        return "so that 95 % hold on the validate frames of subjects 2 to 4"
    return "so that 95 % hold on each learned subject of a network that had not seen it"


def _held_out(settings: Settings, figures: dict[str, Any]) -> list[str]:
    """The table, or where such figures are."""
    if not figures:
        return [
            "Nothing is left to judge on. Of the same recipe, each subject left out in turn: `python -m "
            "benchmarks.radar_unseen`, cards in `benchmarks/weights`.",
            "",
        ]
    what = (
        "official test frames"
        if settings.split == "official"
        else "subjects left out: " + ", ".join(str(subject) for subject in SUBJECTS if subject in settings.leave_out)
    )
    rows = [
        f"| {name.replace('_', ' ')} | {row['frames']} | {row['mae_cm']:.2f} | "
        f"{' / '.join(f'{value:.2f}' for value in row['mae_axes_cm'].values())} | {row['mpjpe_cm']:.2f} | "
        f"{row['rmse_cm']:.2f} | {100 * row['coverage_95']:.1f} | {row['motion_correlation']:.2f} |"
        for name, row in figures.items()
    ]
    return [
        f"Judged on the {what}:",
        "",
        "| anchor | frames | MAE cm | x / y / z | MPJPE cm | RMSE cm | 95 % intervals hold % | motion correlation |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]
