"""`grove-dp autoscale`: scale PodCliqueSets by the tokens that their frontends measure."""

import argparse
import errno
from pathlib import Path
from typing import TYPE_CHECKING

from grove_dp.errors import ConfigurationError, GroveError

if TYPE_CHECKING:
    import asyncio

    from grove_dp.cli.main import Subparsers
    from grove_dp.scaling.fleet import Fleet
    from grove_dp.scaling.settings import Settings

__all__ = ["add_parser", "run"]

_LISTENING = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)
_EPILOG = """\
examples:
  grove-dp autoscale --frontend grove-dp-admin.ml:9090            TokenAutoscalers of our namespace
  grove-dp autoscale --config autoscale.yaml --dry-run            say what would be done
`grove-dp manifests autoscale` makes what a cluster needs for it; `grove-dp explain scale` asks it why.
Exit codes: 0 ended by SIGTERM, 1 failed at run time, 2 wrong usage or no cluster, 130 interrupted.
"""


class CannotServe(GroveError):
    """The port is not to be had."""

    reason = "CannotListen"


def add_parser(subparsers: "Subparsers") -> None:
    """Which autoscalers, whom to ask, how to be reached."""
    parser = subparsers.add_parser(
        "autoscale",
        description="Scale PodCliqueSets by the tokens that their frontends measure.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="YAML: docs/autoscaling.md")
    parser.add_argument("--namespace", metavar="NAME", help="where TokenAutoscalers are; * for all (our own)")
    parser.add_argument(
        "--frontend",
        action="append",
        default=[],
        metavar="URL",
        help="admin port for autoscalers that name none: http://HOST:PORT, or HOST:PORT of which each address"
        " is a frontend; repeatable",
    )
    parser.add_argument("--tick", type=float, metavar="SECONDS", help="between decisions (5)")
    parser.add_argument(
        "--dry-run", action="store_true", help="decide and say so; write nothing, take no Lease"
    )
    parser.add_argument("--identity", metavar="NAME", help="ours in Leases (the host's name and a number)")
    parser.add_argument("--host", default="127.0.0.1", help="address of the admin port (%(default)s)")
    parser.add_argument("--port", type=int, default=9091, help="admin port; 0 takes a free one (%(default)s)")
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="the cluster (else $KUBECONFIG, the pod's own)"
    )
    parser.add_argument("--context", metavar="NAME", help="of the kubeconfig")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Scale until a signal ends it."""
    import asyncio

    from uvloop import Loop

    from grove_dp.log import LogWriter

    settings = _settings(args)
    with LogWriter(args.log_level, args.log_format), asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(_scale(args, settings))


def _settings(args: argparse.Namespace) -> "Settings":
    """The file, and over it the flags."""
    import msgspec

    from grove_dp.metering.external.overview import frontend_url
    from grove_dp.scaling.settings import Namespaces, Settings, read

    settings = read(args.config) if args.config else Settings()
    if not 0 <= args.port <= 65_535:
        raise ConfigurationError(f"--port must be 0 to 65535, got {args.port}")
    if args.namespace:
        try:
            msgspec.convert(args.namespace, Namespaces)
        except msgspec.ValidationError:
            raise ConfigurationError(
                f"--namespace {args.namespace!r} is no namespace's name; write one, or '*' for all"
            ) from None
        settings = msgspec.structs.replace(settings, namespace=args.namespace)
    if args.frontend:
        settings = msgspec.structs.replace(settings, frontends=tuple(args.frontend))
    if args.tick is not None:
        if not 0.1 <= args.tick <= 3600:
            raise ConfigurationError(f"--tick must be 0.1 to 3600 seconds, got {args.tick:g}")
        settings = msgspec.structs.replace(settings, tick_seconds=args.tick)
    for named in (*settings.frontends, *(url for one in settings.listed for url in one.spec.frontends)):
        frontend_url(named)
    return settings


async def _scale(args: argparse.Namespace, settings: "Settings") -> int:
    import asyncio
    import gc
    import os
    import signal
    import socket
    from random import Random

    import aiohttp

    from grove_dp.clock import SystemClock
    from grove_dp.kube.access import connect
    from grove_dp.metering.external.overview import fetch_with
    from grove_dp.scaling.fleet import Fleet

    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    rng = Random()
    identity = args.identity or f"{socket.gethostname()}-{os.getpid()}"
    async with aiohttp.ClientSession() as session, await connect(args.kubeconfig, args.context) as api:
        fetch = fetch_with(session)
        fleet = Fleet(api, settings, fetch, SystemClock(), rng, identity=identity, dry_run=args.dry_run)
        loop.add_signal_handler(signal.SIGTERM, end, 0)
        loop.add_signal_handler(signal.SIGINT, end, 130)
        gc.freeze()  # the kubernetes package is 1,600 modules that no collection need look at
        working = asyncio.ensure_future(_work(fleet, args))
        await asyncio.wait((working, ended), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            _raise(working, args)
        working.cancel()  # Leases are given back: another leads at once
        await asyncio.gather(working, return_exceptions=True)
    return ended.result()


async def _work(fleet: "Fleet", args: argparse.Namespace) -> None:
    import logging

    from grove_dp.scaling.admin import ScalingAdmin

    async with ScalingAdmin(fleet, args.host, args.port) as admin:
        told = {"namespace": fleet.namespace, "admin": f"http://{args.host}:{admin.port}"}
        logging.getLogger(__name__).info("autoscaler", extra={"cluster": fleet.cluster, **told})
        await fleet.run()


def _raise(working: "asyncio.Future[None]", args: argparse.Namespace) -> None:
    """The error that ended it, as one that can be told."""
    error = working.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.errno in _LISTENING:
        raise CannotServe(
            f"cannot listen on {args.host}:{args.port}: {error.strerror}; end what listens there or choose"
            " another --port"
        ) from None
    raise error or RuntimeError("the autoscaler ended by itself")
