"""`grove-dp demo`: simulated workers, the real frontend, a recorded trace, one worker killed on the way."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
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
        description="Simulated vLLM workers, the frontend, the first minutes of the Mooncake conversation "
        "trace; one worker is killed on the way.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--stay", action="store_true", help="keep everything up after the replay, until Ctrl-C"
    )
    parser.add_argument(
        "--minutes", type=float, default=4.0, metavar="M", help="of the trace (10 are shipped); default 4"
    )
    parser.add_argument(
        "--speed", type=float, default=5.0, metavar="X", help="X times as fast as recorded; default 5"
    )
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="simulated workers; default 4")
    parser.add_argument(
        "--port", type=int, default=8000, help="of the frontend; another when taken; default 8000"
    )
    parser.add_argument("--admin-port", type=int, default=9090, help="of its admin API; default 9090")
    parser.add_argument("--no-live", action="store_true", help="plain lines even on a terminal")
    parser.add_argument("--direct", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 only when no request failed."""
    import uvloop

    from grove_dp.errors import ConfigurationError

    if not (args.minutes > 0 and args.speed > 0 and args.workers > 0):
        raise ConfigurationError("--minutes, --speed and --workers: expected numbers above 0")
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
    from grove_dp.sim.demo import Demo, DemoPlan
    from grove_dp.sim.world import World, WorldPlan

    live = sys.stdout.isatty() and not args.no_live
    clock = SystemClock()
    say = _say if not live else lambda _line: None
    plan = WorldPlan(
        workers=args.workers,
        worker_speed=2 * args.speed,
        port=args.port,
        admin_port=args.admin_port,
        direct=args.direct,
    )
    _say(f"starting {args.workers} simulated workers and the frontend …")
    async with World(plan, clock=clock, announce=_say) as world:
        demo = Demo(world, DemoPlan(args.minutes, args.speed), clock=clock, announce=say)
        _say(f"frontend on {world.url}, admin on http://127.0.0.1:{world.admin_port}; replaying")
        try:
            await (_watched(demo) if live else _told(demo))
        finally:
            _say("\n".join(demo.summary()))
        code = 1 if demo.report.failed else 0
        if args.stay:
            _say(f"\nstill up; try:\n{demo.curl()}\nCtrl-C ends it")
            with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how a stay ends, not a failure
                await asyncio.Event().wait()
            return code
        _say(f"\nto try it by hand, run `grove-dp demo --stay` and then\n{demo.curl()}")
    return code


def _say(text: str) -> None:
    print(text, flush=True)


async def _told(demo: Demo) -> None:
    """Run with a line every three seconds."""
    from grove_dp.sim.view import Rates, line

    rates = Rates(looks=2)

    async def tell() -> None:
        while True:
            await asyncio.sleep(3)
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
