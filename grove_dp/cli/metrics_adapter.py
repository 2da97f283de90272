"""`grove-dp metrics-adapter`: external.metrics.k8s.io and KEDA's metrics-api, from all frontends together."""

import argparse
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grove_dp.errors import ConfigurationError, GroveError

if TYPE_CHECKING:
    import asyncio

    from grove_dp.cli.main import Subparsers
    from grove_dp.metering.external.adapter import Adapter, Options
    from grove_dp.metering.external.overview import Overview
    from grove_dp.metering.external.targets import TargetKey

__all__ = ["add_parser", "run"]

DRAIN_S = 5.0
_LISTENING = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)

_EPILOG = """\
examples:
  grove-dp metrics-adapter --frontends-dns grove-dp-admin.ml:9090 \\
      --namespace grove-dp --service grove-dp-metrics-adapter --secret grove-dp-metrics-adapter-tls
  grove-dp metrics-adapter --frontend http://10.0.0.7:9090 --frontend http://10.0.0.8:9090 \\
      --tls-cert-file tls.crt --tls-key-file tls.key
`grove-dp manifests metrics-adapter` makes what a cluster needs for it.
Exit codes: 0 ended by SIGTERM, 1 failed at run time, 2 wrong usage or no cluster, 130 interrupted.
"""


class CannotServe(GroveError):
    """The port is not to be had."""

    reason = "CannotListen"


def add_parser(subparsers: "Subparsers") -> None:
    """Whom to ask, how to be reached, whom to trust."""
    parser = subparsers.add_parser(
        "metrics-adapter",
        description="Serve external metrics to HPA and KEDA, merged from all frontends.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    ask = parser.add_argument_group("whom to ask")
    ask.add_argument(
        "--frontend", action="append", default=[], metavar="URL", help="a frontend's admin port; repeatable"
    )
    ask.add_argument(
        "--frontends-dns",
        action="append",
        default=[],
        metavar="HOST:PORT",
        help="a name of which each address is a frontend, such as a headless Service",
    )
    ask.add_argument(
        "--window",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="that rates are of: shorter is quicker and less calm (%(default)g)",
    )
    ask.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="NAMESPACE/PCS/COMPONENT[/ROLE]=MODEL",
        help="what has values without a worker, too: others have for a day after their last one; repeatable",
    )
    face = parser.add_argument_group("how to be reached")
    face.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    face.add_argument("--port", type=int, default=6443, help="port (%(default)s)")
    face.add_argument(
        "--tls-cert-file", type=Path, metavar="FILE", help="certificate, read again when it changes"
    )
    face.add_argument("--tls-key-file", type=Path, metavar="FILE", help="its key")
    face.add_argument(
        "--namespace", metavar="NAME", help="make and renew a certificate ourselves: our namespace,"
    )
    face.add_argument("--service", metavar="NAME", help="our Service, whose name the certificate is for,")
    face.add_argument("--secret", metavar="NAME", help="and the Secret to keep it in")
    trust = parser.add_argument_group("whom to trust")
    trust.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="the cluster (else $KUBECONFIG, the pod's own)"
    )
    trust.add_argument("--context", metavar="NAME", help="of the kubeconfig")
    trust.add_argument(
        "--requestheader-ca-file",
        type=Path,
        metavar="FILE",
        help="CA of the front proxy (else the cluster's)",
    )
    trust.add_argument(
        "--requestheader-allowed-name",
        action="append",
        default=[],
        metavar="CN",
        help="a front proxy's name; repeatable",
    )
    trust.add_argument(
        "--trust-front-proxy",
        action="store_true",
        help="the front proxy has authorised already: ask no SubjectAccessReview",
    )
    trust.add_argument(
        "--keda-token-file",
        type=Path,
        metavar="FILE",
        help="a token that opens /keda, beside the cluster's own",
    )
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    import asyncio

    from uvloop import Loop

    from grove_dp.log import LogWriter
    from grove_dp.metering.external.overview import frontend_url
    from grove_dp.metering.external.targets import read_target

    named = [frontend_url(url) for url in (*args.frontend, *args.frontends_dns)]
    if not named:
        raise ConfigurationError("name the frontends: --frontend URL or --frontends-dns HOST:PORT")
    if not 5 <= args.window <= 900:
        raise ConfigurationError(f"--window must be 5 to 900 seconds, got {args.window:g}")
    declared = [read_target(text) for text in args.target]
    options = _options(args)
    with LogWriter(args.log_level, args.log_format), asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(_serve(args, options, named, declared))


def _options(args: argparse.Namespace) -> "Options":
    from grove_dp.kube.own_certificate import Place
    from grove_dp.metering.external.adapter import Options

    own = (args.namespace, args.service, args.secret)
    if any(own) and not all(own):
        raise ConfigurationError("--namespace, --service and --secret belong together")
    return Options(
        host=args.host,
        port=args.port,
        place=Place(*own) if all(own) else None,
        tls_cert_file=args.tls_cert_file,
        tls_key_file=args.tls_key_file,
        requestheader_ca_file=args.requestheader_ca_file,
        requestheader_allowed_names=tuple(args.requestheader_allowed_name),
        trust_front_proxy=args.trust_front_proxy,
        keda_token_file=args.keda_token_file,
    )


async def _serve(
    args: argparse.Namespace,
    options: "Options",
    named: Sequence[tuple[str, int]],
    declared: "Sequence[TargetKey]",
) -> int:
    import asyncio
    import gc
    import signal

    import aiohttp

    from grove_dp.clock import SystemClock
    from grove_dp.kube.access import connect
    from grove_dp.metering.external.adapter import Adapter
    from grove_dp.metering.external.board import Board
    from grove_dp.metering.external.overview import Names, Overview, fetch_with
    from grove_dp.metering.external.targets import KnownTargets
    from grove_dp.metering.merging import Frontends

    clock, loop = SystemClock(), asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    board = Board(clock)
    async with aiohttp.ClientSession() as session, await connect(args.kubeconfig, args.context) as api:
        adapter = Adapter(board, api, clock, options)
        frontends = Frontends(fetch_with(session), clock, window_s=args.window)
        overview = Overview(Names(named), frontends, KnownTargets(clock, declared), board.publish, clock)

        def drain() -> None:
            """Kubernetes goes on sending until it has seen that we are not ready."""
            adapter.drain()
            loop.call_later(DRAIN_S, end, 0)
            loop.add_signal_handler(signal.SIGTERM, end, 0)

        loop.add_signal_handler(signal.SIGTERM, drain)
        loop.add_signal_handler(signal.SIGINT, end, 130)
        gc.freeze()  # the kubernetes package is 1,600 modules that no collection need look at
        working = asyncio.ensure_future(_work(adapter, overview))
        await asyncio.wait((working, ended), return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            _raise(working, options)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    return ended.result()


async def _work(adapter: "Adapter", overview: "Overview") -> None:
    import asyncio

    async with adapter, asyncio.TaskGroup() as group:
        group.create_task(adapter.run())
        group.create_task(overview.run())


def _raise(working: "asyncio.Future[None]", options: "Options") -> None:
    """The error that ended it, as one that can be told."""
    error = working.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.errno in _LISTENING:
        where = f"{options.host}:{options.port}"
        raise CannotServe(
            f"cannot listen on {where}: {error.strerror}; end what listens there or choose another --port"
        ) from None
    raise error or RuntimeError("the adapter ended by itself")
