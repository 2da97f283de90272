"""Messages (and lists of tools) that were parsed before, by the bytes they were sent as.

A conversation comes again with each turn, a message longer. Parsing 128 KiB of JSON takes 0.1 ms, finding the
messages' ends and keys a quarter of that (spans.items). So what was parsed is kept, within a number of bytes;
the least recently used message goes first. Nobody may change what is given out.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from sys import getsizeof
from typing import Any

import msgspec

__all__ = ["ParsedMessages"]

_MESSAGE_BYTES = 600  # of the objects themselves


class ParsedMessages:
    """Parsed messages by a key that chains over the conversation."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self._known: OrderedDict[int, tuple[Any, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(
        self,
        raw: bytes,
        places: Sequence[tuple[int, int]],
        keys: Sequence[int],
        make: Callable[[bytes], Any] = msgspec.json.decode,
    ) -> list[Any]:
        """What *make* makes of the bytes at *places* in *raw*. Raises what it raises."""
        known, messages = self._known, []
        for key in keys:
            entry = known.get(key)
            if entry is None:
                break
            messages.append(entry[0])
        count = len(messages)
        messages += [make(raw[start:end]) for start, end in places[count:]]
        for n in range(
            len(keys) - 1, count - 1, -1
        ):  # the last first: no message is older than one behind it
            self._keep(keys[n], messages[n], _size(messages[n], places[n][1] - places[n][0]))
        for n in range(count - 1, -1, -1):
            known.move_to_end(keys[n])
        while self.bytes > self.bytes_max:
            self.bytes -= known.popitem(last=False)[1][1]
        return messages

    def _keep(self, key: int, message: Any, size: int) -> None:
        _, before = self._known.pop(key, (None, 0))
        self._known[key] = message, size
        self.bytes += size - before


def _size(message: Any, sent: int) -> int:
    """Bytes of memory, about: one emoji makes every character of a text four bytes wide."""
    content = message.get("content") if isinstance(message, dict) else None
    return _MESSAGE_BYTES + (getsizeof(content) if isinstance(content, str) else 8 * sent)
