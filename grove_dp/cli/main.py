"""The command `grove-dp`: finds the subcommand, runs it, turns its end into an exit code.

Each subcommand is one module of this package with two functions:

    add_parser(subparsers) -> None     subparsers.add_parser("serve", ...) and its arguments
    run(args) -> int                   the work; returns the exit code

Only the module that was asked for is imported, so `grove-dp --help` takes 0.1 s whatever the roles need.

Exit codes: 0 done, 1 failed at run time, 2 wrong usage or configuration, 130 interrupted.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from grove_dp.errors import GroveError

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "serve": "put the frontend before vLLM workers",
    "autoscale": "scale sets of workers by the tokens that frontends measure",
    "metrics-adapter": "serve external metrics to HPA and KEDA",
    "operator": "keep inference systems as PodCliqueSets say",
    "wait-for": "wait until other cliques of a gang have started",
    "manifests": "tell or apply what a cluster needs",
    "worker-sim": "stand in for vLLM workers",
    "replay": "send a recorded trace to a frontend or a worker and report",
    "demo": "see it all work on this machine, with simulated workers",
    "explain": "tell why a request went there, a gang waits, a set scaled",
    "config": "show, check or describe the settings",
    "version": "tell the version and how it was built",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line *argv*; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except GroveError as error:
        for line in f"{error} [{error.reason}]".splitlines():
            print(f"grove-dp: error: {line}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone. Python would complain once more when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _dispatch(words: list[str]) -> int:
    chosen = next((word for word in words if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="grove-dp",
        description="Autoscaling, KV-aware routing data plane for LLM inference.",
        epilog="`grove-dp COMMAND --help` tells a command's arguments.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="tell the version")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    for name, summary in COMMANDS.items():
        if name == chosen:
            importlib.import_module(_module(name)).add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary)
    args, unknown = parser.parse_known_args(words)
    if unknown:
        target = _deepest(parser, words)
        target.error(f"unknown argument {unknown[0]}{_hint(target, unknown[0])}")
    if args.version and args.command is None:
        args.command, args.json = "version", False
    if args.command is None:
        parser.print_help()
        return 2
    code: int = importlib.import_module(_module(args.command)).run(args)
    return code


def _module(command: str) -> str:
    return f"grove_dp.cli.{command.replace('-', '_')}"


def _deepest(parser: argparse.ArgumentParser, words: list[str]) -> argparse.ArgumentParser:
    """The parser of the last subcommand that *words* name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            named = next((word for word in words if word in action.choices), None)
            if named is not None:
                return _deepest(action.choices[named], words[words.index(named) + 1 :])
    return parser


def _hint(parser: argparse.ArgumentParser, word: str) -> str:
    near = get_close_matches(word.partition("=")[0], parser._option_string_actions, n=1)
    return f"; did you mean {near[0]}?" if near else ""
