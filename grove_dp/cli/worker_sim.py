"""`grove-dp worker-sim`: simulated vLLM workers on consecutive ports."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

from grove_dp.errors import ConfigurationError, GroveError

if TYPE_CHECKING:
    from grove_dp.sim.publisher import EventSettings
    from grove_dp.sim.worker import SimWorkers

__all__ = ["add_parser", "run"]

_FLAGS = (
    "profile speed seed tokenizer block_size num_gpu_blocks max_num_seqs max_num_batched_tokens "
    "max_model_len long_prefill_token_threshold max_num_queued_reqs answer_tokens api_key "
    "enable_prompt_tokens_details enable_per_request_metrics enable_request_id_headers "
    "enable_auto_tool_choice enable_tokenizer_info_endpoint server_dev_mode data_parallel_size "
    "prefix_caching_hash_algo"
).split()


class PortTaken(GroveError):
    """A port of the worker is not to be had."""

    reason = "PortTaken"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Describe the command; nothing heavy is imported before `run`."""
    parser = subparsers.add_parser(
        "worker-sim",
        help="simulated vLLM workers",
        description="Serve simulated vLLM 0.32 workers: same HTTP, an engine with a KV cache, no GPU.",
    )
    _add_arguments(parser)


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
        "long-prefill-token-threshold max-num-queued-reqs data-parallel-size"
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
        "enable-tokenizer-info-endpoint",
    ):
        serving.add_argument(f"--{name}", action="store_true", default=None)
    serving.add_argument(
        "--server-dev-mode", action="store_true", default=None, help="have /reset_prefix_cache"
    )
    serving.add_argument("--lora-modules", nargs="+", default=(), metavar="NAME=PATH", help="adapters served")
    _add_event_arguments(parser.add_argument_group("KV events (as --kv-events-config of vllm serve)"))


def _add_event_arguments(events: argparse._ArgumentGroup) -> None:
    events.add_argument(
        "--kv-events-endpoint",
        metavar="tcp://HOST:PORT",
        help="publish here; each rank of each worker takes the next port, or a free one with port 0",
    )
    events.add_argument("--kv-replay-endpoint", metavar="tcp://HOST:PORT", help="answer replays here")
    events.add_argument("--kv-events-topic", default="", metavar="TEXT")
    events.add_argument(
        "--kv-events-format",
        default="map",
        metavar="FORM",
        help="map (default), array, or a release from 0.9.2 to 0.33.0: its fields, replay frames, metrics",
    )
    events.add_argument(
        "--kv-events-hashes", choices=("int", "bytes"), default="int", help="64 bits, or whole digests"
    )
    events.add_argument("--kv-events-buffer-steps", type=int, default=10_000, metavar="N")
    events.add_argument(
        "--prefix-caching-hash-algo",
        metavar="NAME",
        help="sha256 (default), sha256_cbor, xxhash, xxhash_cbor; the seed is PYTHONHASHSEED or vLLM's own",
    )


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    import uvloop

    from grove_dp.sim.worker import SimWorkers

    try:
        workers = SimWorkers(
            args.count,
            host=args.host,
            port=args.port,
            admin_port=args.admin_port,
            served_model_name=tuple(args.served_model_name or ()),
            prefix_caching=not args.no_prefix_caching,
            shutdown_timeout_s=args.shutdown_timeout,
            sse_keep_alive_s=args.sse_keep_alive_interval,
            lora_modules=tuple(_adapter(given) for given in args.lora_modules),
            kv_events=_events_of(args),
            hash_seed=os.environ.get("PYTHONHASHSEED"),
            **{name: getattr(args, name) for name in _FLAGS if getattr(args, name) is not None},
        )
    except (ValueError, OSError) as error:
        raise ConfigurationError(str(error)) from error
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(workers))


def _adapter(given: str) -> tuple[str, str]:
    name, sign, path = given.partition("=")
    if not (name and sign and path):
        raise ValueError(f"no adapter {given!r}: give --lora-modules NAME=PATH")
    return name, path


def _events_of(args: argparse.Namespace) -> EventSettings | None:
    from grove_dp.sim.publisher import EventSettings

    if args.kv_events_endpoint is None:
        if args.kv_replay_endpoint is not None:
            raise ValueError("--kv-replay-endpoint without --kv-events-endpoint: give both")
        return None
    return EventSettings(
        endpoint=args.kv_events_endpoint,
        replay_endpoint=args.kv_replay_endpoint,
        topic=args.kv_events_topic,
        buffer_steps=args.kv_events_buffer_steps,
        format=args.kv_events_format,
        int_hashes=args.kv_events_hashes == "int",
    )


async def _serve(workers: SimWorkers) -> int:
    signals: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    try:
        await workers.start()
    except OSError as error:
        raise PortTaken(
            f"{error}; choose another --port, or --kv-events-endpoint and --kv-replay-endpoint for tcp://"
        ) from error
    try:
        admin = f"  admin {workers.admin_url}" if workers.admin_url else ""
        print(f"ready: {' '.join(workers.urls)}{admin}", flush=True)
        if await signals.get() == signal.SIGINT:
            return 130
        await _shut_down(workers, signals)
    finally:
        await workers.stop()
    return 0


async def _shut_down(workers: SimWorkers, signals: asyncio.Queue[int]) -> None:
    """Shut down as vLLM does; a second signal means now."""
    gentle = asyncio.create_task(workers.shutdown())
    hasty = asyncio.create_task(signals.get())
    await asyncio.wait((gentle, hasty), return_when=asyncio.FIRST_COMPLETED)
    for task in (gentle, hasty):
        task.cancel()
    await asyncio.gather(gentle, hasty, return_exceptions=True)


if __name__ == "__main__":
    from grove_dp.cli.main import main

    sys.exit(main(["worker-sim", *sys.argv[1:]]))
