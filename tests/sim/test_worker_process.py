"""`grove-dp worker-sim` as a process: its ready line, signals and exit codes."""

import asyncio
import json
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.sim.kv_feed import events_of, replayed


@asynccontextmanager
async def worker_sim(*words: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """A running command and the URLs of its ready line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "grove_dp", "worker-sim", "--port", "0", "--profile", "tiny-cpu", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            ready = (await process.stdout.readline()).decode()
        yield process, re.findall(r"http://\S+", ready)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_many_workers_serve_from_one_process_and_ctrl_c_ends_it_quietly() -> None:
    async with (
        worker_sim("--count", "3", "--admin-port", "0") as (process, urls),
        aiohttp.ClientSession() as http,
    ):
        assert len(set(urls)) == 4
        for url in urls[:3]:
            async with http.get(f"{url}/v1/models") as answer:
                assert (await answer.json())["data"][0]["id"] == "tiny-llama"
        async with http.get(f"{urls[3]}/workers") as states:
            assert [state["url"] for state in await states.json()] == urls[:3]
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
        assert process.stderr is not None
        assert await process.stderr.read() == b""


async def test_events_are_published_where_each_worker_says() -> None:
    words = "--kv-events-endpoint tcp://127.0.0.1:0 --kv-replay-endpoint tcp://127.0.0.1:0 --count 2"
    more = "--data-parallel-size 2 --kv-events-format array --kv-events-hashes bytes --kv-events-topic here"
    digests = "--prefix-caching-hash-algo sha256_cbor --block-size 32"
    ask = {"prompt": [5] * 70, "max_tokens": 1}
    async with (
        worker_sim(*words.split(), *more.split(), *digests.split()) as (_, urls),
        aiohttp.ClientSession() as http,
    ):
        sources = []
        for url in urls:
            async with http.get(f"{url}/kv_event_sources") as told:
                sources += list((await told.json()).values())
            async with http.post(f"{url}/v1/completions", json=ask, headers={"x-data-parallel-rank": "1"}):
                pass
        assert len({source["endpoint"] for source in sources}) == 4
        batches = [await replayed(source["replay_endpoint"]) for source in sources]
    assert [len(found) for found in batches] == [0, 1, 0, 1]
    (one,), (other,) = events_of(batches[1][0]), events_of(batches[3][0])
    assert [one[0], len(one[1]), one[3]] == ["BlockStored", 2, [5] * 64]
    assert {len(digest) for digest in one[1] + other[1]} == {32}
    assert one[1] != other[1]  # 0.23 still drew a seed for each process
    assert one[2:] == other[2:]


@pytest.mark.parametrize(("timeout", "ending"), [("0", b'"code": 500'), ("20", b'"finish_reason":"length"')])
async def test_sigterm_ends_a_stream_as_vllm_does(timeout: str, ending: bytes) -> None:
    async with worker_sim("--shutdown-timeout", timeout) as (process, urls), aiohttp.ClientSession() as http:
        ask = {"prompt": "story", "max_tokens": 300, "ignore_eos": True, "stream": True}
        async with http.post(f"{urls[0]}/v1/completions", json=ask) as stream:
            first = await stream.content.readuntil(b"\n\n")
            assert json.loads(first[6:])["choices"][0]["text"]
            process.send_signal(signal.SIGTERM)
            rest = await stream.content.read()
        assert ending in rest
        assert rest.endswith(b"data: [DONE]\n\n")
        assert await process.wait() == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--profile", "abacus"], 2, "llama-8b-h100"),
        (["--tokenizer", "/nowhere"], 2, "tokenizer.json"),
        (["--num-gpu-blocks", "8"], 2, "--num-gpu-blocks"),
        (["--kv-events-endpoint", "localhost"], 2, "tcp://HOST:PORT"),
        (["--kv-events-endpoint", "tcp://127.0.0.1:0", "--kv-events-format", "0.8"], 2, "from 0.9 on"),
        (
            ["--kv-events-endpoint", "tcp://127.0.0.1:0", "--prefix-caching-hash-algo", "md5"],
            2,
            "sha256_cbor",
        ),
        (["--kv-replay-endpoint", "tcp://127.0.0.1:0"], 2, "--kv-events-endpoint"),
        (["--lora-modules", "nameless"], 2, "NAME=PATH"),
    ],
)
async def test_wrong_settings_are_named_with_the_remedy(words: list[str], code: int, said: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "grove_dp", "worker-sim", "--port", "0", *words, stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == code
    assert said in errors.decode()
    assert b"Traceback" not in errors


async def test_a_taken_port_is_a_failure_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "grove_dp", "worker-sim", "--port", str(taken.getsockname()[1])),
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"--port" in errors
