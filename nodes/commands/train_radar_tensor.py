"""``kinefuse train radar-tensor``: a network after HRRadarPose, from RT-Pose's files or from simulated people."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, say
from nodes.commands.training import Bar, add_going_on, device, learning, limited, refuse_checkpoint
from nodes.errors import RequestError

if TYPE_CHECKING:
    from training.radar_tensor.synthetic import SyntheticParams
    from training.radar_tensor.train import Settings

SYNTHETIC = "data"
"""Folder in OUT that simulated recordings are written to."""
_LIMITS = {
    "epochs": (1, 100_000),
    "batch": (1, 1024),
    "seed": (0, 2**31),
    "threads": (1, 256),
    "recordings": (2, 100_000),
    "frames": (2, 100_000),
}


def add_kind(kinds: Any) -> None:
    """Declare the kind of network."""
    parser = kinds.add_parser(
        "radar-tensor",
        help="joints from a radar's 4D tensor (needs the extra 'learning')",
        description=__doc__,
    )
    parser.add_argument("out", type=Path, help="folder for checkpoint, history and the weights (radar-tensor.npz)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data", type=Path, metavar="FOLDER", help="in RT-Pose's layout: Train.json, Test.json, tensors"
    )
    source.add_argument("--synthetic", action="store_true", help=f"simulated people, written to OUT/{SYNTHETIC} first")
    parser.add_argument(
        "--recordings", type=int, help="simulated people to learn from (default 48; a fifth more to test)"
    )
    parser.add_argument("--frames", type=int, help="simulated frames of each (default 20)")
    parser.add_argument("--size", choices=("full", "small"), help="of the network; default: full, small if simulated")
    parser.add_argument("--mirror", action="store_true", help="learn from mirror images too (default if simulated)")
    parser.add_argument("--epochs", type=int, help="rounds through the data (default 100, 6 if simulated)")
    parser.add_argument("--batch", type=int, help="tensors a step (default 8)")
    parser.add_argument("--seed", type=int, help="same seed, same people, same start and same order")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    add_going_on(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the weights are written.

    Raises:
        RequestError: data, checkpoint or settings are wrong; nothing was overwritten.
    """
    with learning():
        from training.radar_tensor.train import CHECKPOINT, train
    settings = settings_of(args)
    refuse_checkpoint(args, CHECKPOINT)
    root = _synthetic(args) if args.synthetic else args.data
    begun_s = time.monotonic()
    with Bar() as bar:

        def tell(step: int, steps: int, found: dict[str, float]) -> None:
            bar.show(step, steps, f"heat {found['heat']:.3f}  offsets {found['offsets']:.2f} voxels")

        figures = train(settings, root, args.out, tell, resume=args.resume)
    figures["seconds"] = time.monotonic() - begun_s
    if args.json:
        print_json(figures)
    else:
        _tell(figures, simulated=args.synthetic)
    return 0


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from the command line; what is not given has its default.

    Raises:
        RequestError: a value is out of range; says what is allowed.
    """
    from training.radar_tensor.train import Settings

    limited(args, _LIMITS)
    if not args.synthetic and (args.recordings is not None or args.frames is not None):
        raise RequestError("--recordings and --frames say how much is simulated; they need --synthetic")
    chosen = {name: getattr(args, name) for name in ("size", "epochs", "batch", "seed", "threads")}
    defaults: dict[str, Any] = {"size": "small", "epochs": 6} if args.synthetic else {}
    given = {name: value for name, value in chosen.items() if value is not None}
    return Settings(mirror=args.mirror or args.synthetic, device=device(args.device), **{**defaults, **given})


def synthetic_params(args: argparse.Namespace) -> SyntheticParams:
    """How much is simulated."""
    from training.radar_tensor.synthetic import SyntheticParams

    chosen = {name: getattr(args, name) for name in ("recordings", "frames", "seed")}
    given = {name: value for name, value in chosen.items() if value is not None}
    params = SyntheticParams(full=args.size == "full", **given)
    return replace(params, test_recordings=max(1, params.recordings // 5))


def _synthetic(args: argparse.Namespace) -> Path:
    """The folder of simulated recordings, made unless a run that goes on has it already."""
    from training.radar_tensor.synthetic import write_synthetic

    root: Path = args.out / SYNTHETIC
    if not (args.resume and (root / "Train.json").is_file()):
        with Bar("simulating") as bar:
            write_synthetic(root, synthetic_params(args), bar.show)
    return root


def _tell(figures: dict[str, Any], *, simulated: bool) -> None:
    say(f"{figures['file']}: {figures['parameters']} parameters, {figures['learned_frames']} frames learned from")
    rows = {"validation": figures["validation"]}
    if "test" in figures:
        rows |= {"test": figures["test"]["network"], "test, mean pose": figures["test"]["mean_pose"]}
    for name, row in rows.items():
        say(
            f"  {name}: MPJPE {row['mpjpe_cm']:.1f} cm from the pelvis, {row['absolute_mpjpe_cm']:.1f} cm absolute "
            f"({row['frames']} frames, {row['recordings']} recordings)"
        )
    if "test" in figures:
        say(f"  95 % intervals hold {100 * figures['test']['coverage_95']:.1f} % of the test errors")
    if simulated:
        say("  learned from simulated people only: this says nothing of a real radar")
