"""python -m bench.proxy: CPU, latency and memory of the frontend beside nginx and aiohttp, in one run."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from bench import results
from bench.proxy.peers import GROVE, NGINX, NO_NGINX, PEERS, Peer, custom, nginx_program
from bench.proxy.rows import rows
from bench.proxy.run import Plan, collect
from bench.proxy.tools import BenchError, alone, build
from bench.proxy.work import WORKS

QUICK_PACE = 0.4
EXTRA_UNTIL_S = 330.0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.proxy", description=__doc__)
    parser.add_argument("--only", default=",".join(PEERS), help="proxies to measure (default: %(default)s)")
    parser.add_argument("--work", default=",".join(WORKS), help="loads (default: %(default)s)")
    parser.add_argument(
        "--custom", metavar="COMMAND", help="one more proxy; {port} {admin_port} {workers} {urls}"
    )
    parser.add_argument("--reps", type=int, default=None, help="turns per load (default: 3; with --quick 1)")
    parser.add_argument(
        "--quick", action="store_true", help="short windows: is it broken?, not: how fast is it?"
    )
    parser.add_argument("--gate", action="store_true", help="exit 1 where a must is broken")
    parser.add_argument("--cpu", type=int, default=0, help="the proxy's CPU (default: 0)")
    parser.add_argument(
        "--generator-cpu", type=int, default=1, help="the workers' and generator's CPU (default: 1)"
    )
    parser.add_argument("--beside", action="store_true", help="do not wait for another bench to end")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder for the result")
    parser.add_argument("--name", help="the result's name (default: proxy; proxy_part for a part of it)")
    return parser.parse_args(argv)


def chosen(names: str, known: Sequence[str], what: str) -> list[str]:
    """The names in *names*, in the known order."""
    asked = [name for name in names.split(",") if name]
    if unknown := sorted(set(asked) - set(known)):
        raise BenchError(f"Unknown{what}: {', '.join(unknown)}; there are {', '.join(known)}")
    return [name for name in known if name in asked]


def make_plan(asked: argparse.Namespace) -> Plan:
    known: dict[str, Peer] = PEERS | ({"custom": custom(asked.custom)} if asked.custom else {})
    only = asked.only + (",custom" if asked.custom else "")
    if len({asked.cpu, asked.generator_cpu} & os.sched_getaffinity(0)) < 2:
        raise BenchError("NotEnoughCpus: --cpu and --generator-cpu must be two CPUs of this process")
    return Plan(
        peers=installed({name: known[name] for name in chosen(only, list(known), "Proxy")}),
        works=tuple(WORKS[name] for name in chosen(asked.work, list(WORKS), "Work")),
        reps=asked.reps or (1 if asked.quick else 3),
        pace=QUICK_PACE if asked.quick else 1.0,
        extra_until_s=0.0 if asked.quick else EXTRA_UNTIL_S,
        cpu=asked.cpu,
        generator_cpu=asked.generator_cpu,
    )


def installed(peers: dict[str, Peer]) -> dict[str, Peer]:
    """Without nginx our own figures are still worth having; only the ratios go."""
    if NGINX in peers and nginx_program() is None:
        print(f"{NO_NGINX}; the rows have no ratio", file=sys.stderr)
        return {name: peer for name, peer in peers.items() if name != NGINX}
    return peers


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(argv: Sequence[str]) -> int:
    asked = parse(argv)
    signal.signal(signal.SIGTERM, _leave)  # contexts end the processes
    try:
        plan = make_plan(asked)
        with alone(wait=not asked.beside):
            build()
            samples = collect(plan)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 2
    command = shlex.join(["python", "-m", "bench.proxy", *argv])
    result = results.new(command, rows(samples, GROVE))
    whole = not asked.quick and set(plan.works) == set(WORKS.values()) and {NGINX, GROVE} <= set(plan.peers)
    path = results.write(result, asked.name or ("proxy" if whole else "proxy_part"), asked.out)
    results.present(result)
    print(path)
    for fault in samples.faults:
        print(f"WrongAnswers: {fault}", file=sys.stderr)
    return 1 if samples.faults else results.gate(result) if asked.gate else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
