"""Trouble on request, as clients meet it."""

import asyncio

import pytest

from grove_dp.clock import ManualClock
from grove_dp.kube.access import Access, connect
from grove_dp.kube.errors import ApiError, ApiUnreachable, Conflict, Expired, TooManyRequests, Unauthorized
from grove_dp.testing.kubeapi import InProcess, Server
from grove_dp.testing.kubeapi.serve import serving

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
def server(rng):
    return Server(rng=rng)


@pytest.fixture(params=["in process", "over http"])
async def api(request, server, tmp_path):
    if request.param == "in process":
        async with Access(InProcess(server, {"Authorization": "Bearer fake"})) as made:
            yield made
    else:
        async with serving(server, tmp_path) as served, await connect(served.kubeconfig) as made:
            yield made


def config(name, **data):
    return {"metadata": {"name": name}, "data": data}


async def lines(stream):
    return b"".join([chunk async for chunk in stream.chunks()]).splitlines()


async def test_the_next_calls_are_refused_as_often_as_said(api, server):
    server.faults.refuse("POST", "*/configmaps", times=2, code=409, reason="Conflict")
    for _ in range(2):
        with pytest.raises(Conflict):
            await api.create(MAPS, config("a"))
    await api.get(MAPS)
    assert (await api.create(MAPS, config("a")))["metadata"]["name"] == "a"


async def test_a_refused_call_changes_nothing(api, server):
    server.faults.refuse("POST", "*", code=500)
    with pytest.raises(ApiError):
        await api.create(MAPS, config("a"))
    assert (await api.get(MAPS))["items"] == []


async def test_too_many_requests_say_when_to_come_again(api, server):
    server.faults.refuse("GET", MAPS, code=429, retry_after_s=30)
    with pytest.raises(TooManyRequests) as told:
        await api.get(MAPS)
    assert told.value.retry_after_s == 30


async def test_a_client_that_comes_again_gets_its_answer(api, server):
    server.faults.refuse("GET", MAPS, times=3, code=429, retry_after_s=0)
    assert (await api.get(MAPS))["kind"] == "ConfigMapList"


async def test_an_answer_can_be_lost_though_the_call_was_done(api, server):
    server.faults.lose_answer("POST", "*/configmaps")
    with pytest.raises(ApiUnreachable):
        await api.create(MAPS, config("a"))
    assert (await api.get(f"{MAPS}/a"))["metadata"]["name"] == "a"


async def test_a_call_can_be_lost_before_it_is_done(api, server):
    server.faults.lose_call("POST", "*/configmaps")
    with pytest.raises(ApiUnreachable):
        await api.create(MAPS, config("a"))
    assert (await api.get(MAPS))["items"] == []


async def test_a_token_is_refused_until_it_is_accepted_again(api, server):
    server.faults.refuse_token("fake")
    with pytest.raises(Unauthorized):
        await api.get(MAPS)
    server.faults.accept_token("fake")
    await api.get(MAPS)


async def test_watches_are_cut_without_a_word(api, server):
    async with api.stream(MAPS, {"watch": "1"}) as stream:
        await api.create(MAPS, config("a"))
        server.faults.cut_watches()
        assert len(await lines(stream)) == 1


async def test_watches_can_fall_silent_and_stay_open(api, server):
    async with api.stream(MAPS, {"watch": "1"}) as stream:
        server.faults.freeze_watches()
        await api.create(MAPS, config("a"))
        server.faults.cut_watches()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await lines(stream)


async def test_watches_end_with_410_in_the_stream(api, server):
    async with api.stream(MAPS, {"watch": "1"}) as stream:
        server.faults.end_watches()
        (line,) = await lines(stream)
    assert b'"type":"ERROR"' in line
    assert b'"code":410' in line


async def test_the_past_can_be_forgotten(api, server):
    made = await api.create(MAPS, config("a"))
    server.faults.forget()
    query = {"watch": "1", "resourceVersion": str(int(made["metadata"]["resourceVersion"]) - 1)}
    async with api.stream(MAPS, query) as stream:
        assert stream.status == 200
        (line,) = await lines(stream)
    assert b'"reason":"Expired"' in line


async def test_from_now_on_is_not_the_past(api, server):
    made = await api.create(MAPS, config("a"))
    server.faults.forget()
    query = {"watch": "1", "resourceVersion": made["metadata"]["resourceVersion"]}
    async with api.stream(MAPS, query) as stream:
        await api.create(MAPS, config("b"))
        server.faults.cut_watches()
        (line,) = await lines(stream)
    assert b'"name":"b"' in line


async def test_some_servers_say_410_in_the_status(api, server):
    await api.create(MAPS, config("a"))
    server.faults.forget()
    server.faults.gone_in_status = True
    async with api.stream(MAPS, {"watch": "1", "resourceVersion": "1"}) as stream:
        assert stream.status == 410
        assert b'"code":410' in await stream.read()


async def test_a_page_of_a_forgotten_list_is_gone(api, server):
    for name in "abc":
        await api.create(MAPS, config(name))
    token = (await api.get(MAPS, query={"limit": "2"}))["metadata"]["continue"]
    server.faults.forget()
    with pytest.raises(Expired):
        await api.get(MAPS, query={"limit": "2", "continue": token})


async def test_events_can_be_lost_and_lists_know_better(api, server):
    async with api.stream(MAPS, {"watch": "1"}) as stream:
        server.faults.lose_events(1)
        await api.create(MAPS, config("lost"))
        await api.create(MAPS, config("seen"))
        server.faults.cut_watches()
        (line,) = await lines(stream)
    assert b'"name":"seen"' in line
    assert len((await api.get(MAPS))["items"]) == 2


async def test_answers_come_late_in_the_servers_time():
    clock = ManualClock()
    server = Server(clock)
    server.faults.delay("GET", MAPS, seconds=3)
    async with Access(InProcess(server)) as api:
        asked = asyncio.create_task(api.get(MAPS))
        await clock.advance(2.9)
        assert not asked.done()
        await clock.advance(0.2)
        assert (await asked)["items"] == []


async def test_trouble_can_be_called_off(api, server):
    server.faults.refuse("*", "*", times=100)
    server.faults.clear()
    await api.get(MAPS)


async def test_what_is_not_served_here_is_said_aloud(api):
    for query in ({"dryRun": "All"}, {"sendInitialEvents": "true"}):
        with pytest.raises(ApiError) as told:
            await api.get(MAPS, query=query)
        assert "real API server" in str(told.value)
