"""Request traces: what arrives when, how long it is, and which prefix it shares.

Three published formats become one stream of `TraceRequest`. A file is recognised by its bytes, never by its
name; plain, gzip and xz files are read as they are, line by line, so a trace of a week needs no memory.

    Mooncake   {"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": [..]}  one object a line
    Azure      TIMESTAMP,ContextTokens,GeneratedTokens                                     CSV with a header
    ServeGen   {"model": {"t": [s..], "rate": [req/s..], "cvw": [..]}, ..}

Times count from the first request of a trace (from the first `t` of a rate curve), whatever epoch the file
uses. Rows that are a little out of order are sorted within a window of `LOOKAHEAD` rows. The rate curves of
ServeGen become seeded arrivals (`grove_dp.sim.arrivals`); `spread` undoes the 3 s bins of Mooncake's times.
"""

from __future__ import annotations

import csv
import heapq
import re
from datetime import date
from functools import lru_cache
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from grove_dp.sim.arrivals import Curve, Lengths, arrivals
from grove_dp.sim.tracefile import TraceError, trace_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = [
    "LOOKAHEAD",
    "TraceError",
    "TraceRequest",
    "Window",
    "open_trace",
    "read_curves",
    "read_rows",
    "sniff",
    "spread",
]

LOOKAHEAD = 1024


class TraceRequest(msgspec.Struct, frozen=True, gc=False):
    """One request: when it arrives, its lengths, and the ids of the prefix blocks it shares with others.

    Where it is a turn of a conversation, `messages` says how many of those blocks each message has: the
    system prompt, then questions and answers in turn. Published traces do not tell.
    """

    at_s: float
    input_tokens: int
    output_tokens: int
    hash_ids: tuple[int, ...] = ()
    messages: tuple[int, ...] = ()


def sniff(path: Path) -> str:
    """`mooncake`, `azure` or `servegen`, judged by the first line that is not blank."""
    with trace_lines(path) as lines:
        for at, line in lines:  # noqa: B007 - the number stands in the error below
            if first := line.strip():
                break
        else:
            raise TraceError(f"{path}: empty; expected a Mooncake, Azure or ServeGen trace")
    if first.startswith("{"):
        return (
            "mooncake"
            if re.search(r'"(?:input_length|output_length|timestamp|hash_ids)"', first)
            else "servegen"
        )
    columns = {column.strip(' "').casefold() for column in first.split(",")}
    if {"timestamp", "contexttokens", "generatedtokens"} & columns:
        return "azure"
    raise TraceError(
        f"{path}, line {at}: no known trace format; expected a JSON object with timestamp, input_length, "
        f"output_length (Mooncake), the CSV header TIMESTAMP,ContextTokens,GeneratedTokens (Azure) or a JSON "
        f"document of rate curves (ServeGen); found {first[:60]!r}"
    )


def read_rows(path: Path, *, form: str) -> Iterator[TraceRequest]:
    """The requests of a Mooncake or Azure trace in the order of their times, the first at 0 s."""
    rows = _mooncake(path) if form == "mooncake" else _azure(path)
    origin: float | None = None
    for row in _in_order(rows):
        origin = row.at_s if origin is None else origin
        # a row later than its neighbours by more than the window cannot go before what was already given out
        yield msgspec.structs.replace(row, at_s=max(0.0, round(row.at_s - origin, 6)))


def _in_order(rows: Iterable[TraceRequest]) -> Iterator[TraceRequest]:
    heap: list[tuple[float, int, TraceRequest]] = []
    for place, row in enumerate(rows):
        entry = (row.at_s, place, row)
        if len(heap) < LOOKAHEAD:
            heapq.heappush(heap, entry)
        else:
            yield heapq.heappushpop(heap, entry)[2]
    while heap:
        yield heapq.heappop(heap)[2]


# -- Mooncake --------------------------------------------------------------------------------------------


class _MooncakeRow(msgspec.Struct, gc=False):
    timestamp: float
    input_length: float
    output_length: float
    hash_ids: tuple[int, ...] | None = ()


