"""``kinefuse devices``: cameras and serial ports of this machine, as graph files name them."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from nodes.commands.arguments import print_json

SYSTEM_CLASS = Path("/sys/class/video4linux")
LISTS_CAMERAS = sys.platform == "linux"
MOST_NUMBERS = 8
"""Webcam numbers that are tried where the system does not list its cameras."""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("devices", help="list cameras and ports", description=__doc__)
    parser.add_argument("--probe", action="store_true", help="open each camera for a moment and say what it sends")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Always 0: that there is no device is an answer."""
    listed = cameras()
    if args.probe:
        listed = [{**camera, **probe(camera["source"])} for camera in listed or _unlisted()]
    ports, remark = serial_ports()
    if args.json:
        print_json({"cameras": listed, "serial_ports": ports, "remark": remark})
        return 0
    _print("cameras", listed, "none found" if args.probe or LISTS_CAMERAS else "try --probe")
    _print("serial ports", ports, remark or "none found")
    return 0


def cameras() -> list[dict[str, Any]]:
    """Cameras that the system lists (Linux): device file, name, and whether this user may read it."""
    from nodes.video.sources import video_devices

    return [
        {"source": device, "name": _camera_name(device), "readable": os.access(device, os.R_OK | os.W_OK)}
        for device in video_devices()
    ]


def _camera_name(device: str, system_class: Path = SYSTEM_CLASS) -> str:
    try:
        return (system_class / Path(device).name / "name").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _unlisted() -> list[dict[str, Any]]:
    """Numbers to try on systems that list no device files."""
    numbers = range(0 if LISTS_CAMERAS else MOST_NUMBERS)
    return [{"source": number, "name": "", "readable": True} for number in numbers]


def probe(source: int | str) -> dict[str, Any]:
    """What a camera sends when it is opened: size and rate; or why it cannot be opened."""
    from nodes.video.sources import LiveCapture, LiveRequest, SourceError

    try:
        capture = LiveCapture(source, LiveRequest())
    except SourceError as error:
        return {"opens": False, "error": str(error)}
    try:
        picture = capture.decode() if capture.grab() else None
    finally:
        capture.close()
    if picture is None:
        return {"opens": True, "error": "it sends no picture (many cameras have a second device file for other data)"}
    return {"opens": True, "size_px": [picture.shape[1], picture.shape[0]], "fps": capture.fps}


def serial_ports() -> tuple[list[dict[str, Any]], str]:
    """Serial ports, and a remark if they could not be listed."""
    try:
        from serial.tools import list_ports
    except ImportError:
        return [], "not listed: pyserial is not installed (pip install 'kinefuse[serial]')"
    found = [
        {
            "port": port.device,
            "name": port.description or "",
            "usb_id": f"{port.vid:04x}:{port.pid:04x}" if port.vid is not None and port.pid is not None else None,
            "serial_number": port.serial_number,
            "readable": sys.platform == "win32" or os.access(port.device, os.R_OK | os.W_OK),
        }
        for port in list_ports.comports()
    ]
    return sorted(found, key=lambda port: str(port["port"])), ""


def _print(title: str, rows: list[dict[str, Any]], otherwise: str) -> None:
    print(f"{title}:" if rows else f"{title}: {otherwise}")
    for row in rows:
        facts = ", ".join(
            f"{key} {value}" for key, value in row.items() if value not in ("", None) and key != "readable"
        )
        denied = "" if row["readable"] else "; you may not read it (add yourself to its group: video or dialout)"
        print(f"  {facts}{denied}")
