"""The signals of all frontends as one picture, that says itself what is missing in it.

    polled = await frontends.poll()          asks all at once; a slow one delays nobody beyond timeout_s
    polled.records                           what ended since the last poll, each request once
    frontends.merged()                       rates of the last window, sums of what is there now

What makes a picture incomplete, and for how long:

    a frontend does not answer         until it does, or is not listed any more
    it answered for the first time     until the second answer: a rate takes two
    records were lost                  for one window: `lost` says how many

A frontend that started anew (another boot_id) begins with record 0; what the old process had not told is gone
with it, and `restarts` counts that. Frontends are told apart by their address.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from msgspec import structs

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.metering.buckets import Buckets, added
from grove_dp.metering.signals import CurveSignal, ModelSignal, Signals, WorkerSignal, decode

__all__ = ["Fetch", "Frontends", "Merged", "ModelNow", "Polled", "Times", "WorkerNow"]

WINDOW_S: Final = 60.0
TIMEOUT_S: Final = 2.0

Fetch = Callable[
    [str], Awaitable[bytes]
]  # GET of a URL; raises GroveError or OSError when there is no answer


class WorkerNow(NamedTuple):
    """A worker, seen by all frontends. Rates are of the last window."""

    told: WorkerSignal  # what it is, and its cache as the freshest frontend knows it
    inflight: float
    prefill: float
    decode: float
    backlog_s: float
    placed_per_s: float
    prompt_tokens_per_s: float
    cached_tokens_per_s: float
    output_tokens_per_s: float
    work_s_per_s: float
    ended_per_s: float = 0.0  # tokens are told when a request ends, work when it is placed


class Times(NamedTuple):
    """Of the last minute, in seconds."""

    queue_wait: Buckets
    ttft: Buckets
    itl: Buckets


class ModelNow(NamedTuple):
    """Requests for a model and of a class, at all frontends."""

    model: str
    slo_class: str
    times: Times
    queued: float
    queued_tokens: float
    arrived_per_s: float
    ended_per_s: float
    output_tokens_per_s: float
    judged: float  # streams of the last window
    kept: float


class Merged(NamedTuple):
    """All frontends together."""

    wall_s: float
    frontends: int
    missing: tuple[str, ...]  # frontends that are not in the sums, with the reason
    lost: int  # records, in the last window
    restarts: int  # since the beginning
    window_s: float  # of the rates: the shortest of all frontends
    workers: tuple[WorkerNow, ...]
    models: tuple[ModelNow, ...]
    curves: tuple[CurveSignal, ...]  # of the frontend that has learnt from most
    startups: tuple[float, ...]
    itl_s: float
    left: tuple[WorkerNow, ...] = ()  # workers that went within the window: what they did in it was load, too

    @property
    def complete(self) -> bool:
        return not self.missing and not self.lost


class Polled(NamedTuple):
    """What one poll brought."""

    records: Mapping[str, npt.NDArray[np.void]]  # by frontend; slots and class numbers are that frontend's
    answers: Mapping[str, Signals]
    failed: Mapping[str, str]  # why a frontend gave no answer


class _Frontend:
    """What is known of one frontend."""

    def __init__(self) -> None:
        self.boot_id = ""
        self.next_seq = 0
        self.restarts = 0
        self.trouble = "NotAskedYet"
        self.history: deque[Signals] = deque()  # of this boot, the last window and one before it
        self.losses: deque[tuple[float, int]] = deque()
        self.left: dict[str, WorkerSignal] = {}  # workers as last told of, while the window tells of them

    def took(self, told: Signals, now: float, window_s: float) -> None:
        if told.boot_id != self.boot_id:
            self.restarts += bool(self.boot_id)
            self.boot_id = told.boot_id
            self.history.clear()
            self.left.clear()
        if told.lost:
            self.losses.append((now, told.lost))
        self.next_seq, self.trouble = told.next_seq, ""
        if self.history:
            self.left |= {worker.id: worker for worker in self.history[-1].workers}
        for worker in told.workers if self.left else ():
            self.left.pop(worker.id, None)
        self.history.append(told)
        begin = told.now_ns - window_s * 1e9
        while len(self.history) > 2 and self.history[1].now_ns <= begin:
            self.history.popleft()

    def lost(self, now: float, window_s: float) -> int:
        while self.losses and self.losses[0][0] < now - window_s:
            self.losses.popleft()
        return sum(count for _, count in self.losses)

    @property
    def span_s(self) -> float:
        return (self.history[-1].now_ns - self.history[0].now_ns) / 1e9 if len(self.history) > 1 else 0.0

    def why_missing(self) -> str:
        return self.trouble or ("FirstAnswer" if self.span_s <= 0 else "")


class Frontends:
    """Polls frontends and merges what they tell."""

    def __init__(
        self, fetch: Fetch, clock: Clock, *, window_s: float = WINDOW_S, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._window_s = window_s
        self._timeout_s = timeout_s
        self._known: dict[str, _Frontend] = {}

    def sync(self, urls: Iterable[str]) -> None:
        """The frontends are exactly these: base URLs of their admin ports."""
        self._known = {url: self._known.get(url) or _Frontend() for url in urls}

    async def poll(self) -> Polled:
        """Ask every frontend once."""
        urls = list(self._known)
        answers = await asyncio.gather(*(self._ask(url) for url in urls))
        now = self._clock.now()
        told: dict[str, Signals] = {}
        failed: dict[str, str] = {}
        for url, answer in zip(urls, answers, strict=True):
            frontend = self._known.get(url)
            if frontend is None:
                continue  # it left meanwhile
            if isinstance(answer, Signals):
                frontend.took(answer, now, self._window_s)
                told[url] = answer
            else:
                frontend.trouble = failed[url] = answer
        records = {url: answer.array() for url, answer in told.items()}
        return Polled(records, told, failed)

    async def _ask(self, url: str) -> Signals | str:
        """Its answer, or the reason why there is none."""
        frontend = self._known[url]
        address = f"{url}/signals?since={frontend.next_seq}&boot={frontend.boot_id}"
        try:
            async with asyncio.timeout(self._timeout_s):
                found = decode(await self._fetch(address))
            found.array()  # it must be readable before it counts as told
        except GroveError as error:
            return error.reason
        except TimeoutError:
            return "TimedOut"
        except OSError as error:
            return type(error).__name__
        return found

    def merged(self) -> Merged:
        """One picture of what the last polls brought."""
        now = self._clock.now()
        there = {url: known for url, known in self._known.items() if not known.why_missing()}
        missing = tuple(f"{url}: {why}" for url, known in self._known.items() if (why := known.why_missing()))
        spans = [known.span_s for known in there.values()]
        latest = [known.history[-1] for known in there.values()]
        return Merged(
            wall_s=self._clock.wall(),
            frontends=len(self._known),
            missing=missing,
            lost=sum(known.lost(now, self._window_s) for known in self._known.values()),
            restarts=sum(known.restarts for known in self._known.values()),
            window_s=min(spans, default=0.0),
            workers=tuple(_workers(there.values())),
            models=tuple(_models(there.values())),
            curves=tuple(_curves(latest)),
            startups=tuple(took for told in latest for took in told.startups),
            itl_s=min((told.itl_s for told in latest), default=0.0),
            left=tuple(_left(there.values())),
        )


# ---------------------------------------------------------------- sums


def _workers(frontends: Iterable[_Frontend]) -> Iterable[WorkerNow]:
    found: dict[str, WorkerNow] = {}
    for frontend in frontends:
        first = _first_told(frontend.history)
        for told in frontend.history[-1].workers:
            one = _worker(told, first.get(told.id), frontend.span_s)
            found[told.id] = _both(found[told.id], one) if told.id in found else one
    return found.values()


def _left(frontends: Iterable[_Frontend]) -> Iterable[WorkerNow]:
    """Rates of workers that are not there any more; nothing of them is in flight."""
    found: dict[str, WorkerNow] = {}
    for frontend in frontends:
        if not frontend.left:
            continue
        first = _first_told(frontend.history, frontend.left.keys())
        for id_, told in list(frontend.left.items()):
            if id_ not in first:
                del frontend.left[id_]
                continue
            gone = structs.replace(told, state="gone", inflight=0, prefill=0.0, decode=0.0, backlog_s=0.0)
            one = _worker(gone, first[id_], frontend.span_s)
            found[id_] = _both(found[id_], one) if id_ in found else one
    return found.values()


def _first_told(history: deque[Signals], ids: Collection[str] = ()) -> dict[str, WorkerSignal]:
    """What the window first told of each worker that is there, and of those in *ids*.

    Of one that came within it that is later than the window's beginning: its work since then counts at once,
    or a set that grows would seem to have less to do with every worker that takes a share of the load.
    """
    first = {told.id: told for told in history[0].workers}
    late = {*(told.id for told in history[-1].workers), *ids} - first.keys()
    for told in (one for answer in history if late for one in answer.workers if one.id in late):
        first.setdefault(told.id, told)
    return first


def _worker(told: WorkerSignal, before: WorkerSignal | None, span_s: float) -> WorkerNow:
    def rate(name: str) -> float:
        now, then = getattr(told, name), 0 if before is None else getattr(before, name)
        return float(max(0, now - then)) / span_s  # less than before: another worker of that name

    return WorkerNow(
        told=told,
        inflight=told.inflight,
        prefill=told.prefill,
        decode=told.decode,
        backlog_s=told.backlog_s,
        placed_per_s=rate("placed"),
        prompt_tokens_per_s=rate("prompt_tokens"),
        cached_tokens_per_s=rate("cached_tokens"),
        output_tokens_per_s=rate("output_tokens"),
        work_s_per_s=rate("work_s") if before is not None else 0.0,
        ended_per_s=max(0.0, rate("placed") - (told.inflight - (before.inflight if before else 0)) / span_s),
    )


def _both(one: WorkerNow, other: WorkerNow) -> WorkerNow:
    """What two frontends have at one worker. Its cache is one thing: who tells of it at all is believed."""
    told = one.told if one.told.kv_capacity >= 0 else other.told
    return WorkerNow(told, *(a + b for a, b in zip(one[1:], other[1:], strict=True)))


def _models(frontends: Iterable[_Frontend]) -> Iterable[ModelNow]:
    found: dict[tuple[str, str], ModelNow] = {}
    for frontend in frontends:
        first = {(told.model, told.slo_class): told for told in frontend.history[0].models}
        for told in frontend.history[-1].models:
            key = told.model, told.slo_class
            one = _model(told, first.get(key) or ModelSignal(model=told.model), frontend.span_s)
            found[key] = _sum(found[key], one) if key in found else one
    return found.values()


def _model(told: ModelSignal, before: ModelSignal, span_s: float) -> ModelNow:
    return ModelNow(
        model=told.model,
        slo_class=told.slo_class,
        times=Times(told.queue_wait, told.ttft, told.itl),
        queued=told.queued,
        queued_tokens=told.queued_tokens,
        arrived_per_s=(told.arrived - before.arrived) / span_s,
        ended_per_s=(told.ended - before.ended) / span_s,
        output_tokens_per_s=(told.output_tokens - before.output_tokens) / span_s,
        judged=told.judged - before.judged,
        kept=told.kept - before.kept,
    )


def _sum(one: ModelNow, other: ModelNow) -> ModelNow:
    times = Times(*map(added, zip(one.times, other.times, strict=True)))
    return ModelNow(
        one.model, one.slo_class, times, *(a + b for a, b in zip(one[3:], other[3:], strict=True))
    )


def _curves(answers: Iterable[Signals]) -> Iterable[CurveSignal]:
    best: dict[tuple[str, ...], CurveSignal] = {}
    for told in answers:
        for curve in told.curves:
            models = tuple(curve.models)
            if models not in best or curve.step_n > best[models].step_n:
                best[models] = curve
    return best.values()
