"""The index thread: what the workers' KV caches hold. See csrc/include/gdp/indexer.h."""

import numpy as np
import numpy.typing as npt

MEDIA: tuple[str, ...]  # rows of match(): gpu, cpu, storage, predicted
SLOTS_MAX: int

class Indexer:
    """One thread, one ring, one index. Calls come from one control thread, but for `predict` and `settle`."""

    def __init__(self, secret: bytes, index_bytes: int, predicted_pct: int = 10, ring_bytes: int = 0) -> None:
        """*secret* is routing.hash_key; *index_bytes* caps the index; *ring_bytes* 0 is 16 MiB."""
    def start(self) -> None: ...
    def close(self) -> None:
        """Join the thread and free everything; RuntimeError while a plane reads the index. Idempotent."""
    def open(self, slot: int, model: str) -> None:
        """The slot has a new owner that serves *model* (what enters the roots); the old one's entries go."""
    def release(self, slot: int) -> None:
        """The slot has no owner any more; its entries go."""
    def push(self, slot: int, kind: int, payload: memoryview) -> bool:
        """A message about the slot: kind 0 events, 1 clear, 2 restart, 3 events that we asked for. False:
        there is no room, or it is longer than half of the ring; nothing was taken."""
    def predict(self, slot: int, chain: npt.NDArray[np.uint64], ttl_s: float) -> None:
        """*slot* probably holds these blocks from now on, for *ttl_s*."""
    def match(self, chain: npt.NDArray[np.uint64], slots: int) -> tuple[int, npt.NDArray[np.uint32]]:
        """Leading blocks that anybody holds, and per medium (MEDIA) and slot how many each holds: (4, slots).
        Rows gpu, cpu, storage count blocks on that medium or a faster one; predicted: on gpu or predicted."""
    def settle(self, timeout_s: float) -> bool:
        """Wait until what was pushed before is in the index; False: it is not yet."""
    def stats(self) -> dict[str, int]:
        """Bytes, blocks, what came and went, and the ring: the fields of gdp_indexer_stats."""
    def slot(self, slot: int) -> dict[str, int]:
        """One slot's feed: open, hashes held, bytes, batches, malformed, and the counts of gdp_kvfeed."""
