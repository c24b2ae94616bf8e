"""``kinefuse train``: make the networks that Kinefuse ships, or one's own, from movements."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands import train_radar, train_radar_tensor
from nodes.commands.arguments import print_json, say
from nodes.errors import RequestError

if TYPE_CHECKING:
    from training.imu.train import Settings

DATA_VARIABLE = "KINEFUSE_DATA"
LICENCES = ("permissive", "non-commercial")


def add_parser(subparsers: Any) -> None:
    """Declare the command and what can be trained."""
    parser = subparsers.add_parser("train", help="train the networks of the estimators", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    imu = kinds.add_parser("imu", help="the part-based network that six IMUs feed (needs the extra 'learning')")
    imu.add_argument("out", type=Path, help="folder for checkpoints, history and the weights (imu-parts.npz)")
    imu.add_argument("--data", type=Path, help=f"folder with motion/ (and motion_nc/); default: ${DATA_VARIABLE}")
    imu.add_argument("--licence", choices=LICENCES, default="permissive", help="of the clips to learn from")
    imu.add_argument("--real", type=Path, metavar="FOLDER", help="recorded takes (.npz) to learn from as well")
    imu.add_argument("--hidden", type=int, help="size of the recurrent layers")
    imu.add_argument("--steps", type=int, help="updates")
    imu.add_argument("--lanes", type=int, help="sequences side by side")
    imu.add_argument("--seed", type=int, help="same seed, same start and same takes")
    imu.add_argument("--threads", type=int, help="of the processor")
    imu.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    imu.add_argument("--as-recorded", action="store_true", help="no arms of other movements, no paths beside them")
    imu.add_argument("--whole-body", action="store_true", help="a whole-body network of equal size, to compare with")
    imu.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    imu.add_argument("--overwrite", action="store_true", help="begin anew although OUT holds a checkpoint")
    imu.add_argument("--json", action="store_true", help="print one JSON object")
    imu.set_defaults(run=run)
    train_radar.add_kind(kinds)
    train_radar_tensor.add_kind(kinds)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the weights are written.

    Raises:
        RequestError: data, checkpoint or settings are wrong; nothing was overwritten.
    """
    data = data_folder(args.data)
    from training.imu.card import finish
    from training.imu.train import CHECKPOINT, train

    settings = settings_of(args)
    if (args.out / CHECKPOINT).exists() and not (args.resume or args.overwrite):
        raise RequestError(
            f"{args.out} holds a checkpoint; go on from it with --resume, begin anew with --overwrite, "
            "or name another folder"
        )
    begun_s = time.monotonic()
    try:
        with _Progress(settings.steps) as progress:
            network = train(settings, data, args.out, progress.tell, resume=args.resume)
    except FileNotFoundError as error:
        raise RequestError(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise RequestError(str(error)) from error
    figures = finish(network, settings, data, args.out, time.monotonic() - begun_s)
    if args.json:
        print_json(figures)
    else:
        say(
            f"{figures['file']}: {figures['parameters']} parameters after {settings.steps} steps; "
            f"card: {figures['card']}"
        )
        for condition in ("worn", "ideal"):
            found = figures["held_out"][condition]
            say(
                f"  held out, sensors {condition}: SIP {found['sip_deg']:.1f}°, angular {found['angular_deg']:.1f}°, "
                f"position {found['position_cm']:.1f} cm, inferred segments {found['inferred_angular_deg']:.1f}°"
            )
    return 0


def data_folder(given: Path | None) -> Path:
    """The data pack's folder.

    Raises:
        RequestError: none is named, or it has no movements.
    """
    named = given or (Path(os.environ[DATA_VARIABLE]) if DATA_VARIABLE in os.environ else None)
    if named is None:
        raise RequestError(f"no data: name the folder that holds motion/ with --data, or set {DATA_VARIABLE}")
    if not (named / "motion").is_dir():
        raise RequestError(f"{named}: has no folder motion/ with clips; name the folder that does with --data")
    return named


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from the command line; what is not given has its default.

    Raises:
        RequestError: a value is out of range; says what is allowed.
    """
    from training.imu.takes import AS_RECORDED, TakeParams
    from training.imu.train import Settings

    given = {name: getattr(args, name) for name in ("hidden", "steps", "lanes", "seed", "threads")}
    chosen = {name: value for name, value in given.items() if value is not None}
    limits = {
        "hidden": (4, 1024),
        "steps": (1, 10_000_000),
        "lanes": (1, 4096),
        "seed": (0, 2**31),
        "threads": (1, 256),
    }
    for name, value in chosen.items():
        low, high = limits[name]
        if not low <= value <= high:
            raise RequestError(f"--{name}: {value}, allowed {low} to {high}")
    return Settings(
        licence=args.licence,
        whole_body=args.whole_body,
        real=str(args.real) if args.real else None,
        takes=AS_RECORDED if args.as_recorded else TakeParams(),
        device=_device(args.device),
        **chosen,
    )


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RequestError(
            f"--device {name!r} cannot be used: {str(error).splitlines()[0]}; try cpu or auto"
        ) from error
    return name


class _Progress:
    """A bar on stderr with the losses."""

    def __init__(self, steps: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("", total=steps)
        self._validation = ""

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, step: int, figures: dict[str, float]) -> None:
        """Show a step."""
        if "validation_deg" in figures:
            self._validation = f"  validation {figures['validation_deg']:.2f}°"
            self._bar.console.print(f"step {step}:{self._validation}, {figures['validation_m_s']:.3f} m/s")
        losses = f"pose {figures['pose']:.4f}  velocity {figures['velocity']:.4f}"
        self._bar.update(self._task, completed=step, description=losses + self._validation)
