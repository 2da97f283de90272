"""The states in which autoscalers get stuck, each in virtual time: none of them may be ours.

Every test names what happens around the autoscaler and what must become of the replicas.
"""

import pytest

from tests.scaling.world import DRAIN, PODS, SETS, autoscaler, clique_template

DECODE = "chat-0-decode"


@pytest.fixture
async def chat(world):
    """Set chat with two replicas of its only clique, under a load of one worker."""
    await world.make(clique_template("decode", replicas=2))
    world.traffic.put(1.0)
    return world


def scaled(world, name=DECODE, since=0.0):
    """Every number of replicas that it had."""
    return [count for at, seen, count in world.replicas_seen if seen == name and at >= since]


# ------------------------------------------------------------ 1 pending that never comes


async def test_replicas_that_find_no_place_are_asked_for_once_and_others_go_on_being_decided(world):
    await world.make(clique_template("prefill"), clique_template("decode"))
    await world.autoscale(autoscaler({"name": "prefill"}, {"name": "decode"}))
    world.room = 3
    world.traffic.put(1.0, "prefill")
    world.traffic.put(1.0, "decode")
    async with world.running():
        await world.pass_(60)
        world.traffic.put(3.0, "decode")
        await world.pass_(300)
        asked = await world.replicas(DECODE)
        world.traffic.put(6.0, "decode")
        await world.pass_(300)
        assert await world.replicas(DECODE) == asked  # no more is asked for
        assert await world.condition("ScalingLimited") == ("True", "CapacityRefused")
        world.room = 100
        await world.pass_(120)
        assert await world.replicas(DECODE) == 8  # until it changes
        world.room = 5
        world.traffic.put(1.0, "decode")
        await world.pass_(300)
        assert await world.replicas(DECODE) == 2  # the load's end is seen all the same


async def test_what_has_no_place_here_is_asked_for_in_another_replica_of_the_set(world):
    await world.make(clique_template("decode"), replicas=2)
    await world.autoscale(autoscaler())
    world.room = 3
    world.traffic.put(1.0)
    async with world.running():
        await world.pass_(30)
        world.room = 1_000
        world.traffic.put(4.0)
        await world.pass_(60)
        both = [await world.replicas(f"chat-{index}-decode") for index in (0, 1)]
        assert both == [3, 2]


