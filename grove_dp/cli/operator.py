"""`grove-dp operator`: keeps PodCliqueSets true."""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from grove_dp.cli.main import Subparsers

__all__ = ["add_parser", "run"]

_EPILOG = """\
examples:
  grove-dp operator --kubeconfig ~/.kube/config --webhooks false --leader-elect false
  grove-dp operator --config operator.yaml
`grove-dp manifests operator` makes what a cluster needs for it.

SIGTERM gives the lead back, and ends. Exit codes: 0 ended by SIGTERM, 1 failed at run time, 2 wrong settings
or no cluster, 130 interrupted.
"""


def add_parser(subparsers: "Subparsers") -> None:
    """One flag per setting."""
    from grove_operator.settings import OPERATOR

    from grove_dp.config import add_settings_flags

    parser = subparsers.add_parser(
        "operator",
        description="Make and keep inference systems of PodCliqueSets.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_settings_flags(parser, OPERATOR)


def run(args: argparse.Namespace) -> int:
    """Work until a signal ends it."""
    import asyncio

    from grove_operator.settings import OPERATOR
    from uvloop import Loop

    from grove_dp.config import read
    from grove_dp.log import LogWriter

    settings, _ = read(OPERATOR, args, os.environ)

    async def serve() -> int:
        import gc

        from grove_operator.process import serve

        from grove_dp.clock import SystemClock
        from grove_dp.kube.access import connect

        kubeconfig = settings.cluster.kubeconfig
        async with await connect(Path(kubeconfig) if kubeconfig else None, settings.cluster.context) as api:
            gc.freeze()  # the kubernetes package is 1,600 modules that no collection need look at
            return await _until_signalled(serve(api, settings, identity(), SystemClock()))

    with (
        LogWriter(settings.log.level, settings.log.format),
        asyncio.Runner(loop_factory=Loop) as runner,
    ):
        return runner.run(serve())


async def _until_signalled(work: "Coroutine[None, None, None]") -> int:
    """Run *work* until SIGTERM (0) or SIGINT (130), and let it clean up; a second signal does not wait."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    working = loop.create_task(work)
    code: list[int] = []

    def end(with_code: int) -> None:
        if code:
            os._exit(1)
        code.append(with_code)
        working.cancel()

    loop.add_signal_handler(signal.SIGTERM, end, 0)
    loop.add_signal_handler(signal.SIGINT, end, 130)
    await asyncio.wait({working})
    if code:
        return code[0]
    raise _first(working.exception())


def _first(error: BaseException | None) -> BaseException:
    """The error that ended it, as one that can be told."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error or RuntimeError("the operator ended by itself")


def identity() -> str:
    """Who we are among operators: a pod's name, and a word that a restart does not share."""
    import socket
    from uuid import uuid4

    return f"{socket.gethostname()}_{uuid4().hex[:8]}"