def _mooncake(path: Path) -> Iterator[TraceRequest]:
    decode = msgspec.json.Decoder(_MooncakeRow).decode
    with trace_lines(path) as lines:
        for at, line in lines:
            if line.isspace():
                continue
            try:
                row = decode(line)
            except msgspec.MsgspecError as wrong:
                raise TraceError(
                    f"{path}, line {at}: {wrong}; expected one JSON object with timestamp (ms), "
                    f"input_length, output_length and optionally hash_ids; found {line.strip()[:60]!r}"
                ) from None
            yield _request(
                path, at, row.timestamp / 1000, row.input_length, row.output_length, tuple(row.hash_ids or ())
            )


def _request(
    path: Path,
    at: int,
    at_s: float,
    input_tokens: float,
    output_tokens: float,
    hash_ids: tuple[int, ...] = (),
) -> TraceRequest:
    if input_tokens < 0 or output_tokens < 0:
        raise TraceError(
            f"{path}, line {at}: a token count is negative ({input_tokens:g}, {output_tokens:g})"
        )
    return TraceRequest(at_s, int(input_tokens), int(output_tokens), hash_ids)


# -- Azure -----------------------------------------------------------------------------------------------

_AZURE = ("timestamp", "contexttokens", "generatedtokens")
_INSTANT = re.compile(
    r"(\d{4}-\d\d?-\d\d?)[T ](\d\d?):(\d\d):(\d\d)(?:[.,](\d{1,12}))?\s*(Z|UTC|[+-]\d\d(?::?\d\d)?)?\Z",
    re.IGNORECASE,
)


def _azure(path: Path) -> Iterator[TraceRequest]:
    with trace_lines(path) as lines:
        # csv counts records; a row of these traces never spans lines, so the numbers run side by side
        numbers: list[int] = [0]

        def text() -> Iterator[str]:
            for at, line in lines:
                numbers[0] = at
                if not line.isspace():
                    yield line

        rows = csv.reader(text(), skipinitialspace=True)
        when, context, generated = _columns(path, next(rows), numbers[0])
        for row in rows:
            at = numbers[0]
            try:
                yield _request(path, at, _seconds(row[when]), float(row[context]), float(row[generated]))
            except (ValueError, IndexError, OverflowError):
                raise TraceError(
                    f"{path}, line {at}: expected a time like 2023-11-16 18:17:03.97996 in column {when + 1}"
                    f" and token counts in {context + 1}, {generated + 1}; found {','.join(row)[:60]!r}"
                ) from None


def _columns(path: Path, header: list[str], at: int) -> tuple[int, int, int]:
    names = [column.strip().casefold() for column in header]
    missing = [name for name in _AZURE if name not in names]
    if missing:
        raise TraceError(
            f"{path}, line {at}: the header lacks {', '.join(missing)}; expected TIMESTAMP, ContextTokens "
            f"and GeneratedTokens in any order, among any others; found {','.join(header)[:80]!r}"
        )
    when, context, generated = (names.index(name) for name in _AZURE)
    return when, context, generated


def _seconds(text: str) -> float:
    """Seconds since 1970 of an ISO time (no zone: UTC, only differences count) or of a plain number."""
    found = _INSTANT.match(text.strip())
    if found is None:
        return float(text)
    day, hour, minute, second, fraction, zone = found.groups()
    whole = _day_s(day) + int(hour) * 3600 + int(minute) * 60 + int(second) - _zone_s(zone or "")
    return whole + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)


@lru_cache(maxsize=64)
def _day_s(day: str) -> int:
    year, month, number = map(int, day.split("-"))
    return (date(year, month, number) - date(1970, 1, 1)).days * 86_400


@lru_cache(maxsize=64)
def _zone_s(zone: str) -> int:
    if not zone or zone.upper() in ("Z", "UTC"):
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    return (-1 if zone[0] == "-" else 1) * (int(digits[:2]) * 3600 + int(digits[2:]) * 60)


# -- ServeGen --------------------------------------------------------------------------------------------


class _CurveRow(msgspec.Struct):
    t: list[float]
    rate: list[float]
    cvw: list[float | None] | float | None = None


def read_curves(path: Path) -> list[Curve]:
    """Every rate curve of a ServeGen document, times from 0 s."""
    with trace_lines(path) as lines:
        text = "".join(line for _, line in lines)
    try:
        document: dict[str, Any] = msgspec.json.decode(text, type=dict[str, Any])
        rows = {"": document} if "rate" in document else document
        if not rows:
            raise TraceError(f"{path}, line 1: no rate curve in it")
        return [_curve(path, name, msgspec.convert(row, _CurveRow)) for name, row in rows.items()]
    except msgspec.MsgspecError as wrong:
        raise TraceError(
            f"{path}, line {_line_of(text, str(wrong))}: {wrong}; expected a JSON document "
            '{"model": {"t": [s, ..], "rate": [req/s, ..], "cvw": [..]}, ..}'
        ) from None


