"""``kinefuse doctor radar``: why a radar is silent, found step by step from its ports to its points.

``GRAPH`` examines every radar node of a graph; ``--cli``, ``--data`` and ``--cfg`` name a sensor, ``--cfg`` alone a
configuration to check and explain. A sensor is set up and started for some seconds, then stopped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nodes.commands.arguments import print_json, say, seconds
from nodes.errors import RequestError, listed

if TYPE_CHECKING:
    from nodes.devices.ti.examine import Finding, Sensor

CLI_BAUD, DATA_BAUD = 115_200, 921_600
LEAST_BAUD, MOST_BAUD = 300, 12_000_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """The words of the command."""
    parser.add_argument("graph", metavar="GRAPH", nargs="?", help="graph file with radar nodes")
    parser.add_argument("--cli", metavar="PORT", help="serial port of the command line")
    parser.add_argument("--data", metavar="PORT", help="serial port of the frames")
    parser.add_argument("--cfg", metavar="FILE", help="configuration to check, and to send if there are ports")
    parser.add_argument("--device", metavar="NAME", help="which sensor it is, such as IWR6843AOP; default: guessed")
    parser.add_argument("--cli-baud", type=_baud, metavar="BAUD", help=f"default {CLI_BAUD}")
    parser.add_argument("--data-baud", type=_baud, metavar="BAUD", help=f"default {DATA_BAUD}")
    parser.add_argument("--listen", action="store_true", help="do not set the sensor up: it runs already")
    parser.add_argument("--seconds", type=seconds(), help="how long to listen to frames; default 3")
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print one JSON object")


def _baud(text: str) -> int:
    """An argument type: as the keys of the node."""
    if text.isdecimal() and LEAST_BAUD <= int(text) <= MOST_BAUD:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no baud rate: allowed {LEAST_BAUD} to {MOST_BAUD}, such as 115200")


def run(args: argparse.Namespace) -> int:
    """0 if the sensors work, 1 if something is wrong with one."""
    from nodes.devices.ti.examine import Examination
    from nodes.radar import ports_here

    as_json = getattr(args, "json", False)
    report: dict[str, list[Finding]] = {}
    for name, sensor in _sensors(args).items():
        if not as_json and sensor.data_port is not None:
            say(f"{name}: examining …")
        report[name] = Examination(sensor, ports_here).run(args.seconds)
        if not as_json:
            _print(name, report[name])
    wrong = [finding for findings in report.values() for finding in findings if finding.state == "wrong"]
    if as_json:
        radars = {name: [asdict(finding) for finding in findings] for name, findings in report.items()}
        print_json({"ok": not wrong, "radars": radars})
    else:
        print("ready" if not wrong else f"{len(wrong)} things need attention" if len(wrong) > 1 else "see above")
    return 1 if wrong else 0


def _print(name: str, findings: list[Finding]) -> None:
    print(f"{name}:")
    for finding in findings:
        print(f"{finding.state:8}{finding.name}: {finding.found}")
        if finding.remedy:
            print(f"{'':8}  {finding.remedy}")
    sys.stdout.flush()


def _sensors(args: argparse.Namespace) -> dict[str, Sensor]:
    """What is to be examined, by name.

    Raises:
        RequestError: if the words name nothing, or something twice.
    """
    named = [f"--{word}" for word in ("cli", "data", "cfg") if getattr(args, word) is not None]
    if args.graph is not None:
        more = [f"--{word}" for word in ("device", "cli-baud", "data-baud") if getattr(args, word.replace("-", "_"))]
        if named or more:
            raise RequestError(f"{args.graph} and {listed(named + more)}: name a graph or a sensor, not both")
        return _of_graph(args.graph, listen=args.listen)
    if not named:
        from nodes.radar import ports_here

        raise RequestError(
            "name a graph, or a sensor with --cli PORT --data PORT --cfg FILE, or a configuration with --cfg FILE; "
            f"serial ports here: {listed(ports_here())}"
        )
    return {"radar": _of_words(args)}


def _of_graph(path: str, *, listen: bool) -> dict[str, Sensor]:
    from nodes.devices.ti.config import device_named, load_config
    from nodes.devices.ti.examine import Sensor
    from nodes.graph.loader import load_graph
    from nodes.radar import Params

    sensors: dict[str, Sensor] = {}
    for name, params in load_graph(path).graph.nodes.items():
        if isinstance(params, Params):
            sensors[name] = Sensor(
                cli_port=params.cli_port,
                data_port=params.data_port,
                config=None if params.cfg is None else load_config(Path(params.cfg)),
                device=None if params.device is None else device_named(params.device),
                configure=params.configure and not listen,
                cli_baud=params.cli_baud,
                data_baud=params.data_baud,
                layout=params.layout,
            )
    if not sensors:
        raise RequestError(f"{path}: no node of type radar in it; name a sensor with --cli PORT --data PORT --cfg FILE")
    return sensors


def _of_words(args: argparse.Namespace) -> Sensor:
    from nodes.devices.ti.config import device_named, load_config
    from nodes.devices.ti.examine import Sensor

    if args.cli is not None and args.cli == args.data:
        raise RequestError(f"--cli and --data are both {args.cli}: a sensor has two ports, name both")
    if args.cli is not None and args.cfg is None and not args.listen:
        say("without --cfg the sensor is not set up, only listened to")
    return Sensor(
        cli_port=args.cli,
        data_port=args.data,
        config=None if args.cfg is None else load_config(Path(args.cfg), args.cfg),
        device=None if args.device is None else device_named(args.device),
        configure=args.cfg is not None and args.cli is not None and not args.listen,
        cli_baud=args.cli_baud or CLI_BAUD,
        data_baud=args.data_baud or DATA_BAUD,
    )
