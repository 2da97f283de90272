"""`grove-dp serve` as an operator meets it: start, reload, end."""

import asyncio
import signal
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest

from grove_dp.testing.frontend import PATIENCE_S, Frontend, eventually, free_port
from grove_dp.testing.http import json_answer, post
from grove_dp.testing.worker import ScriptedWorker

CHAT = post("/v1/chat/completions", b'{"model":"tiny-llama","messages":[]}')


@asynccontextmanager
async def serving(*urls, ready="/readyz", **settings):
    """A frontend that is up."""
    frontend = Frontend(urls, **settings)
    async with AsyncExitStack() as stack:
        stack.push_async_exit(frontend)
        await frontend.start(ready)
        yield frontend


async def refusal(code, *urls, **settings):
    """The log of a frontend that cannot start and ends with *code*."""
    frontend = Frontend(urls, **settings)
    async with AsyncExitStack() as stack:
        stack.push_async_exit(frontend)
        with pytest.raises(AssertionError, match=f"ended with {code}"):
            await frontend.start("/livez")
        return frontend.log()


async def logged(frontend, text):
    """Wait for a line of the log, which a thread of its own writes."""

    async def look():
        return frontend.log()

    await eventually(look, lambda log: text in log, PATIENCE_S, text)


def metric(page, name):
    return float(next(line.split()[1] for line in page.decode().splitlines() if line.startswith(f"{name} ")))


# ---------------------------------------------------------------- start


async def test_a_taken_port_is_told_with_a_remedy():
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        log = await refusal(1, http={"port": port})
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in log
        assert "another port with --port [CannotListen]" in log
        assert "another port with --admin-port" in await refusal(1, admin={"port": port})


async def test_the_data_port_is_not_shared_with_another_frontend():
    async with serving(ready="/livez") as first:
        assert "Address already in use" in await refusal(1, http={"port": first.port})


async def test_a_wrong_worker_and_a_broken_file_are_configuration_errors(write):
    assert "entry 1: worker 'http://a/v1': a path" in await refusal(2, "http://a/v1")
    path = write("workers.yaml", "- {url: http://a, max: 1}")
    assert "unknown field `max`" in await refusal(2, arguments=["--workers-file", str(path)])


async def test_a_name_is_a_worker_too():
    async with ScriptedWorker() as worker, serving(f"http://localhost:{worker.port}") as frontend:
        row = await frontend.worker_until(f"localhost:{worker.port}", state="ready")
        assert row["address"] in ("127.0.0.1", "::1")
        assert (await frontend.ask(CHAT)).status == 200


@pytest.mark.parametrize("threads", [0, 2])
async def test_it_serves_nested_in_the_control_loop_and_with_threads(threads):
    async with ScriptedWorker() as worker, serving(worker.url, http={"threads": threads}) as frontend:
        for _ in range(5):
            assert (await frontend.ask(CHAT)).status == 200
        assert (await frontend.workers())[worker.id]["ok"] == 5
        assert await frontend.exchanges() == []


async def test_a_worker_added_by_the_admin_port_serves():
    async with ScriptedWorker() as worker, serving(ready="/livez") as frontend:
        assert (await frontend.admin("POST", "/workers", {"url": worker.url})).status == 201
        await frontend.until("/readyz", 200)
        assert (await frontend.ask(CHAT)).status == 200


async def test_a_drained_worker_gets_nothing_from_the_next_request_on():
    async with ScriptedWorker() as one, ScriptedWorker() as other, serving(one.url, other.url) as frontend:
        await frontend.worker_until(one.id, state="ready")
        await frontend.worker_until(other.id, state="ready")
        assert (await frontend.admin("POST", f"/workers/{one.id}/drain")).status == 200
        for _ in range(6):
            assert (await frontend.ask(CHAT)).status == 200
        assert (len(one.calls), len(other.calls)) == (0, 6)


async def test_a_removed_worker_goes_when_its_last_request_ended():
    go_on = asyncio.Event()
    async with ScriptedWorker() as worker, serving(worker.url) as frontend:
        worker.script(go_on, json_answer(b'{"late":true}'))
        asking = asyncio.create_task(frontend.ask(CHAT))
        await worker.call()
        await frontend.admin("DELETE", f"/workers/{worker.id}")
        await asyncio.sleep(0.5)  # longer than the look at leaving workers
        [row] = (await frontend.workers()).values()
        assert (row["state"], row["reason"], row["inflight"]) == ("draining", "Removed", 1)
        go_on.set()
        assert (await asking).status == 200
        await eventually(frontend.workers, lambda rows: not rows, PATIENCE_S, "the worker has gone")


