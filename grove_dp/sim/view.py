"""What a person watches during the demo: the workers, the numbers so far, the events; or plain lines."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from grove_dp.sim.demo import Demo

__all__ = ["Rates", "line", "screen"]

_COLOURS = {"ready": "green", "down": "red", "unhealthy": "red"}
_EVENTS = 6


class Rates:
    """Answers and tokens per second of each worker, over the last few looks."""

    def __init__(self, looks: int = 8) -> None:
        self._seen: deque[tuple[float, dict[str, tuple[int, int]]]] = deque(maxlen=looks)

    def look(self, demo: Demo) -> dict[str, tuple[float, float]]:
        """Note the counts now; the difference to the oldest look, per second."""
        counts = {name: (share.ok, share.output_tokens) for name, share in demo.report.workers.items()}
        counts[""] = (demo.report.ok, demo.report.output_tokens)
        self._seen.append((demo.elapsed_s, counts))
        begun, before = self._seen[0]
        span = max(demo.elapsed_s - begun, 1e-9)
        return {
            name: ((ok - before.get(name, (0, 0))[0]) / span, (tokens - before.get(name, (0, 0))[1]) / span)
            for name, (ok, tokens) in counts.items()
        }


def line(demo: Demo, rates: Rates) -> str:
    """The state in one line, for logs and pipes."""
    report, (answers, tokens) = demo.report, rates.look(demo)[""]
    states = " ".join(f"{state.id.rpartition(':')[2]}={state.state}" for state in demo.states.values())
    return (
        f"{demo.elapsed_s:5.1f} s  {report.sent} sent, {report.in_flight} in flight, {report.ok} ok, "
        f"{report.failed} failed, {report.cut} cut; {answers:.1f} answers/s, {tokens:,.0f} tokens/s, "
        f"ttft p50 {report.ttft.at(0.5) * 1e3:.0f} ms p99 {report.ttft.at(0.99) * 1e3:.0f} ms; {states}"
    )


def screen(demo: Demo, rates: Rates) -> RenderableType:
    """The state as a rich screen."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.text import Text

    seen = rates.look(demo)
    report = demo.report
    total = Text.assemble(
        f"{demo.elapsed_s:5.1f} s of {demo.plan.length_s:.0f} s   ",
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
    return Group(
        Panel(_table(demo, seen), title=f"grove-dp demo · {demo.world.url} · {demo.model}", padding=(0, 1)),
        Panel(total, title="requests", padding=(0, 1)),
        Panel(Group(*told) if told else Text("…"), title="events", padding=(0, 1)),
    )


def _table(demo: Demo, seen: dict[str, tuple[float, float]]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(expand=True, box=None)
    table.add_column("worker", no_wrap=True)
    for name in ("pid", "state", "in flight", "answers/s", "tokens/s", "cached", "ttft p50", "p99"):
        table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
    for place, child in enumerate(demo.world.workers):
        worker = demo.world.worker_id(place)
        state, share = demo.states.get(worker), demo.report.workers.get(worker)
        answers, tokens = seen.get(worker, (0.0, 0.0))
        name = state.state if state is not None else "?"
        table.add_row(
            worker,
            str(child.pid) if child.alive else "–",
            Text(name, _COLOURS.get(name, "yellow")),
            str(state.inflight) if state is not None else "–",
            f"{answers:.1f}",
            f"{tokens:,.0f}",
            f"{share.cached_tokens / share.prompt_tokens:.0%}"
            if share is not None and share.prompt_tokens
            else "–",
            *(f"{share.ttft.at(at) * 1e3:,.0f} ms" if share is not None else "–" for at in (0.5, 0.99)),
        )
    return table
