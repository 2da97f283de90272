"""Connections that are given up while they are being made: what uvloop says of them, and why it is left out.

    create_connection ── await: connected ──┐ cancelled here, as by a call's time limit
    TLS               ── handshake done ────┴► uvloop closes the socket, and not the TLS above it
                      ── first read ─────────► writes to the closed socket: "Fatal error on SSL protocol"

It takes a loop so busy that a handshake is through before the task behind it had a turn: of thirty that are
begun at once and cancelled, one. The connection is closed as it should be and nobody waits for it, but it
leaves a traceback in the log (uvloop 0.23). The loop's own handler hears of everything else.
"""

import asyncio
from typing import Any, Final

__all__ = ["forgive_abandoned"]

MESSAGE: Final = "Fatal error on SSL protocol"
CLOSED: Final = "the handler is closed"


def forgive_abandoned(loop: asyncio.AbstractEventLoop) -> None:
    """Have *loop* say nothing of them; once for each loop is enough, and more do no harm."""
    former = loop.get_exception_handler()
    if isinstance(former, _Forgiving):
        return
    loop.set_exception_handler(_Forgiving(former))


class _Forgiving:
    """The handler; whatever is not forgiven goes to the *former* one."""

    def __init__(self, former: Any) -> None:
        self._former = former

    def __call__(self, loop: asyncio.AbstractEventLoop, told: dict[str, Any]) -> None:
        if _abandoned(told):
            return
        if self._former is None:
            loop.default_exception_handler(told)
        else:
            self._former(loop, told)


def _abandoned(told: dict[str, Any]) -> bool:
    """Whether it is about a write to a socket that we closed ourselves."""
    error = told.get("exception")
    return told.get("message") == MESSAGE and isinstance(error, RuntimeError) and str(error).endswith(CLOSED)