async def test_what_is_in_flight_is_shown_with_its_worker():
    async with ScriptedWorker() as worker, serving(worker.url) as frontend:
        worker.script(go_on := asyncio.Event(), json_answer(b"{}"))
        asking = asyncio.create_task(frontend.ask(CHAT))
        await worker.call()
        [row] = await frontend.exchanges_until(1)
        assert (row["worker"], row["model"]) == (worker.id, "tiny-llama")
        go_on.set()
        await asking


async def test_requests_are_logged_when_asked_for():
    async with ScriptedWorker() as worker, serving(worker.url, http={"access_log": True}) as frontend:
        await frontend.ask(CHAT)
        frontend.signal(signal.SIGTERM)
        await frontend.exit_code()
        [line] = [line for line in frontend.log().splitlines() if " access: request " in line]
        assert f"worker={worker.id}" in line
        assert "status=200" in line


# ---------------------------------------------------------------- reload


async def reload_errors(frontend):
    return metric((await frontend.admin("GET", "/metrics")).body, "grove_dp_config_reload_errors_total")


async def test_the_workers_file_is_followed_and_a_broken_one_keeps_the_old(write):
    async with ScriptedWorker() as one, ScriptedWorker() as other:
        path = write("workers.yaml", f"- url: {one.url}\n")
        async with serving(arguments=["--workers-file", str(path)]) as frontend:
            path.write_text("- {url: nonsense}\n")
            await eventually(lambda: reload_errors(frontend), (1.0).__eq__, PATIENCE_S, "an error is counted")
            assert list(await frontend.workers()) == [one.id]
            path.write_text(f"- url: {other.url}\n  max_inflight: 3\n")
            await frontend.worker_until(other.id, state="ready", max_inflight=3)
            await eventually(frontend.workers, lambda rows: one.id not in rows, PATIENCE_S, "it has gone")


async def test_sighup_applies_live_settings_and_names_the_others(tmp_path):
    path = tmp_path / "own.yaml"
    async with ScriptedWorker() as worker, AsyncExitStack() as stack:
        frontend = Frontend([worker.url], arguments=["--config", str(path)])
        stack.push_async_exit(frontend)

        def configure(**changed):
            path.write_bytes(msgspec.json.encode({**frontend.settings, **changed}))

        configure()
        await frontend.start()
        configure(workers={"urls": [worker.url], "max_inflight": 5}, limits={"headers": 99})
        frontend.signal(signal.SIGHUP)
        await frontend.worker_until(worker.id, max_inflight=5)
        await logged(frontend, "setting needs a restart setting=limits.headers before=128 after=99")
        configure(nonsense={})
        frontend.signal(signal.SIGHUP)
        await eventually(lambda: reload_errors(frontend), (1.0).__eq__, PATIENCE_S, "an error is counted")
        await logged(frontend, "nonsense: no such section")
        assert (await frontend.workers())[worker.id]["max_inflight"] == 5


# ---------------------------------------------------------------- end


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_idle_it_ends_at_once_and_tells_who_ended_it(number, code):
    waits = {"delay_s": 60 if number == signal.SIGINT else 0, "grace_s": 60}  # for nobody
    async with ScriptedWorker() as worker, serving(worker.url, drain=waits) as frontend:
        begun = time.monotonic()
        frontend.signal(number)
        assert await frontend.exit_code() == code
        assert time.monotonic() - begun < 20


async def test_a_request_in_flight_ends_before_the_process_does():
    go_on = asyncio.Event()
    async with ScriptedWorker() as worker, serving(worker.url) as frontend:
        worker.script(go_on, json_answer(b'{"late":true}'))
        asking = asyncio.create_task(frontend.ask(CHAT))
        await worker.call()
        frontend.signal(signal.SIGTERM)
        await frontend.until("/readyz", 503)
        assert frontend.running
        go_on.set()
        answer = await asking
        assert (answer.status, answer.json()) == (200, {"late": True})
        assert await frontend.exit_code() == 0


async def test_twice_means_now():
    slow = {"delay_s": 30, "grace_s": 30}
    async with ScriptedWorker() as worker, serving(worker.url, drain=slow) as frontend:
        worker.script(asyncio.Event())
        asking = asyncio.create_task(frontend.ask(CHAT))
        await worker.call()
        frontend.signal(signal.SIGTERM)
        await frontend.until("/readyz", 503)
        frontend.signal(signal.SIGTERM)
        assert (await asking).status == 503
        assert await frontend.exit_code() == 0
