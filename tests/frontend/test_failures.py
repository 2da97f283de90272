"""Workers that fail in every way seen in real ones: what has not sent a byte is served by another worker."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from grove_dp.testing.frontend import PATIENCE_S, eventually
from grove_dp.testing.http import ConnectionEnded, chunk, json_answer, post, sse_answer, sse_head
from grove_dp.testing.net import Fault
from grove_dp.testing.vllm import CHAT, COMPLETIONS, chat, chat_stream, completion
from grove_dp.testing.worker import End

if TYPE_CHECKING:
    from conftest import Rig

DRAINED = json_answer(
    b'{"error":{"message":"cannot schedule new futures after shutdown","type":"InternalServerError",'
    b'"param":null,"code":500}}',
    "500 Internal Server Error",
)
CRASHED = json_answer(
    b'{"error":{"message":"EngineCore encountered an issue. See stack trace (above) for the root cause.",'
    b'"type":"InternalServerError","param":null,"code":500}}',
    "500 Internal Server Error",
)
BUSY = json_answer(
    b'{"error":{"message":"busy","type":"x","param":null,"code":503}}', "503 Service Unavailable"
)
GOOD = json_answer(b'{"ok":true}')
REQUEST = post(COMPLETIONS, completion())
FINGERPRINT = b',"system_fingerprint":"vllm-0.32.0-07a17c73"}'
ROUND_ROBIN = {"policy": "round_robin"}
FAILURES = {
    "drained": [DRAINED],
    "crashed": [CRASHED],
    "busy": [BUSY],
    "closes at once": [End.CLOSE],
    "resets at once": [End.RESET],
    "dies in the head": [b"HTTP/1.1 200 OK\r\ncontent-le", End.RESET],
    "dies in the body": [GOOD[:-5], End.RESET],
    "dies before the first chunk": [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", End.CLOSE],
    "answers nonsense": [b"SSH-2.0-OpenSSH_9\r\n\r\n", End.CLOSE],
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_another_worker_serves_the_request(rig: "Rig", failure: str) -> None:
    bad, good = await rig.worker(default=FAILURES[failure]), await rig.worker(default=[GOOD])
    frontend = await rig.serve(bad, good, routing=ROUND_ROBIN)
    async with await frontend.client() as client:
        for _ in range(8):
            await client.send(REQUEST)
            assert (await client.answer()).json() == {"ok": True}
    assert bad.calls  # it was tried
    assert len(good.calls) == 8


@pytest.mark.parametrize("failure", FAILURES)
async def test_alone_a_failing_worker_gives_an_honest_status(rig: "Rig", failure: str) -> None:
    bad = await rig.worker(default=FAILURES[failure])
    frontend = await rig.serve(bad)
    answer = await frontend.ask(REQUEST)
    assert answer.status in (500, 502, 503)
    assert answer.error()["message"]


async def test_a_request_that_fails_everywhere_is_tried_so_often_and_no_more(rig: "Rig") -> None:
    workers = [await rig.worker(default=[End.RESET]) for _ in range(4)]
    frontend = await rig.serve(*workers, retry={"attempts": 3})
    assert (await frontend.ask(REQUEST)).status == 502
    assert sorted(len(worker.calls) for worker in workers) == [0, 1, 1, 1]


async def test_an_answer_of_the_clients_making_is_not_retried(rig: "Rig") -> None:
    for status in ("400 Bad Request", "404 Not Found", "422 Unprocessable Entity", "429 Too Many Requests"):
        wrong = json_answer(b'{"error":{"message":"no","type":"x","param":null,"code":400}}', status)
        workers = [await rig.worker(default=[wrong]) for _ in range(2)]
        frontend = await rig.serve(*workers)
        assert (await frontend.ask(REQUEST)).status == int(status[:3])
        assert sum(len(worker.calls) for worker in workers) == 1


async def test_a_vanished_worker_is_taken_out_and_comes_back(rig: "Rig") -> None:
    bad, good = await rig.worker(default=[GOOD]), await rig.worker(default=[GOOD])
    frontend = await rig.serve(bad, good, routing=ROUND_ROBIN)
    await bad.vanish()
    for _ in range(8):
        assert (await frontend.ask(REQUEST)).status == 200
    await frontend.worker_until(bad.id, state="unhealthy")
    assert len(good.calls) == 8
    await bad.listen()
    await frontend.worker_until(bad.id, state="ready", circuit="closed")
    for _ in range(4):
        assert (await frontend.ask(REQUEST)).status == 200
    assert bad.calls


async def test_health_that_fails_takes_a_worker_out(rig: "Rig") -> None:
    sick, good = await rig.worker(default=[GOOD]), await rig.worker(default=[GOOD])
    frontend = await rig.serve(sick, good, routing=ROUND_ROBIN)
    sick.health = b"503 Service Unavailable"
    await frontend.worker_until(sick.id, state="unhealthy")
    for _ in range(4):
        await frontend.ask(REQUEST)
    assert not sick.calls
    sick.health = b"200 OK"
    await frontend.worker_until(sick.id, state="ready")


async def test_failures_in_a_row_open_the_circuit_until_a_probe_succeeds(rig: "Rig") -> None:
    bad, good = await rig.worker(default=[End.RESET]), await rig.worker(default=[GOOD])
    frontend = await rig.serve(
        bad, good, routing=ROUND_ROBIN, circuit={"failures": 3, "open_s": 1.0, "max_open_s": 1.0}
    )
    while len(bad.calls) < 3:
        assert (await frontend.ask(REQUEST)).status == 200
    row = await frontend.worker_until(bad.id, circuit="open")
    assert row["state"] == "ready"  # its health is fine; it is the requests that fail
    tried = len(bad.calls)
    for _ in range(6):
        assert (await frontend.ask(REQUEST)).status == 200
    assert len(bad.calls) == tried
    bad.default = [GOOD]
    await frontend.worker_until(bad.id, open_for_s=0.0)  # from now on one request may probe
    for _ in range(4):
        assert (await frontend.ask(REQUEST)).status == 200
    await frontend.worker_until(bad.id, circuit="closed")
    assert len(bad.calls) > tried


async def test_without_any_worker_it_is_503_after_a_short_wait(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker, queue={"no_worker_s": 0.2})
    await worker.vanish()
    await frontend.worker_until(worker.id, state="unhealthy")
    start = time.monotonic()
    answer = await frontend.ask(REQUEST)
    assert answer.status == 503
    assert int(answer.header("retry-after") or 0) >= 1
    assert time.monotonic() - start < 20
    assert (await frontend.admin("GET", "/readyz")).status == 503
    assert (await frontend.admin("GET", "/livez")).status == 200


async def test_a_request_waits_for_a_worker_that_comes_back_soon(rig: "Rig") -> None:
    worker = await rig.worker(default=[GOOD])
    frontend = await rig.serve(worker, queue={"no_worker_s": 10.0})
    await worker.vanish()
    await frontend.worker_until(worker.id, state="unhealthy")
    async with await frontend.client() as client:
        await client.send(REQUEST)
        await frontend.exchanges_until(1)
        await worker.listen()
        assert (await client.answer()).status == 200


async def test_a_starting_worker_gets_nothing_until_it_is_healthy(rig: "Rig") -> None:
    starting, good = await rig.worker(default=[GOOD]), await rig.worker(default=[GOOD])
    starting.health = b"503 Service Unavailable"
    frontend = await rig.serve(good, routing=ROUND_ROBIN)
    assert (await frontend.admin("POST", "/workers", {"url": starting.url})).status in (200, 201)
    for _ in range(4):
        assert (await frontend.ask(REQUEST)).status == 200
    assert not starting.calls
    starting.health = b"200 OK"
    await frontend.worker_until(starting.id, state="ready")


# ---------------------------------------------------------------- deadlines


@pytest.mark.parametrize(
    ("deadline", "steps", "body", "reason"),
    [
        ("first_token_s", [End.HANG], chat(stream=True), "FirstTokenTimeout"),
        ("first_token_s", [sse_head(), End.HANG], chat(stream=True), "FirstTokenTimeout"),
        ("answer_s", [End.HANG], chat(), "AnswerTimeout"),
        ("total_s", [End.HANG], chat(), "TotalTimeout"),
    ],
)
async def test_a_worker_that_hangs_ends_in_504(
    rig: "Rig", deadline: str, steps: list[End], body: bytes, reason: str
) -> None:
    worker = await rig.worker(default=steps)
    limits = {deadline: 0.3, "hold_max_s": 0.2}
    if deadline == "total_s":
        limits["first_token_s"] = 0.3
    frontend = await rig.serve(worker, deadlines=limits, retry={"attempts": 1})
    start = time.monotonic()
    answer = await frontend.ask(post(CHAT, body))
    assert 0.25 < time.monotonic() - start < 20
    assert answer.status == 504
    assert reason in answer.body.decode()
    await worker.calls[0].abandoned()


async def test_total_time_cuts_a_stream_with_a_well_formed_error(rig: "Rig") -> None:
    event = chunk(chat_stream()[1] + b"\n\n")
    worker = await rig.worker(default=[sse_head(), *(step for _ in range(100) for step in (event, 0.05))])
    frontend = await rig.serve(worker, deadlines={"total_s": 2.0, "first_token_s": 1.9, "hold_max_s": 0.2})
    answer = await frontend.ask(post(CHAT, chat(stream=True)))
    *_, error, done = answer.events()
    assert (b"TotalTimeout" in error, done) == (True, b"data: [DONE]")
    await worker.calls[0].abandoned()


async def test_a_mute_worker_is_given_up_and_replaced(rig: "Rig") -> None:
    mute, good = await rig.worker(default=[End.HANG]), await rig.worker(default=[GOOD])
    frontend = await rig.serve(mute, good, routing=ROUND_ROBIN, deadlines={"answer_s": 1.0})
    statuses = [(await frontend.ask(REQUEST)).status for _ in range(4)]
    assert statuses.count(200) >= 2
    assert set(statuses) <= {200, 504}


async def test_a_slow_loris_is_closed(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker, deadlines={"head_s": 0.3, "body_s": 0.3})
    for start in (b"POST /v1/comp", REQUEST[:-3]):
        async with await frontend.client() as client:
            began = time.monotonic()
            await client.send(start)
            rest = await client.rest()
            assert 0.25 < time.monotonic() - began < 8
            assert rest == b"" or rest.startswith(b"HTTP/1.1 408 ")
    assert not worker.calls


async def test_dripping_bytes_do_not_extend_a_deadline(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker, deadlines={"head_s": 0.4})
    async with await frontend.client() as client:
        began = time.monotonic()
        drip = [b"%c" % byte for byte in b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100]
        with pytest.raises(ConnectionError):
            await client.send(*drip, gap_s=0.05)
        assert time.monotonic() - began < 8


async def test_an_idle_connection_is_closed_quietly(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker, deadlines={"idle_s": 0.3})
    async with await frontend.client() as client:
        await client.send(REQUEST)
        await client.answer()
        assert await client.ended()


# ---------------------------------------------------------------- kept connections


async def test_a_kept_connection_that_the_worker_closed_costs_nobody_anything(rig: "Rig") -> None:
    worker = await rig.worker()
    frontend = await rig.serve(worker)
    for _ in range(10):
        worker.script(GOOD, End.CLOSE)
        assert (await frontend.ask(REQUEST)).status == 200
    assert (await frontend.workers())[worker.id]["consecutive_failures"] == 0


async def test_a_kept_connection_that_dies_when_used_is_replaced(rig: "Rig") -> None:
    worker = await rig.worker(default=[GOOD])
    proxy = await rig.proxy(worker)
    frontend = await rig.serve(proxy)
    for _ in range(5):
        assert (await frontend.ask(REQUEST)).status == 200
        for link in proxy.links:
            link.fault.cut_up_after = 0  # the next byte upwards ends the connection
            link.fault.reset = True
    assert len(worker.calls) == 5


@pytest.mark.parametrize("body", [chat(), chat(stream=True)], ids=["answer", "stream"])
async def test_what_a_worker_leaves_unanswered_when_it_stops_is_asked_for_elsewhere(
    rig: "Rig", body: bytes
) -> None:
    """vLLM 0.32 stopped without a timeout may close its listener and keep silent on open requests."""
    leaving, good = await rig.worker(default=[End.HANG]), await rig.worker(default=[GOOD])
    proxy = await rig.proxy(leaving)
    health = {"interval_s": 0.1, "failures": 2}
    frontend = await rig.serve(proxy, good, routing=ROUND_ROBIN, health=health)
    while not leaving.calls:
        asked = asyncio.create_task(frontend.ask(post(CHAT, body)))
        await asyncio.wait([asked, asyncio.create_task(leaving.call(0, 0.5))], timeout=1)
    proxy.refuse(cut=False)
    assert (await asyncio.wait_for(asked, PATIENCE_S)).status == 200


# ---------------------------------------------------------------- the network in between


async def test_one_byte_at_a_time_from_the_worker_changes_nothing(rig: "Rig") -> None:
    worker = await rig.worker(default=[sse_answer(chat_stream(usage=True))])
    proxy = await rig.proxy(worker, Fault(drip=True))
    frontend = await rig.serve(proxy)
    assert (await frontend.ask(post(CHAT, chat(stream=True)))).events() == chat_stream()


async def test_a_network_that_cuts_anywhere_never_makes_a_wrong_answer(rig: "Rig") -> None:
    raw = sse_answer(chat_stream(usage=True))
    worker, good = await rig.worker(default=[raw]), await rig.worker(default=[raw])
    proxy = await rig.proxy(worker)
    frontend = await rig.serve(
        proxy, good, routing=ROUND_ROBIN, circuit={"failures": 1000}, health={"interval_s": 60}
    )
    cuts = 0
    for at in range(1, len(raw), 61):
        proxy.cut_all()
        proxy.default = Fault(cut_down_after=at, reset=bool(at % 2))
        for _ in range(2):  # one of two goes through the proxy
            answer = await frontend.ask(post(CHAT, chat(stream=True)))
            assert answer.status == 200
            events = answer.events()
            if events != chat_stream():
                cuts += 1
                assert events[-1] == b"data: [DONE]"
                assert events[-2].startswith(b'data: {"error"')
                # the fingerprint comes with the usage event: a cut before that leaves it out
                plain = [event.replace(FINGERPRINT, b"}") for event in chat_stream()]
                assert [event.replace(FINGERPRINT, b"}") for event in events[:-2]] == plain[: len(events) - 2]
    assert cuts


async def test_a_connection_that_goes_silent_is_given_up(rig: "Rig") -> None:
    worker = await rig.worker(default=[GOOD])
    proxy = await rig.proxy(worker)
    frontend = await rig.serve(
        proxy, deadlines={"answer_s": 1.5}, health={"interval_s": 60}, retry={"attempts": 1}
    )
    assert (await frontend.ask(REQUEST)).status == 200
    proxy.pause()
    assert (await frontend.ask(REQUEST)).status == 504


# ---------------------------------------------------------------- the set of workers


async def test_workers_are_added_drained_and_removed_by_the_admin_api(rig: "Rig") -> None:
    first, second = await rig.worker(default=[GOOD]), await rig.worker(default=[GOOD])
    frontend = await rig.serve(first, routing=ROUND_ROBIN)
    assert (await frontend.admin("POST", "/workers", {"url": second.url})).status in (200, 201)
    await frontend.worker_until(second.id, state="ready")
    assert (await frontend.admin("POST", f"/workers/{first.id}/drain")).status == 200
    await frontend.worker_until(first.id, state="draining")
    for _ in range(4):
        assert (await frontend.ask(REQUEST)).status == 200
    assert [len(first.calls), len(second.calls)] == [0, 4]
    assert (await frontend.admin("POST", f"/workers/{first.id}/undrain")).status == 200
    await frontend.worker_until(first.id, state="ready")
    assert (await frontend.admin("DELETE", f"/workers/{second.id}")).status in (200, 204)
    for _ in range(4):
        assert (await frontend.ask(REQUEST)).status == 200
    assert [len(first.calls), len(second.calls)] == [4, 4]
    await eventually(frontend.workers, lambda rows: list(rows) == [first.id], PATIENCE_S, "it is gone")


@pytest.mark.parametrize("how", ["drain", "remove"])
async def test_a_stream_outlives_the_drain_or_removal_of_its_worker(rig: "Rig", how: str) -> None:
    go = asyncio.Event()
    raw = sse_answer(chat_stream(usage=True))
    worker = await rig.worker(default=[raw[:400], go, raw[400:]])
    frontend = await rig.serve(worker)
    async with await frontend.client() as client:
        await client.send(post(CHAT, chat(stream=True)))
        head = await client.head()
        if how == "drain":
            await frontend.admin("POST", f"/workers/{worker.id}/drain")
            await frontend.worker_until(worker.id, state="draining", inflight=1)
        else:
            await frontend.admin("DELETE", f"/workers/{worker.id}")
        go.set()
        assert [event async for event in client.events(head)] == chat_stream()


async def test_a_file_of_workers_is_followed_while_it_changes(rig: "Rig", tmp_path: Path) -> None:
    first, second = await rig.worker(default=[GOOD]), await rig.worker(default=[GOOD])
    file = tmp_path / "workers"
    file.write_text(f"# the first\n- url: {first.url}\n")
    frontend = await rig.serve(workers={"file": str(file)})
    file.write_text(f"- url: {first.url}\n- url: {second.url}\n")
    await frontend.worker_until(second.id, state="ready")
    replacement = tmp_path / "new"
    replacement.write_text(f"- url: {second.url}\n")
    replacement.rename(file)  # as editors and config maps do
    await eventually(frontend.workers, lambda rows: list(rows) == [second.id], PATIENCE_S, "it is gone")
    assert (await frontend.ask(REQUEST)).status == 200
    assert [len(first.calls), len(second.calls)] == [0, 1]


async def test_a_worker_that_dies_while_many_stream_fails_nobody_who_saw_no_byte(rig: "Rig") -> None:
    raw = sse_answer(chat_stream(usage=True))
    go = asyncio.Event()
    dying, living = await rig.worker(default=[go, End.RESET]), await rig.worker(default=[raw])
    frontend = await rig.serve(dying, living, routing=ROUND_ROBIN)
    clients = [await frontend.client() for _ in range(40)]
    for client in clients:
        await client.send(post(CHAT, chat(stream=True)))
    await frontend.exchanges_until(20)
    await dying.vanish()
    try:
        for client in clients:
            assert (await client.answer()).events() == chat_stream()
    except ConnectionEnded as error:
        raise AssertionError("a client was cut off") from error
    finally:
        for client in clients:
            client.close()
