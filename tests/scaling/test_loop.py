"""The whole loop in virtual time: a step in load, its end, and what is written on the way."""

import msgspec
import pytest

from grove_dp.scaling.settings import Settings
from tests.scaling.world import CLIQUES, CRDS, DRAIN, GROUPS, PODS, SETS, autoscaler, clique_template

DECODE = "chat-0-decode"


@pytest.fixture
async def chat(world):
    """Set chat with two replicas of its only clique, under a load of one worker."""
    await world.make(clique_template("decode", replicas=2))
    world.traffic.put(1.0)
    return world


async def settled(world, load, seconds=300):
    world.traffic.put(load)
    await world.pass_(seconds)


async def test_a_step_in_load_leads_to_more_replicas_and_its_end_to_fewer(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(120)
        assert await chat.replicas(DECODE) == 2
        chat.traffic.put(3.0)
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 4
        chat.traffic.put(1.0)
        await chat.pass_(100)
        assert await chat.replicas(DECODE) == 4  # the hold
        await chat.pass_(200)
        assert await chat.replicas(DECODE) == 2
        status = await chat.status()
        assert status["lastDecision"]["reason"] == "Steady"
        assert status["lastScale"] | {"time": ""} == {
            "time": "",
            "kind": "PodClique",
            "name": DECODE,
            "from": 3,
            "to": 2,
            "reason": "TokenLoad",
        }
        (component,) = status["components"]
        assert (component["replicas"], component["wished"], component["load"]) == (2, 2, "1.00")


async def test_more_is_asked_for_within_one_tick_of_a_step(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(120)
        chat.traffic.put(8.0)
        await chat.pass_(5.1)  # a tick
        assert await chat.replicas(DECODE) > 2


async def test_a_dry_run_decides_and_writes_nothing(chat):
    await chat.autoscale(autoscaler())
    fleet = chat.fleet(dry_run=True)
    async with chat.running(fleet):
        await settled(chat, 4.0)
        (told,) = fleet.explained()
        assert (told["reason"], told["moves"][0]["to"], told["moves"][0]["made"]) == ("TokenLoad", 5, False)
        assert await chat.replicas(DECODE) == 2
        assert await chat.status() == {}


async def test_an_autoscaler_of_the_file_needs_no_object_and_not_even_the_kind(chat):
    await chat.api.delete(f"{CRDS}/tokenautoscalers.grove-dp.io")
    document = autoscaler()
    listed = [{"name": "chat", "namespace": "default", "spec": document["spec"]}]
    settings = msgspec.convert(
        {"frontends": ["http://a:9090", "http://b:9090"], "autoscalers": listed}, Settings
    )
    async with chat.running(chat.fleet(settings=settings)):
        await settled(chat, 3.0)
        assert await chat.replicas(DECODE) == 4


async def test_advisory_mode_says_what_it_would_do(chat):
    await chat.autoscale(autoscaler(mode="advisory"))
    async with chat.running():
        await settled(chat, 3.0)
        assert await chat.replicas(DECODE) == 2
        assert await chat.condition("ScalingActive") == ("False", "Advisory")
        (component,) = (await chat.status())["components"]
        assert (component["replicas"], component["desired"]) == (2, 4)


async def test_scaling_groups_move_as_whole_replicas_and_the_highest_goes(world):
    await world.make(
        clique_template("leader"),
        groups=[{"name": "decode", "cliqueNames": ["leader"], "replicas": 2, "minAvailable": 1}],
    )
    world.traffic.put(1.0)
    await world.autoscale(autoscaler())
    async with world.running():
        await settled(world, 3.0)
        assert await world.replicas(DECODE, GROUPS) == 4
        world.inflight = {pod["name"]: 1 for pod in world.pods}
        await settled(world, 1.0, 130)
        marked = [
            pod
            for pod in (await world.api.get(PODS))["items"]
            if DRAIN in pod["metadata"].get("annotations", {})
        ]
        index = "grove.io/podcliquescalinggroup-replica-index"
        assert [pod["metadata"]["labels"][index] for pod in marked] == ["3"]
        assert await world.replicas(DECODE, GROUPS) == 4
        world.inflight = {}
        await world.pass_(100)
        assert await world.replicas(DECODE, GROUPS) == 2


async def test_the_set_grows_when_its_components_have_no_room_and_shrinks_again(world):
    bounded = clique_template("decode", replicas=2)
    bounded["spec"]["autoScalingConfig"] = {"minReplicas": 2, "maxReplicas": 3}
    await world.make(bounded)
    await world.autoscale(autoscaler(setReplicas={"min": 1, "max": 3}))
    async with world.running():
        await settled(world, 4.0, 200)
        assert await world.replicas("chat", SETS) == 2
        assert (await world.replicas(DECODE)) + (await world.replicas("chat-1-decode")) == 5
        await settled(world, 1.0, 600)
        assert await world.replicas("chat", SETS) == 1
        assert await world.replicas(DECODE) == 2
    assert world.deleted_busy == []


async def test_what_is_at_zero_comes_back_with_a_request_and_goes_with_the_last(world):
    await world.make(clique_template("decode", replicas=1))
    await world.autoscale(autoscaler({"name": "decode", "scaleToZero": True}))
    async with world.running():
        await settled(world, 0.0)
        assert await world.replicas(DECODE) == 0
        world.traffic.queued = 2
        await world.pass_(6)
        assert await world.replicas(DECODE) == 1
        world.traffic.queued = 0
        await settled(world, 0.5)
        assert await world.replicas(DECODE) == 1
        await settled(world, 0.0)
        assert await world.replicas(DECODE) == 0
        assert await world.replicas(DECODE, CLIQUES) == 0


async def test_a_budget_feeds_the_poorest_stage(world):
    await world.make(clique_template("prefill", gpus=2), clique_template("decode"))
    components = ({"name": "prefill"}, {"name": "decode"})
    await world.autoscale(autoscaler(*components, gpuBudget=8))
    async with world.running():
        world.traffic.put(4.0, "prefill")
        await settled(world, 4.0)
        assert (await world.replicas("chat-0-prefill"), await world.replicas(DECODE)) == (2, 4)
        assert await world.condition("ScalingLimited") == ("True", "BudgetExhausted")


async def test_a_fault_of_ours_in_one_tick_ends_nothing(chat, caplog):
    await chat.autoscale(autoscaler())
    fleet = chat.fleet()
    find, faults = fleet._look, [KeyError("a fault")]

    def look(one):
        if faults:
            raise faults.pop()
        return find(one)

    fleet._look = look
    async with chat.running(fleet):
        await chat.pass_(1)
        (told,) = fleet.explained()
        assert (told["reason"], told["message"]) == ("InternalError", "KeyError: 'a fault'")
        await settled(chat, 3.0)
        assert await chat.replicas(DECODE) == 4
    assert "a tick failed" in caplog.text
