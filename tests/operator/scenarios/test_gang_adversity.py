"""Gangs that cannot stay whole, and those that wait behind others."""

from grove_operator.api import GANGS, NODES, PODS

from grove_dp.testing.kubelet import Course
from tests.operator.scenarios.harness import scenario
from tests.operator.scenarios.preempting import preempting, priority
from tests.operator.scenarios.test_gang_preemption import full_of_plain_pods, gang
from tests.operator.scenarios.test_gang_scheduling import eight
from tests.operator.scenarios.test_topology import HOST, a_set, clique, cluster, domains
from tests.operator.scenarios.world import condition, name

STARVED_S = 300


async def squat(scene, count):
    """Pods of others on the first nodes."""
    for number in range(count):
        await scene.foreign_pod(f"plain-{number}", nodeName=scene.all_nodes[number])


def released(pod):
    return "schedulingGates" not in pod["spec"]


def why(world, of):
    return condition(world.named(GANGS, f"{of}-0") or {}, "Scheduled")[1]


# ------------------------------------------------------------ half gangs


@scenario(scheduler_after_s=0.1)
async def test_a_gang_that_lost_a_node_while_it_was_bound_does_not_stay_half(scene):
    await scene.nodes(8)
    await scene.apply("workload1", eight)
    await scene.until(lambda world: any(map(released, world.pods)))
    await squat(scene, 1)
    await scene.until(lambda world: len(world.bound("wl1")) == 7)
    await scene.until(lambda world: not world.bound("wl1"), 120, "the seven are taken back")
    await scene.kill_pod("plain-0")
    await scene.reaches("wl1", running=8)


@scenario(scheduler_after_s=0.1)
async def test_a_gang_whose_last_pod_cannot_be_made_any_more_does_not_stay_half(scene):
    await scene.nodes(8)
    await scene.apply("workload1", eight)
    await scene.until(lambda world: any(map(released, world.pods)))
    await squat(scene, 1)
    scene.cluster.faults.refuse("POST", "*/pods", times=100_000, code=403)
    await scene.until(lambda world: not world.bound("wl1"), 120, "the seven are taken back")
    scene.cluster.faults.clear()
    await scene.kill_pod("plain-0")
    await scene.until(lambda world: len(world.running("wl1")) == 8, 900)


@scenario
async def test_a_gang_that_ran_and_lost_a_node_keeps_the_others(scene):
    await scene.nodes(4)
    await scene.apply("workload1", gang("one", 4))
    await scene.reaches("one", running=4)
    old = (await scene.world()).running("one")
    lost = old[0]["spec"]["nodeName"]
    await scene.cordon(lost)
    await scene.kill_pod(old[0])
    await scene.stays("one", running=3, pending=1)
    await scene.always(lambda world: len(world.running("one")) == 3, 200)
    await scene.uncordon(lost)
    await scene.reaches("one", running=4)


# ------------------------------------------------------------ who waits for too long


@scenario
async def test_a_gang_that_can_never_fit_holds_up_nobody(scene):
    await scene.nodes(4)
    await scene.apply("workload1", eight)
    await scene.clock.sleep(1.5 * STARVED_S)
    await scene.apply("workload1", gang("small", 2))
    await scene.until(lambda world: len(world.running("small")) == 2, within_s=5)


@scenario
async def test_who_has_waited_too_long_gets_what_becomes_free_and_the_others_come_after(scene):
    await scene.nodes(4)
    await squat(scene, 2)
    await scene.apply("workload1", gang("large", 3))
    await scene.stays("large", running=0, pending=3)
    await scene.clock.sleep(STARVED_S)
    await scene.apply("workload1", gang("small", 2))
    await scene.until(lambda world: why(world, "small") == "Yielding")
    await scene.kill_pod("plain-0")
    await scene.reaches("large", running=3)
    await scene.stays("small", running=0, pending=2)
    await scene.kill_pod("plain-1")
    await scene.stays("small", running=0, pending=2)
    await scene.nodes(1)
    await scene.until(lambda world: len(world.running("small")) == 2, within_s=5)


@scenario
async def test_a_fence_leaves_other_nodes_alone_and_comes_down(scene):
    await scene.nodes(3)
    await squat(scene, 1)

    def elsewhere(document):
        for one in document["spec"]["template"]["cliques"]:
            one["spec"]["podSpec"]["nodeSelector"] = {"kubernetes.io/rack": "rack-0"}

    await scene.apply("workload1", gang("large", 3), elsewhere)
    await scene.nodes(5)
    await scene.api.merge(NODES.path(name="n07"), {"metadata": {"labels": {"kubernetes.io/rack": "other"}}})
    for number in range(3, 7):
        await scene.cordon(scene.all_nodes[number])
    await scene.clock.sleep(STARVED_S + 1)
    await scene.apply("workload1", gang("small", 1))
    await scene.apply("workload1", gang("other", 1))
    await scene.until(lambda world: len(world.running()) == 1, within_s=5)
    await scene.until(
        lambda world: len(world.running("small")) + len(world.running("other")) == 2, 2 * STARVED_S
    )


