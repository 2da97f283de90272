"""SIGTERM: nothing in flight is cut before the grace ends, and then with a well-formed error."""

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest

from grove_dp.testing.frontend import PATIENCE_S, Frontend, eventually
from grove_dp.testing.http import chunk, json_answer, post, sse_answer, sse_head
from grove_dp.testing.vllm import CHAT, COMPLETIONS, chat, chat_stream, completion
from grove_dp.testing.worker import End

if TYPE_CHECKING:
    from conftest import Rig

STREAM = post(CHAT, chat(stream=True))
REQUEST = post(COMPLETIONS, completion())
RAW = sse_answer(chat_stream(usage=True))
ENDLESS = [sse_head() + chunk(chat_stream()[0] + b"\n\n"), End.HANG]


async def _refuses(frontend: Frontend) -> bool:
    try:
        (await frontend.client()).close()
    except ConnectionError:
        return True
    return False


async def test_an_idle_frontend_ends_at_once_with_0(rig: "Rig") -> None:
    frontend = await rig.serve(await rig.worker())
    frontend.signal()
    assert await frontend.exit_code() == 0


async def test_streams_and_requests_finish_while_readyz_fails(rig: "Rig") -> None:
    go = asyncio.Event()
    worker = await rig.worker(default=[RAW[:400], go, RAW[400:]])
    frontend = await rig.serve(worker, drain={"delay_s": 2.0})
    worker.script(RAW[:400], go, RAW[400:])
    worker.script(go, json_answer(b'{"ok":true}'))
    async with await frontend.client() as streaming, await frontend.client() as waiting:
        await streaming.send(STREAM)
        head = await streaming.head()
        await waiting.send(REQUEST)
        await frontend.exchanges_until(2)
        frontend.signal()
        await frontend.until("/readyz", 503)
        assert (await frontend.admin("GET", "/livez")).status == 200
        worker.script(json_answer(b'{"late":true}'))
        assert (await frontend.ask(REQUEST)).status == 200  # the delay: still serving
        await eventually(lambda: _refuses(frontend), bool, PATIENCE_S, "the delay is over")
        assert frontend.running
        go.set()
        assert [event async for event in streaming.events(head)] == chat_stream()
        assert (await waiting.answer()).json() == {"ok": True}
        assert await frontend.exit_code() == 0


async def test_after_the_delay_nothing_new_is_accepted(rig: "Rig") -> None:
    worker = await rig.worker(default=ENDLESS)
    frontend = await rig.serve(worker, drain={"delay_s": 0.2, "grace_s": 30})
    async with await frontend.client() as streaming, await frontend.client() as idle:
        await streaming.send(STREAM)
        await streaming.head()
        frontend.signal()
        async with asyncio.timeout(20):
            assert await idle.ended()  # idle connections are closed
        with pytest.raises(ConnectionError):
            await frontend.ask(REQUEST)
        frontend.signal()
        assert await frontend.exit_code() == 0


async def test_at_the_end_of_the_grace_a_stream_gets_a_well_formed_error(rig: "Rig") -> None:
    worker = await rig.worker(default=ENDLESS)
    frontend = await rig.serve(worker, drain={"grace_s": 0.4})
    async with await frontend.client() as client:
        await client.send(STREAM)
        head = await client.head()
        start = time.monotonic()
        frontend.signal()
        first, error, done = [event async for event in client.events(head)]
        assert time.monotonic() - start > 0.35
    assert (first, done) == (chat_stream()[0], b"data: [DONE]")
    assert b"ShuttingDown" in error
    assert await frontend.exit_code() == 0


async def test_at_the_end_of_the_grace_a_waiting_request_gets_503(rig: "Rig") -> None:
    worker = await rig.worker(default=[End.HANG])
    frontend = await rig.serve(worker, drain={"grace_s": 0.3})
    async with await frontend.client() as client:
        await client.send(REQUEST)
        await worker.call()
        frontend.signal()
        answer = await client.answer()
    assert (answer.status, answer.error()["reason"]) == (503, "ShuttingDown")
    assert await frontend.exit_code() == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_now_and_still_well_formed(rig: "Rig", second: int) -> None:
    worker = await rig.worker(default=ENDLESS)
    frontend = await rig.serve(worker, drain={"delay_s": 30, "grace_s": 30})
    async with await frontend.client() as client:
        await client.send(STREAM)
        head = await client.head()
        frontend.signal()
        await frontend.until("/readyz", 503)
        start = time.monotonic()
        frontend.signal(second)
        *_, error, done = [event async for event in client.events(head)]
        assert (b"ShuttingDown" in error, done) == (True, b"data: [DONE]")
        code = await frontend.exit_code()
    assert time.monotonic() - start < 20
    assert code == (0 if second == signal.SIGTERM else code)


async def test_while_draining_answers_say_connection_close(rig: "Rig") -> None:
    go = asyncio.Event()
    worker = await rig.worker(default=[go, json_answer(b"{}")])
    frontend = await rig.serve(worker, drain={"delay_s": 0.0, "grace_s": 10})
    async with await frontend.client() as client:
        await client.send(REQUEST)
        await worker.call()
        frontend.signal()
        await frontend.until("/readyz", 503)
        await asyncio.sleep(0.1)
        go.set()
        assert (await client.answer()).header("connection") == "close"
        assert await client.ended()
    assert await frontend.exit_code() == 0
