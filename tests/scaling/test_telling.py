"""Statuses of autoscalers: when they are written, and what they say when there is nothing to decide."""

from grove_dp.scaling.kinds import AUTOSCALERS, SETS
from tests.scaling.world import NAMESPACE, autoscaler, clique_template

CHAT = AUTOSCALERS.path(NAMESPACE, "chat")


async def test_an_object_that_was_made_anew_gets_a_status_although_nothing_changed(world):
    await world.make(clique_template("decode", replicas=2))
    await world.autoscale(autoscaler())
    world.traffic.put(1.5)
    async with world.running():
        await world.pass_(30)
        assert await world.reason() == "Steady"
        await world.api.delete(CHAT)
        await world.autoscale(autoscaler())  # before anybody saw that it had gone
        await world.pass_(6)
        assert await world.reason() == "Steady"
        assert await world.condition("ScalingActive") == ("True", "Direct")


async def test_without_its_set_no_count_of_it_stays_in_the_status_and_with_it_all_is_said_again(world):
    await world.make(clique_template("decode", replicas=2))
    await world.autoscale(autoscaler())
    world.traffic.put(1.5)
    async with world.running():
        await world.pass_(30)
        before = await world.status()
        assert before["components"][0]["replicas"] == 2
        top = await world.api.get(SETS.path(NAMESPACE, "chat"))
        world.made = False  # the operator looks away
        await world.api.delete(SETS.path(NAMESPACE, "chat"))
        await world.pass_(6)
        assert await world.reason() == "SetNotFound"
        assert (await world.status())["components"] == []
        assert await world.condition("ScalingActive") == ("False", "SetNotFound")
        head = {name: top[name] for name in ("apiVersion", "kind", "spec")}
        await world.api.create(SETS.path(NAMESPACE), {**head, "metadata": {"name": "chat"}})
        await world.pass_(6)
        [component] = (await world.status())["components"]
        assert (await world.reason(), component["replicas"], component["ready"]) == ("Steady", 2, 2)
        assert await world.condition("ScalingActive") == ("True", "Direct")


async def test_half_a_picture_is_no_statement_about_what_is_needed(world):
    await world.make(clique_template("decode", replicas=3))
    await world.autoscale(autoscaler())
    world.traffic.put(2.0)
    async with world.running():
        await world.pass_(30)
        world.frontends["a"].dead = True
        await world.pass_(6)
        [component] = (await world.status())["components"]
        assert (component["load"], component["wished"], component["reason"]) == (
            "unknown",
            3,
            "PictureIncomplete",
        )
        assert await world.condition("ScalingLimited") == ("Unknown", "PictureIncomplete")


async def test_what_stays_only_for_the_hold_says_so(world):
    await world.make(clique_template("decode", replicas=4))
    await world.autoscale(autoscaler())
    world.traffic.put(1.0)
    async with world.running():
        await world.pass_(30)
        [component] = (await world.status())["components"]
        assert component["reason"] == "Held"
        message = (await world.status())["lastDecision"]["message"]
        assert "head-room; 4 stay: its load has been seen for " in message
        await world.pass_(200)
        assert await world.replicas("chat-0-decode") == 2