@scenario
async def test_a_higher_priority_does_not_stop_at_a_fence(scene):
    await full_of_plain_pods(scene, 2)
    await scene.nodes(1)
    await scene.apply("workload1", gang("large", 2))
    await scene.clock.sleep(STARVED_S + 1)
    await scene.apply("workload1", gang("high", 1), priority(1000))
    await scene.until(lambda world: len(world.running("high")) == 1, within_s=5)


# ------------------------------------------------------------ what we cannot judge


def with_a_volume(document):
    for one in document["spec"]["template"]["cliques"]:
        claim = {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}
        one["spec"]["podSpec"]["volumes"] = [claim]


@scenario
async def test_pods_with_volumes_wait_for_room_too(scene):
    await scene.nodes(3)
    await squat(scene, 1)
    await scene.apply("workload1", gang("one", 3), with_a_volume)
    await scene.stays("one", running=0, pending=3)
    assert not scene.diary.times("released", "one")
    await scene.kill_pod("plain-0")
    await scene.reaches("one", running=3)


@scenario(real=True)
async def test_pods_that_keep_apart_from_others_keep_to_one_domain(scene):
    """That depends on where the others are: the scheduler chooses the nodes, we the rack."""
    await cluster(scene, 14)
    await scene.cordon(*scene.all_nodes[:4])

    def apart(document):
        term = {"topologyKey": HOST, "labelSelector": {"matchLabels": {"grove.io/podclique": "t-0-w"}}}
        affinity = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        document["spec"]["template"]["cliques"][0]["spec"]["podSpec"]["affinity"] = affinity

    await scene.apply(a_set(clique("w", 4), required="rack"), apart)
    world = await scene.reaches(running=4)
    assert len(domains(world, "rack")) == 1
    assert not [pod for pod in world.read.values() if pod.pinned]


@scenario
async def test_pods_with_volumes_come_to_the_domain_where_these_are(scene):
    """Which only the scheduler knows."""
    await cluster(scene, 14)
    refuse(scene, scene.all_nodes[:7])
    await scene.apply(a_set(clique("w", 4), required="rack"), with_a_volume)
    world = await scene.reaches(running=4)
    assert domains(world, "rack") == {"rack-1"}


@scenario
async def test_a_node_that_refuses_a_pod_for_a_reason_of_its_own_is_left_for_another(scene):
    await scene.nodes(4)
    refuse(scene, scene.all_nodes[:1])
    await scene.apply("workload1", gang("one", 3))
    world = await scene.reaches(running=3)
    assert sorted(world.on()) == scene.all_nodes[1:]


def refuse(scene, nodes):
    """The scheduler has no pods on these, and nothing that is seen of them says why."""
    judged = scene.cluster._scheduler._objection
    scene.cluster._scheduler._objection = lambda node, *pod: (
        "node(s) had volume node affinity conflict" if name(node) in nodes else judged(node, *pod)
    )


# ------------------------------------------------------------ competition


@scenario(scheduler_after_s=0.05)
async def test_of_two_gangs_with_room_for_one_exactly_one_runs(scene):
    await scene.nodes(5)
    for one in ("one", "two"):
        await scene.apply("workload1", gang(one, 4))
    await scene.until(lambda world: len(world.running()) == 4)
    await scene.stays(running=4, pending=4)
    world = await scene.world()
    assert sorted(len(world.running(one)) for one in ("one", "two")) == [0, 4]


@scenario(scheduler_after_s=5)
async def test_nodes_that_change_while_pods_are_on_their_way_are_left_for_others(scene):
    await scene.nodes(6)
    await scene.apply("workload1", gang("one", 3))
    await scene.until(lambda world: world.pods and all(map(released, world.pods)))
    await scene.cordon(scene.all_nodes[0])
    await scene.api.delete(NODES.path(name=scene.all_nodes[1]))
    await scene.reaches("one", running=3)
    assert not {*scene.all_nodes[:2]} & {*(await scene.world()).on("one")}


@scenario(scheduler_after_s=1)
async def test_a_gang_that_grows_while_it_is_released_gets_its_pods(scene):
    await scene.nodes(6)
    await scene.apply("workload1", gang("one", 3))
    await scene.until(lambda world: world.pods and all(map(released, world.pods)))
    await scene.scale_clique("one-0-pc-a", 6)
    await scene.reaches("one", running=6)


@scenario(scheduler_after_s=0.3)
async def test_an_operator_that_starts_anew_in_mid_preemption_goes_on(scene):
    scene.courses[""] = Course(ends_s=20)
    await full_of_plain_pods(scene, 3)
    async with preempting(scene):
        await scene.apply("workload1", gang("high", 3), priority(1000))
        for _ in range(6):
            await scene.clock.sleep(3)
            await scene.kill_operator()
            await scene.start_operator()
        await scene.reaches("high", running=3)
        assert len(scene.diary.times("made", "high")) == 3
    assert not [pod for pod in (await scene.world()).of(PODS) if name(pod).startswith("plain")]
