"""`grove-dp replay TRACE`: play a request trace against a server and report what users would have seen."""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from grove_dp.sim.report import Report

__all__ = ["add_parser", "run"]

_EPILOG = """\
Formats, recognised by content (plain, .gz or .xz): Mooncake JSON lines, Azure LLM inference CSV, ServeGen
rate curves. Prompts are text whose shared prefixes follow the trace's hash_ids. The report (JSON) goes to
stdout or --out, progress to stderr. Exit codes: 0 every request was answered, 1 some were not, 2 usage or
trace, 130 interrupted.
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `replay` to the command line."""
    parser = subparsers.add_parser(
        "replay",
        help="play a request trace against a server",
        description="Play a request trace against a server, open loop; report latencies, rates, errors.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_arguments(parser)
    parser.set_defaults(run=run)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `replay`."""
    parser.add_argument("trace", type=Path, metavar="TRACE", help="the trace file")
    target = parser.add_argument_group("server")
    target.add_argument("--url", default="http://127.0.0.1:8000", help="default %(default)s")
    target.add_argument("--model", help="default: the one that /v1/models lists")
    target.add_argument("--endpoint", choices=("chat", "completions"), default="chat")
    target.add_argument("--no-stream", action="store_true", help="ask for whole answers, not streams")
    target.add_argument(
        "--timeout", type=_positive, default=600.0, metavar="S", help="per request; default 600"
    )
    part = parser.add_argument_group("trace")
    part.add_argument(
        "--from",
        dest="from_s",
        type=_duration,
        default=0.0,
        metavar="TIME",
        help="start here (90, 90s, 5m, 2h, 1d)",
    )
    part.add_argument("--for", dest="for_s", type=_duration, metavar="TIME", help="so much of the trace")
    part.add_argument("--limit", type=int, metavar="N", help="at most N requests")
    part.add_argument("--speed", type=_positive, default=1.0, metavar="X", help="X times as fast as recorded")
    part.add_argument(
        "--spread",
        action="store_true",
        help="spread requests of one time evenly until the next time (Mooncake's times are 3 s bins)",
    )
    part.add_argument("--seed", type=int, default=0, help="of arrivals, lengths, prompts and requests")
    part.add_argument(
        "--rate-scale", type=_positive, default=1.0, metavar="X", help="rate curves: X times the rate"
    )
    part.add_argument(
        "--input-mean",
        type=_positive,
        default=804.0,
        metavar="N",
        help="rate curves: mean prompt tokens (lognormal, CV 1.2)",
    )
    part.add_argument(
        "--output-mean",
        type=_positive,
        default=169.0,
        metavar="N",
        help="rate curves: mean answer tokens (lognormal, CV 1.0)",
    )
    prompts = parser.add_argument_group("prompts")
    prompts.add_argument(
        "--prompt",
        choices=("text", "ids"),
        default="text",
        help="ids: token ids (implies --endpoint completions)",
    )
    prompts.add_argument(
        "--block-tokens", type=int, default=512, metavar="N", help="tokens per hash id; default 512"
    )
    prompts.add_argument("--max-input", type=int, metavar="N", help="cut longer prompts to N tokens")
    prompts.add_argument("--max-output", type=int, metavar="N", help="ask for N tokens at most")
    prompts.add_argument("--allow-eos", action="store_true", help="let answers end early (no ignore_eos)")
    output = parser.add_argument_group("report")
    output.add_argument("--out", type=Path, metavar="FILE", help="write the JSON report here, not to stdout")
    output.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the timeline")
    output.add_argument("--no-progress", action="store_true", help="print nothing while it runs")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return value


def _duration(text: str) -> float:
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400}.get(text[-1:])
    try:
        value = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        value = -1.0
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a time like 90, 90s, 5m, 2h or 1d")
    return value


def run(args: argparse.Namespace) -> int:
    """Replay, report, and say by the exit code whether every request was answered."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_replay(args))


async def _replay(args: argparse.Namespace) -> int:
    from itertools import chain

    from grove_dp.clock import SystemClock
    from grove_dp.sim.arrivals import Lengths
    from grove_dp.sim.client import Endpoint, LoadClient
    from grove_dp.sim.prompts import TEMPLATE_TOKENS, Prompts
    from grove_dp.sim.replay import Ask, Replay, served_model
    from grove_dp.sim.report import Report
    from grove_dp.sim.trace import Window, open_trace

    _raise_file_limit()
    clock, report = SystemClock(), Report()
    requests = open_trace(
        args.trace,
        seed=args.seed,
        window=Window(args.from_s, args.for_s, args.limit),
        rate_scale=args.rate_scale,
        lengths=Lengths(args.input_mean, args.output_mean),
        evenly=args.spread,
    )
    first = next(requests, None)  # a bad file is told before any request goes out
    endpoint: Literal["chat", "completions"] = "completions" if args.prompt == "ids" else args.endpoint
    client = LoadClient(Endpoint.of(args.url), clock=clock, gaps=report.gaps, timeout_s=args.timeout)
    replay = Replay(
        client,
        chain([first] if first is not None else [], requests),
        ask=Ask(
            model=args.model or await served_model(client),
            endpoint=endpoint,
            stream=not args.no_stream,
            ignore_eos=not args.allow_eos,
            seed=args.seed,
            max_output_tokens=args.max_output,
        ),
        prompts=Prompts(
            form=args.prompt,
            seed=args.seed,
            block_tokens=args.block_tokens,
            template_tokens=TEMPLATE_TOKENS if endpoint == "chat" else 0,
            max_tokens=args.max_input,
        ),
        clock=clock,
        report=report,
        speed=args.speed,
    )
    begun, cpu_begun = clock.now(), time.process_time()
    whole = await _until_done(replay.run(), report, args)
    client.close()
    _write(args, report, clock.now() - begun, time.process_time() - cpu_begun)
    if not whole:
        return 130
    return 1 if report.failed or report.cut else 0


async def _until_done(work: Coroutine[None, None, None], report: Report, args: argparse.Namespace) -> bool:
    """Run *work* to its end, or to SIGINT or SIGTERM; False when it was interrupted."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    progress = asyncio.ensure_future(_progress(report, args))
    try:
        await task
    except asyncio.CancelledError:
        return False
    finally:
        progress.cancel()
        await asyncio.wait([progress])
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    return True


async def _progress(report: Report, args: argparse.Namespace) -> None:
    """A bar on a terminal, a line every few seconds elsewhere, nothing with --no-progress."""
    if args.no_progress:
        return
    if not sys.stderr.isatty():
        while True:
            await asyncio.sleep(5)
            print(_line(report), file=sys.stderr, flush=True)
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    total_s = args.for_s / args.speed if args.for_s is not None else None
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[line]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, refresh_per_second=4) as bar:
        total = args.limit if args.limit is not None else total_s
        task = bar.add_task("replay", total=total, line="")
        begun = time.monotonic()
        while True:
            done = report.sent - report.in_flight if args.limit is not None else time.monotonic() - begun
            bar.update(task, completed=done, line=_line(report))
            await asyncio.sleep(0.25)


def _line(report: Report) -> str:
    return (
        f"{report.sent} sent, {report.in_flight} in flight, {report.ok} ok, {report.failed} failed, "
        f"{report.cut} cut, "
        f"ttft p50 {report.ttft.at(0.5) * 1e3:.0f} ms p99 {report.ttft.at(0.99) * 1e3:.0f} ms"
    )


def _write(args: argparse.Namespace, report: Report, wall_s: float, cpu_s: float) -> None:
    import msgspec

    from grove_dp.sim.plot import plot

    settings = {"trace": str(args.trace), "url": args.url, "speed": args.speed, "seed": args.seed}
    found = {**settings, **report.as_dict(wall_s, cpu_s)}
    text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n"
    if args.out is not None:
        args.out.write_text(text)
    else:
        sys.stdout.write(text)
    if args.plot is not None:
        plot(report, args.plot, f"{args.trace.name} at {args.speed:g} times its speed")
    for warning in found["client"]["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)


def _raise_file_limit() -> None:
    """One connection a stream: take all the descriptors that this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    from grove_dp.cli.main import main

    sys.exit(main(["replay", *sys.argv[1:]]))
