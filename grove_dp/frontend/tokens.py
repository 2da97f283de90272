"""Exact tokens: which models have a tokenizer here, and the thread that uses it.

    control loop   Tokenizers: finds the folder, loads it (in a thread of the pool), asks each worker's
                   /tokenize about the probe set, then sets a desk up
    token thread   TokenThread: takes jobs off the plane, reads them at the desk of their model, answers

A model is exact while its tokenizer is here, at least one of its workers agreed, and none disagreed; a worker
that does is told loudly, and its model is routed by text. Requests that a worker reads in other ways only
sometimes (tools, say) are refused by the reader one by one.

Memory moves between the threads by one dictionary that is replaced, never changed.
"""

import asyncio
import logging
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from secrets import randbits
from typing import Final, NamedTuple

import msgspec

from grove_dp.clock import Clock
from grove_dp.errors import GroveError
from grove_dp.frontend.asking import Asker, NoAnswer
from grove_dp.native.kv import ChainKey
from grove_dp.native.plane import Job, Plane
from grove_dp.routing.kvsources import left_out
from grove_dp.routing.models import ModelScope, base_of, folder_of, scope_of
from grove_dp.routing.workers import Registry, Worker
from grove_dp.settings import Settings
from grove_dp.tokens.load import Model, load_model
from grove_dp.tokens.probe import Probe, Verdict, probes, verdict
from grove_dp.tokens.step import PromptReader
from grove_dp.tokens.unsupported import Unsupported

__all__ = ["Desk", "TokenThread", "Tokenizers"]

SWITCH_S: Final = 0.0005  # how long another Python thread keeps the token thread waiting
TAKE_S: Final = 0.5
PROBE_S: Final = 5.0
LOOK_S: Final = 0.5
ASKED_MAX: Final = 5  # times that a worker may leave all of them unanswered
NAME_MAX: Final = 40  # bytes of a model's name that a job carries

_log = logging.getLogger(__name__)


class Desk(NamedTuple):
    """Where jobs for one served name are read."""

    reader: PromptReader
    scope: ModelScope
    block_size: int
    without: frozenset[str]  # features that its reader refuses
    recall_seed: int  # what came of a prompt holds as long as this does; 0: not at all


class TokenThread:
    """Takes the plane's jobs until it is closed."""

    def __init__(self, plane: Plane, refused: Callable[[str], None]) -> None:
        """*refused* is called, in the thread, with the word of `Unsupported`, or Bug."""
        self.desks: Mapping[str, Desk] = {}
        self._refused = refused
        self._bug_told = False
        self._plane = plane
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="tokens", daemon=True)

    def start(self) -> None:
        sys.setswitchinterval(SWITCH_S)
        self._thread.start()

    def close(self) -> None:
        """No job is taken any more; returns when the last one is given back."""
        self._closing = True
        self._plane.close_jobs()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            job = self._plane.take_job(TAKE_S)
            if job is not None:
                self._serve(job)

    def _serve(self, job: Job) -> None:
        desk = self.desks.get(job.model)
        if desk is None or job.gone:
            job.decline()
            return
        try:
            prompt = desk.reader.read(job.endpoint, job.body, desk.scope.lora)
        except Unsupported as why:
            self._refused(why.why)
            job.decline()
        except Exception:  # noqa: BLE001  a prompt must not end the thread; the request goes on by its text
            self._refused("Bug")
            if not self._bug_told:
                self._bug_told = True
                _log.exception("a prompt could not be read", extra={"model": job.model})
            job.decline()
        else:
            job.answer(prompt.chain, prompt.tokens, desk.block_size)


