"""``kinefuse calibrate``: make a profile, by measuring or by taking over another software's camera calibration."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from nodes.commands import calibrate_imu, calibrate_radar

METRES_PER_UNIT = {"m": 1.0, "cm": 0.01, "mm": 0.001}


def add_parser(subparsers: Any) -> None:
    """Declare the command and its own commands."""
    parser = subparsers.add_parser("calibrate", help="make or convert a calibration profile")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    take = actions.add_parser("import", help="turn another software's camera calibration into a profile")
    take.add_argument("file", type=Path, help="Pose2Sim or aniposelib TOML, caliscope TOML, Qualisys .qca.txt, profile")
    take.add_argument("out", type=Path, help="profile to write (.toml)")
    take.add_argument("--to", choices=("profile", "pose2sim"), default="profile", help="what to write")
    take.add_argument("--unit", choices=tuple(METRES_PER_UNIT), default="m", help="length unit of a TOML file")
    take.add_argument("--overwrite", action="store_true", help="replace the profile if it exists")
    take.add_argument("--json", action="store_true", help="print one JSON object")
    take.set_defaults(calibrate=_import)
    calibrate_imu.add_parser(actions)
    calibrate_radar.add_parser(actions)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do what was asked for."""
    return int(args.calibrate(args))


def _import(args: argparse.Namespace) -> int:
    """Convert; 0 when written, 2 when the file or the request is wrong."""
    from calibration.formats import pose2sim
    from calibration.profile import profile_text
    from calibration.tables import CalibrationError, write_text

    try:
        rig = _read(args.file, METRES_PER_UNIT[args.unit])
        text = pose2sim.write(rig.cameras) if args.to == "pose2sim" else profile_text(rig)
        write_text(args.out, text, overwrite=args.overwrite)
    except CalibrationError as error:
        print(f"kinefuse calibrate import: {error}", file=sys.stderr)
        return 2
    cameras = [
        {
            "name": camera.name,
            "size_px": [camera.width, camera.height],
            "position_m": [round(value, 4) for value in camera.centre_world_m.tolist()],
        }
        for camera in rig.cameras
    ]
    if args.json:
        print(json.dumps({"file": str(args.out), "cameras": cameras}))
        return 0
    print(f"{args.out}: {len(cameras)} cameras")
    for item in cameras:
        print(f"  {item['name']}: {item['size_px'][0]}x{item['size_px'][1]} px at {item['position_m']} m")
    return 0


def _read(file: Path, metres_per_unit: float) -> Any:
    from calibration.formats import read_calibration
    from calibration.profile import load_profile
    from fusion.rig import Rig

    if metres_per_unit != 1.0:
        return Rig(cameras=read_calibration(file, metres_per_unit=metres_per_unit))
    return load_profile(file)
