"""``kinefuse session info|cut|recover``: look at, cut or repair a session file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nodes.commands.arguments import print_json, print_table, seconds

if TYPE_CHECKING:
    from nodes.sessions.info import SessionSummary


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser("session", help="look at, cut or repair a session file", description=__doc__)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    info = actions.add_parser("info", help="counts, rates, gaps and losses per topic")
    info.add_argument("session", metavar="SESSION")
    info.add_argument("--decode", action="store_true", help="decode every message and count those that cannot be")
    info.add_argument("--json", action="store_true", help="print one JSON object")
    cut = actions.add_parser("cut", help="copy a part to a new file")
    cut.add_argument("session", metavar="IN")
    cut.add_argument("out", metavar="OUT")
    cut.add_argument("--start", type=seconds(positive=False), default=0.0, metavar="S", help="from second S on")
    cut.add_argument("--end", type=seconds(), metavar="S", help="up to second S")
    recover = actions.add_parser("recover", help="make a torn file whole, in its place")
    recover.add_argument("session", metavar="SESSION")
    for action, function in ((info, _info), (cut, _cut), (recover, _recover)):
        action.set_defaults(action_function=function)


def run(args: argparse.Namespace) -> int:
    return int(args.action_function(args))


def _info(args: argparse.Namespace) -> int:
    from nodes.sessions.info import HEADINGS, summarise, table_rows
    from nodes.sessions.reader import SessionReader

    with SessionReader(args.session) as session:
        summary = summarise(session, decode=args.decode)
    if args.json:
        print_json(summary.as_json())
        return 0
    for line in _headline(summary):
        print(line)
    print_table(HEADINGS, list(table_rows(summary)))
    for topic in summary.topics:
        if topic.refused or topic.restarts:
            print(f"{topic.topic}: {topic.refused} cannot be decoded, publisher restarted {topic.restarts} times")
    return 0


def _headline(summary: SessionSummary) -> list[str]:
    from nodes.sessions.reader import END_ENTRY, SESSION_ENTRY

    about = summary.entries.get(SESSION_ENTRY, {})
    name, started = about.get("name", "no name"), about.get("started", "at an unknown time")
    state = "complete" if summary.complete else f"torn: {summary.reason}"
    if summary.writing:
        state = "being recorded"
    lines = [
        f"{summary.path}: {name}, started {started}",
        f"{summary.duration_s:.3f} s, {summary.size_bytes / 1e6:.2f} MB, {state}",
    ]
    if not summary.complete and not summary.writing:
        lines.append(f"kinefuse session recover {summary.path} makes it whole")
    if summary.damaged_chunks or summary.unknown_messages:
        lines.append(f"{summary.damaged_chunks} damaged chunks, {summary.unknown_messages} messages of unknown topics")
    dropped = summary.entries.get(END_ENTRY, {}).get("dropped", "0")
    if dropped != "0":
        lines.append(f"the recorder dropped {dropped} records because the disk was too slow")
    return lines


def _cut(args: argparse.Namespace) -> int:
    from nodes.errors import RequestError
    from nodes.sessions.cut import cut

    if args.end is not None and args.end <= args.start:
        raise RequestError(f"--end {args.end:g} is not after --start {args.start:g}")
    count = cut(Path(args.session), Path(args.out), args.start, args.end)
    print(f"{args.out}: {count} records")
    return 0


def _recover(args: argparse.Namespace) -> int:
    from nodes.sessions.repair import repair

    report = repair(Path(args.session))
    if report.repaired:
        print(f"{report.path}: repaired ({report.reason}); {report.messages} records, {report.cut_bytes} bytes cut off")
    else:
        print(f"{report.path}: is whole; {report.messages} records")
    return 0
