"""The bytes of a trace file: unpacked (plain, gzip, xz), numbered line by line, and its faults named.

Whatever is wrong below the format - no such file, a cut-off download, bytes that are no text - is a
`TraceError` with the file and the last line that was good.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zlib
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, cast

from grove_dp.errors import GroveError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["TraceError", "trace_lines"]


class TraceError(GroveError):
    """A trace file that cannot be read: names the file, the line, and what was expected there."""

    reason, status, exit_code = "InvalidTrace", 400, 2


@contextmanager
def trace_lines(path: Path) -> Iterator[Iterator[tuple[int, str]]]:
    """The numbered lines of a file, unpacked; trouble below (missing, cut off, not text) is a TraceError."""
    at = 0

    def numbered(text: IO[str]) -> Iterator[tuple[int, str]]:
        nonlocal at
        for line in text:
            at += 1
            yield at, line

    try:
        with _unpacked(path) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            yield numbered(text)
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as broken:
        raise TraceError(
            f"{path}, after line {at}: the compressed file is cut off or damaged ({broken})"
        ) from None
    except UnicodeDecodeError as broken:
        raise TraceError(f"{path}, after line {at}: not UTF-8 text ({broken})") from None
    except OSError as broken:
        raise TraceError(f"{path}: cannot be read ({broken.strerror or broken})") from None


def _unpacked(path: Path) -> IO[bytes]:
    with path.open("rb") as file:
        magic = file.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if magic == b"\xfd7zXZ\x00":
        return cast(IO[bytes], lzma.open(path))
    return path.open("rb")
