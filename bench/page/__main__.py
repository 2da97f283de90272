"""python -m bench.page: load on a frontend, its page scraped twice a second, drawn to bench/results/page.svg.

Also a check of the page: the clients' own median time to the first token must be what the scraped histogram
says, within a bucket and a half; every request and token must be on it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from statistics import median, quantiles

from bench import results
from bench.page.load import Phase, Seen, drive
from bench.page.scrapes import Interval, Page, intervals
from bench.results import Row, row
from grove_dp.sim.publisher import EventSettings
from grove_dp.sim.worker import SimWorkers
from grove_dp.testing.frontend import Frontend

__all__ = ["main"]

EVERY_S = 0.5
OVER = 4  # scrapes: rates of two seconds
WORKERS = 3
PHASES = (Phase(12, 8), Phase(90, 10), Phase(8, 18))


@contextlib.asynccontextmanager
async def frontend_of(workers: int) -> AsyncIterator[Frontend]:
    """Ready, before simulated workers."""
    events = EventSettings(endpoint="tcp://127.0.0.1:0", replay_endpoint="tcp://127.0.0.1:0")
    fleet = SimWorkers(
        workers,
        profile="tiny-cpu",
        speed=1.0,
        enable_prompt_tokens_details=True,
        kv_events=events,
        max_num_seqs=12,
    )
    async with fleet as all_workers, Frontend([each.url for each in all_workers]) as frontend:
        for worker in all_workers:
            await frontend.worker_until(worker.url.removeprefix("http://"), 10.0, state="ready")
        yield frontend


async def scraped(frontend: Frontend, begin: float, pages: list[Page], took: list[float]) -> None:
    """Scrape until cancelled."""
    while True:
        asked = time.monotonic()
        answer = await frontend.admin("GET", "/metrics")
        took.append(time.monotonic() - asked)
        pages.append(Page(asked - begin, answer.body.decode()))
        await asyncio.sleep(max(0.0, asked + EVERY_S - time.monotonic()))


async def run(phases: Sequence[Phase], rng: Random) -> tuple[list[Page], list[float], list[Seen]]:
    """Pages, what each scrape took, and what the clients saw."""
    pages: list[Page] = []
    took: list[float] = []
    async with frontend_of(WORKERS) as frontend:
        scraper = asyncio.create_task(scraped(frontend, time.monotonic(), pages, took))
        try:
            seen = await drive(frontend, phases, rng)
            await asyncio.sleep(2 * EVERY_S)
        finally:
            scraper.cancel()
            await asyncio.gather(scraper, return_exceptions=True)
    return pages, took, seen


def rows(pages: Sequence[Page], took: Sequence[float], seen: Sequence[Seen]) -> list[Row]:
    """What the page said, beside what the clients saw."""
    whole, last = Interval(pages[0], pages[-1]), pages[-1]
    ttft = [each.ttft_s * 1e3 for each in seen]
    clients = {0.5: median(ttft), 0.95: quantiles(ttft, n=20)[-1]}
    found = [
        row("requests that ended", last.sum("endings_total"), "", anchor="answered", anchor_value=len(seen)),
    ]
    for q, anchor in clients.items():
        told = (whole.quantile("time_to_first_token_seconds", q) or 0.0) * 1e3
        name = f"time to first token, p{q * 100:g}"
        found.append(row(name, told, "ms", anchor="clients", anchor_value=anchor))
    tokens = last.by("tokens_total", "kind")["output"]
    counted = last.sum("output_tokens_total")
    found += [
        row("output tokens, by model", tokens, "", anchor="as workers say", anchor_value=counted),
        row("scrape, median", median(took) * 1e3, "ms"),
        row("page", last.bytes / 1024, "KiB"),
    ]
    return found


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.page", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="of the rates: for slower machines")
    parser.add_argument("--quick", action="store_true", help="six seconds: is it broken?")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder for result and picture")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    asked = parse(argv)
    shrink = 6.0 if asked.quick else 1.0
    phases = [Phase(phase.rate * asked.scale, phase.seconds / shrink) for phase in PHASES]
    pages, took, seen = asyncio.run(run(phases, Random(20_261_121)))
    result = results.new(shlex.join(["python", "-m", "bench.page", *argv]), rows(pages, took, seen))
    asked.out.mkdir(parents=True, exist_ok=True)
    results.write(result, "page", asked.out)
    try:
        from bench.page.picture import draw
    except ImportError:
        pass
    else:
        draw(pages, list(intervals(pages, OVER)), phases, asked.out / "page.svg")
    results.present(result)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
