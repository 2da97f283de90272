"""How a story is shown while it is played: a live screen on a terminal, else plain lines.

A screen is drawn anew four times a second for the terminal's size at that moment. What does not fit is left
out from the bottom, so a screen is told its width and height and puts first what matters most.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from rich.console import RenderableType

__all__ = ["Show", "told"]

_DRAW_S: Final = 0.25
_LINE_S: Final = 3.0


def told(events: Iterable[tuple[float, str]], width: int, rows: int) -> RenderableType:
    """The newest of *events* that fit, each on as many rows as it needs."""
    from rich.console import Console
    from rich.text import Text

    console, lines = Console(width=width), Text()
    wrapped = [Text(f"{at_s:5.1f} s  {event}").wrap(console, width) for at_s, event in list(events)[-rows:]]
    shown = [line for event in wrapped for line in event][-rows:]
    for place, line in enumerate(shown):
        lines.append_text(line).append("\n" if place + 1 < len(shown) else "")
    return lines if shown else Text("…")


class Show:
    """A live screen on a terminal, else a line every few seconds and one for each event."""

    def __init__(self, *, plain: bool) -> None:
        self.live = sys.stdout.isatty() and not plain

    def say(self, text: str) -> None:
        """An event; on a screen it has its own place."""
        if not self.live:
            print(text, flush=True)

    async def during(
        self,
        work: Coroutine[None, None, None],
        *,
        line: Callable[[], str],
        screen: Callable[[int, int], RenderableType],
    ) -> None:
        """Show how *work* goes, until it is done."""
        await (self._drawn(work, screen) if self.live else _beside(work, self._lines(line)))

    async def _lines(self, line: Callable[[], str]) -> None:
        while True:
            await asyncio.sleep(_LINE_S)
            if text := line():
                print(text, flush=True)

    async def _drawn(
        self, work: Coroutine[None, None, None], screen: Callable[[int, int], RenderableType]
    ) -> None:
        import logging

        from rich.live import Live

        logging.getLogger().addHandler(logging.NullHandler())  # else warnings are written into the screen
        with Live(auto_refresh=False) as live:

            def draw() -> None:
                size = live.console.size
                live.update(screen(size.width, size.height), refresh=True)

            async def drawing() -> None:
                while True:
                    draw()
                    await asyncio.sleep(_DRAW_S)

            try:
                await _beside(work, drawing())
            finally:
                draw()  # how it ended


async def _beside(work: Coroutine[None, None, None], show: Coroutine[None, None, None]) -> None:
    showing = asyncio.ensure_future(show)
    try:
        await work
    finally:
        showing.cancel()
        await asyncio.wait([showing])
