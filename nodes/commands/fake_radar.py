"""``kinefuse devices fake ti-sdk3``: a virtual radar on two pseudo-terminals."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, say, seconds
from nodes.errors import RequestError, listed

if TYPE_CHECKING:
    from nodes.devices.ti.fake import FakeRadar
    from nodes.devices.ti.scenes import Scene

DRIVER = "ti-sdk3"
WALK_CFG, MARS_CFG = "radar/iwr6843.cfg", "radar/xwr1843_mars.cfg"
_OF_BODIES = ("count", "rate", "udp", "mux", "magnetometer", "ascii", "asleep")
"""Words for worn sensors only."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The words for radars."""
    group = parser.add_argument_group(DRIVER)
    group.add_argument("--cfg", metavar="FILE", help="begin running this configuration; default: wait for one")
    group.add_argument("--mars", metavar="FILE", help="play the points of a subject of the MARS data (subjectN.npz)")
    group.add_argument("--start", type=seconds(positive=False), default=0.0, help="where to begin in it, s")


def run(args: argparse.Namespace) -> int:
    """0 when it has been stopped or the time is over."""
    import gc

    radar = _radar(args)
    stopped = threading.Event()
    waking, wake = os.pipe()

    def stop(*_: object) -> None:
        stopped.set()
        os.write(wake, b"\0")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        cfg = args.cfg or (WALK_CFG if args.mars is None else MARS_CFG)
        _announce(radar, cfg, as_json=getattr(args, "json", False))
        gc.freeze()  # Looking through all modules for garbage would hold the sensor up for a tenth of a second.
        radar.run(stopped.is_set, wake=waking, seconds=args.seconds)
        say(f"{radar.sent} frames, {radar.skipped} for which the line was not free, {radar.overflows} pieces untaken")
    finally:
        radar.close()
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(waking)
        os.close(wake)
    return 0


def _radar(args: argparse.Namespace) -> FakeRadar:
    """The sensor that the words ask for.

    Raises:
        RequestError: if they do not fit.
    """
    from nodes.devices.fake import parse_faults
    from nodes.devices.ti.config import load_config
    from nodes.devices.ti.fake import FakeRadar

    strange = [f"--{word}" for word in _OF_BODIES if getattr(args, word)]
    if strange:
        raise RequestError(f"{listed(strange)}: for worn sensors, not for {DRIVER}")
    if not hasattr(os, "openpty"):
        raise RequestError("this system has no pseudo-terminals, which a virtual radar needs")
    faults = parse_faults(args.faults)
    running = None
    if args.cfg is not None:
        running = "\n".join((*load_config(Path(args.cfg), args.cfg).lines, "sensorStart"))
    return FakeRadar(_scene(args), link=args.link, seed=args.seed, faults=faults, running=running)


def _scene(args: argparse.Namespace) -> Scene:
    from nodes.devices.ti.scenes import Walk, load_mars

    if args.mars is not None:
        return load_mars(Path(args.mars), start_s=args.start)
    if args.start:
        raise RequestError("--start: where to begin in a recording; name it with --mars")
    return Walk(args.seed)


def _announce(radar: FakeRadar, cfg: str, *, as_json: bool) -> None:
    cli_port, data_port = radar.cli_port.shown, radar.data_port.shown
    line = f"radar: {{type: radar, driver: {DRIVER}, cli_port: {cli_port}, data_port: {data_port}, cfg: {cfg}}}"
    if as_json:
        values: dict[str, Any] = {"driver": DRIVER, "cli_port": cli_port, "data_port": data_port, "graph_line": line}
        print_json(values)
    else:
        print(f"{cli_port}: command line\n{data_port}: frames\nin a graph: {line}")
    sys.stdout.flush()
