"""Gangs of higher priority take the room of what is lower, whole; equals wait for each other."""

from copy import deepcopy
from random import Random

import pytest
from grove_operator.api import GANGS, PODS
from grove_operator.explain import explain

from grove_dp.testing.kubelet import Course
from tests.operator.scenarios.harness import scenario
from tests.operator.scenarios.preempting import preempting, priority
from tests.operator.scenarios.test_gang_scheduling import eight
from tests.operator.scenarios.world import condition, name


def gang(of, count, *, minimum=None, delay=None):
    """A set of one clique."""

    def changed(document):
        eight(document)
        document["metadata"]["name"] = of
        document["spec"]["template"]["cliques"][0]["spec"].update(
            replicas=count, minAvailable=minimum or count
        )
        if delay:
            document["spec"]["template"]["terminationDelay"] = delay

    return changed


async def full_of_plain_pods(scene, count, **spec):
    """One on each node."""
    await scene.nodes(count)
    for number in range(count):
        await scene.foreign_pod(f"plain-{number}", **spec)
    await scene.until(lambda world: sum(1 for pod in world.of(PODS) if pod["spec"].get("nodeName")) == count)


def plain(world):
    return sorted(name(pod) for pod in world.of(PODS) if name(pod).startswith("plain"))


@scenario
async def test_a_gang_of_higher_priority_runs_whole_where_plain_pods_were(scene):
    await full_of_plain_pods(scene, 5)
    async with preempting(scene):
        await scene.apply("workload1", gang("high", 3), priority(1000))
        await scene.reaches("high", running=3)
        assert len(plain(await scene.world())) == 2
        assert condition((await scene.world()).named(GANGS, "high-0"), "Scheduled")[0] == "True"


@scenario(real="only")
async def test_kube_scheduler_makes_room_for_a_whole_gang_of_higher_priority(scene):
    path = "/apis/scheduling.k8s.io/v1/priorityclasses"
    high = f"high-{scene.namespace}"
    await scene.api.create(path, {"metadata": {"name": high}, "value": 1000})
    await scene.nodes(3)
    for number, node in enumerate(scene.all_nodes):
        await scene.foreign_pod(f"plain-{number}", nodeName=node, terminationGracePeriodSeconds=2)

    def urgent(document):
        document["spec"]["template"]["priorityClassName"] = high

    try:
        await scene.apply("workload1", gang("high", 3), urgent)
        await scene.reaches("high", running=3)
        world = await scene.world()
        assert sorted(world.on("high")) == scene.all_nodes
        assert not plain(world)
        assert len(scene.diary.times("made", "high")) == 3
    finally:
        await scene.api.delete(f"{path}/{high}")


@scenario(scheduler_after_s=3)
async def test_it_is_said_at_whose_cost_and_their_grace_is_waited_for(scene):
    scene.courses[""] = Course(ends_s=25)
    await full_of_plain_pods(scene, 3)
    async with preempting(scene):
        await scene.apply("workload1", gang("high", 3), priority(1000))
        world = await scene.until(
            lambda world: condition(world.named(GANGS, "high-0") or {}, "Scheduled")[1] == "Preempting"
        )
        held = world.named(GANGS, "high-0")["status"]["conditions"]
        message = next(one["message"] for one in held if one["type"] == "Scheduled")
        assert all(f"default/plain-{number}" in message for number in range(3))
        told = await explain(scene.api, scene.namespace, "high-0")
        assert (told.waits.reason, told.waits.message) == ("Preempting", message)
        before = world.uids("high")
        await scene.reaches("high", running=3)
        assert (await scene.world()).uids("high") == before
        waited = max(scene.diary.times("bound", "high")) - min(scene.diary.times("released", "high"))
        assert 25 <= waited < 35


@scenario
async def test_a_stage_of_its_start_order_makes_room_when_its_turn_comes(scene):
    await full_of_plain_pods(scene, 4)

    def staged(document):
        template = document["spec"]["template"]
        template["cliqueStartupType"] = "CliqueStartupTypeInOrder"
        template["cliques"].append(deepcopy(template["cliques"][0]))
        template["cliques"][1]["name"] = template["cliques"][1]["spec"]["roleName"] = "later"

    async with preempting(scene):
        await scene.apply("workload1", gang("high", 2), staged, priority(1000))
        await scene.reaches("high", running=4)
        assert not plain(await scene.world())
        assert len(scene.diary.times("made", "high")) == 4


@scenario
async def test_equals_never_displace_each_other(scene):
    await scene.nodes(4)
    async with preempting(scene):
        await scene.apply("workload1", gang("one", 3), priority(1000))
        await scene.reaches("one", running=3)
        old = (await scene.world()).uids("one")
        await scene.apply("workload1", gang("two", 3), priority(1000))
        await scene.stays("two", running=0, pending=3)
        assert (await scene.world()).uids("one") == old


@scenario
async def test_who_may_not_preempt_waits(scene):
    await full_of_plain_pods(scene, 3)
    async with preempting(scene):
        await scene.apply("workload1", gang("high", 3), priority(1000, "Never"))
        await scene.stays("high", running=0, pending=3)
        assert len(plain(await scene.world())) == 3


