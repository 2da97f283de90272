"""Everything that runs in an operator's process: the operator itself, its webhooks, its port for others.

api ─┬─ Operator       works while it leads
     ├─ Webhooks       served always, registered while it leads
     └─ health         /livez /readyz /metrics
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from grove_dp.clock import Clock
from grove_dp.kube.access import Access
from grove_operator import health
from grove_operator.leftovers import tell_leftovers
from grove_operator.main import Operator
from grove_operator.metrics import OperatorMetrics
from grove_operator.settings import OperatorSettings
from grove_operator.webhooks import Webhooks

__all__ = ["serve"]

_log = logging.getLogger(__name__)

LOOK_S: Final = 1.0


async def serve(api: Access, settings: OperatorSettings, identity: str, clock: Clock) -> None:
    """Run all of it until cancelled. CannotListen."""
    metrics = OperatorMetrics()
    operator = Operator(api, settings, identity=identity, clock=clock, metrics=metrics)
    checks = {"operator": operator.missing}
    webhooks = None
    if settings.webhooks.enabled:
        webhooks = Webhooks(api, settings, operator.world, metrics, clock)
        checks["webhooks"] = webhooks.missing

    def page(accept: str) -> tuple[bytes, str]:
        metrics.gangs(_phases(operator))
        return metrics.page(accept)

    listening = health.serving(checks, page, settings.health.host, settings.health.port)
    async with listening as port, asyncio.TaskGroup() as group:
        _log.info("operator", extra={"cluster": api.host, "identity": identity, "health_port": port})
        group.create_task(operator.run(), name="operator")
        group.create_task(_tell_missing(operator, clock), name="missing")
        if webhooks is not None:
            group.create_task(webhooks.run(), name="webhooks")
            registering = _while(lambda: operator.leading, webhooks.register, clock)
            group.create_task(registering, name="registrations")
        else:
            await operator.watched.synced()
            await tell_leftovers(api)


async def _tell_missing(operator: Operator, clock: Clock) -> None:
    """Log what keeps the operator from working, once, until everything has been seen."""
    told = ""
    while not operator.ready:
        await clock.sleep(LOOK_S)
        if operator.troubled and (now := operator.missing()) != told:
            told = now
            _log.error("cannot work yet; waiting for %s", now)
    if told:
        _log.info("everything has been seen")


def _phases(operator: Operator) -> Mapping[str, int]:
    """How many gangs are in each phase; told by the leader alone, or sums over operators would be wrong."""
    gangs = operator.watched.gangs if operator.leading else ()
    return Counter(str(held.status.get("phase") or "Pending") for held in gangs)


async def _while(holds: Callable[[], bool], work: Callable[[], Awaitable[object]], clock: Clock) -> None:
    """Work as long as it holds, again and again. It ends up to LOOK_S late: its writes are conditional."""
    working: asyncio.Future[object] | None = None
    try:
        while True:
            if working is not None and working.done():
                working.result()
            if holds() and working is None:
                working = asyncio.ensure_future(work())
            elif not holds() and working is not None:
                working.cancel()
                await asyncio.wait({working})
                working = None
            await clock.sleep(LOOK_S)
    finally:
        if working is not None:
            working.cancel()
            await asyncio.wait({working})
