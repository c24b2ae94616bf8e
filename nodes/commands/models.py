"""``kinefuse models``: which trained networks there are, and getting them."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

MEGABYTE = 1e6


def add_parser(subparsers: Any) -> None:
    """Declare the command and its own commands."""
    parser = subparsers.add_parser("models", help="list and get trained networks")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("list", help="models that can be had, and whether they are here")
    get = actions.add_parser("get", help="fetch a model into the cache of this user")
    get.add_argument("name", help="e.g. blazepose-full")
    get.add_argument("--wheel", type=Path, help="wheel of the model's package that is on this machine already")
    path = actions.add_parser("path", help="print the folder of a model")
    path.add_argument("name")
    for action in (show, get, path):
        action.add_argument("--json", action="store_true", help="print one JSON object")
        action.set_defaults(run=run)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """0 done, 1 could not be fetched, 2 unknown or missing model."""
    from nodes.models import store

    if args.action == "list":
        return _list(args.json)
    try:
        card = store.find_card(args.name)
    except store.ModelError as error:
        print(f"kinefuse models: {error}", file=sys.stderr)
        return 2
    try:
        if args.action == "path":
            store.load(card)
        elif args.wheel is not None or not store.is_present(card):
            store.obtain(card, wheel=args.wheel, say=lambda line: print(line, file=sys.stderr))
    except store.ModelError as error:
        print(f"kinefuse models: {error}", file=sys.stderr)
        return 2 if args.action == "path" or args.wheel is not None else 1
    folder = store.model_folder(card)
    print(json.dumps(store.describe(card)) if args.json else folder)
    return 0


def _list(as_json: bool) -> int:
    from nodes.models import inertial, radar, store

    rows = [store.describe(card) for card in store.cards().values()]
    rows += [{**inertial.describe(name), "tells": "inertial network"} for name in inertial.shipped()]
    rows += [{**radar.describe(name), "tells": "radar network"} for name in radar.shipped()]
    if as_json:
        print(json.dumps({"models": rows}))
        return 0
    for row in rows:
        where = row["folder"] if row["present"] else f"not here; kinefuse models get {row['name']}"
        tells = row.get("landmark_set") or row["tells"]
        print(f"{row['name']}  {row['bytes'] / MEGABYTE:.1f} MB  {row['licence']}  {tells}")
        print(f"  {row['about']}\n  {where}")
    return 0
