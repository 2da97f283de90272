"""What a person watches during the demo: the workers, the numbers so far, the events; or plain lines."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from grove_dp.sim.acts import table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from grove_dp.sim.demo import Demo
    from grove_dp.sim.report import Report

__all__ = ["Rates", "line", "screen"]

_COLOURS = {"ready": "green", "down": "red", "unhealthy": "red"}
_EVENTS = 6


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


def screen(demo: Demo, rates: Rates) -> RenderableType:
    """The state as a rich screen."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    seen = rates.look(demo)
    report = demo.act.report
    total = Text.assemble(
        f"{demo.elapsed_s:5.1f} s of {demo.act.for_s:.0f} s   ",
        (f"{report.sent}", "bold"),
        f" sent  {report.in_flight} in flight  ",
        (f"{report.ok} ok", "green"),
        "  ",
        (f"{report.failed} failed", "bold red" if report.failed else "green"),
        "  ",
        (f"{report.cut} cut", "yellow" if report.cut else "dim"),
        f"   {seen[''][0]:.1f} answers/s  {seen[''][1]:,.0f} tokens/s",
    )
    told = [Text(f"{at_s:5.1f} s  {event}") for at_s, event in list(demo.events)[-_EVENTS:]]
    place = demo.acts.index(demo.act) + 1
    title = f"grove-dp demo · act {place} of {len(demo.acts)} · policy {demo.act.policy} · {demo.model}"
    return Group(
        Panel(_workers(demo, seen), title=title, padding=(0, 1)),
        Panel(total, title="requests", padding=(0, 1)),
        *_compared(demo),
        Panel(Group(*told) if told else Text("…"), title="events", padding=(0, 1)),
    )


def _compared(demo: Demo) -> list[RenderableType]:
    """The acts that are played, beside each other."""
    from rich.panel import Panel
    from rich.text import Text

    played = [act for act in demo.acts[:-1] if act.took_s]
    if not played:
        return []
    return [Panel(Text("\n".join(table(played))), title="the same requests", padding=(0, 0))]


def _workers(demo: Demo, seen: dict[str, tuple[float, float]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    rows = Table(expand=True, box=None)
    rows.add_column("worker", no_wrap=True)
    for name in ("pid", "state", "cache", "in flight", "answers/s", "tokens/s", "cached", "ttft p50", "p99"):
        rows.add_column(name, justify="left" if name in ("state", "cache") else "right", no_wrap=True)
    if demo.world is None:
        return rows
    for place, child in enumerate(demo.world.workers):
        worker = demo.world.worker_id(place)
        state, share = demo.states.get(worker), demo.act.report.workers.get(worker)
        answers, tokens = seen.get(worker, (0.0, 0.0))
        name = state.state if state is not None else "?"
        rows.add_row(
            worker,
            str(child.pid) if child.alive else "–",
            Text(name, _COLOURS.get(name, "yellow")),
            state.feed if state is not None else "?",
            str(state.inflight) if state is not None else "–",
            f"{answers:.1f}",
            f"{tokens:,.0f}",
            f"{share.cached_tokens / share.prompt_tokens:.0%}"
            if share is not None and share.prompt_tokens
            else "–",
            *(f"{share.ttft.at(at) * 1e3:,.0f} ms" if share is not None else "–" for at in (0.5, 0.99)),
        )
    return rows
