"""What else goes wrong in a cluster: workers, frontends, targets and the API server come and go."""

import pytest

from grove_dp.kube.candidate import LeaseTimes
from grove_dp.scaling.settings import Settings
from tests.scaling.world import (
    CLIQUES,
    GROUPS,
    NAMESPACE,
    PODS,
    SETS,
    Frontend,
    autoscaler,
    clique_template,
)

DECODE = "chat-0-decode"


@pytest.fixture
async def chat(world):
    """Set chat with four replicas of its only clique, under a load of 2.4 workers."""
    await world.make(clique_template("decode", replicas=4))
    world.traffic.put(2.4)
    return world


def load(fleet):
    (told,) = fleet.explained()
    return float(told["components"][0]["load"])


async def test_load_is_what_it_was_although_half_of_those_that_bore_it_have_gone(chat):
    await chat.autoscale(autoscaler())
    fleet = chat.fleet()
    async with chat.running(fleet):
        await chat.pass_(120)
        assert load(fleet) == pytest.approx(2.4, rel=0.02)
        pods = (await chat.api.get(PODS))["items"]
        for pod in pods[:2]:
            await chat.api.delete(f"{PODS}/{pod['metadata']['name']}", grace_s=0)
        for _ in range(12):
            await chat.pass_(5)
            assert load(fleet) == pytest.approx(2.4, rel=0.15)
        assert await chat.replicas(DECODE) == 4


async def test_load_is_seen_at_once_although_new_workers_bear_it(chat):
    await chat.autoscale(autoscaler())
    fleet = chat.fleet()
    async with chat.running(fleet):
        await chat.pass_(120)
        chat.traffic.put(4.8)
        await chat.pass_(60)
        assert load(fleet) == pytest.approx(4.8, rel=0.02)
        assert await chat.replicas(DECODE) == 6


async def test_a_target_that_was_deleted_and_made_anew_is_scaled_anew(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(60)
        await chat.scale(DECODE, 6)
        await chat.pass_(30)
        await chat.api.delete(CLIQUES.path(NAMESPACE, DECODE))
        for pod in (await chat.api.get(PODS))["items"]:
            await chat.api.delete(f"{PODS}/{pod['metadata']['name']}", grace_s=0)
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 4  # as the template says, and as the load needs
        assert await chat.reason() == "Steady"


async def test_a_frontend_that_comes_or_goes_moves_nothing(chat):
    await chat.autoscale(autoscaler())
    where = Settings(frontends=tuple(f"http://{name}:9090" for name in "abc"))
    async with chat.running(chat.fleet(settings=where)):
        await chat.pass_(200)
        before = len(chat.replicas_seen)
        chat.frontends["a"].share = chat.frontends["b"].share = 1 / 3
        chat.frontends["c"] = Frontend(chat, "c", 1 / 3)
        await chat.pass_(200)
        assert await chat.condition("PictureComplete") == ("True", "Complete")
        chat.frontends["b"].share = 2 / 3
        del chat.frontends["c"]
        await chat.pass_(200)
        assert await chat.condition("PictureComplete") == ("True", "Complete")
        assert len(chat.replicas_seen) == before


async def test_without_any_frontend_nothing_is_decided(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(60)
        chat.frontends.clear()
        await chat.pass_(400)
        assert await chat.condition("PictureComplete") == ("False", "PictureIncomplete")
        assert "NoFrontends" in (await chat.status())["lastDecision"]["message"]
        assert await chat.replicas(DECODE) == 4


async def test_an_answer_that_is_nonsense_is_a_frontend_that_does_not_answer(chat):
    await chat.autoscale(autoscaler())
    fleet = chat.fleet()
    async with chat.running(fleet):
        await chat.pass_(60)
        for nonsense in (b"", b"\x93garbage", b"<html>", b"\xff" * 100_000):
            chat.frontends["a"].answer = lambda told=nonsense: told
            await chat.pass_(6)
            assert await chat.condition("PictureComplete") == ("False", "PictureIncomplete")
        del chat.frontends["a"].answer
        await chat.pass_(12)
        assert await chat.condition("PictureComplete") == ("True", "Complete")


async def test_an_api_server_that_is_away_for_minutes_is_waited_for(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(60)
        chat.server.faults.refuse("*", "*", times=100_000, code=503)
        chat.traffic.put(6.0)
        await chat.pass_(120)
        chat.server.faults.clear()
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 8
        assert await chat.condition("ScalingActive") == ("True", "Direct")


async def test_a_leader_that_has_lost_its_lease_writes_no_more(chat):
    await chat.autoscale(autoscaler())
    fleet = chat.fleet()
    async with chat.running(fleet):
        await chat.pass_(60)
        chat.server.faults.refuse("*", "*/leases/*", times=100_000, code=503)
        await chat.pass_(LeaseTimes().duration_s + 5)
        chat.traffic.put(6.0)
        chat.server.writes.clear()
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 4
        assert list(fleet.led()) == []
        chat.server.faults.clear()
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 8


async def test_groups_and_the_set_that_are_scaled_by_an_hpa_are_advised_on_only(world):
    await world.make(
        clique_template("worker"),
        groups=[{"name": "decode", "cliqueNames": ["worker"], "replicas": 2, "minAvailable": 1}],
    )
    await world.hpa("PodCliqueScalingGroup", DECODE)
    await world.autoscale(autoscaler())
    world.traffic.put(4.0)
    fleet = world.fleet()
    async with world.running(fleet):
        await world.pass_(60)
        assert await world.replicas(DECODE, GROUPS) == 2
        assert await world.condition("ScalingActive") == ("False", "OwnedByHpa")
        [(_, decision, _)] = fleet.led()
        assert [step.desired for step in decision.steps] == [5]


async def test_a_set_under_its_bounds_is_put_right_as_a_set(world):
    await world.make(clique_template("decode"), replicas=1)
    await world.autoscale(autoscaler(setReplicas={"min": 2, "max": 3}))
    world.traffic.put(0.5)
    async with world.running():
        await world.pass_(60)
        assert await world.replicas("chat", SETS) == 2
