"""`grove-dp explain route`: why a running frontend placed a request where it did."""

import argparse
import json
from typing import TYPE_CHECKING, Any

from grove_dp.errors import GroveError

if TYPE_CHECKING:
    from grove_dp.cli.main import Subparsers

__all__ = ["add_parser", "run"]

_TERMS = ("queue_s", "prefill_s", "stall_s", "decode_s", "memory_s", "total")


class NoFrontend(GroveError):
    """Nobody answers at the admin address."""

    reason = "NoFrontend"


def add_parser(subparsers: "Subparsers") -> None:
    """What to explain, and whom to ask."""
    parser = subparsers.add_parser("explain", description="Ask a running frontend why it did what it did.")
    parser.add_argument("what", choices=("route",), help="route: where requests were placed, and why")
    parser.add_argument("id", nargs="?", help="x-request-id of a request; without, the last placements")
    parser.add_argument("--admin", default="http://127.0.0.1:9090", metavar="URL", help="the admin port")
    parser.add_argument("--last", type=int, default=5, metavar="N", help="how many (5)")
    parser.add_argument("--json", action="store_true", help="as the frontend answers")


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    found = _asked(args)
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    if not found:
        what = f"request {args.id}" if args.id else "placement"
        print(f"no {what} among the last ones that the frontend remembers")
        return 1
    for one in found:
        _print(one)
    return 0


def _asked(args: argparse.Namespace) -> list[dict[str, Any]]:
    from urllib.error import HTTPError, URLError
    from urllib.parse import urlencode
    from urllib.request import urlopen

    if not args.admin.startswith("http://"):
        raise NoFrontend(f"--admin {args.admin!r} is no URL; write http://HOST:PORT")
    asked = {"last": str(args.last)} | ({"id": args.id} if args.id else {})
    try:
        with urlopen(f"{args.admin.rstrip('/')}/explain?{urlencode(asked)}", timeout=5) as answer:
            decisions: list[dict[str, Any]] = json.load(answer)["decisions"]
            return decisions
    except HTTPError as error:
        raise NoFrontend(
            f"{args.admin} answered {error.code}: {error.read(500).decode(errors='replace')}"
        ) from None
    except (URLError, OSError, ValueError) as error:
        raise NoFrontend(
            f"{args.admin} does not answer as a frontend: {error}; name it with --admin"
        ) from None


def _print(one: dict[str, Any]) -> None:
    known = (
        f"{one['known_blocks']} of {one['blocks']} blocks known" if one["basis"] != "nothing" else "unknown"
    )
    print(
        f"{one['id']}  {one['model']}  {one['age_s']:.1f} s ago, waited {one['waited_s'] * 1e3:.1f} ms,"
        f" attempt {one['attempt'] + 1}"
    )
    print(f"  prompt   {one['prompt_tokens']} tokens, {known}, by {one['basis']}")
    print(f"  policy   {one['policy']}: {one['why']}")
    print("  " + "worker".ljust(30) + "cached".rjust(8) + "".join(term.rjust(11) for term in _TERMS))
    for mark, terms in [("*", one["chosen"]), *((" ", other) for other in one["others"])]:
        row = "".join(f"{terms[term]:11.4f}" for term in _TERMS)
        print(f"{mark} {terms['worker']:<30}{terms['cached_tokens']:8}{row}")