def _line_of(text: str, message: str) -> int:
    byte = re.search(r"\(byte (\d+)\)", message)
    return text.encode().count(b"\n", 0, int(byte[1])) + 1 if byte else 1


def _curve(path: Path, name: str, row: _CurveRow) -> Curve:
    label = f"{path}, curve {name!r}" if name else f"{path}, line 1"
    if not row.t or len(row.t) != len(row.rate):
        raise TraceError(
            f"{label}: t has {len(row.t)} values and rate {len(row.rate)}; expected as many, at least 1"
        )
    if any(later <= earlier for earlier, later in zip(row.t, row.t[1:], strict=False)):
        raise TraceError(f"{label}: t does not rise; expected seconds in rising order")
    if min(row.rate) < 0:
        raise TraceError(f"{label}: a rate is negative; expected requests per second")
    given = row.cvw if isinstance(row.cvw, list) else [row.cvw] * len(row.t)
    if len(given) != len(row.t):
        raise TraceError(f"{label}: t has {len(row.t)} values and cvw {len(given)}; expected as many")
    cv = tuple(1.0 if value is None else max(0.0, value) for value in given)
    return Curve(name, tuple(t - row.t[0] for t in row.t), tuple(row.rate), cv)


# -- the whole -------------------------------------------------------------------------------------------


class Window(msgspec.Struct, frozen=True):
    """The part of a trace to take: from, how long, how many requests at most; its times start at 0."""

    from_s: float = 0.0
    for_s: float | None = None
    limit: int | None = None

    def cut(self, requests: Iterable[TraceRequest]) -> Iterator[TraceRequest]:
        """The requests inside, their times counted from the start of the window."""
        end_s = self.from_s + self.for_s if self.for_s is not None else float("inf")
        taken = 0
        for request in requests:
            if request.at_s >= end_s or (self.limit is not None and taken >= self.limit):
                return
            if request.at_s >= self.from_s:
                taken += 1
                yield msgspec.structs.replace(request, at_s=request.at_s - self.from_s)


def open_trace(
    path: Path,
    *,
    seed: int = 0,
    window: Window = Window(),  # noqa: B008 - frozen
    rate_scale: float = 1.0,
    lengths: Lengths = Lengths(),  # noqa: B008 - frozen
    evenly: bool = False,
) -> Iterator[TraceRequest]:
    """The requests of any trace; *seed*, *rate_scale*, *lengths* shape rate curves, *evenly* spreads rows."""
    form = sniff(path)
    if form == "servegen":
        drawn = (_drawn(curve, seed, window.from_s, rate_scale, lengths) for curve in read_curves(path))
        return window.cut(heapq.merge(*drawn, key=attrgetter("at_s")))
    rows = read_rows(path, form=form)
    return window.cut(spread(rows) if evenly else rows)


def _drawn(curve: Curve, seed: int, from_s: float, scale: float, lengths: Lengths) -> Iterator[TraceRequest]:
    rng = Random(f"{seed}/{curve.name}")
    for at_s in arrivals(curve, rng, from_s=from_s, scale=scale):
        yield TraceRequest(at_s, *lengths.draw(rng))


def spread(requests: Iterable[TraceRequest]) -> Iterator[TraceRequest]:
    """Requests of one time laid out evenly until the next time: undoes the binning of published times."""
    step = 0.0
    for start, group, end in _bins(requests):
        step = end - start if end is not None else step
        for place, member in enumerate(group):
            yield msgspec.structs.replace(member, at_s=start + step * place / len(group))


def _bins(requests: Iterable[TraceRequest]) -> Iterator[tuple[float, list[TraceRequest], float | None]]:
    """Requests of one time, with that time and the next one (none after the last)."""
    held: list[TraceRequest] = []
    for request in requests:
        if held and request.at_s > held[0].at_s:
            yield held[0].at_s, held, request.at_s
            held = []
        held.append(request)
    if held:
        yield held[0].at_s, held, None
