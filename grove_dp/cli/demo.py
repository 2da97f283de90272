"""`grove-dp demo`: simulated workers and everything else real; routing by KV cache, then the whole system."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grove_dp.sim.demo import Demo
    from grove_dp.sim.system import System

__all__ = ["add_parser", "run"]

_LONGEST_S = 600  # of an act
_MOST = 64  # workers

_EPILOG = """\
Everything runs on 127.0.0.0/8 and ends with the command. Streams that a killed worker had begun end with a
well-formed error and are counted as cut; failed are those that got no token or no word at their end.
Exit codes: 0 nothing failed, 1 something did, 130 interrupted.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `demo` to the command line."""
    parser = subparsers.add_parser(
        "demo",
        help="see it all work on this machine",
        description="Simulated vLLM workers, and everything else real. First routing: the same conversations "
        "are placed by round robin and by what the workers hold in their KV caches; then a worker is killed. "
        "Then the whole system: an API server, the operator, the autoscaler and a frontend; load comes and "
        "goes, an update rolls out meanwhile, and a fixed number of workers is set beside it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--part", choices=("routing", "system"), help="play one part of the two; default: both"
    )
    parser.add_argument(
        "--stay",
        action="store_true",
        help="keep the last part up at its end, until Ctrl-C; tells what to try",
    )
    parser.add_argument("--no-live", action="store_true", help="plain lines even on a terminal")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw routing.svg and system.svg there")
    parser.add_argument(
        "--port", type=int, default=8000, help="of the frontend; another when taken; default 8000"
    )
    parser.add_argument("--admin-port", type=int, default=9090, help="of its admin API; default 9090")
    routing = parser.add_argument_group("routing")
    routing.add_argument(
        "--seconds", type=float, default=10.0, metavar="S", help="of each of its three acts; default 10"
    )
    routing.add_argument(
        "--workers",
        type=int,
        default=4,
        metavar="N",
        help="simulated workers; the load grows with them; default 4",
    )
    system = parser.add_argument_group("system")
    system.add_argument(
        "--real-control-plane",
        action="store_true",
        help="on a Kubernetes API server, scheduler and controllers of this machine (docs/controlplane.md)",
    )
    parser.add_argument("--direct", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo; 0 only when no request failed."""
    import uvloop

    _check(args)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_interruptible(args))


def _check(args: argparse.Namespace) -> None:
    """Whatever can be known to fail is said now, not after minutes of the story."""
    from grove_dp.errors import ConfigurationError

    if not (0 < args.seconds <= _LONGEST_S and 0 < args.workers <= _MOST):
        raise ConfigurationError(
            f"--seconds, --workers: expected numbers above 0, and at most {_LONGEST_S} and {_MOST}"
        )
    for flag, port in (("--port", args.port), ("--admin-port", args.admin_port)):
        if not 0 <= port < 1 << 16:
            raise ConfigurationError(f"{flag} {port}: expected 0 (any free one) to 65535")
    if args.plot is not None:
        _check_plot(args.plot)
    if args.real_control_plane:
        if args.part == "routing":
            raise ConfigurationError(
                "--real-control-plane: the part routing has no control plane; leave it out"
            )
        _build_control_plane()


def _check_plot(folder: Path) -> None:
    from grove_dp.errors import ConfigurationError
    from grove_dp.sim.plot import sheet

    sheet(1, 1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"--plot {folder}: {error.strerror}; name a folder to draw in") from None


def _build_control_plane() -> None:
    """If need be, once; it takes minutes, and Ctrl-C ends it as any build."""
    from grove_dp.testing.controlplane import programs

    found = programs()
    for name in ("kube-scheduler", "kube-controller-manager"):
        found.file(name)


async def _interruptible(args: argparse.Namespace) -> int:
    """SIGINT and SIGTERM cancel the demo, which ends every process on its way out."""
    work = asyncio.ensure_future(_demo(args))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        _say("\ninterrupted; all that was started has ended")
        return 130


async def _demo(args: argparse.Namespace) -> int:
    code = 0
    if args.part != "system":
        code = await _routing(args, stay=args.stay and args.part == "routing")
    if args.part != "routing" and not args.direct:
        _say("")
        code = await _system(args) or code
    return code