@scenario
async def test_a_gang_for_which_even_all_lower_pods_are_too_few_ends_none_of_them(scene):
    await full_of_plain_pods(scene, 3)
    await scene.kill_pod("plain-0")
    await scene.foreign_pod("higher", priority=2000)
    await scene.until(lambda world: len(world.of(PODS)) == 3)
    async with preempting(scene):
        await scene.apply("workload1", gang("high", 3), priority(1000))
        await scene.stays("high", running=0, pending=3)
        assert len(plain(await scene.world())) == 2


@scenario
async def test_a_displaced_gang_is_not_left_half_and_comes_back_when_there_is_room(scene):
    await scene.nodes(4)
    async with preempting(scene):
        await scene.apply("workload1", gang("low", 3, delay="10s"))
        await scene.reaches("low", running=3)
        await scene.apply("workload1", gang("high", 2), priority(1000))
        await scene.reaches("high", running=2)
        await scene.until(lambda world: world.count("low") == (0, 3), 60, "the low gang waits as a whole")
        assert not (await scene.world()).bound("low")
        await scene.stays("high", running=2, pending=0)
        await scene.remove("high")
        await scene.reaches("low", running=3)


@scenario
async def test_a_displaced_gang_that_has_not_run_yet_gives_up_what_it_has(scene):
    scene.courses["low"] = Course(ready_s=10_000)
    await scene.nodes(4)
    async with preempting(scene):
        await scene.apply("workload1", gang("low", 3))
        await scene.until(lambda world: len(world.bound("low")) == 3)
        await scene.apply("workload1", gang("high", 2), priority(1000))
        await scene.reaches("high", running=2)
        await scene.until(lambda world: not world.bound("low"), 120, "the low gang waits as a whole")
        scene.courses["low"] = Course()
        await scene.remove("high")
        await scene.reaches("low", running=3)


@scenario
async def test_of_two_gangs_with_lower_pods_for_one_the_first_runs_and_nothing_goes_back_and_forth(scene):
    await full_of_plain_pods(scene, 4)
    async with preempting(scene):
        await scene.apply("workload1", gang("one", 3), priority(1000))
        await scene.apply("workload1", gang("two", 3), priority(1000))
        await scene.until(lambda world: len(world.running()) == 3)
        await scene.stays(running=3, pending=3)
        world = await scene.world()
        assert sorted((len(world.running("one")), len(world.running("two")))) == [0, 3]
        assert len(plain(world)) == 1
        assert len(scene.diary.times("ending")) == 0


@scenario
async def test_a_pod_beyond_the_minimum_displaces_lower_ones_too(scene):
    await full_of_plain_pods(scene, 3)
    async with preempting(scene):
        await scene.apply("workload1", gang("high", 3, minimum=1), priority(1000))
        await scene.reaches("high", running=3)
        assert not plain(await scene.world())


@scenario
async def test_room_that_pods_on_their_way_out_leave_is_waited_for(scene):
    scene.courses["old"] = Course(ends_s=20)
    await scene.nodes(6)
    for number in range(3):
        await scene.foreign_pod(f"plain-{number}")
    await scene.until(lambda world: sum(1 for pod in world.of(PODS) if pod["spec"].get("nodeName")) == 3)
    async with preempting(scene):
        await scene.apply("workload1", gang("old", 3), priority(1000))
        await scene.reaches("old", running=3)
        await scene.remove("old")
        await scene.apply("workload1", gang("new", 3), priority(1000))
        await scene.reaches("new", running=3)
        assert len(plain(await scene.world())) == 3


@scenario(scheduler_after_s=0.05)
@pytest.mark.parametrize("seed", range(2))
async def test_whatever_comes_and_goes_no_gang_stays_half_and_in_the_end_the_higher_ones_run(scene, seed):
    chance = Random(seed)
    scene.courses[""] = Course(ready_s=1, ends_s=5)
    await scene.nodes(10)
    sets = {"low": 0, "mid": 500, "high": 1000}
    async with preempting(scene):
        for one, value in sets.items():
            await scene.apply("workload1", gang(one, 4, delay="20s"), priority(value))
        for step in range(40):
            await scene.clock.sleep(chance.expovariate(0.3))
            match chance.randrange(5):
                case 0 if scene.open_nodes:
                    await scene.cordon(chance.choice(scene.open_nodes))
                case 1:
                    await scene.uncordon()
                case 2:
                    await scene.foreign_pod(f"squatter-{step}", priority=chance.choice((0, 700)))
                case 3 if pods := (await scene.world()).pods:
                    await scene.kill_pod(chance.choice(pods))
                case 4:
                    await scene.kill_operator()
                    await scene.start_operator()
        await scene.uncordon()
        for pod in (await scene.world()).of(PODS):
            if name(pod).startswith("squatter"):
                await scene.kill_pod(pod)
        await scene.until(lambda world: [len(world.running(one)) for one in sets] == [0, 4, 4], 900)
        await scene.until(lambda world: not world.bound("low"), 120)
        await scene.nodes(2)
        await scene.until(lambda world: len(world.running()) == 12, 900)
