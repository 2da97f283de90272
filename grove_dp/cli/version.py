"""`grove-dp version [--json]`: what is installed, how it was built, what this CPU offers it."""

import argparse
import platform
from typing import TYPE_CHECKING, Any

import msgspec

from grove_dp import __version__
from grove_dp.native import build

if TYPE_CHECKING:
    from grove_dp.cli.main import Subparsers

__all__ = ["add_parser", "run"]


def add_parser(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser("version", description="Tell the version and how it was built.")
    parser.add_argument("--json", action="store_true", help="for machines")


def run(args: argparse.Namespace) -> int:
    told = facts()
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
    else:
        commit = f" ({told['commit']})" if told["commit"] else ""
        print(f"grove-dp {told['version']}{commit}{', debug build' if told['debug'] else ''}")
        for name in ("python", "cython", "compiler", "flags"):
            print(f"{name:9} {told[name]}")
        print(f"{'cpu':9} {told['machine']} {' '.join(told['cpu_features'])}")
    return 0


def facts() -> dict[str, Any]:
    """Version, build and machine, in the order in which they are shown."""
    built = build.facts()
    return {
        "version": __version__,
        "commit": built["commit"],
        "debug": built["debug"],
        "python": platform.python_version(),
        "cython": built["cython"],
        "compiler": built["compiler"],
        "flags": built["flags"],
        "machine": platform.machine(),
        "cpu_features": build.cpu_features(),
    }
