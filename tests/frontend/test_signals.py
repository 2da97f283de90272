"""GET /signals of a real frontend: records once each, live state, restarts, and who may wait for news."""

import asyncio
import itertools
import json
import signal
import time
from collections import Counter

import aiohttp
import numpy as np
import pytest

from grove_dp.clock import SystemClock
from grove_dp.errors import ClientFault
from grove_dp.frontend.signals import query
from grove_dp.metering.merging import Frontends
from grove_dp.metering.signals import decode
from grove_dp.sim.worker import SimWorkers
from grove_dp.testing.frontend import Frontend

CHAT = {"model": "tiny-llama", "messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 6}


def chat(**more):
    body = json.dumps(CHAT | more).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"X-Class: batch\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def workers(count=1, **settings):
    return SimWorkers(
        count,
        profile="tiny-cpu",
        speed=100.0,
        max_model_len=1024,
        enable_prompt_tokens_details=True,
        **settings,
    )


async def ready(fleet, frontend):
    for worker in fleet:
        await frontend.worker_until(worker.url.removeprefix("http://"), 10.0, state="ready")


async def polled_once(frontend, asked=""):
    answer = await frontend.admin("GET", f"/signals{asked}")
    assert answer.status == 200, answer.body
    return decode(answer.body)


def chats(told):
    """The records of chats: whoever looked whether the frontend is up left some, too."""
    records = told.array()
    return records[records["endpoint"] == told.endpoints.index("chat")]


async def test_a_finished_request_leaves_one_record_with_its_life():
    slo = {"class_header": "x-class", "classes": ["batch=30/1"]}
    async with workers() as fleet, Frontend([w.url for w in fleet], slo=slo) as frontend:
        await ready(fleet, frontend)
        for _ in range(3):
            assert (await frontend.ask(chat(stream=True))).status == 200
        told = await polled_once(frontend)
        assert (told.v, told.first_seq, told.lost) == (1, 0, 0)
        assert told.next_seq == told.newest_seq == len(told.array())
        records = chats(told)
        assert [told.reasons[n] for n in records["reason"]] == ["OK"] * 3
        assert [told.endpoints[n] for n in records["endpoint"]] == ["chat"] * 3
        assert [told.classes[n] for n in records["class_id"]] == ["batch"] * 3
        assert records["model"].tolist() == [b"tiny-llama"] * 3
        assert (records["output_tokens"] == 6).all()
        assert (records["prompt_tokens"] > 3).all()
        stamps = [records[f"{name}_ns"] for name in ("arrival", "placed", "sent", "first", "last", "end")]
        for earlier, later in itertools.pairwise(stamps):
            assert (earlier <= later).all()
        assert (records["kept"] == 7).all()
        ended = (records["end_ns"] + np.int64(told.wall_offset_ns)) / 1e9
        assert (np.abs(ended - time.time()) < 30).all()
        again = await polled_once(frontend, f"?since={told.next_seq}&boot={told.boot_id}")
        assert (again.first_seq, len(again.array()), again.boot_id) == (told.next_seq, 0, told.boot_id)


async def test_what_stands_there_now_is_told():
    async with workers(2) as fleet, Frontend([w.url for w in fleet]) as frontend:
        await ready(fleet, frontend)
        for _ in range(4):
            await frontend.ask(chat())
        told = await polled_once(frontend)
        assert {worker.id for worker in told.workers} == {w.url.removeprefix("http://") for w in fleet}
        assert sum(worker.placed for worker in told.workers) == 4
        assert sum(worker.output_tokens for worker in told.workers) == 24
        assert sum(worker.work_s for worker in told.workers) > 0
        assert all(worker.base == "tiny-llama" and worker.state == "ready" for worker in told.workers)
        [model] = told.models
        assert (model.model, model.slo_class, model.arrived, model.ended) == ("tiny-llama", "default", 4, 4)
        assert model.output_tokens == 24
        assert model.queued == 0
        assert sum(model.queue_wait.values()) == 4
        assert len(told.startups) == 2
        assert all(0 < took < 30 for took in told.startups)
        assert told.curves[0].models == ["tiny-llama"]
        assert len(told.curves[0].step) == 3


async def test_a_frontend_that_is_to_stop_says_so():
    drain = {"delay_s": 3.0}
    async with workers() as fleet, Frontend([w.url for w in fleet], drain=drain) as frontend:
        await ready(fleet, frontend)
        assert not (await polled_once(frontend)).draining
        frontend.signal(signal.SIGTERM)
        await frontend.until("/readyz", 503)
        assert (await polled_once(frontend)).draining


async def test_a_poll_may_wait_for_news():
    async with workers() as fleet, Frontend([w.url for w in fleet]) as frontend:
        await ready(fleet, frontend)
        seen = (await polled_once(frontend)).next_seq
        began = time.monotonic()
        told = await polled_once(frontend, f"?since={seen}&wait=0.3")
        assert time.monotonic() - began > 0.25
        assert told.next_seq == seen
        waiting = asyncio.create_task(polled_once(frontend, f"?since={seen}&wait=20"))
        await asyncio.sleep(0.1)
        await frontend.ask(chat())
        async with asyncio.timeout(10):
            assert (await waiting).next_seq == seen + 1


async def test_frontends_killed_under_load_lose_nothing_that_was_told_and_nothing_comes_twice():
    """Two frontends; one is killed and started anew while both serve. The client's record stays right."""
    async with workers(2) as fleet:
        urls = [w.url for w in fleet]
        async with Frontend(urls) as stays:
            await ready(fleet, stays)
            merger = Frontends(fetcher(), SystemClock(), window_s=30.0)
            seen: Counter[bytes] = Counter()
            lost = 0
            for _ in range(2):
                async with Frontend(urls) as comes:
                    await ready(fleet, comes)
                    merger.sync([stays.admin_url, comes.admin_url])
                    for _ in range(5):
                        await asyncio.gather(*(each.ask(chat()) for each in (stays, comes) for _ in range(4)))
                        polled = await merger.poll()
                        for url, told in polled.answers.items():
                            seen.update(url.encode() + record for record in chats(told)["id"])
                        lost += sum(told.lost for told in polled.answers.values())
                    assert merger.merged().complete
                    comes.signal(signal.SIGKILL)
                    assert (await merger.poll()).failed
                    assert not merger.merged().complete
            assert lost == 0
            assert set(seen.values()) == {1}
            assert len(seen) == 2 * 5 * 8
            assert sum(url.startswith(stays.admin_url.encode()) for url in seen) == 40


def fetcher():
    async def fetch(url):
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.read()

    return fetch


@pytest.mark.parametrize("asked", ["since=-1", "since=x", "wait=nan", "most=9999999", "limit=3", "wait=-2"])
async def test_a_poll_that_makes_no_sense_is_refused(asked):
    name, _, value = asked.partition("=")
    with pytest.raises(ClientFault, match=name):
        query([(name, value)])
