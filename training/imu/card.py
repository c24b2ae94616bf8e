"""The end of a training run: the file of weights, and the model card beside it with figures on held-out movements."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fusion.estimators.inertial.packing import NetworkWeights
from training.imu.export import weights_of, write_weights
from training.imu.judge import CONDITIONS, coverage, figures_of, part_based, table, takes_of, whole_body
from training.imu.model import PartNetwork, parameters_of
from training.imu.movements import movements, split
from training.imu.takes import AS_RECORDED
from training.imu.train import Network, Settings

SEEDS = (11, 12, 13)
_LICENCES = {
    "permissive": "Apache-2.0 (trained on CMU and DeepMimic motion, free for any use)",
    "non-commercial": "CC BY-NC 4.0 (trained on motion of Bandai Namco Research and SIE as well)",
}
_MOTION = {
    "permissive": "CMU Graphics Lab Motion Capture Database (free for any use; mocap.cs.cmu.edu, created with funding "
    "from NSF EIA-0196217); DeepMimic clips (MIT, Xue Bin Peng); scripts of Kinefuse's own simulator.",
    "non-commercial": "The permissive clips, and the Bandai Namco Research Motiondataset (CC BY-NC 4.0) and the motion "
    "clips of Sony Interactive Entertainment in the DeepMimic format (CC BY-NC 4.0).",
}


def file_name(settings: Settings) -> str:
    """Name of the weights without ending."""
    name = "imu-whole-body" if settings.whole_body else "imu-parts"
    return name if settings.licence == "permissive" else f"{name}-nc"


def command_of(settings: Settings) -> str:
    """The command line that trains with these settings."""
    defaults = Settings()
    words = ["kinefuse", "train", "imu", "OUT"]
    for name in ("licence", "hidden", "steps", "lanes", "seed", "threads"):
        value = getattr(settings, name)
        if value != getattr(defaults, name) or name == "seed":
            words += [f"--{name}", str(value)]
    words += ["--as-recorded"] if settings.takes == AS_RECORDED else []
    words += ["--whole-body"] if settings.whole_body else []
    words += ["--real", settings.real] if settings.real else []
    return shlex.join(words)


def finish(network: Network, settings: Settings, data: Path, out: Path, seconds: float) -> dict[str, Any]:
    """Judge a trained network on what it has not seen, write the weights and the card.

    Args:
        network: trained, its variances scaled.
        settings: of the run.
        data: the data pack's folder.
        out: where to write.
        seconds: that training took.

    Returns:
        What the command prints: file, card, parameters and the held-out figures.
    """
    figures = held_out(network, data, settings)
    description = {
        "about": "whole-body inertial network, to compare with"
        if settings.whole_body
        else "rotations and velocities of a body with six inertial sensors, part by part, after DynaIP",
        "licence": _LICENCES[settings.licence],
        "command": command_of(settings),
        "settings": asdict(settings),
        "parameters": parameters_of(network),
        "hidden": network.hidden,
        "seconds": round(seconds),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "held_out": figures,
    }
    file = out / f"{file_name(settings)}.npz"
    write_weights(file, network, description)
    card = file.with_suffix(".md")
    card.write_text(card_text(settings, description), encoding="utf-8")
    return {"file": str(file), "card": str(card), "parameters": description["parameters"], "held_out": figures}


def held_out(network: Network, data: Path, settings: Settings) -> dict[str, Any]:
    """Figures on the held-out permissive clips, of sensors as worn and of ideal ones."""
    arrays = {name: array.astype(np.float16).astype(np.float32) for name, array in weights_of(network).items()}
    found = movements(data, "test", "permissive")
    result: dict[str, Any] = {}
    weights = NetworkWeights.from_arrays(arrays) if isinstance(network, PartNetwork) else None
    method = whole_body(arrays) if weights is None else part_based(weights)
    for condition in CONDITIONS:
        takes = takes_of(found, condition, SEEDS if condition == "worn" else SEEDS[:1])
        result |= table({condition: figures_of(method, takes)})
        if weights is not None and condition == "worn":
            result["coverage_95"] = coverage(weights, takes)
    return result


def card_text(settings: Settings, description: dict[str, Any]) -> str:
    """The model card, Markdown."""
    figures = description["held_out"]
    rows = [_row(name, figures[name]) for name in CONDITIONS]
    chosen = split()
    covered = figures.get("coverage_95")
    lines = [
        f"# {file_name(settings)}",
        "",
        f"{description['about'][0].upper()}{description['about'][1:]}. "
        f"{description['parameters']:,} numbers, hidden size "
        f"{description['hidden']}, 60 frames a second, causal.",
        "",
        f"* **Licence of the weights**: {description['licence']}.",
        f"* **Motion**: {_MOTION[settings.licence]}",
        f"* **Made by** `{description['command']}` on {description['date']}, "
        f"{description['seconds'] / 60:.0f} minutes "
        f"(torch {description['torch']}, numpy {description['numpy']}, {settings.device}, {settings.threads} thread"
        f"{'s' if settings.threads > 1 else ''}, other work beside it).",
        f"* **Chosen by** {', '.join(chosen['validate']['clips'])} and three scripts, every {settings.validate_every} "
        "steps; the variances are scaled on takes of these, as they are and with paths beside.",
        "* **Judged on** the clips of `training/clips.py` `HELD_OUT`, whole, none of them learned from or chosen by.",
        "* **Sensors**: synthetic (`training/imu/takes.py`). *worn*: calibration 7°, soft tissue 2°, headings 4° (in "
        "15 % of the takes 14°), inclination 1.3°, noise, losses; the start knows nothing. *ideal*: without errors, "
        "first pose known.",
        "",
        "| sensors | SIP ° | angular ° | position cm | jitter km/s³ (motion itself) | inferred segments ° |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
    ]
    if covered:
        lines += [
            f"95 % intervals of rotations hold {100 * covered['rotations']:.0f} % of the errors, of velocities "
            f"{100 * covered['velocities']:.0f} % (worn, held out).",
            "",
        ]
    lines += [
        "Definitions: `docs/metrics.md`. The truth replaces root, hands, feet and toes before SIP, angular, position",
        "and jitter, as in DynaIP; *inferred* counts the eleven segments without a sensor and replaces nothing.",
        "",
        "Not for: sensors on other segments, medical decisions. Ten minutes of motion of a few actors do not show what",
        "everybody does: what is unlike walking, climbing, stretching, sport and dancing is told worse.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, figures: dict[str, float]) -> str:
    cells: Sequence[str] = (
        f"{figures['sip_deg']:.1f}",
        f"{figures['angular_deg']:.1f}",
        f"{figures['position_cm']:.1f}",
        f"{figures['jitter']:.2f} ({figures['jitter_truth']:.2f})",
        f"{figures['inferred_angular_deg']:.1f}",
    )
    return f"| {name} | {' | '.join(cells)} |"
