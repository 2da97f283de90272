"""The lives of the last 65,536 requests, in the order in which they ended, as one numpy array.

    I/O threads ── rings of 16,384 ──> RecordRing.drain ──> array[seq % SIZE]
                                                             │ since(seq): a view, or two pieces joined
                                       access log, GET /signals, whoever else remembers where it was

Each record has a number of its own, counted from 0 when the process began. Who reads says which one comes
next for him; what was overwritten before he came is counted, never passed over in silence. Nothing is copied
but what stands around the array's end. For one thread, control's.

A record is gdp_record (csrc/include/gdp/plane.h), 216 bytes: times are CLOCK_MONOTONIC in ns.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from grove_dp.native.plane import RECORD

__all__ = ["DTYPE", "SIZE", "ClassNames", "Part", "RecordRing"]

SIZE: Final = 65_536
DTYPE: Final[np.dtype[np.void]] = np.dtype(RECORD)
CLASSES_MAX: Final = 255

Records = npt.NDArray[np.void]


class Part(NamedTuple):
    """Records from number *first* on, in order. *lost*: how many were overwritten before they were read."""

    first: int
    lost: int
    records: Records

    @property
    def next_seq(self) -> int:
        """The number to ask for next."""
        return self.first + len(self.records)


class RecordRing:
    """The last records. *drain* fills a room of bytes with records and says how many."""

    def __init__(self, drain: Callable[[memoryview], int], size: int = SIZE) -> None:
        self._drain = drain
        self._array: Records = np.zeros(size, DTYPE)
        pages = self._array.view(np.uint8)
        pages[:] = 0  # all of its memory now: a process that seems to grow for an hour worries people
        self._bytes: memoryview = pages.data
        self.next_seq = 0

    def drain(self) -> int:
        """Take over what the I/O threads have left; how many records."""
        size, before = len(self._array), self.next_seq
        while True:
            at = self.next_seq % size
            room = size - at
            taken = self._drain(self._bytes[at * DTYPE.itemsize :])
            self.next_seq += taken
            if taken < room:
                return self.next_seq - before

    def since(self, seq: int, most: int = SIZE) -> Part:
        """Records from number *seq* on, at most *most*; valid until the next drain."""
        size = len(self._array)
        first = min(max(seq, self.next_seq - size, 0), self.next_seq)
        lost, count = max(0, first - seq), min(self.next_seq - first, most)
        at = first % size
        records = self._array[at : at + count]
        if at + count > size:
            records = np.concatenate((records, self._array[: at + count - size]))
        return Part(first, lost, records)


class ClassNames:
    """Numbers for the names of classes of requests, as records carry them. 0 is "default"; none is reused."""

    def __init__(self) -> None:
        self._names = ["default"]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def number(self, name: str) -> int:
        """The number of *name*; of the 256th and later ones 0."""
        if name not in self._names:
            if len(self._names) > CLASSES_MAX:
                return 0
            self._names.append(name)
        return self._names.index(name)
