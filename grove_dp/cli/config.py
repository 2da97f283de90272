"""`grove-dp config show|check|schema`: the settings of `serve`, where each is from, whether all are right."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from grove_dp.config import add_settings_flags, load
from grove_dp.fields import fields, schema, value_of

if TYPE_CHECKING:
    from grove_dp.cli.main import Subparsers

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser("config", description="The settings of `grove-dp serve`.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="print each value and where it came from")
    show.add_argument("--json", action="store_true", help="for machines")
    add_settings_flags(show)
    check = actions.add_parser("check", help="check a file and the environment; exit 0 or 2")
    check.add_argument("file", type=Path, nargs="?", help="YAML file")
    actions.add_parser("schema", help="print the JSON schema of the file")


def run(args: argparse.Namespace) -> int:
    action = {"show": _show, "check": _check, "schema": _schema}[args.action]
    return action(args)


def _show(args: argparse.Namespace) -> int:
    loaded = load(args, os.environ)
    if args.json:
        told = {
            path: {"value": value_of(loaded.settings, path), "origin": origin}
            for path, origin in loaded.origins.items()
        }
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
        return 0
    shown = {path: field.show(value_of(loaded.settings, path)) for path, field in fields().items()}
    wide, high = max(map(len, shown)), max(map(len, shown.values()))
    for path, value in shown.items():
        print(f"{path:{wide}}  {value:{min(high, 40)}}  {loaded.origins[path]}")
    return 0


def _check(args: argparse.Namespace) -> int:
    loaded = load(None, os.environ, args.file)
    given = sum(origin != "default" for origin in loaded.origins.values())
    print(f"{args.file or 'the environment'}: fine, {given} of {len(loaded.origins)} settings given")
    return 0


def _schema(args: argparse.Namespace) -> int:
    print(msgspec.json.format(msgspec.json.encode(schema())).decode())
    return 0