async def test_pending_replicas_go_first_and_without_a_drain(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(30)
        chat.room = 2
        chat.traffic.put(3.0)
        await chat.pass_(120)
        assert await chat.replicas(DECODE) == 4
        chat.inflight = {pod["name"]: 1 for pod in chat.known()}  # whoever has a place is busy
        chat.traffic.put(1.0)
        await chat.pass_(250)
        assert await chat.replicas(DECODE) == 2
    assert chat.deleted_busy == []


# ------------------------------------------------------------ 2 zero traffic


async def test_no_traffic_is_a_number_and_not_a_missing_one(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        chat.traffic.put(4.0)
        await chat.pass_(120)
        assert await chat.replicas(DECODE) == 5
        chat.traffic.put(0.0)
        await chat.pass_(600)
        assert await chat.replicas(DECODE) == 1
        (component,) = (await chat.status())["components"]
        assert (component["reason"], component["load"]) == ("NoTraffic", "0.00")


# ------------------------------------------------------------ 3 pods that are not ready


async def test_pods_that_are_not_ready_do_not_freeze_decisions(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        chat.traffic.put(3.0)
        await chat.pass_(120)
        chat.unready = {chat.pods[0]["name"]}
        chat.traffic.put(6.0)
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 8
        chat.traffic.put(1.0)
        await chat.pass_(400)
        assert await chat.replicas(DECODE) == 2


async def test_while_nobody_can_serve_nothing_goes(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        chat.traffic.put(3.0)
        await chat.pass_(120)
        assert await chat.replicas(DECODE) == 4
        chat.unready = {pod["name"] for pod in chat.pods}
        await chat.pass_(900)
        assert await chat.replicas(DECODE) == 4
        (component,) = (await chat.status())["components"]
        assert component["reason"] == "NoReadyWorker"


@pytest.mark.parametrize(("load", "reason"), [(1.0, "NoReadyWorker"), (0.0, "WorkersUnknown")])
async def test_ready_replicas_that_no_frontend_knows_hold_everything(chat, load, reason):
    await chat.autoscale(autoscaler())
    chat.traffic.put(load)
    for frontend in chat.frontends.values():
        frontend.blind = True
    async with chat.running():
        await chat.pass_(900)
        assert await chat.replicas(DECODE) == 2
        status = await chat.status()
        assert reason in (status["components"][0]["reason"], status["lastDecision"]["reason"])


# ------------------------------------------------------------ 4 dead metrics


@pytest.mark.parametrize("who", [("a",), ("a", "b")])
async def test_frontends_that_do_not_answer_hold_what_is_and_say_who(chat, who):
    await chat.autoscale(autoscaler())
    async with chat.running():
        chat.traffic.put(3.0)
        await chat.pass_(120)
        for name in who:
            chat.frontends[name].dead = True
        chat.traffic.put(0.0)
        await chat.pass_(900)
        assert await chat.replicas(DECODE) == 4
        assert await chat.condition("PictureComplete") == ("False", "PictureIncomplete")
        message = (await chat.status())["lastDecision"]["message"]
        assert all(f"http://{name}:9090: OSError" in message for name in who)
        for name in who:
            chat.frontends[name].dead = False
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 4  # the hold begins anew
        await chat.pass_(600)
        assert await chat.replicas(DECODE) == 1


async def test_a_frontend_that_starts_anew_loses_nobody_a_replica(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        chat.traffic.put(3.0)
        await chat.pass_(120)
        for _ in range(20):
            for frontend in chat.frontends.values():
                frontend.boot += "'"
                frontend.counted, frontend.arrived = {}, 0.0
            await chat.pass_(30)
        assert await chat.replicas(DECODE) == 4
        assert set(scaled(chat, since=1130)) <= {4}


# ------------------------------------------------------------ 5 zombie queues


async def test_what_a_worker_still_holds_of_clients_that_left_is_no_demand(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        chat.traffic.put(3.0)
        await chat.pass_(120)
        chat.traffic.put(0.2)
        chat.inflight = {chat.pods[0]["name"]: 40}  # for ever, as far as the worker goes
        await chat.pass_(600)
        assert await chat.replicas(DECODE) == 1
        assert chat.pods[0]["name"] in chat.inflight  # the idle ones went, and it stays
    assert chat.deleted_busy == []


# ------------------------------------------------------------ 6 oscillation


@pytest.mark.parametrize("load", [0.715, 0.8])
async def test_an_hour_of_constant_load_moves_nothing_between_two_and_one(chat, load):
    await chat.autoscale(autoscaler())
    chat.traffic.noise = 0.1
    async with chat.running():
        chat.traffic.put(load)
        await chat.pass_(600)
        settled = chat.clock.now()
        await chat.pass_(3600)
        assert scaled(chat, since=settled) == []


# ------------------------------------------------------------ 7 hand edits


async def test_a_hand_that_scales_in_is_put_right_and_one_that_scales_out_is_left_for_the_hold(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        chat.traffic.put(3.0)
        await chat.pass_(120)
        await chat.scale(DECODE, 2)
        await chat.pass_(30)
        assert await chat.replicas(DECODE) == 4
        await chat.pass_(200)
        await chat.scale(DECODE, 7)
        await chat.pass_(90)
        assert await chat.replicas(DECODE) == 7
        assert await chat.reason() == "GrownRecently"
        await chat.pass_(300)
        assert 4 <= await chat.replicas(DECODE) <= 5


async def test_a_hand_that_comes_between_decision_and_write_wins(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(60)
        chat.server.faults.delay("PATCH", f"*/{DECODE}/scale", seconds=2)
        chat.traffic.put(3.0)
        await chat.pass_(11)
        await chat.scale(DECODE, 6)
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 6


# ------------------------------------------------------------ 8 a second owner


@pytest.mark.parametrize(("kind", "name"), [("PodClique", DECODE), ("PodCliqueSet", "chat")])
async def test_beside_an_hpa_we_only_advise(chat, kind, name):
    await chat.hpa(kind, name)
    await chat.autoscale(autoscaler())
    async with chat.running():
        chat.traffic.put(3.0)
        await chat.pass_(120)
        assert await chat.replicas(DECODE) == 2
        assert await chat.condition("ScalingActive") == ("False", "OwnedByHpa")
        (component,) = (await chat.status())["components"]
        assert component["desired"] == 4
        await chat.api.delete(f"/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/hpa-{name}")
        await chat.pass_(30)
        assert await chat.replicas(DECODE) == 4


async def test_of_two_autoscalers_of_one_set_the_older_scales(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(10)
        await chat.autoscale(autoscaler({"name": "decode", "minReplicas": 9}, name="later"))
        await chat.pass_(120)
        assert await chat.replicas(DECODE) == 2
        assert await chat.condition("ScalingActive", "later") == ("False", "AnotherAutoscaler")
        await chat.api.delete("/apis/grove-dp.io/v1alpha1/namespaces/default/tokenautoscalers/chat")
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 9


async def test_of_two_processes_one_scales_and_the_other_takes_over(chat):
    await chat.autoscale(autoscaler())
    first, second = chat.fleet("first"), chat.fleet("second")
    async with chat.running(first, second) as (one, _):
        await chat.pass_(60)
        assert [fleet.explained()[0]["leading"] for fleet in (first, second)] == [True, False]
        one.cancel()
        chat.traffic.put(3.0)
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 4


# ------------------------------------------------------------ 9 between zero and the minimum


@pytest.mark.parametrize("to_zero", [False, True])
async def test_there_is_never_anything_between_zero_and_the_minimum(world, to_zero):
    await world.make(clique_template("decode", replicas=4, minimum=3))
    await world.autoscale(autoscaler({"name": "decode", "scaleToZero": to_zero}))
    async with world.running():
        for load in (1.0, 0.0, 2.0, 0.0, 5.0, 0.1):
            world.traffic.put(load)
            world.traffic.queued = 4 if load else 0
            await world.pass_(20)
            world.traffic.queued = 0
            await world.pass_(480)
        counts = scaled(world)
        assert {1, 2}.isdisjoint(counts)
        assert (0 in counts) == to_zero
        assert max(counts) >= 7


async def test_what_a_hand_left_below_the_minimum_is_put_right(world):
    await world.make(clique_template("decode", replicas=3, minimum=3))
    await world.autoscale(autoscaler())
    world.traffic.put(0.5)
    async with world.running():
        await world.pass_(60)
        await world.scale(DECODE, 1)
        await world.pass_(20)
        assert await world.replicas(DECODE) == 3


# ------------------------------------------------------------ 10 the drain


async def marked(world):
    pods = (await world.api.get(PODS))["items"]
    return {pod["metadata"]["name"] for pod in pods if DRAIN in pod["metadata"].get("annotations", {})}


@pytest.fixture
async def shrinking(chat):
    """Four replicas, and load for two."""
    await chat.autoscale(autoscaler())
    async with chat.running():
        chat.traffic.put(3.0)
        await chat.pass_(200)
        chat.inflight = {pod["name"]: 3 + at for at, pod in enumerate(chat.pods)}
        chat.traffic.put(1.0)
        await chat.pass_(160)
        yield chat


async def test_scale_in_waits_until_the_least_busy_pod_is_empty(shrinking):
    chat = shrinking
    (victim,) = await marked(chat)
    assert chat.inflight[victim] == 3
    await chat.pass_(60)
    assert await chat.replicas(DECODE) == 4
    assert await chat.reason() == "Draining"
    assert (await chat.status())["draining"] == [victim]
    del chat.inflight[victim]
    await chat.pass_(4)
    assert await chat.replicas(DECODE) == 3
    assert victim not in {pod["name"] for pod in chat.pods}
    assert chat.deleted_busy == []


async def test_a_load_that_returns_cancels_the_drain(shrinking):
    chat = shrinking
    assert len(await marked(chat)) == 1
    chat.traffic.put(3.0)
    await chat.pass_(60)
    assert await marked(chat) == set()
    assert await chat.replicas(DECODE) == 4


async def test_a_drain_has_a_deadline(shrinking):
    chat = shrinking
    (victim,) = await marked(chat)
    await chat.pass_(310)
    assert await chat.replicas(DECODE) == 3
    assert victim not in {pod["name"] for pod in chat.pods}


async def test_on_half_a_picture_nobody_goes_and_an_old_drain_is_cancelled(shrinking):
    chat = shrinking
    (victim,) = await marked(chat)
    chat.inflight = {}
    chat.frontends["b"].dead = True
    await chat.pass_(200)
    assert await chat.replicas(DECODE) == 4
    assert await marked(chat) == {victim}
    await chat.pass_(200)
    assert await chat.replicas(DECODE) == 4
    assert await marked(chat) == set()


async def test_an_autoscaler_that_is_deleted_leaves_no_marks(shrinking):
    chat = shrinking
    assert len(await marked(chat)) == 1
    await chat.api.delete("/apis/grove-dp.io/v1alpha1/namespaces/default/tokenautoscalers/chat")
    await chat.pass_(10)
    assert await marked(chat) == set()
    assert await chat.replicas(DECODE) == 4


async def test_a_new_leader_goes_on_with_the_drain_of_the_old(chat):
    await chat.autoscale(autoscaler())
    first, second = chat.fleet("first"), chat.fleet("second")
    async with chat.running(first, second) as (one, _):
        chat.traffic.put(3.0)
        await chat.pass_(200)
        chat.inflight = {pod["name"]: 1 for pod in chat.pods}
        chat.traffic.put(1.0)
        await chat.pass_(160)
        before = await marked(chat)
        assert len(before) == 1
        one.cancel()
        await chat.pass_(20)
        assert await marked(chat) == set()  # it has yet to see a whole hold of its own
        await chat.pass_(150)
        assert await marked(chat) == before
        chat.inflight = {}
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 2
    assert chat.deleted_busy == []


async def test_a_mark_of_somebody_else_is_left_alone(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(60)
        name = chat.pods[0]["name"]
        await chat.api.merge(f"{PODS}/{name}", {"metadata": {"annotations": {DRAIN: "2099-01-01T00:00:00Z"}}})
        await chat.pass_(300)
        assert await marked(chat) == {name}


# ------------------------------------------------------------ and around them


async def test_in_an_update_things_grow_and_nothing_goes(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        chat.traffic.put(3.0)
        await chat.pass_(120)
        progress = {"updateStartedAt": "2027-01-15T08:00:00Z"}
        path = SETS.path("default", "chat", "status")
        await chat.api.merge(path, {"status": {"updateProgress": progress}})
        chat.traffic.put(1.0)
        await chat.pass_(400)
        assert await chat.replicas(DECODE) == 4
        assert await chat.reason() == "UpdateGoingOn"
        chat.traffic.put(5.0)
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 7
        done = progress | {"updateEndedAt": "2027-01-15T09:00:00Z"}
        await chat.api.merge(path, {"status": {"updateProgress": done}})
        chat.traffic.put(1.0)
        await chat.pass_(400)
        assert await chat.replicas(DECODE) == 2


async def test_an_operator_that_has_not_seen_the_last_change_is_waited_for(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(60)
        chat.observes = False
        chat.traffic.put(3.0)
        await chat.pass_(60)
        asked = await chat.replicas(DECODE)
        chat.traffic.put(9.0)
        await chat.pass_(120)
        assert await chat.replicas(DECODE) == asked
        assert await chat.reason() == "NotObservedYet"
        chat.observes = True
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 12


async def test_a_set_that_is_not_there_is_said_and_waited_for(world):
    await world.autoscale(autoscaler())
    world.traffic.put(3.0)
    async with world.running():
        await world.pass_(60)
        assert await world.condition("ScalingActive") == ("False", "SetNotFound")
        await world.make(clique_template("decode", replicas=1))
        await world.pass_(120)
        assert await world.replicas(DECODE) == 4
        assert await world.condition("ScalingActive") == ("True", "Direct")


async def test_an_api_server_that_refuses_writes_is_said_and_tried_again(chat):
    await chat.autoscale(autoscaler())
    async with chat.running():
        await chat.pass_(60)
        chat.server.faults.refuse("PATCH", "*/scale", times=3, code=403)
        chat.traffic.put(3.0)
        await chat.pass_(12)
        assert await chat.reason() == "Forbidden"
        await chat.pass_(60)
        assert await chat.replicas(DECODE) == 4
