"""What a person watches during the demo: the workers, the numbers so far, the events; or plain lines."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from grove_dp.sim.acts import table
from grove_dp.sim.show import told

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from grove_dp.sim.demo import Demo
    from grove_dp.sim.processes import Child
    from grove_dp.sim.report import Report

__all__ = ["Rates", "line", "screen"]

_COLOURS = {"ready": "green", "down": "red", "unhealthy": "red"}
_EVENTS = (4, 10)  # rows of their panel: with fewer it goes, more it never takes
_REQUESTS = 2  # rows
_BORDER = 2  # rows of a panel
_EDGE = 4  # columns of a panel
_COLUMNS = ("pid", "state", "cache", "in flight", "answers/s", "tokens/s", "cached", "ttft p50", "p99")
_SPARED = ("pid", "cache", "answers/s")  # of these, where there are fewer columns than
_WIDE = 100


class Rates:
    """Answers and tokens per second of each worker, over the last few looks."""

    def __init__(self, looks: int = 8) -> None:
        self._seen: deque[tuple[float, dict[str, tuple[int, int]]]] = deque(maxlen=looks)
        self._of: Report | None = None

    def look(self, demo: Demo) -> dict[str, tuple[float, float]]:
        """Note the counts now; the difference to the oldest look of this act, per second."""
        report = demo.act.report
        if report is not self._of:
            self._of = report
            self._seen.clear()
        counts = {name: (share.ok, share.output_tokens) for name, share in report.workers.items()}
        counts[""] = (report.ok, report.output_tokens)
        self._seen.append((demo.age_s, counts))
        begun, before = self._seen[0]
        span = max(demo.age_s - begun, 1e-9)
        return {
            name: ((ok - before.get(name, (0, 0))[0]) / span, (tokens - before.get(name, (0, 0))[1]) / span)
            for name, (ok, tokens) in counts.items()
        }


def line(demo: Demo, rates: Rates) -> str:
    """The state in one line, for logs and pipes."""
    act, (answers, tokens) = demo.act, rates.look(demo)[""]
    report = act.report
    states = " ".join(f"{state.id.rpartition(':')[2]}={state.state}" for state in demo.states.values())
    return (
        f"{demo.age_s:5.1f} s  {act.policy}: {report.sent} sent, {report.in_flight} in flight, "
        f"{report.ok} ok, {report.failed} failed, {report.cut} cut; "
        f"{answers:.1f} answers/s, {tokens:,.0f} tokens/s, {report.hit_rate:.0%} cached, "
        f"ttft p50 {report.ttft.at(0.5) * 1e3:.0f} ms "
        f"p99 {report.ttft.at(0.99) * 1e3:.0f} ms; {states}"
    )


def screen(demo: Demo, rates: Rates, width: int, height: int) -> RenderableType:
    """The state as a rich screen of at most that size: requests, workers, the comparison, events."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    seen, inner = rates.look(demo), width - _EDGE
    place = demo.acts.index(demo.act) + 1
    title = f"grove-dp demo · act {place} of {len(demo.acts)} · policy {demo.act.policy} · {demo.model}"
    sheet = _workers(demo, seen, inner)
    panels: list[RenderableType] = [
        Panel(Group(_requests(demo, seen[""], inner), Text(), sheet), title=title, padding=(0, 1))
    ]
    left = height - (_REQUESTS + 2 + sheet.row_count + _BORDER)  # 2: an empty one, the table's head
    played = [act for act in demo.acts[:-1] if act.took_s]
    if played and left >= len(played) + 1 + _BORDER:
        compared = Text("\n".join(table(played)), no_wrap=True, overflow="ellipsis")
        panels.append(Panel(compared, title="the same requests", padding=(0, 0)))
        left -= len(played) + 1 + _BORDER
    if left >= _EVENTS[0]:
        rows = min(left, _EVENTS[1]) - _BORDER
        panels.append(Panel(told(demo.events, inner, rows), title="events", padding=(0, 1)))
    return Group(*panels)


def _requests(demo: Demo, seen: tuple[float, float], inner: int) -> RenderableType:
    """Two rows."""
    from rich.text import Text

    report = demo.act.report
    elapsed_s = min(demo.elapsed_s, demo.act.for_s)
    return Text.assemble(
        f"{elapsed_s:4.1f} s of {demo.act.for_s:.0f} s   {seen[0]:.1f} answers/s  {seen[1]:,.0f} tokens/s   ",
        f"{report.hit_rate:.0%} cached\n",
        (f"{report.sent}", "bold"),
        f" sent  {report.in_flight} in flight  ",
        (f"{report.ok} ok", "green"),
        "  ",
        (f"{report.failed} failed", "bold red" if report.failed else "green"),
        "  ",
        (f"{report.cut} cut", "yellow" if report.cut else "dim"),
        no_wrap=True,
        overflow="ellipsis",
    )


def _workers(demo: Demo, seen: dict[str, tuple[float, float]], inner: int) -> Table:
    from rich.table import Table

    shown = [name for name in _COLUMNS if inner >= _WIDE or name not in _SPARED]
    rows = Table(expand=True, box=None)
    rows.add_column("worker", no_wrap=True)
    for name in shown:
        rows.add_column(name, justify="left" if name in ("state", "cache") else "right", no_wrap=True)
    if demo.world is None:
        return rows
    for place, child in enumerate(demo.world.workers):
        worker = demo.world.worker_id(place)
        cells = _cells(demo, worker, child, seen.get(worker, (0.0, 0.0)))
        rows.add_row(worker, *(cells[name] for name in shown))
    return rows


def _cells(demo: Demo, worker: str, child: Child, rates: tuple[float, float]) -> dict[str, RenderableType]:
    """What is told of a worker, by column."""
    from rich.text import Text

    state, share = demo.states.get(worker), demo.act.report.workers.get(worker)
    name = state.state if state is not None else "?"
    cached = share.cached_tokens / share.prompt_tokens if share is not None and share.prompt_tokens else None
    times = [f"{share.ttft.at(at) * 1e3:,.0f} ms" if share is not None else "–" for at in (0.5, 0.99)]
    return {
        "pid": str(child.pid) if child.alive else "–",
        "state": Text(name, _COLOURS.get(name, "yellow")),
        "cache": state.feed if state is not None else "?",
        "in flight": str(state.inflight) if state is not None else "–",
        "answers/s": f"{rates[0]:.1f}",
        "tokens/s": f"{rates[1]:,.0f}",
        "cached": "–" if cached is None else f"{cached:.0%}",
        "ttft p50": times[0],
        "p99": times[1],
    }
