"""``kinefuse train``: make the networks that Kinefuse ships, or one's own, from movements."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands import train_radar, train_radar_tensor
from nodes.commands.arguments import print_json, say
from nodes.commands.training import (
    DATA_VARIABLE,
    Bar,
    add_going_on,
    data_folder,
    device,
    learning,
    limited,
    refuse_checkpoint,
    told,
)

if TYPE_CHECKING:
    from training.imu.train import Settings

LICENCES = ("permissive", "non-commercial")
_LIMITS = {
    "hidden": (4, 1024),
    "steps": (1, 10_000_000),
    "lanes": (1, 4096),
    "seed": (0, 2**31),
    "threads": (1, 256),
}


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
    add_going_on(imu)
    imu.set_defaults(run=run)
    train_radar.add_kind(kinds)
    train_radar_tensor.add_kind(kinds)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train; 0 when the weights are written.

    Raises:
        RequestError: data, checkpoint or settings are wrong; nothing was overwritten.
    """
    data = data_folder(args.data, "motion", "clips")
    with learning():
        from training.imu.card import finish
        from training.imu.train import CHECKPOINT, train
    settings = settings_of(args)
    refuse_checkpoint(args, CHECKPOINT)
    begun_s = time.monotonic()
    with told(), Bar(steps=settings.steps) as bar:
        network = train(settings, data, args.out, _Progress(bar).tell, resume=args.resume)
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


def settings_of(args: argparse.Namespace) -> Settings:
    """Settings from the command line; what is not given has its default.

    Raises:
        RequestError: a value is out of range; says what is allowed.
    """
    from training.imu.takes import AS_RECORDED, TakeParams
    from training.imu.train import Settings

    return Settings(
        licence=args.licence,
        whole_body=args.whole_body,
        real=str(args.real) if args.real else None,
        takes=AS_RECORDED if args.as_recorded else TakeParams(),
        device=device(args.device),
        **limited(args, _LIMITS),
    )


class _Progress:
    """A bar with the losses, and a line above it for each validation."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar
        self._validation = ""

    def tell(self, step: int, figures: dict[str, float]) -> None:
        """Show a step."""
        if "validation_deg" in figures:
            self._validation = f"  validation {figures['validation_deg']:.2f}°"
            self._bar.print(f"step {step}:{self._validation}, {figures['validation_m_s']:.3f} m/s")
        losses = f"pose {figures['pose']:.4f}  velocity {figures['velocity']:.4f}"
        self._bar.show(step, text=losses + self._validation)
