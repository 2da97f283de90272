"""The demo's story: a trace is replayed, a worker dies by kill -9, comes back, and nobody's request fails.

    0 %           35 %                65 %              100 %
    replay ───────┼─ kill -9 worker 2 ─┼─ start it again ─┤ summary

What can be promised: a request that has not had a byte is placed again elsewhere. What cannot: a stream
that was half told by the dead worker. Those end with a well-formed error and are counted by themselves, as
cut.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from grove_dp.sim.client import Endpoint, LoadClient, Unreachable
from grove_dp.sim.prompts import TEMPLATE_TOKENS, Prompts
from grove_dp.sim.replay import Ask, Replay, served_model
from grove_dp.sim.report import Report
from grove_dp.sim.trace import Window, open_trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from grove_dp.clock import Clock
    from grove_dp.sim.world import WorkerState, World

__all__ = ["SHIPPED_TRACE", "Demo", "DemoPlan"]

SHIPPED_TRACE = Path(__file__).with_name("traces") / "mooncake_conversation_10min.jsonl.xz"
_VICTIM = 1
_WATCH_S = 0.5


class DemoPlan(msgspec.Struct, frozen=True):
    """How much of the trace, how fast, and when the worker dies and returns, as shares of the whole."""

    minutes: float = 4.0
    speed: float = 5.0
    kill_at: float = 0.35
    restart_at: float = 0.65
    limit: int | None = None
    trace: Path = SHIPPED_TRACE

    @property
    def length_s(self) -> float:
        """Seconds on the wall until the last request goes out."""
        return self.minutes * 60 / self.speed


class Demo:
    """Plays the story in a world; `report`, `states` and `events` may be looked at while it runs."""

    def __init__(
        self, world: World, plan: DemoPlan, *, clock: Clock, announce: Callable[[str], None]
    ) -> None:
        self.world = world
        self.plan = plan
        self.report = Report()
        self.states: dict[str, WorkerState] = {}
        self.events: deque[tuple[float, str]] = deque(maxlen=200)
        self.model = ""
        self._clock = clock
        self._announce = announce
        self._begun = clock.now()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the replay began."""
        return self._clock.now() - self._begun

    async def run(self) -> None:
        """The whole story; returns when the last answer is in."""
        client = LoadClient(
            Endpoint.of(self.world.url), clock=self._clock, gaps=self.report.gaps, timeout_s=120.0
        )
        try:
            self.model = await served_model(client)
            replay = Replay(
                client,
                open_trace(
                    self.plan.trace, window=Window(0.0, self.plan.minutes * 60, self.plan.limit), evenly=True
                ),
                ask=Ask(self.model),
                prompts=Prompts(template_tokens=TEMPLATE_TOKENS),
                clock=self._clock,
                report=self.report,
                speed=self.plan.speed,
            )
            await self._play(replay)
        finally:
            client.close()

    async def _play(self, replay: Replay) -> None:
        self._begun = self._clock.now()
        watching = asyncio.ensure_future(self._watch())
        misfortune = asyncio.ensure_future(self._misfortune())
        try:
            await replay.run()
            await misfortune
            await self._look()
        finally:
            for task in (watching, misfortune):
                task.cancel()
            await asyncio.gather(watching, misfortune, return_exceptions=True)

    async def _misfortune(self) -> None:
        """One worker is killed on the way and started again."""
        world = self.world
        place = min(_VICTIM, len(world.workers) - 1)
        await self._until(self.plan.kill_at)
        self._tell(f"kill -9 {world.workers[place].pid} ({world.worker_id(place)})")
        await world.kill_worker(place)
        await self._until(self.plan.restart_at)
        self._tell(f"starting {world.worker_id(place)} again")
        await world.restart_worker(place)
        self._tell(f"{world.worker_id(place)} answers again, pid {world.workers[place].pid}")

    async def _until(self, share: float) -> None:
        await self._clock.sleep(max(0.0, share * self.plan.length_s - self.elapsed_s))

    async def _watch(self) -> None:
        while True:
            await self._look()
            await self._clock.sleep(_WATCH_S)

    async def _look(self) -> None:
        """Ask the frontend for its workers; what has changed is an event."""
        try:
            found = await self.world.states()
        except Unreachable as silent:
            self._tell(f"admin port: {silent}")
            return
        for worker in found:
            before = self.states.get(worker.id)
            if before is not None and before.state != worker.state:
                why = f" ({worker.reason})" if worker.reason else ""
                self._tell(f"the frontend sees {worker.id}: {before.state} → {worker.state}{why}")
            self.states[worker.id] = worker

    def _tell(self, event: str) -> None:
        self.events.append((self.elapsed_s, event))
        self._announce(f"{self.elapsed_s:5.1f} s  {event}")

    # -- the end -----------------------------------------------------------------------------------------

    def summary(self) -> list[str]:
        """What happened, in a few lines; honest about streams that were cut."""
        report = self.report
        ended = f"{report.ok} answered, {report.failed} failed"
        if report.cut:
            ended += f", {report.cut} cut mid-stream"
        lines = [f"{report.sent} requests in {self.elapsed_s:.0f} s: {ended}"]
        if report.cut:
            lines.append(
                f"  cut: half told ({report.cut}) when the worker died; each ended with a well-formed error"
            )
        lines += [f"  {count} × {reason}" for reason, count in report.reasons.most_common()]
        for name, times in (
            ("first token", report.ttft),
            ("per token", report.tpot),
            ("whole answer", report.e2e),
        ):
            shares = "   ".join(f"p{at * 100:.0f} {times.at(at) * 1e3:7,.1f} ms" for at in (0.5, 0.95, 0.99))
            lines.append(f"  {name:13} {shares}")
        span = max(self.elapsed_s, 1e-9)
        cached = report.cached_tokens / max(report.prompt_tokens, 1)
        lines.append(
            f"  {report.prompt_tokens / span:,.0f} prompt tokens/s ({cached:.0%} from prefix caches), "
            f"{report.output_tokens / span:,.0f} output tokens/s"
        )
        return lines + [f"  warning: {warning}" for warning in report.warnings()]

    def curl(self) -> str:
        """A line to paste."""
        body = (
            f'{{"model":"{self.model}","stream":true,"max_tokens":32,'
            '"messages":[{"role":"user","content":"Hello"}]}'
        )
        return f"curl -N {self.world.url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"
