"""`grove-dp worker-sim`: simulated vLLM workers on consecutive ports."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grove_dp.sim.worker import SimWorkers

__all__ = ["add_parser", "main", "run"]

_FLAGS = (
    "profile speed seed tokenizer block_size num_gpu_blocks max_num_seqs max_num_batched_tokens max_model_len "
    "long_prefill_token_threshold max_num_queued_reqs answer_tokens api_key enable_prompt_tokens_details "
    "enable_per_request_metrics enable_request_id_headers enable_auto_tool_choice"
).split()


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command; nothing heavy is imported before `run`."""
    parser = subparsers.add_parser(
        "worker-sim",
        help="simulated vLLM workers",
        description="Serve simulated vLLM 0.32 workers: same HTTP, an engine with a KV cache, no GPU.",
    )
    _add_arguments(parser)
    parser.set_defaults(run=run)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    place = parser.add_argument_group("where")
    place.add_argument("--host", default="127.0.0.1")
    place.add_argument("--port", type=int, default=8101, help="first port; 0 picks free ones")
    place.add_argument("--count", type=int, default=1, metavar="N", help="workers, on consecutive ports")
    place.add_argument("--admin-port", type=int, metavar="PORT", help="faults and states of all workers")
    model = parser.add_argument_group("model and machine")
    model.add_argument("--profile", help="llama-8b-h100 (default), llama-70b-tp8-h100, tiny-cpu")
    model.add_argument(
        "--served-model-name",
        "--model",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="the first is the id; all work",
    )
    model.add_argument("--tokenizer", metavar="PATH", help="a tokenizer.json, or a folder with one")
    model.add_argument("--speed", type=float, metavar="X", help="times real time")
    model.add_argument("--seed", type=int)
    model.add_argument(
        "--answer-tokens", type=int, metavar="N", help="mean length of an answer that may end freely"
    )
    engine = parser.add_argument_group("engine (as vllm serve; defaults from the profile)")
    for name in (
        "block-size num-gpu-blocks max-num-seqs max-num-batched-tokens max-model-len "
        "long-prefill-token-threshold max-num-queued-reqs"
    ).split():
        engine.add_argument(f"--{name}", type=int, metavar="N")
    engine.add_argument("--no-prefix-caching", action="store_true")
    serving = parser.add_argument_group("serving (as vllm serve)")
    serving.add_argument("--api-key", metavar="KEY")
    serving.add_argument("--shutdown-timeout", type=float, default=0.0, metavar="S")
    serving.add_argument("--sse-keep-alive-interval", type=float, default=0.0, metavar="S")
    for name in (
        "enable-prompt-tokens-details",
        "enable-per-request-metrics",
        "enable-request-id-headers",
        "enable-auto-tool-choice",
    ):
        serving.add_argument(f"--{name}", action="store_true", default=None)


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    import msgspec

    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    from grove_dp.sim.worker import SimWorkers, WorkerSettings

    given = {name: getattr(args, name) for name in _FLAGS}
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        settings = msgspec.structs.replace(
            WorkerSettings(),
            **changes,
            served_model_name=tuple(args.served_model_name or ()),
            prefix_caching=not args.no_prefix_caching,
            shutdown_timeout_s=args.shutdown_timeout,
            sse_keep_alive_s=args.sse_keep_alive_interval,
        )
        workers = SimWorkers(
            args.count, host=args.host, port=args.port, admin_port=args.admin_port, settings=settings
        )
    except (ValueError, FileNotFoundError) as error:
        print(f"grove-dp worker-sim: {error}", file=sys.stderr)
        return 2
    with runner:
        return runner.run(_serve(workers))


async def _serve(workers: "SimWorkers") -> int:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _note, stopped, number)
    try:
        async with workers:
            admin = f"  admin {workers.admin_url}" if workers.admin_url else ""
            print(f"ready: {' '.join(workers.urls)}{admin}", flush=True)
            if await stopped == signal.SIGINT:
                return 130
            await workers.shutdown()
    except OSError as error:
        print(f"grove-dp worker-sim: {error}: choose another --port", file=sys.stderr)
        return 1
    return 0


def _note(stopped: "asyncio.Future[int]", number: int) -> None:
    if not stopped.done():
        stopped.set_result(number)


def main(argv: list[str] | None = None) -> int:
    """`python -m grove_dp.cli.worker_sim`."""
    parser = argparse.ArgumentParser(prog="grove-dp worker-sim")
    _add_arguments(parser)
    return run(parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
