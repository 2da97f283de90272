"""`grove-dp serve`: the frontend before vLLM workers."""

import argparse
import os
from typing import TYPE_CHECKING

from grove_dp.config import Loaded, add_settings_flags, load

if TYPE_CHECKING:
    from grove_dp.cli.main import Subparsers

__all__ = ["add_parser", "run"]

_EPILOG = """\
SIGTERM drains and exits 0, SIGINT the same without delay and 130, a second one cuts; SIGHUP reads the
settings again.
Exit codes: 0 ended by SIGTERM, 1 failed at run time, 2 wrong settings, 130 interrupted.
"""


def add_parser(subparsers: "Subparsers") -> None:
    """One flag per setting."""
    parser = subparsers.add_parser(
        "serve",
        description="Put the frontend before vLLM workers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_settings_flags(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    import asyncio
    from random import Random

    from uvloop import Loop

    from grove_dp.clock import SystemClock
    from grove_dp.frontend.app import Frontend, Surroundings
    from grove_dp.frontend.lag import parse_burn
    from grove_dp.log import LogWriter

    def read() -> Loaded:
        return load(args, os.environ)

    loaded = read()
    burn = parse_burn(os.environ.get("GROVE_DP_BURN", ""))
    settings = loaded.settings

    async def serve() -> int:
        around = Surroundings(read, log.set_level, SystemClock(), Random(), burn)
        return await Frontend(loaded, around).run()

    with (
        LogWriter(settings.log.level, settings.log.format) as log,
        asyncio.Runner(loop_factory=Loop) as runner,
    ):
        return runner.run(serve())
