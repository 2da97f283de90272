"""`Router`: place prompts on workers by what they hold and what they do, without the frontend around it.

    router = Router(block_size=16, secret=b"...")
    router.add_worker(0, "gpu-0")
    router.add_worker(1, "gpu-1")
    router.index.store(1, router.index.names(tokens, scope))   # gpu-1 said that it holds this prompt

    placed = router.place(tokens, scope)     # -> Placed: .slot 1, .cached_tokens, .terms in seconds
    placed.first_token()                     # when its stream begins: teaches the rates
    placed.end(output_tokens=120)            # frees the booking, once
    router.scores(tokens, scope)             # -> float64 (slots,): seconds by slot, nothing is booked

    what      type     shape      unit
    tokens    uint32   (tokens,)  token ids (or their bytes, little-endian)
    names     uint64   (blocks,)  as PrefixIndex.names() makes them; `place_names` takes them
    scores    float64  (slots,)   predicted seconds, weighted; inf: no worker has the slot

The cost is that of the frontend (csrc/route/cost.c): rates are learnt from `first_token` and `end`. Until a
worker has told, what was placed there is expected to be there for `predict_s`.
"""

import time
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from grove_dp.native.books import Booked, Books, Question, Terms
from grove_dp.routing.index import PREDICTED, PrefixIndex
from grove_dp.tokens.blocks import Names, Scope
from grove_dp.tokens.tokenizer import Ids

__all__ = ["Placed", "Router"]

ANY_OUTPUT: Final = 1e9  # tokens: as many as requests usually get


class Placed:
    """A prompt on its worker."""

    def __init__(self, booked: Booked, clock: Callable[[], float]) -> None:
        self._booked, self._clock = booked, clock

    @property
    def slot(self) -> int:
        return self._booked.slot

    @property
    def terms(self) -> Terms:
        return self._booked.terms

    @property
    def cached_tokens(self) -> int:
        """Tokens of the prompt that its worker holds, as far as is known."""
        return self._booked.terms.cached_tokens

    def first_token(self) -> None:
        """Its stream began."""
        self._booked.first_token(self._clock())

    def end(self, output_tokens: int = -1) -> None:
        """It is over; < 0: it failed. ValueError when it was over already."""
        self._booked.end(self._clock(), output_tokens)


class Router:
    """Places prompts of one block size; models and adapters are told apart by their scopes."""

    def __init__(
        self,
        *,
        secret: bytes = b"",
        slots: int = 64,
        policy: str = "kv",
        bytes_max: int = 256 << 20,
        predict_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*slots*: room for workers 0..slots-1; *policy* as in routing.policy; *clock* in seconds."""
        self.index = PrefixIndex(secret=secret, bytes_max=bytes_max)
        self._books = Books()
        self._slots, self._policy, self._predict_s, self._clock = slots, policy, predict_s, clock

    def add_worker(self, slot: int, name: str, *, max_inflight: int = 0, class_of: int = 0) -> None:
        """*name* breaks ties the same way in every router; workers of one *class_of* learn rates together."""
        if not 0 <= slot < self._slots:
            raise ValueError(f"slot must be 0..{self._slots - 1}, got {slot}; give Router more slots")
        self.index.clear(slot)
        self._books.add(slot, name, max_inflight, class_of)

    def remove_worker(self, slot: int) -> None:
        """Nothing goes there any more, and nothing is held there."""
        self._books.remove(slot)
        self.index.clear(slot)

    def worker_load(self, slot: int, *, kv_capacity: float = -1, kv_tokens: float = -1) -> None:
        """What the worker says of its cache, in tokens; < 0: nothing."""
        self._books.load(slot, kv_capacity, kv_tokens)

    def place(
        self, tokens: Ids | bytes, scope: Scope, *, output_tokens: float = ANY_OUTPUT, stream: bool = True
    ) -> Placed | None:
        """Choose and book; None when every worker is at its max_inflight, or there is none."""
        ids = _ids(tokens)
        return self.place_names(
            self.index.names(ids, scope),
            len(ids),
            scope.block_size,
            output_tokens=output_tokens,
            stream=stream,
        )

    def place_names(
        self,
        names: Names,
        prompt_tokens: int,
        block_size: int,
        *,
        output_tokens: float = ANY_OUTPUT,
        stream: bool = True,
    ) -> Placed | None:
        """The same for a prompt whose blocks have their names."""
        now_s = self._now()
        question = Question(names, self._reach(names), prompt_tokens, block_size, output_tokens)
        booked = self._books.place(self._policy, question, stream, now_s)
        if booked is None:
            return None
        if self._predict_s > 0 and len(names):
            self.index.predict(booked.slot, names, ttl_s=max(1, round(self._predict_s)))
        return Placed(booked, self._clock)

    def scores(
        self, tokens: Ids | bytes, scope: Scope, *, output_tokens: float = ANY_OUTPUT
    ) -> npt.NDArray[np.float64]:
        """Weighted seconds by slot; nothing is booked."""
        ids = _ids(tokens)
        names = self.index.names(ids, scope)
        now_s = self._now()
        question = Question(names, self._reach(names), len(ids), scope.block_size, output_tokens)
        return self._books.costs(question, now_s)

    def _now(self) -> float:
        """The clock, told to the index, too: it ends predictions."""
        now_s = self._clock()
        self.index.step(int(now_s))
        return now_s

    def _reach(self, names: Names) -> npt.NDArray[np.uint32]:
        return self.index.match(names, slots=self._slots, medium=PREDICTED)


def _ids(tokens: Ids | bytes) -> Ids:
    if isinstance(tokens, bytes):
        return np.frombuffer(tokens, dtype="<u4").astype(np.uint32, copy=False)
    return np.ascontiguousarray(tokens, np.uint32)
