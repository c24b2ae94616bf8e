"""``kinefuse devices``: cameras and serial ports of this machine, as graph files name them.

``kinefuse devices probe PORT`` says which sensor is on a port; ``kinefuse devices fake DRIVER`` plays virtual ones.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands import fake_radar
from nodes.commands.arguments import print_json, say, seconds
from nodes.errors import RequestError

if TYPE_CHECKING:
    from nodes.devices.probe import Probed

IMU_DRIVERS = ("xsens-mti", "witmotion", "ximu3", "xsens-mvn")
SYSTEM_CLASS = Path("/sys/class/video4linux")
LISTS_CAMERAS = sys.platform == "linux"
MOST_NUMBERS = 8
"""Webcam numbers that are tried where the system does not list its cameras."""


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("devices", help="list cameras and ports", description=__doc__)
    parser.add_argument("--probe", action="store_true", help="open each camera for a moment and say what it sends")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run, action=None)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action")
    _add_probe(actions)
    _add_fake(actions)


def _add_probe(actions: Any) -> None:
    parser = actions.add_parser("probe", help="listen to a port and say which sensor is there")
    parser.add_argument("port", metavar="PORT", help="serial port, or udp:NUMBER")
    parser.add_argument("--driver", choices=IMU_DRIVERS, help="try this one only")
    parser.add_argument("--baud", type=int, help="try this rate only")
    parser.add_argument("--host", default="127.0.0.1", help="address of this machine that datagrams come to")
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")


def _add_fake(actions: Any) -> None:
    parser = actions.add_parser("fake", help="play virtual sensors on pseudo-terminals or UDP")
    drivers = (*IMU_DRIVERS, fake_radar.DRIVER)
    parser.add_argument("driver", metavar="DRIVER", choices=drivers, help=", ".join(drivers))
    parser.add_argument("--count", type=int, help="sensors; default 1, for xsens-mvn 17")
    parser.add_argument("--rate", type=float, help="Hz; default 100, for xsens-mvn 60")
    parser.add_argument("--seconds", type=seconds(), help="end after so long; default: Ctrl-C")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another wearer and other clocks")
    parser.add_argument("--link", metavar="PATH", help="make links PATH-0, PATH-1 … (ti-sdk3: PATH-cli, PATH-data)")
    parser.add_argument("--udp", metavar="HOST:PORT", help="send datagrams there (xsens-mvn, ximu3)")
    parser.add_argument("--mux", action="store_true", help="all sensors behind one port (xsens-mti, ximu3)")
    parser.add_argument("--magnetometer", action="store_true", help="send magnetic fields")
    parser.add_argument("--ascii", action="store_true", help="x-IMU3: text instead of binary")
    parser.add_argument("--asleep", action="store_true", help="MTi: begin in config mode and wait to be set up")
    parser.add_argument("--faults", default="", metavar="LIST", help="e.g. lose=0.01,flip=0.001,double=0.01,unplug=5")
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")
    fake_radar.add_options(parser)


def run(args: argparse.Namespace) -> int:
    """List, 0 always: that there is no device is an answer; or what the action returns."""
    if args.action == "fake":
        return fake_radar.run(args) if args.driver == fake_radar.DRIVER else run_fake(args)
    if args.action == "probe":
        return run_probe(args)
    listed = cameras()
    if args.probe:
        listed = [{**camera, **probe(camera["source"])} for camera in listed or _unlisted()]
    ports, remark = serial_ports()
    if args.json:
        print_json({"cameras": listed, "serial_ports": ports, "remark": remark})
        return 0
    _print("cameras", listed, "none found" if args.probe or LISTS_CAMERAS else "try --probe")
    _print("serial ports", ports, remark or "none found")
    if ports:
        print("which sensor is on one: kinefuse devices probe PORT")
    return 0


def run_probe(args: argparse.Namespace) -> int:
    """0 if a sensor was understood and nothing is wrong with it, else 1."""
    from nodes.devices.probe import probe_port
    from nodes.imu import ports_here

    if not args.json:
        say(f"listening to {args.port} …")
    found = probe_port(args.port, args.driver, args.baud, args.host, present=ports_here)
    if args.json:
        print_json(asdict(found))
    else:
        _print_probed(found)
    return 1 if found.problem else 0


def _print_probed(found: Probed) -> None:
    from nodes.devices.drivers import DRIVERS

    if found.driver is not None:
        baud = "" if found.baud is None else f" at {found.baud} baud"
        print(f"{found.port}: {DRIVERS[found.driver].about}{baud}")
        print(f"  {found.packets} packets, {found.corrupt} broken")
        for name, rate_hz in found.sensors.items():
            print(f"  sensor {name}: {rate_hz:.1f} Hz")
        field = "with" if found.magnetometer else "without"
        print(f"  |a| {found.gravity_m_s2:.2f} m/s² (9.8 at rest), {field} magnetic field")
        print(f"  in a graph: {found.graph_line}")
    if found.problem:
        print(found.problem)


def run_fake(args: argparse.Namespace) -> int:
    """0 when it has been stopped or the time is over."""
    import gc
    import signal

    from nodes.devices.fake import FakeBody, FakeParams, graph_line, parse_faults

    mvn = args.driver == "xsens-mvn"
    params = FakeParams(
        driver=args.driver,
        count=args.count if args.count is not None else 17 if mvn else 1,
        rate_hz=args.rate if args.rate is not None else 60.0 if mvn else 100.0,
        seed=args.seed,
        magnetometer=args.magnetometer,
        ascii_text=args.ascii,
        mux=args.mux,
        link=args.link,
        udp=_address(args.udp) if args.udp else ("127.0.0.1", 9763) if mvn else None,
        measuring=not args.asleep,
        faults=parse_faults(args.faults),
    )
    body = FakeBody(params)
    stopped = threading.Event()
    waking, wake = os.pipe()

    def stop(*_: object) -> None:
        stopped.set()
        os.write(wake, b"\0")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _announce(params.driver, body.outlets, graph_line(params, body.outlets), as_json=args.json)
        gc.freeze()  # Looking through all modules for garbage would hold the sensors up for a tenth of a second.
        body.run(stopped.is_set, wake=waking, seconds=args.seconds)
        say(f"{body.sent} messages, {body.overflows} that nobody took")
    finally:
        body.close()
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(waking)
        os.close(wake)
    return 0


def _announce(driver: str, outlets: list[tuple[str, dict[str, str]]], line: str, *, as_json: bool) -> None:
    if as_json:
        ports = [{"port": port, "placement": placement} for port, placement in outlets]
        print_json({"driver": driver, "ports": ports, "graph_line": line})
    else:
        for port, placement in outlets:
            print(f"{port}: {', '.join(placement.values())}")
        print(f"in a graph: {line}")
    sys.stdout.flush()


def _address(text: str) -> tuple[str, int]:
    host, _, number = text.rpartition(":")
    if not host or not number.isdigit() or not 0 < int(number) < 65536:
        raise RequestError(f"--udp {text!r}: expected HOST:PORT such as 127.0.0.1:9763")
    return host, int(number)


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