class Tokenizers:
    """Decides which models are exact, and sets their desks up."""

    def __init__(
        self,
        registry: Registry,
        settings: Callable[[], Settings],
        asker: Asker,
        chain: ChainKey,
        thread: TokenThread,
        changed: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._settings = settings
        self._asker = asker
        self._chain = chain
        self._thread = thread
        self._changed = changed
        self._clock = clock
        self._models: dict[str, Model | None] = {}  # by folder; None: cannot be loaded
        self._readers: dict[tuple[str, str, int], PromptReader] = {}  # by folder, base and block size
        self._verdicts: dict[Worker, tuple[str, Verdict]] = {}  # with the folder that was asked about
        self._asked: Counter[Worker] = Counter()  # without an answer
        self._news = asyncio.Event()

    def follow(self) -> None:
        """The registry changed."""
        self._news.set()

    def exact(self) -> dict[str, int]:
        """Served names whose requests wait for their tokens, each with its desk's recall_seed."""
        desks = self._thread.desks
        return {
            name: desk.recall_seed
            for names in self._names()
            for name in names
            if (desk := desks.get(_cut(name))) is not None
        }

    async def run(self) -> None:
        """Look whenever the registry changed, until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            if self._settings().tokens.mode != "off":
                await self._look()
            await self._clock.sleep(LOOK_S)

    # ------------------------------------------------------------ one look

    async def _look(self) -> None:
        self._verdicts = {
            worker: told for worker, told in self._verdicts.items() if worker in set(self._registry)
        }
        for worker in self._registry:
            if worker.health == "ready" and worker.models and worker.block_size:
                await self._ask(worker)
        desks = dict(self._desks())
        if desks.keys() != self._thread.desks.keys() or any(
            desk is not self._thread.desks[name] for name, desk in desks.items()
        ):
            self._thread.desks = desks
            self._changed()

    async def _ask(self, worker: Worker) -> None:
        """Load what its model needs, and have the worker's tokens compared with ours, once."""
        folder = self._folder(worker)
        if folder is None or self._verdicts.get(worker, ("",))[0] == folder:
            return
        if folder not in self._models:
            self._models[folder] = await asyncio.to_thread(_loaded, folder)
        model, base = self._models[folder], base_of(worker.models)
        if model is None or base is None:
            return
        asked = probes(base)
        answers = [await self._tokenized(worker, probe) for probe in asked]
        if all(answer is None for answer in answers) and self._asked[worker] < ASKED_MAX:
            self._asked[worker] += 1
            self._news.set()  # it may not be up yet: once more
            return
        reader = PromptReader(
            model.template, model.tokenizer, self._chain, model=base, block_size=16, memo_bytes=0
        )
        found = await asyncio.to_thread(verdict, reader, asked, answers)
        found = found._replace(without=found.without | left_out(await self._release(worker)))
        self._verdicts[worker] = folder, found
        level = logging.INFO if found.exact else logging.WARNING
        facts = {
            "worker": worker.id,
            "reason": found.reason,
            "detail": found.detail,
            "without": ",".join(sorted(found.without)),
        }
        said = "tokens agree with the worker's" if found.exact else "tokens differ from the worker's: by text"
        _log.log(level, said, extra={name: value for name, value in facts.items() if value})

    async def _tokenized(self, worker: Worker, probe: Probe) -> list[int] | None:
        try:
            body = await self._asker.post(worker, "/tokenize", probe.body, PROBE_S)
            return msgspec.json.decode(body, type=_Tokens).tokens
        except (NoAnswer, msgspec.DecodeError):
            return None

    async def _release(self, worker: Worker) -> str:
        try:
            body = await self._asker.get(worker, "/version", PROBE_S)
            return msgspec.json.decode(body, type=_Release).version
        except (NoAnswer, msgspec.DecodeError):
            return ""

    def _folder(self, worker: Worker) -> str | None:
        """Where its model's tokenizer is: as the settings say, or where the worker has it, if we see that."""
        for entry in self._settings().tokens.models:
            name, is_named, folder = entry.partition("=")
            if not is_named:
                return entry
            if name in worker.models:
                return folder
        root = folder_of(worker.models)
        if root is None or not root.startswith("/"):
            return None
        files = (Path(root) / name for name in ("tokenizer.json", "tokenizer.json.gz"))
        return root if any(file.exists() for file in files) else None

    # ------------------------------------------------------------ desks

    def _names(self) -> Iterator[list[str]]:
        return (list(worker.models) for worker in self._registry)

    def _desks(self) -> Iterator[tuple[str, Desk]]:
        """A desk for each served name whose workers agree with us."""
        judged: dict[ModelScope, list[tuple[Worker, str, Verdict]]] = {}
        named: dict[str, ModelScope] = {}
        for worker, (folder, found) in self._verdicts.items():
            for name in worker.models:
                scope = scope_of(worker.models, name)
                named[_cut(name)] = scope
                judged.setdefault(scope, []).append((worker, folder, found))
        for name, scope in named.items():
            told = judged[scope]
            if any(not found.exact or (scope.lora and "lora" in found.without) for _, _, found in told):
                continue
            worker, folder, _ = told[0]
            assert worker.block_size is not None
            reader = self._reader(folder, scope.base, worker.block_size)
            if reader is not None:
                reader.without = frozenset().union(*(found.without for _, _, found in told)) - {"lora"}
                yield name, self._desk(name, reader, scope, worker.block_size)

    def _desk(self, name: str, reader: PromptReader, scope: ModelScope, block_size: int) -> Desk:
        """The desk that stands there already, if it is the same."""
        desk = Desk(reader, scope, block_size, reader.without, 0)
        there = self._thread.desks.get(name)
        if there is not None and there._replace(recall_seed=0) == desk:
            return there
        return desk._replace(recall_seed=randbits(64) | 1 if reader.timeless else 0)

    def _reader(self, folder: str, base: str, block_size: int) -> PromptReader | None:
        model = self._models.get(folder)
        key = folder, base, block_size
        if model is not None and key not in self._readers:
            self._readers[key] = PromptReader(
                model.template,
                model.tokenizer,
                self._chain,
                model=base,
                block_size=block_size,
                memo_bytes=self._settings().tokens.memo_bytes,
            )
        return self._readers.get(key)


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Release(msgspec.Struct):
    version: str


def _cut(name: str) -> str:
    """A model's name as a job carries it."""
    return name.encode()[:NAME_MAX].decode("utf-8", "replace")


def _loaded(folder: str) -> Model | None:
    try:
        model = load_model(folder)
    except (GroveError, Unsupported, OSError, ValueError) as error:
        _log.warning(
            "no tokenizer: prompts are placed by their text", extra={"folder": folder, "error": str(error)}
        )
        return None
    _log.info("tokenizer loaded", extra={"folder": folder})
    return model
