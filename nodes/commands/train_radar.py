"""``kinefuse train radar``: the network that tells joints from a radar's points, from the MARS recordings."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, say
from nodes.errors import RequestError

if TYPE_CHECKING:
    from training.radar.train import Settings

DATA_VARIABLE = "KINEFUSE_DATA"
SUBJECTS = (1, 2, 3, 4)
_LIMITS = {
    "members": (1, 16),
    "steps": (1, 1_000_000),
    "judge_steps": (1, 1_000_000),
    "seed": (0, 2**31),
    "threads": (1, 256),
}


def add_kind(kinds: Any) -> None:
    """Declare the kind of network."""
    parser = kinds.add_parser(
        "radar", help="joints from a radar's points (needs the extra 'learning')", description=__doc__
    )
    parser.add_argument("out", type=Path, help="folder for checkpoint, members and the weights (radar-points.npz)")
    parser.add_argument("--data", type=Path, help=f"folder with mars/subject1.npz ...; default: ${DATA_VARIABLE}")
    parser.add_argument(
        "--split", choices=("official", "all"), default="all",
        help="official: judge on MARS' test frames; all: learn from every frame with joints",
    )  # fmt: skip
    parser.add_argument(
        "--leave-out", type=int, choices=SUBJECTS, action="append", metavar="N", default=[],
        help="learn nothing from subject N, and judge on it; may be given again",
    )  # fmt: skip
    parser.add_argument("--members", type=int, help="networks that answer together")
    parser.add_argument("--steps", type=int, help="updates of each")
    parser.add_argument("--judge-steps", type=int, help="of those that leave one more subject out, to scale deviations")
    parser.add_argument("--seed", type=int, help="same seed, same start and same windows")
    parser.add_argument("--threads", type=int, help="of the processor")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint and the members in OUT")
    parser.add_argument("--overwrite", action="store_true", help="begin anew although OUT holds a checkpoint")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the weights are written.

    Raises:
        RequestError: data, checkpoint or settings are wrong; nothing was overwritten.
    """
    data = data_folder(args.data)
    try:
        from training.radar.card import finish
        from training.radar.train import CHECKPOINT, train
    except ModuleNotFoundError as error:
        raise RequestError(
            f"training needs {error.name}, which is not installed: pip install 'kinefuse[learning]'"
        ) from error
    settings = settings_of(args)
    if (args.out / CHECKPOINT).exists() and not (args.resume or args.overwrite):
        raise RequestError(
            f"{args.out} holds a checkpoint; go on from it with --resume, begin anew with --overwrite, "
            "or name another folder"
        )
    begun_s = time.monotonic()
    try:
        with _Bar() as bar:
            weights = train(settings, data, args.out, bar.tell, resume=args.resume)
    except FileNotFoundError as error:
        raise RequestError(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise RequestError(str(error)) from error
    figures = finish(weights, settings, data, args.out, time.monotonic() - begun_s)
    if args.json:
        print_json(figures)
    else:
        _tell(figures)
    return 0


def data_folder(given: Path | None) -> Path:
    """The data pack's folder.

    Raises:
        RequestError: none is named, or it has no MARS recordings.
    """
    named = given or (Path(os.environ[DATA_VARIABLE]) if DATA_VARIABLE in os.environ else None)
    if named is None:
        raise RequestError(f"no data: name the folder that holds mars/ with --data, or set {DATA_VARIABLE}")
    if not (named / "mars").is_dir():
        raise RequestError(f"{named}: has no folder mars/ with recordings; name the folder that does with --data")
    return named


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from the command line; what is not given has its default.

    Raises:
        RequestError: a value is out of range, or nobody is left; says what is allowed.
    """
    from training.radar.train import Settings
    from training.radar.windows import SEEN, Variation

    chosen = {name: getattr(args, name) for name in _LIMITS if getattr(args, name) is not None}
    for name, value in chosen.items():
        low, high = _LIMITS[name]
        if not low <= value <= high:
            raise RequestError(f"--{name.replace('_', '-')}: {value}, allowed {low} to {high}")
    left_out = tuple(sorted(set(args.leave_out)))
    if len(left_out) == len(SUBJECTS):
        raise RequestError("--leave-out: all subjects are left out; leave at least one to learn from")
    variation = SEEN if args.split == "official" else Variation()
    return Settings(split=args.split, leave_out=left_out, variation=variation, **chosen)


def _tell(figures: dict[str, Any]) -> None:
    say(f"{figures['file']}: {figures['parameters']} parameters; card: {figures['card']}")
    for name, row in figures["held_out"].items():
        say(
            f"  held out, {name.replace('_', ' ')}: MAE {row['mae_cm']:.2f} cm, MPJPE {row['mpjpe_cm']:.2f} cm, "
            f"95 % intervals hold {100 * row['coverage_95']:.1f} %, "
            f"motion correlation {row['motion_correlation']:.2f} ({row['frames']} frames)"
        )


class _Bar:
    """A bar on stderr with the error."""

    def __init__(self) -> None:
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
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, step: int, steps: int, figures: dict[str, float]) -> None:
        """Show a step."""
        self._bar.update(
            self._task, completed=step, total=steps, description=f"error {100 * figures['error_m']:.1f} cm"
        )
