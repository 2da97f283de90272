"""The whole system's story: load comes and goes, replicas follow, an update rolls meanwhile; then without.

    autoscaled   ├ calm ┤├ rush ── a new template rolls out ──┤├ calm ┤     replicas 1 … 6 … 1
    static       ├ calm ┤├ rush ──────────────────────────────┤├ calm ┤     as many as that had on average

Both play the same requests, to the token, on fresh pods behind the same frontend; only the first has an
update to bear. The second is what the same money buys without an autoscaler (no less of it: see
`runs.as_many`); what a fixed number for the peak would cost needs no run. Attained is a request whose first
token came within the target; GPUs are counted from a pod's binding to the end of its process, from the first
request to the last answer. No request may fail in either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from random import Random
from typing import TYPE_CHECKING, Final, Self

import msgspec

from grove_dp.sim.client import Endpoint, LoadClient, Unreachable
from grove_dp.sim.cluster import Cluster, ClusterPlan
from grove_dp.sim.conversations import BLOCK_TOKENS
from grove_dp.sim.manifests import NAME, NAMESPACE
from grove_dp.sim.prompts import TEMPLATE_TOKENS, Prompts
from grove_dp.sim.replay import Ask, Replay, served_model
from grove_dp.sim.runs import Run, Sample, as_many, summary
from grove_dp.sim.tide import Tide

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from types import TracebackType

    from grove_dp.clock import Clock
    from grove_dp.metering.signals import Signals
    from grove_dp.sim.report import Report

__all__ = ["System", "SystemPlan"]

_LOOK_S: Final = 0.5


class SystemPlan(msgspec.Struct, frozen=True):
    """How the story goes. *update_at_s*: in the trace; *static*: play the second run."""

    tide: Tide = Tide()
    most: int = 6
    update_at_s: float = 20.0
    target_s: float = 1.0
    static: bool = True


class System:
    """Plays the story; `now`, `cluster` and `events` may be looked at while it does."""

    def __init__(
        self,
        cluster: ClusterPlan,
        plan: SystemPlan,
        *,
        clock: Clock,
        announce: Callable[[str], None],
        rng: Random | None = None,
    ) -> None:
        self.plan = plan
        self.events: deque[tuple[float, str]] = deque(maxlen=200)
        self.runs: list[Run] = [Run("autoscaled", 1)]
        self.cluster = Cluster(cluster, clock=clock, rng=rng or Random(), announce=self._tell)
        self.model = ""
        self.signals: Signals | None = None  # the frontend's last
        self._clock = clock
        self._announce = announce
        self._begun = self._run_begun = clock.now()
        self._trace = plan.tide.requests()
        self._told: set[float] = set()  # decisions, by their time

    async def __aenter__(self) -> Self:
        await self.cluster.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cluster.__aexit__(kind, error, trace)

    @property
    def now(self) -> Run:
        """The run that is on."""
        return self.runs[-1]

    @property
    def elapsed_s(self) -> float:
        """Seconds since its trace began."""
        return self._clock.now() - self._run_begun

    @property
    def age_s(self) -> float:
        """Seconds since the story began."""
        return self._clock.now() - self._begun

    @property
    def failed(self) -> int:
        """Requests without a whole answer, in all runs."""
        return sum(run.failed for run in self.runs)

    # ------------------------------------------------------------ the story

    async def run(self) -> None:
        """All of it; returns when the last answer is in."""
        await self.cluster.hold(self._story())

    async def _story(self) -> None:
        scaled = self.now
        await self._deploy(scaled)
        await self.cluster.workers.autoscale(self.plan.most)
        await self._play(scaled, self._update())
        if not self.plan.static:
            return
        await self.cluster.workers.leave()
        await self.cluster.undeploy()
        same = as_many(scaled)
        self.runs.append(Run(f"static, {same} workers", same))
        await self._deploy(self.now)
        await self._play(self.now)

    async def _deploy(self, run: Run) -> None:
        self._tell(f"{run.name}: a PodCliqueSet with {run.replicas} of its workers")
        await self.cluster.deploy(run.replicas)

    async def _play(self, run: Run, meanwhile: Coroutine[None, None, None] | None = None) -> None:
        """Replay the trace, with something else going on *meanwhile*."""
        client = LoadClient(
            Endpoint.of(self.cluster.url), clock=self._clock, gaps=run.report.gaps, timeout_s=120.0
        )
        self.model = await served_model(client)
        self._run_begun = begun = self._clock.now()
        self._tell(f"{run.name}: {len(self._trace)} requests on {self.cluster.url}")
        beside = [asyncio.ensure_future(self._watch(run))]
        if meanwhile is not None:
            beside.append(asyncio.ensure_future(meanwhile))
        try:
            await self._replay(client, run.report).run()
            await self._clock.sleep(max(0.0, self.plan.tide.for_s - self.elapsed_s))
            await asyncio.gather(*beside[1:])
            await self._look(run)
        finally:
            client.close()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        run.took_s = self.elapsed_s
        run.gpu_s = self.cluster.pods.gpu_s(begun, self._clock.now())

    def _replay(self, client: LoadClient, report: Report) -> Replay:
        return Replay(
            client,
            self._trace,
            ask=Ask(self.model),
            prompts=Prompts(block_tokens=BLOCK_TOKENS, template_tokens=TEMPLATE_TOKENS),
            clock=self._clock,
            report=report,
        )

    async def _update(self) -> None:
        """A new template, under load."""
        await self._clock.sleep(max(0.0, self.plan.update_at_s - self.elapsed_s))
        begun, ready = self.elapsed_s, self.now.samples[-1].ready if self.now.samples else 0
        self._tell(f"a new template: each of {ready} workers is replaced, under load")
        await self.cluster.update(2)
        self.now.update_s = (begun, self.elapsed_s)
        self._tell(f"the update is over, after {self.elapsed_s - begun:.1f} s")

    # ------------------------------------------------------------ looking

    async def _watch(self, run: Run) -> None:
        while True:
            await self._look(run)
            await self._clock.sleep(_LOOK_S)

    async def _look(self, run: Run) -> None:
        """A sample, and what the autoscaler has done since the last."""
        self._hear()
        try:
            self.signals = told = await self.cluster.signals()
        except Unreachable as silent:
            self._tell(f"admin port: {silent}")
            return
        components = self.cluster.decision.get("components", ())
        sample = Sample(
            at_s=self.elapsed_s,
            pods=self.cluster.pods.running,
            ready=sum(worker.state == "ready" for worker in told.workers),
            wished=sum(component["wished"] for component in components),
            queued=sum(model.queued for model in told.models),
            in_flight=run.report.in_flight,
            output_tokens=run.report.output_tokens,
        )
        run.samples.append(sample)

    def _hear(self) -> None:
        """Tell the decisions that changed something, with their reasons."""
        for each in self.cluster.decision.get("history", ()):
            if each.get("wall_s") in self._told:
                continue
            self._told.add(each.get("wall_s"))
            if any(move["made"] or move["waits_for"] for move in each.get("moves", ())):
                self._tell(f"autoscaler, {each['reason']}: {each['message']}")

    def _tell(self, event: str) -> None:
        self.events.append((self.age_s, event))
        self._announce(f"{self.age_s:5.1f} s  {event}")

    # ------------------------------------------------------------ the end

    def hints(self, command: str) -> list[str]:
        """Lines to paste while it is up; *command* is how `grove-dp` is called here."""
        cluster = self.cluster
        body = (
            f'{{"model":"{self.model}","stream":true,"max_tokens":32,'
            '"messages":[{"role":"user","content":"Hello"}]}'
        )
        return [
            f"curl -N {cluster.url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'",
            f"{command} explain route --last 1 --admin {cluster.admin_url}",
            f"{command} explain scale --admin {cluster.scaling_url}",
            f"{command} explain gang {NAME}-0 -n {NAMESPACE} --kubeconfig {cluster.kubeconfig}",
        ]

    def summary(self) -> list[str]:
        """What it came to, in a few lines."""
        return summary(self.runs, self.plan.target_s)
