"""The demo's story in three acts: the same conversations under two policies, then a worker dies by kill -9.

    round_robin   ├ stretch 1 of the trace ┤  fresh workers and frontend
    kv            ├ stretch 1 of the trace ┤  fresh workers and frontend
    kv            ├ stretch 2 ─ kill -9 worker 2 ─ start it again ┤  in the world of the second act

What can be promised of a death: a request that has not had a byte is placed again elsewhere. What cannot: a
stream that was half told by the dead worker. Those end with a well-formed error and are counted by
themselves, as cut. The death has an act of its own, so that the comparison is of placing alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

import msgspec

from grove_dp.sim.acts import Act, table
from grove_dp.sim.client import Endpoint, LoadClient, Unreachable
from grove_dp.sim.conversations import BLOCK_TOKENS, Conversations
from grove_dp.sim.prompts import TEMPLATE_TOKENS, Prompts
from grove_dp.sim.replay import Ask, Replay, served_model
from grove_dp.sim.report import LATE_S
from grove_dp.sim.seen import seen
from grove_dp.sim.trace import Window
from grove_dp.sim.world import World, WorldPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from grove_dp.clock import Clock
    from grove_dp.sim.world import WorkerState

__all__ = ["Demo", "DemoPlan"]

_VICTIM = 1
_WATCH_S = 0.5
_WAITED = 0.1  # beyond it the times tell of the machine as much as of the policy
_LEGEND = (
    "  cached: prompt tokens that the workers found in their caches; by tokens, by text: what kv knew of a",
    "  prompt in time; exact: predictions of cached tokens that came true to the token",
)


class DemoPlan(msgspec.Struct, frozen=True):
    """How long an act is, which policies are compared, and when the worker dies and returns, as shares."""

    act_s: float = 18.0
    compared: tuple[str, ...] = ("round_robin", "kv")
    conversations: Conversations = Conversations()
    kill_at: float = 0.25
    restart_at: float = 0.5


class Demo:
    """Plays the story; `act`, `world`, `states` and `events` may be looked at while it does.

    The last world stays up until the `async with` ends.
    """

    def __init__(
        self, worlds: WorldPlan, plan: DemoPlan, *, clock: Clock, announce: Callable[[str], None]
    ) -> None:
        self.plan = plan
        self.world: World | None = None
        self.states: dict[str, WorkerState] = {}
        self.events: deque[tuple[float, str]] = deque(maxlen=200)
        self.model = ""
        self.acts = [Act(policy, 0.0, plan.act_s) for policy in plan.compared]
        self.acts.append(Act(worlds.policy, plan.act_s, plan.act_s))
        self.act = self.acts[0]
        self._worlds = worlds
        self._clock = clock
        self._announce = announce
        self._up = AsyncExitStack()
        self._begun = self._act_begun = clock.now()
        self._trace = plan.conversations.requests(2 * plan.act_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._up.aclose()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the act began."""
        return self._clock.now() - self._act_begun

    @property
    def age_s(self) -> float:
        """Seconds since the story began."""
        return self._clock.now() - self._begun

    @property
    def failed(self) -> int:
        """Requests that failed, in all acts; those that were cut by a death are none of them."""
        return sum(act.report.failed for act in self.acts)

    async def run(self) -> None:
        """The whole story; returns when the last answer is in."""
        *compared, last = self.acts
        for act in compared:
            world = await self._fresh_world(act)
            before, waited_s = await world.placements(), world.waited_s()
            await self._play(world, act)
            act.placements = (await world.placements()).since(before)
            act.seen = seen(await world.signals())
            act.waited = (world.waited_s() - waited_s) / act.took_s / (len(world.workers) + 1)
        if self.world is None or self.act.policy != last.policy:
            await self._fresh_world(last)
        assert self.world is not None
        await self._play(self.world, last, self._misfortune(self.world))

    async def _fresh_world(self, act: Act) -> World:
        """New processes under the act's policy; returns when the frontend knows all that it is going to."""
        await self._up.aclose()
        self.states.clear()
        self.act, self._act_begun = act, self._clock.now()
        self._tell(f"starting {self._worlds.workers} workers and the frontend, policy {act.policy}")
        plan = msgspec.structs.replace(self._worlds, policy=act.policy)
        self.world = world = World(plan, clock=self._clock, announce=self._announce)
        await self._up.enter_async_context(world)
        client = LoadClient(Endpoint.of(world.url), clock=self._clock, timeout_s=10.0)
        try:
            self.model = await served_model(client)
        finally:
            client.close()
        if not await world.settled(self.model):
            self._tell("the frontend does not know all caches, or no tokens; going on with what it knows")
        return world

    # -- one act -----------------------------------------------------------------------------------------

    async def _play(
        self, world: World, act: Act, meanwhile: Coroutine[None, None, None] | None = None
    ) -> None:
        """Replay the act's stretch of the trace, with something else going on *meanwhile*."""
        client = LoadClient(Endpoint.of(world.url), clock=self._clock, gaps=act.report.gaps, timeout_s=120.0)
        replay = Replay(
            client,
            Window(act.begins_s, act.for_s).cut(self._trace),
            ask=Ask(self.model),
            prompts=Prompts(block_tokens=BLOCK_TOKENS, template_tokens=TEMPLATE_TOKENS),
            clock=self._clock,
            report=act.report,
        )
        self.act, self._act_begun = act, self._clock.now()
        stretch = f"seconds {act.begins_s:g} to {act.begins_s + act.for_s:g}"
        self._tell(f"policy {act.policy} on {world.url}, admin :{world.admin_port}: replaying {stretch}")
        beside = [asyncio.ensure_future(self._watch(world))]
        if meanwhile is not None:
            beside.append(asyncio.ensure_future(meanwhile))
        try:
            await replay.run()
            await asyncio.gather(*beside[1:])
            await self._look(world)
            act.took_s = self.elapsed_s
        finally:
            client.close()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _misfortune(self, world: World) -> None:
        """One worker is killed on the way and started again."""
        place = min(_VICTIM, len(world.workers) - 1)
        await self._until(self.plan.kill_at)
        self._tell(f"kill -9 {world.workers[place].pid} ({world.worker_id(place)})")
        await world.kill_worker(place)
        await self._until(self.plan.restart_at)
        self._tell(f"starting {world.worker_id(place)} again")
        await world.restart_worker(place)
        self._tell(f"{world.worker_id(place)} answers again, pid {world.workers[place].pid}")

    async def _until(self, share: float) -> None:
        await self._clock.sleep(max(0.0, share * self.plan.act_s - self.elapsed_s))

    async def _watch(self, world: World) -> None:
        while True:
            await self._look(world)
            await self._clock.sleep(_WATCH_S)

    async def _look(self, world: World) -> None:
        """Ask the frontend for its workers; what has changed is an event."""
        try:
            found = await world.states()
        except Unreachable as silent:
            self._tell(f"admin port: {silent}")
            return
        for worker in found:
            before = self.states.get(worker.id)
            if before is not None and before.state != worker.state:
                why = f" ({worker.reason})" if worker.reason else ""
                self._tell(f"the frontend sees {worker.id}: {before.state} → {worker.state}{why}")
            if before is not None and before.feed != worker.feed:
                self._tell(f"the frontend hears its cache, {worker.id}: {before.feed} → {worker.feed}")
            self.states[worker.id] = worker

    def _tell(self, event: str) -> None:
        self.events.append((self.age_s, event))
        self._announce(f"{self.age_s:5.1f} s  {event}")

    # -- the end -----------------------------------------------------------------------------------------

    def summary(self) -> list[str]:
        """What happened, in a few lines; honest about streams that were cut, and about acts not played."""
        *compared, last = self.acts
        lines = []
        played = [act for act in compared if act.took_s]
        if played:
            lines.append(
                f"the same {played[0].report.sent} requests on {self._worlds.workers} fresh workers, each "
                f"with a cache of {self._worlds.cache_tokens:,} tokens:"
            )
            lines += ["", *table(played), "", *_LEGEND, ""]
            told = [act.seen.line(act.policy, act.took_s) for act in played if act.seen]
            lines += (
                ["what the frontends measured themselves (/signals, /metrics):", "", *told, ""]
                if told
                else []
            )
        lines += _death(last) if last.report.sent else []
        late_s = max(act.report.lateness.at(0.99) for act in self.acts)
        waited = max(act.waited for act in self.acts)
        if late_s > LATE_S or waited > _WAITED:
            lines += [
                f"  warning: this machine was busy: the processes waited {waited:.0%} of the time for a CPU,",
                f"  p99 of the requests left {late_s * 1e3:.0f} ms late; that is in these times",
            ]
        return lines

    def curl(self) -> str:
        """A line to paste."""
        assert self.world is not None
        body = (
            f'{{"model":"{self.model}","stream":true,"max_tokens":32,'
            '"messages":[{"role":"user","content":"Hello"}]}'
        )
        return f"curl -N {self.world.url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"


def _death(act: Act) -> list[str]:
    """The last act in a few lines."""
    report = act.report
    ended = f"{report.ok} answered, {report.failed} failed"
    if report.cut:
        ended += f", {report.cut} cut mid-stream"
    lines = [f"then {report.sent} requests while a worker was killed and came back: {ended}"]
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
    span = max(act.took_s, 1e-9)
    lines.append(
        f"  {report.prompt_tokens / span:,.0f} prompt tokens/s ({report.hit_rate:.0%} from prefix caches), "
        f"{report.output_tokens / span:,.0f} output tokens/s"
    )
    return lines
