"""The books on their own: choose a worker by cost, book it, settle. See csrc/include/gdp/load.h, cost.h."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

class Terms(NamedTuple):
    """What a placement costs; seconds but for the tokens. `total` is weighted."""

    cached_tokens: int
    queue_s: float
    prefill_s: float
    stall_s: float
    decode_s: float
    memory_s: float
    total: float

class Booked:
    """One placement. Ended once; at the latest when it is forgotten, which teaches the books nothing."""

    slot: int
    terms: Terms
    def first_token(self, now_s: float) -> None: ...
    def end(self, now_s: float, output_tokens: int = -1) -> None:
        """*output_tokens* < 0: it failed, or nobody knows."""

class Question:
    """A prompt as the books see it. *chain*: its blocks' names; *reach*: blocks held, by slot."""

    def __init__(
        self,
        chain: npt.NDArray[np.uint64],
        reach: npt.NDArray[np.uint32],
        prompt_tokens: int,
        block_tokens: int,
        output_tokens: float,
    ) -> None: ...

class Books:
    """Workers by slot, and what is booked on them. Calls may come from any thread."""

    count: int  # workers
    def __init__(self, seed: int = 1) -> None: ...
    def add(self, slot: int, name: str, max_inflight: int = 0, class_of: int = 0) -> None: ...
    def remove(self, slot: int) -> None: ...
    def load(self, slot: int, kv_capacity: float, kv_tokens: float) -> None:
        """Tokens its cache can hold, and those pinned now; < 0: not known."""
    def place(self, policy: str, question: Question, stream: bool, now_s: float) -> Booked | None:
        """The cheapest, booked; None when all are full, or there is none."""
    def terms(self, slot: int, question: Question, now_s: float) -> Terms: ...
    def costs(self, question: Question, now_s: float) -> npt.NDArray[np.float64]:
        """Weighted seconds by slot; infinite where there is no worker."""
