"""The one form of a bench's result: rows with bounds, as JSON, as a table, as an SVG, as an exit status.

    {"machine": {...}, "date": "...", "commit": "...", "command": "...",
     "rows": [{"name", "value", "unit", "anchor", "anchor_value", "ratio", "must", "aim", "ok"}, ...]}

A figure alone says little: machines differ, and a virtual one drifts by a quarter within an hour. So a row
carries its *anchor*, a program everybody knows, measured in the same run, and bounds are best put on ratios.
A bound is text for a person and a program alike: "ratio <= 1.15", "value <= 25". `ok` is null when there is
nothing to judge: no `must`, or a bound on a ratio whose anchor could not be measured.

    python -m bench.results bench/results/proxy.json [--gate]     prints it again
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

__all__ = [
    "RESULTS",
    "Machine",
    "Result",
    "Row",
    "describe_machine",
    "figure",
    "gate",
    "load",
    "new",
    "present",
    "row",
    "table_text",
    "write",
]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
COMPARE: dict[str, Callable[[float, float], bool]] = {"<=": float.__le__, ">=": float.__ge__}


class Machine(msgspec.Struct, frozen=True):
    cpu: str
    cores: int
    memory_gib: float
    kernel: str
    python: str


class Row(msgspec.Struct, frozen=True):
    """One measured figure. `must` and `aim` read "ratio <= 1.15" or "value <= 25"; None: no such promise."""

    name: str
    value: float
    unit: str
    anchor: str | None = None
    anchor_value: float | None = None
    ratio: float | None = None
    must: str | None = None
    aim: str | None = None
    ok: bool | None = None


class Result(msgspec.Struct, frozen=True):
    machine: Machine
    date: str
    commit: str
    command: str
    rows: list[Row]


def row(
    name: str,
    value: float,
    unit: str,
    *,
    anchor: str | None = None,
    anchor_value: float | None = None,
    ratio: float | None = None,
    must: str | None = None,
    aim: str | None = None,
) -> Row:
    """A row, judged. The ratio is value / anchor_value unless a better paired one is given."""
    if ratio is None and anchor_value:
        ratio = value / anchor_value
    ok = None if must is None else _holds(must, value, ratio)
    if aim is not None:
        _parse(aim)
    return Row(name, value, unit, anchor, anchor_value, ratio, must, aim, ok)


def _parse(bound: str) -> tuple[str, str, float]:
    try:
        of, sign, limit = bound.split()
        if of not in ("ratio", "value") or sign not in COMPARE:
            raise ValueError
        return of, sign, float(limit)
    except ValueError:
        raise ValueError(f'a bound reads "ratio <= 1.15" or "value >= 3", got {bound!r}') from None


def _holds(bound: str, value: float, ratio: float | None) -> bool | None:
    of, sign, limit = _parse(bound)
    judged = ratio if of == "ratio" else value
    return None if judged is None else COMPARE[sign](float(judged), limit)


def new(command: str, rows: Sequence[Row]) -> Result:
    """A result of now, on this machine, at this commit."""
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    return Result(describe_machine(), now, _commit(), command, list(rows))


def describe_machine() -> Machine:
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_cpu_name(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(pages * size / 2**30, 1),
        kernel=platform.release(),
        python=platform.python_version(),
    )


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _commit() -> str:
    """The commit, with "+" when tracked files differ from it; "" outside a checkout."""
    told = _git("rev-parse", "--short=12", "HEAD")
    return told + ("+" if told and _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*words: str) -> str:
    try:
        run = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return run.stdout.strip() if run.returncode == 0 else ""


def write(result: Result, name: str, folder: Path = RESULTS) -> Path:
    """Writes folder/NAME.json and, where matplotlib is there, folder/NAME.svg. Returns the JSON's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    try:
        from bench import plot  # takes a second to import, and may be absent
    except ImportError:
        print("no SVG: matplotlib is not installed (pip install 'grove-dp[plot]')", file=sys.stderr)
    else:
        plot.draw(result.rows, title=name, path=folder / f"{name}.svg")
    return path


def load(path: Path) -> Result:
    return msgspec.json.decode(path.read_bytes(), type=Result)


HEAD = ("row", "value", "unit", "anchor", "its value", "ratio", "must", "aim", "ok")


def _cells(r: Row) -> tuple[str, ...]:
    mark = {True: "yes", False: "NO", None: ""}[r.ok]
    anchor_value, ratio = figure(r.anchor_value), figure(r.ratio)
    return (
        r.name,
        figure(r.value),
        r.unit,
        r.anchor or "",
        anchor_value,
        ratio,
        r.must or "",
        r.aim or "",
        mark,
    )


def figure(value: float | None) -> str:
    """Three digits, or whole thousands; empty for None."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table_text(rows: Sequence[Row]) -> str:
    """The rows as aligned text, for logs and pipes."""
    lines = [HEAD, *map(_cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    return "\n".join(
        "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def present(result: Result) -> None:
    """Prints the rows: a coloured table on a terminal, aligned text elsewhere."""
    m = result.machine
    where = f"{m.cpu}, {m.cores} cores, Linux {m.kernel}, Python {m.python}; {result.date}; {result.commit}"
    if not sys.stdout.isatty():
        print(table_text(result.rows), where, sep="\n")
        return
    from rich.console import Console  # only a terminal needs it
    from rich.table import Table

    table = Table(caption=where)
    for title in HEAD:
        table.add_column(title, justify="right" if title in ("value", "its value", "ratio") else "left")
    for r in result.rows:
        table.add_row(*_cells(r), style={True: "green", False: "bold red", None: ""}[r.ok])
    Console().print(table)


def gate(result: Result) -> int:
    """The exit status of `--gate`: 1 where a must is broken; says which."""
    broken = [r for r in result.rows if r.ok is False]
    for r in broken:
        print(
            f"GateBroken: {r.name}: {figure(r.value)} {r.unit}, ratio {figure(r.ratio)}; must be {r.must}",
            file=sys.stderr,
        )
    return 1 if broken else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.results", description="Print a bench's result again."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="RESULT.json")
    parser.add_argument("--gate", action="store_true", help="exit 1 where a must is broken")
    asked = parser.parse_args(argv)
    status = 0
    for path in asked.files:
        result = load(path)
        present(result)
        status |= gate(result) if asked.gate else 0
    return status


if __name__ == "__main__":
    sys.exit(main())
