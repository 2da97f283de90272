"""`grove-dp wait-for`: the init container of pods whose clique starts after others."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from grove_dp.errors import ConfigurationError

if TYPE_CHECKING:
    from grove_dp.cli.main import Subparsers

__all__ = ["add_parser", "run"]

INFO = Path("/var/grove/pod-info")
TERMINATED = 143

_EPILOG = """\
In a pod nothing else need be said: its namespace and its gang stand in --info-dir (downward API), and the
token in the pod's Secret volume. From elsewhere:

  grove-dp wait-for -p serve-0-router:2 --namespace ml --podgang serve-0 --kubeconfig admin.conf

Exit codes: 0 all have started, 1 failed at run time, 2 wrong usage or no cluster, 143 ended by SIGTERM.
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Whom to wait for, and who we are."""
    parser = subparsers.add_parser(
        "wait-for",
        description="Wait until other cliques of our gang have started.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "-p",
        "--podcliques",
        action="append",
        default=[],
        metavar="CLIQUE:MINIMUM",
        help="a PodClique, and how many of its pods must be Ready; repeatable",
    )
    parser.add_argument("--namespace", metavar="NAME", help="ours; unset: from --info-dir")
    parser.add_argument("--podgang", metavar="NAME", help="our gang; unset: from --info-dir")
    parser.add_argument(
        "--info-dir",
        type=Path,
        default=INFO,
        metavar="DIR",
        help="with namespace and podgangname (%(default)s)",
    )
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="else $KUBECONFIG, the pod's own")
    parser.add_argument("--context", metavar="NAME", help="of the kubeconfig")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default="info")
    parser.add_argument("--log-format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Wait."""
    import asyncio

    from grove_operator.waiting_for import read_parents

    from grove_dp.log import LogWriter

    parents = read_parents(args.podcliques)
    if not parents:
        return 0
    namespace = args.namespace or _told(args.info_dir / "namespace", "--namespace")
    gang = args.podgang or _told(args.info_dir / "podgangname", "--podgang")

    async def wait() -> int:
        import signal

        from grove_operator.waiting_for import wait_for

        from grove_dp.clock import SystemClock
        from grove_dp.kube.access import connect

        loop = asyncio.get_running_loop()
        async with await connect(args.kubeconfig, args.context) as api:
            waiting = asyncio.create_task(wait_for(api, namespace, gang, parents, SystemClock()))
            # The first process of a container does not hear SIGTERM unless it asks to.
            loop.add_signal_handler(signal.SIGTERM, waiting.cancel)
            await asyncio.wait({waiting})
            if waiting.cancelled():
                return TERMINATED
            waiting.result()
            return 0

    with LogWriter(args.log_level, args.log_format):
        return asyncio.run(wait())


def _told(file: Path, flag: str) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read ({error}); say it by {flag}") from None
    if not text:
        raise ConfigurationError(f"{file} is empty; say it by {flag}")
    return text
