"""What all frontends tell, asked once for all autoscalers that name the same ones.

    Where ── each RESOLVE_S ──► Frontends.sync
    look() ── not younger than fresh_s? ──► Frontends.poll ──► merged ──► View, the same for all who ask

One cluster mostly has one place where frontends are found, and many sets. Were each autoscaler to ask and to
merge for itself, a hundred of them would take half a core for nothing but the same sums a hundred times.

A view may be as old as *fresh_s*, which is less than the time between two ticks: what an autoscaler sees was
always asked after what it did last.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

from grove_dp.clock import Clock
from grove_dp.metering.external.overview import Found, Where
from grove_dp.metering.merging import Frontends, Merged
from grove_dp.scaling.demand import Occupancy
from grove_dp.scaling.signals import occupancies

__all__ = ["Lookout", "View"]

RESOLVE_S: Final = 5.0


class View(NamedTuple):
    """One look, for everybody."""

    merged: Merged
    pods: Mapping[str, Occupancy]  # by uid
    missing: tuple[str, ...]  # frontends there must be that could not even be asked


class Lookout:
    """Of one list of frontends."""

    def __init__(self, where: Where, frontends: Frontends, clock: Clock, fresh_s: float) -> None:
        self._where = where
        self._frontends = frontends
        self._clock = clock
        self._fresh_s = fresh_s
        self._asking = asyncio.Lock()
        self._found = Found(())
        self._resolve_at = 0.0
        self._view: View | None = None
        self._view_at = 0.0

    async def look(self) -> View:
        """The last view if it is young enough, else a new one."""
        wanted_at = self._clock.now() - self._fresh_s  # whoever waits takes what is asked meanwhile
        async with self._asking:
            if self._view is None or self._view_at <= wanted_at:
                await self._resolve()
                self._view_at = self._clock.now()
                polled = await self._frontends.poll()
                pods = occupancies(polled.answers.values())
                self._view = View(self._frontends.merged(), pods, self._found.missing)
            return self._view

    async def _resolve(self) -> None:
        if self._clock.now() >= self._resolve_at:
            self._found = await self._where()
            self._frontends.sync(self._found.urls)
            self._resolve_at = self._clock.now() + RESOLVE_S
