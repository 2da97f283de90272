"""`grove-dp demo`: simulated workers, the real frontend, conversations placed two ways, one worker killed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from grove_dp.sim.demo import Demo

__all__ = ["add_parser", "run"]

_EPILOG = """\
Everything runs on 127.0.0.1 and ends with the command. Streams that the killed worker had begun end with a
well-formed error and are counted as cut; failed are those that got no token or no word at their end.
Exit codes: 0 nothing failed, 1 something did, 130 interrupted.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `demo` to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="see it all work on this machine",
        description="Simulated vLLM workers and the frontend. The same conversations are placed by round "
        "robin and by what the workers hold in their KV caches; then one worker is killed on the way.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--stay", action="store_true", help="keep everything up after the replay, until Ctrl-C"
    )
    parser.add_argument(
        "--seconds", type=float, default=18.0, metavar="S", help="of each of the three acts; default 18"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=4,
        metavar="N",
        help="simulated workers; the load grows with them; default 4",
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="of the frontend; another when taken; default 8000"
    )
    parser.add_argument("--admin-port", type=int, default=9090, help="of its admin API; default 9090")
    parser.add_argument("--no-live", action="store_true", help="plain lines even on a terminal")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the comparison")
    parser.add_argument("--direct", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 only when no request failed."""
    import uvloop

    from grove_dp.errors import ConfigurationError

    if not (args.seconds > 0 and args.workers > 0):
        raise ConfigurationError("--seconds, --workers: expected numbers above 0")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_interruptible(args))


async def _interruptible(args: argparse.Namespace) -> int:
    """SIGINT and SIGTERM cancel the demo, which ends every process on its way out."""
    work = asyncio.ensure_future(_demo(args))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        return 130


async def _demo(args: argparse.Namespace) -> int:
    from grove_dp.clock import SystemClock
    from grove_dp.sim.conversations import Conversations
    from grove_dp.sim.demo import Demo, DemoPlan
    from grove_dp.sim.world import WorldPlan

    live = sys.stdout.isatty() and not args.no_live
    say = _say if not live else lambda _line: None
    worlds = WorldPlan(workers=args.workers, port=args.port, admin_port=args.admin_port, direct=args.direct)
    plan = DemoPlan(args.seconds, conversations=Conversations(rate=4.0 * args.workers))
    if args.direct:
        plan = DemoPlan(args.seconds, compared=())
    async with Demo(worlds, plan, clock=SystemClock(), announce=say) as demo:
        try:
            await (_watched(demo) if live else _told(demo))
        finally:
            _say("\n".join(["", *demo.summary()]))
        if args.plot is not None:
            _draw(demo, args.plot)
        code = 1 if demo.failed else 0
        if args.stay:
            _say(f"\nstill up; try:\n{demo.curl()}\n{_why(demo)}\nCtrl-C ends it")
            with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how a stay ends, not a failure
                await asyncio.Event().wait()
            return code
        _say(f"\nto try it by hand, run `grove-dp demo --stay` and then\n{demo.curl()}")
    return code


def _why(demo: Demo) -> str:
    """A line to paste: why the last request went where it went."""
    assert demo.world is not None
    return f"curl -s '{demo.world.admin_url}/explain?last=1'"


def _draw(demo: Demo, path: Path) -> None:
    from grove_dp.sim.plot import plot_acts

    plot_acts(demo.acts[:-1], path)
    _say(f"\ndrawn: {path}")


def _say(text: str) -> None:
    print(text, flush=True)


async def _told(demo: Demo) -> None:
    """Run with a line every three seconds."""
    from grove_dp.sim.view import Rates, line

    rates = Rates(looks=2)

    async def tell() -> None:
        while True:
            await asyncio.sleep(3)
            if demo.act.report.sent:
                _say(line(demo, rates))

    await _beside(demo.run(), tell())


async def _watched(demo: Demo) -> None:
    """Run under a live screen."""
    from rich.live import Live

    from grove_dp.sim.view import Rates, screen

    rates = Rates(looks=8)
    with Live(screen(demo, rates), auto_refresh=False) as live:

        async def draw() -> None:
            while True:
                await asyncio.sleep(0.25)
                live.update(screen(demo, rates), refresh=True)

        await _beside(demo.run(), draw())
        live.update(screen(demo, rates), refresh=True)


async def _beside(work: Coroutine[None, None, None], show: Coroutine[None, None, None]) -> None:
    showing = asyncio.ensure_future(show)
    try:
        await work
    finally:
        showing.cancel()
        await asyncio.wait([showing])


if __name__ == "__main__":
    from grove_dp.cli.main import main

    sys.exit(main(["demo", *sys.argv[1:]]))
