"""Gang termination: what has lost its minimum for longer than its delay starts anew, as far as it must."""

from grove_dp.testing.kubelet import Course
from tests.operator.scenarios.harness import scenario
from tests.operator.scenarios.world import name, uid

DELAY_S = 10


async def running(scene, workload, total=10):
    await scene.nodes(total)
    await scene.apply(workload)
    await scene.reaches(running=total)


async def bring_down(scene, *cliques):
    """One pod of each goes, and its node takes no other."""
    world = await scene.world()
    for clique in cliques:
        pod = min(world.running(clique), key=name)
        if pod["spec"]["nodeName"] not in scene.cordoned:
            await scene.cordon(pod["spec"]["nodeName"])
        await scene.kill_pod(pod)
    await scene.until(lambda now: not any(uid(pod) in now.uids() for pod in _chosen(world, cliques)))


def _chosen(world, cliques):
    return [min(world.running(clique), key=name) for clique in cliques]


async def all_new(scene, old, *parts, within_s=60):
    """None of *old* is left."""
    await scene.until(lambda world: not old & world.uids(*parts), within_s, "all pods are new")


async def kept(scene, old, for_s=3 * DELAY_S):
    """*old* pods stay, whatever else happens."""
    await scene.always(lambda world: old <= world.uids(), for_s, "these pods stay")


async def recovers(scene, total=10):
    await scene.uncordon()
    await scene.reaches(running=total)


@scenario(real=True)
async def test_gt1_a_standalone_clique_under_its_minimum_takes_the_replica_with_it(scene):
    await running(scene, "workload1-gt")
    old = (await scene.world()).uids()
    await bring_down(scene, "wl1-0-pc-a")
    await scene.always(lambda world: len(world.uids() & old) == 9, DELAY_S / 2, "before the delay all stay")
    await all_new(scene, old)
    await recovers(scene)


@scenario
async def test_gt2_a_member_of_a_group_that_must_be_whole_does_so_too(scene):
    await running(scene, "workload1-gt")
    old = (await scene.world()).uids()
    await bring_down(scene, "wl1-0-sg-x-0-pc-c")
    await all_new(scene, old)
    await recovers(scene)


@scenario
async def test_gt3_only_what_is_under_its_minimum_counts(scene):
    await running(scene, "workload2-gt")
    world = await scene.world()
    await bring_down(scene, "wl2-0-pc-a")
    old = (await scene.world()).uids("wl2-0-sg") | (world.uids("wl2-0-pc-a") & (await scene.world()).uids())
    old = {one for one in old if one in {uid(pod) for pod in (await scene.world()).running()}}
    await kept(scene, old)
    await bring_down(scene, "wl2-0-pc-a")
    await all_new(scene, world.uids())
    await recovers(scene)


@scenario
async def test_gt4_a_group_replica_goes_alone_until_too_few_are_left(scene):
    await running(scene, "workload2-gt")
    first = await scene.world()
    others = {uid(pod) for pod in first.running("wl2-0-pc-a", "wl2-0-sg-x-1")}
    await bring_down(scene, "wl2-0-sg-x-0-pc-c")
    await kept(scene, others | first.uids("wl2-0-sg-x-0-pc-b"))
    for _ in range(2):
        await bring_down(scene, "wl2-0-sg-x-0-pc-c")
    await all_new(scene, first.uids("wl2-0-sg-x-0"), "wl2-0-sg-x-0")
    await kept(scene, others)
    await scene.cordon_all()
    for _ in range(3):
        await bring_down(scene, "wl2-0-sg-x-1-pc-c")
    await all_new(scene, first.uids())
    await recovers(scene)


@scenario
async def test_gt5_a_group_replica_that_can_be_spared_goes_alone(scene):
    await running(scene, "workload5-gt")
    first = await scene.world()
    await bring_down(scene, "wl5-0-sg-x-0-pc-c")
    await all_new(scene, first.uids("wl5-0-sg-x-0"), "wl5-0-sg-x-0")
    await kept(scene, first.uids("wl5-0-pc-a", "wl5-0-sg-x-1"))
    await recovers(scene)


@scenario
async def test_gt6_a_pod_of_a_scaled_gang_comes_back_alone(scene):
    await running(scene, "workload2-gt")
    first = await scene.world()
    pod = first.running("wl2-0-sg-x-1-pc-b")[0]
    await scene.kill_pod(pod)
    await scene.until(lambda world: uid(pod) not in world.uids() and len(world.running()) == 10, within_s=5)
    await kept(scene, first.uids() - {uid(pod)})


def comes_back(pod):
    return lambda world: uid(pod) not in world.uids() and len(world.running()) == 10


# ------------------------------------------------------------ history


@scenario
async def test_a_gang_that_was_never_whole_is_not_terminated(scene):
    await scene.nodes(10, cordoned=1)
    await scene.apply("workload1-gt")
    await scene.stays(running=0, pending=10)
    old = (await scene.world()).uids()
    await kept(scene, old, 20 * DELAY_S)


@scenario
async def test_pods_that_never_get_ready_are_not_terminated(scene):
    scene.courses["wl1-0-pc-a"] = Course(ready_s=1e9)
    await scene.nodes(10)
    await scene.apply("workload1-gt")
    await scene.until(lambda world: len(world.bound()) == 10)
    await kept(scene, (await scene.world()).uids(), 20 * DELAY_S)


@scenario
async def test_one_episode_fires_once(scene):
    await running(scene, "workload1-gt")
    first = (await scene.world()).uids()
    await bring_down(scene, "wl1-0-pc-a")
    await all_new(scene, first)
    second = (await scene.world()).uids()
    await scene.until(lambda world: len(world.crew()) == 10)
    second = (await scene.world()).uids()
    await kept(scene, second, 10 * DELAY_S)
    await recovers(scene)


@scenario
async def test_an_episode_outlives_its_operator(scene):
    await running(scene, "workload1-gt")
    first = (await scene.world()).uids()
    await bring_down(scene, "wl1-0-pc-a")
    await scene.clock.sleep(DELAY_S * 0.7)
    await scene.kill_operator()
    await scene.start_operator()
    await scene.clock.sleep(DELAY_S * 0.2)
    assert len((await scene.world()).uids() & first) == 9
    await all_new(scene, first, within_s=DELAY_S)
    await recovers(scene)


@scenario
async def test_readiness_that_comes_back_in_time_ends_the_episode(scene):
    await running(scene, "workload1-gt")
    world = await scene.world()
    first = world.uids()
    pod = world.running("wl1-0-pc-a")[0]
    for _ in range(5):
        await scene.set_ready(pod, False)
        await scene.clock.sleep(DELAY_S * 0.6)
        await scene.set_ready(pod, True)
        await scene.clock.sleep(DELAY_S * 0.6)
    assert (await scene.world()).uids() == first


@scenario
async def test_a_clique_scaled_under_its_minimum_destroys_nothing(scene):
    await running(scene, "workload1-gt")
    first = (await scene.world()).uids()
    await scene.scale_clique("wl1-0-pc-a", 1)
    await kept(scene, first, 10 * DELAY_S)
    await scene.scale_clique("wl1-0-pc-a", 2)
    await kept(scene, first)


@scenario
async def test_every_way_to_go_wrong_brings_one_pod_back(scene):
    await running(scene, "workload2-gt")
    for wrong in (scene.kill_pod, scene.fail_pod):
        world = await scene.world()
        pod = world.running("wl2-0-sg-x-0-pc-b")[0]
        await wrong(pod)
        await scene.until(comes_back(pod), within_s=5)
        await kept(scene, world.uids() - {uid(pod)})
