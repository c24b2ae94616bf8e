"""``kinefuse train radar``: the network that tells joints from a radar's points, from the MARS recordings."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, say
from nodes.commands.training import (
    DATA_VARIABLE,
    Bar,
    add_going_on,
    data_folder,
    learning,
    limited,
    refuse_checkpoint,
    told,
)
from nodes.errors import RequestError

if TYPE_CHECKING:
    from training.radar.train import Settings

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
    add_going_on(parser, "the checkpoint and the members")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the weights are written.

    Raises:
        RequestError: data, checkpoint or settings are wrong; nothing was overwritten.
    """
    data = data_folder(args.data, "mars", "recordings")
    with learning():
        from training.radar.card import finish
        from training.radar.train import CHECKPOINT, train
    settings = settings_of(args)
    refuse_checkpoint(args, CHECKPOINT)
    begun_s = time.monotonic()
    with told(), Bar() as bar:

        def tell(step: int, steps: int, found: dict[str, float]) -> None:
            bar.show(step, steps, f"error {100 * found['error_m']:.1f} cm")

        weights = train(settings, data, args.out, tell, resume=args.resume)
    figures = finish(weights, settings, data, args.out, time.monotonic() - begun_s)
    if args.json:
        print_json(figures)
    else:
        _tell(figures)
    return 0


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from the command line; what is not given has its default.

    Raises:
        RequestError: a value is out of range, or nobody is left; says what is allowed.
    """
    from training.radar.train import Settings
    from training.radar.windows import SEEN, Variation

    left_out = tuple(sorted(set(args.leave_out)))
    if len(left_out) == len(SUBJECTS):
        raise RequestError("--leave-out: all subjects are left out; leave at least one to learn from")
    variation = SEEN if args.split == "official" else Variation()
    return Settings(split=args.split, leave_out=left_out, variation=variation, **limited(args, _LIMITS))


def _tell(figures: dict[str, Any]) -> None:
    say(f"{figures['file']}: {figures['parameters']} parameters; card: {figures['card']}")
    for name, row in figures["held_out"].items():
        say(
            f"  held out, {name.replace('_', ' ')}: MAE {row['mae_cm']:.2f} cm, MPJPE {row['mpjpe_cm']:.2f} cm, "
            f"95 % intervals hold {100 * row['coverage_95']:.1f} %, "
            f"motion correlation {row['motion_correlation']:.2f} ({row['frames']} frames)"
        )