def _say(text: str) -> None:
    print(text, flush=True)


# ------------------------------------------------------------ routing


async def _routing(args: argparse.Namespace, *, stay: bool) -> int:
    from grove_dp.clock import SystemClock
    from grove_dp.sim.conversations import Conversations
    from grove_dp.sim.demo import Demo, DemoPlan
    from grove_dp.sim.show import Show
    from grove_dp.sim.view import Rates, line, screen
    from grove_dp.sim.world import WorldPlan

    show = Show(plain=args.no_live)
    worlds = WorldPlan(workers=args.workers, port=args.port, admin_port=args.admin_port, direct=args.direct)
    plan = DemoPlan(args.seconds, conversations=Conversations(rate=4.0 * args.workers))
    if args.direct:
        plan = DemoPlan(args.seconds, compared=())
    async with Demo(worlds, plan, clock=SystemClock(), announce=show.say) as demo:
        rates = Rates(looks=8 if show.live else 2)
        try:
            await show.during(
                demo.run(),
                line=lambda: line(demo, rates) if demo.act.report.sent else "",
                screen=lambda width, height: screen(demo, rates, width, height),
            )
        finally:
            _say("\n".join(["", *demo.summary()]))
        if args.plot is not None:
            _draw_routing(demo, args.plot)
        if stay:
            await _stay([demo.curl(), _why(demo)])
        elif args.part == "routing":
            _say(
                f"\nto try it by hand, run `{_command()} demo --part routing --stay` and then\n{demo.curl()}"
            )
        return 1 if demo.failed else 0


def _why(demo: Demo) -> str:
    """A line to paste: why the last request went where it went."""
    assert demo.world is not None
    if demo.world.frontend is None:
        return ""
    return f"{_command()} explain route --last 1 --admin {demo.world.admin_url}"


def _draw_routing(demo: Demo, folder: Path) -> None:
    from grove_dp.sim.plot import plot_acts

    plot_acts(demo.acts[:-1], folder / "routing.svg")
    _say(f"\ndrawn: {folder / 'routing.svg'}")


# ------------------------------------------------------------ the whole system


async def _system(args: argparse.Namespace) -> int:
    from grove_dp.clock import SystemClock
    from grove_dp.sim.cluster import ClusterPlan
    from grove_dp.sim.show import Show
    from grove_dp.sim.system import System, SystemPlan
    from grove_dp.sim.system_view import line, screen

    show = Show(plain=args.no_live)
    cluster = ClusterPlan(port=args.port, admin_port=args.admin_port, real=args.real_control_plane)
    system = System(cluster, SystemPlan(), clock=SystemClock(), announce=show.say)
    async with contextlib.AsyncExitStack() as up:

        async def story() -> None:
            await up.enter_async_context(system)  # takes seconds, which are shown, too
            await system.run()

        try:
            await show.during(
                story(),
                line=lambda: line(system),
                screen=lambda width, height: screen(system, width, height),
            )
        finally:
            _say("\n".join(["", *system.summary()]))
        if args.plot is not None:
            _draw_system(system, args.plot)
        if args.stay:
            await system.cluster.workers.autoscale(system.plan.most)  # the last run had none
            await _stay(system.hints(_command()))
        else:
            _say(f"\n`{_command()} demo --part system --stay` keeps it up: ask it, and ask it why")
        return 1 if system.failed else 0


def _draw_system(system: System, folder: Path) -> None:
    from grove_dp.sim.system_plot import plot_system

    plot_system(system, folder / "system.svg")
    _say(f"\ndrawn: {folder / 'system.svg'}")


def _command() -> str:
    """How the command line is called here, for lines to paste."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "grove-dp" else f"{sys.executable} -m grove_dp"


async def _stay(hints: list[str]) -> None:
    _say("\n".join(["", "still up, until Ctrl-C; in another shell try", "", *hints]))
    with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C is how a stay ends, not a failure
        await asyncio.Event().wait()
    _say("\nended")


if __name__ == "__main__":
    from grove_dp.cli.main import main

    sys.exit(main(["demo", *sys.argv[1:]]))
