"""`grove-dp explain`: why a frontend placed a request where it did, an autoscaler scaled, a gang waits."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from grove_dp.errors import ConfigurationError, GroveError

if TYPE_CHECKING:
    from grove_operator.explain import Explanation

    from grove_dp.cli.main import Subparsers

__all__ = ["add_parser", "run"]

_TERMS = ("queue_s", "prefill_s", "stall_s", "decode_s", "memory_s", "total")


_ADMIN = {"route": "http://127.0.0.1:9090", "scale": "http://127.0.0.1:9091"}


class NoFrontend(GroveError):
    """Nobody answers at the admin address."""

    reason = "NoFrontend"


def add_parser(subparsers: "Subparsers") -> None:
    """What to explain, and whom to ask."""
    parser = subparsers.add_parser(
        "explain",
        description="Ask a running process, or of gangs the cluster, why things are as they are.",
    )
    parser.add_argument(
        "what",
        choices=("route", "scale", "gang"),
        help="route: where requests were placed; scale: what an autoscaler decided; gang: what it waits for",
    )
    parser.add_argument(
        "id", nargs="?", help="x-request-id; name of a TokenAutoscaler (both: all), of a PodGang"
    )
    parser.add_argument(
        "--admin", metavar="URL", help="the admin port (http://127.0.0.1:9090; of an autoscaler 9091)"
    )
    parser.add_argument("--last", type=int, default=5, metavar="N", help="how many (5)")
    parser.add_argument("--json", action="store_true", help="as the process answers")
    parser.add_argument(
        "-n",
        "--namespace",
        metavar="NAME",
        help="of the TokenAutoscaler (unset: all), or of the gang (the context's)",
    )
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="the gang's cluster")
    parser.add_argument("--context", metavar="NAME", help="of the kubeconfig")


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    if args.what == "gang":
        return _gang(args)
    args.admin = args.admin or _ADMIN[args.what]
    if args.what == "scale":
        return _scale(args)
    asked = {"last": str(args.last)} | ({"id": args.id} if args.id else {})
    found = _asked(args, asked)["decisions"]
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


def _gang(args: argparse.Namespace) -> int:
    """What a gang waits for."""
    import asyncio
    import time

    import msgspec
    from grove_operator.explain import explain, lines

    from grove_dp.kube.access import connect

    if not args.id:
        raise ConfigurationError("name the PodGang: grove-dp explain gang NAME [-n NAMESPACE]")

    async def ask() -> "Explanation":
        async with await connect(args.kubeconfig, args.context) as api:
            return await explain(api, args.namespace or api.namespace, args.id)

    told = asyncio.run(ask())
    if args.json:
        print(msgspec.json.format(msgspec.json.encode(told)).decode())
    else:
        print("\n".join(lines(told, time.time())))
    return 0


def _scale(args: argparse.Namespace) -> int:
    """The last tick of autoscalers, and what came before."""
    asked = {"name": args.id, "namespace": args.namespace}
    found = _asked(args, {name: value for name, value in asked.items() if value})["autoscalers"]
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    for one in found:
        _print_scaling(one, args.last)
    if not found:
        named = "".join(f" {word}" for word in (args.id, args.namespace and f"in {args.namespace}") if word)
        print(f"no autoscaler{named} is at work there")
    return 0 if found else 1


def _asked(args: argparse.Namespace, asked: dict[str, str]) -> dict[str, Any]:
    from urllib.error import HTTPError, URLError
    from urllib.parse import urlencode
    from urllib.request import urlopen

    if not args.admin.startswith("http://"):
        raise NoFrontend(f"--admin {args.admin!r} is no URL; write http://HOST:PORT")
    try:
        with urlopen(f"{args.admin.rstrip('/')}/explain?{urlencode(asked)}", timeout=5) as answer:
            told: dict[str, Any] = json.load(answer)
            return told
    except HTTPError as error:
        raise NoFrontend(
            f"{args.admin} answered {error.code}: {error.read(500).decode(errors='replace')}"
        ) from None
    except (URLError, OSError, ValueError) as error:
        raise NoFrontend(f"{args.admin} does not answer: {error}; name the admin port with --admin") from None


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


def _print_scaling(one: dict[str, Any], last: int) -> None:
    from datetime import datetime

    leads = "leads" if one["leading"] else f"stands by, {one['leader'] or 'nobody'} leads"
    print(
        f"{one['namespace']}/{one['name']}  set {one['set']}, {one.get('mode', 'no decision yet')}, {leads}"
    )
    if "reason" not in one:
        return
    print(f"  {one['reason']}: {one['message']}")
    heads = ("replicas", "ready", "wished", "needed", "desired")
    print("  " + "component".ljust(24) + "load".rjust(9) + "".join(head.rjust(10) for head in heads))
    for component in one.get("components", ()):
        row = "".join(str("-" if component[head] is None else component[head]).rjust(10) for head in heads)
        print(f"  {component['name']:<24}{component['load']:>9}{row}  {component['message']}")
    for move in one.get("moves", ()):
        print(f"  {_moved(move)}")
    for earlier in one["history"][-last:]:
        at = datetime.fromtimestamp(earlier["wall_s"]).astimezone() if "wall_s" in earlier else None
        print(f"  {at:%H:%M:%S}  " if at else "  ", f"{earlier['reason']}: {earlier['message']}", sep="")


def _moved(move: dict[str, Any]) -> str:
    """One move, and what became of it."""
    what = f"{move['kind']}/{move['name']} {move['from']} -> {move['to']}"
    if move["objection"]:
        return f"{what}  not made, {move['objection']['reason']}: {move['objection']['message']}"
    if move["waits_for"]:
        return f"{what}  waits for {', '.join(move['waits_for'])}"
    return f"{what}  {'made' if move['made'] else 'not made'}: {move['message']}"
