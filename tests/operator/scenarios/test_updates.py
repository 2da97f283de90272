"""Updates: one unit at a time, the old goes first, whatever else changes meanwhile; or only when asked.

Replacements take five seconds to get Ready, so "meanwhile" is long enough.
"""

import pytest
from grove_operator.api import CLIQUES, GROUPS, SETS
from grove_operator.naming import L

from grove_dp.testing.kubelet import Course
from tests.operator.scenarios.harness import IMAGE, image, replicas, scenario
from tests.operator.scenarios.world import labels, name, uid

READY_S = 5.0
OLD = "registry.test/worker:1"
SG = "wl1-0-sg-x"


async def running(scene, workload="workload1", *changes, nodes=28, total=10):
    scene.courses[""] = Course(ready_s=READY_S)
    await scene.nodes(nodes)
    name = await scene.apply(workload, *changes)
    await scene.until(lambda world: world.count() == (total, 0))
    await scene.rest()
    return name


async def updated(scene, total, within_s=600, wanted=IMAGE):
    """All pods run, and all are of the new template; status says so."""
    await scene.until(
        lambda world: world.count() == (total, 0) and world.images() == [wanted] * total,
        within_s,
        "all are updated",
    )
    await scene.rest()
    world = await scene.world()
    for held in world.of(SETS):
        status = held["status"]
        assert status["updateProgress"].get("updateEndedAt"), status
        assert status["updatedReplicas"] == held["spec"]["replicas"], status
        progress = status["updateProgress"]
        assert progress["updatedPodCliquesCount"] == progress["totalPodCliquesCount"], status
    for clique in world.of(CLIQUES):
        assert clique["status"]["updatedReplicas"] == clique["status"]["replicas"], name(clique)
    for group in world.of(GROUPS):
        assert group["status"]["updatedReplicas"] == group["status"]["replicas"], name(group)
    return world


def lowest(scene, mark, ready, *parts):
    """The fewest that were Ready at any time since *mark*, of those that were *ready* then."""
    fewest = ready
    for entry in scene.diary.since(mark):
        if entry.clique.startswith(parts):
            ready += (entry.what == "ready") - (entry.what == "unready")
            fewest = min(fewest, ready)
    return fewest


def born(scene, mark, *parts):
    """Uids of pods that were made since."""
    return [entry.uid for entry in scene.diary.since(mark, "made") if entry.clique.startswith(parts)]


async def mid_roll(scene, *parts, made=1):
    """Wait until some of the new ones are there, and not all."""
    await scene.until(lambda world: world.images(*parts).count(IMAGE) >= made, what="the update has begun")


def once_each(scene, mark, *parts):
    """Nothing that was made since has gone again: nothing was updated twice."""
    fresh = set(born(scene, mark, *parts))
    assert not [entry for entry in scene.diary.since(mark, "ending") if entry.uid in fresh]


# ------------------------------------------------------------ one at a time


@scenario(real=True)
async def test_ru7_one_pod_of_a_clique_at_a_time(scene):
    await running(scene)
    before, mark = await scene.world(), scene.diary.mark
    await scene.edit("wl1", image(IMAGE, "pc-a"))
    await scene.until(lambda world: world.images("wl1-0-pc-a") == [IMAGE] * 2)
    world = await scene.until(lambda world: world.count() == (10, 0))
    assert lowest(scene, mark, 2, "wl1-0-pc-a") == 1
    assert world.uids("wl1-0-sg") == before.uids("wl1-0-sg")
    once_each(scene, mark)


@scenario
async def test_ru8_one_replica_of_a_group_at_a_time(scene):
    await running(scene)
    before, mark = await scene.world(), scene.diary.mark
    await scene.edit("wl1", image(IMAGE, "pc-b", "pc-c"))
    await scene.until(lambda world: world.images(SG) == [IMAGE] * 8 and world.count() == (10, 0), 600)
    disturbed, worst = set(), 0
    gone = dict.fromkeys((f"{SG}-0", f"{SG}-1"), 0)
    for entry in scene.diary.since(mark):
        for replica in gone:
            if entry.clique.startswith(replica):
                gone[replica] += (entry.what == "unready") - (entry.what == "ready")
                disturbed.add(replica)
        worst = max(worst, sum(count > 0 for count in gone.values()))
    assert disturbed == set(gone)
    assert worst == 1
    assert (await scene.world()).uids("wl1-0-pc-a") == before.uids("wl1-0-pc-a")
    once_each(scene, mark)


@scenario
async def test_ru9_all_cliques_at_once(scene):
    await running(scene)
    mark = scene.diary.mark
    await scene.edit("wl1", image())
    await updated(scene, 10)
    assert lowest(scene, mark, 2, "wl1-0-pc-a") == 1
    assert lowest(scene, mark, 8, SG) >= 4
    once_each(scene, mark)


@scenario
async def test_ru9_one_replica_of_the_set_at_a_time(scene):
    await running(scene, "workload1", replicas(2), total=20)
    mark = scene.diary.mark
    await scene.edit("wl1", image())
    await updated(scene, 20)
    made = [entry.clique for entry in scene.diary.since(mark, "made")]
    first = [clique.startswith("wl1-0") for clique in made]
    assert first in ([True] * 10 + [False] * 10, [False] * 10 + [True] * 10)


@scenario
async def test_ru10_with_no_room_one_old_pod_is_gone_and_the_rest_stays(scene):
    await running(scene, nodes=10)
    await scene.cordon_all()
    old = (await scene.world()).uids()
    await scene.edit("wl1", image(IMAGE, "pc-a"))
    await scene.reaches(running=9, pending=1)
    assert len((await scene.world()).uids() & old) == 9
    await scene.uncordon()
    await scene.until(lambda world: world.images("wl1-0-pc-a") == [IMAGE] * 2 and world.count() == (10, 0))


# ------------------------------------------------------------ scaling meanwhile


@scenario
async def test_ru11_the_set_grows_meanwhile(scene):
    await running(scene)
    mark = scene.diary.mark
    await scene.edit("wl1", image())
    await mid_roll(scene)
    await scene.scale_set("wl1", 2)
    await updated(scene, 20)
    assert len(born(scene, mark, "wl1-1")) == 10
    once_each(scene, mark)


@scenario
@pytest.mark.parametrize("moment", ["wl1-0", "wl1-1"])
async def test_ru12_ru13_the_set_shrinks_meanwhile(scene, moment):
    await running(scene, "workload1", replicas(2), total=20)
    await scene.edit("wl1", image())
    await mid_roll(scene, moment)
    await scene.scale_set("wl1", 1)
    world = await updated(scene, 10)
    assert {labels(pod)[L.SET_REPLICA] for pod in world.pods} == {"0"}


@scenario
@pytest.mark.parametrize("before", [False, True])
async def test_ru14_ru15_a_group_grows(scene, before):
    await running(scene)
    mark = scene.diary.mark
    if before:
        await scene.scale_group(SG, 3)
        await scene.until(lambda world: len(world.crew()) == 14)
    await scene.edit("wl1", image())
    if not before:
        await mid_roll(scene, SG)
        await scene.scale_group(SG, 3)
    await updated(scene, 14)
    if not before:
        assert len(born(scene, mark, f"{SG}-2")) == 4
        once_each(scene, mark)


@scenario
@pytest.mark.parametrize("before", [False, True])
async def test_ru16_ru17_a_group_shrinks(scene, before):
    group = "wl2-0-sg-x"
    await running(scene, "workload2")
    await scene.scale_group(group, 3)
    await scene.until(lambda world: world.count() == (14, 0))
    if before:
        await scene.scale_group(group, 2)
    await scene.edit("wl2", image())
    if not before:
        await mid_roll(scene, group)
        await scene.scale_group(group, 2)
    world = await updated(scene, 10)
    assert not world.crew(f"{group}-2")


@scenario
@pytest.mark.parametrize("before", [False, True])
async def test_ru18_ru19_a_clique_grows(scene, before):
    await running(scene)
    mark = scene.diary.mark
    if before:
        await scene.scale_clique("wl1-0-pc-a", 4)
        await scene.until(lambda world: len(world.crew("wl1-0-pc-a")) == 4)
        mark = scene.diary.mark
    await scene.edit("wl1", image(IMAGE, "pc-a"))
    if not before:
        await mid_roll(scene, "wl1-0-pc-a")
        await scene.scale_clique("wl1-0-pc-a", 4)
    await scene.until(lambda world: world.images("wl1-0-pc-a") == [IMAGE] * 4 and world.count() == (12, 0))
    await scene.rest()
    once_each(scene, mark)
    assert (await scene.world()).status(CLIQUES, "wl1-0-pc-a")["updatedReplicas"] == 4


@scenario
@pytest.mark.parametrize("before", [False, True])
async def test_ru20_ru21_a_clique_shrinks(scene, before):
    await running(scene, "workload2")
    await scene.scale_clique("wl2-0-pc-a", 4)
    await scene.until(lambda world: world.count() == (12, 0))
    mark = scene.diary.mark
    if before:
        await scene.scale_clique("wl2-0-pc-a", 2)
    await scene.edit("wl2", image(IMAGE, "pc-a"))
    if not before:
        await mid_roll(scene, "wl2-0-pc-a")
        await scene.scale_clique("wl2-0-pc-a", 2)
    await scene.until(lambda world: world.images("wl2-0-pc-a") == [IMAGE] * 2 and world.count() == (10, 0))
    await scene.rest()
    assert lowest(scene, mark, 4, "wl2-0-pc-a") >= 1
    assert (await scene.world()).status(CLIQUES, "wl2-0-pc-a")["updatedReplicas"] == 2


# ------------------------------------------------------------ templates meanwhile


@scenario
async def test_a_second_template_in_mid_roll_is_the_one_that_counts(scene):
    await running(scene)
    await scene.edit("wl1", image())
    await mid_roll(scene, made=2)
    await scene.edit("wl1", image("registry.test/worker:3"))
    await updated(scene, 10, wanted="registry.test/worker:3")


@scenario
async def test_a_roll_back_in_mid_roll_replaces_only_what_was_reached(scene):
    await running(scene)
    before = await scene.world()
    await scene.edit("wl1", image())
    await mid_roll(scene, made=1)
    kept = before.uids() & (await scene.world()).uids()
    await scene.edit("wl1", image(OLD))
    world = await updated(scene, 10, wanted=OLD)
    assert len(kept & world.uids()) >= len(kept) - 1


@scenario
async def test_a_live_scale_of_a_member_survives_an_update(scene):
    await running(scene)
    await scene.scale_clique(f"{SG}-0-pc-b", 2)
    await scene.until(lambda world: world.count() == (11, 0))
    uids = {uid(one) for one in (await scene.world()).of(CLIQUES)}
    await scene.edit("wl1", image())
    world = await updated(scene, 11)
    assert len(world.crew(f"{SG}-0-pc-b")) == 2
    assert {uid(one) for one in world.of(CLIQUES)} == uids


@scenario
async def test_what_is_no_template_rolls_nothing(scene):
    await running(scene, "workload2")
    before = await scene.world()

    def others(document):
        template = document["spec"]["template"]
        template["terminationDelay"] = "1h"
        for clique in template["cliques"]:
            clique["spec"]["podSpec"] = dict(reversed(clique["spec"]["podSpec"].items()))
        template["cliques"].reverse()
        document["metadata"].setdefault("labels", {})["team"] = "a"

    await scene.edit("wl2", others)
    await scene.always(lambda world: world.uids() == before.uids(), 60, "nothing is replaced")
    assert (await scene.world()).images() == [OLD] * 10


@scenario
async def test_a_template_that_cannot_run_stops_at_one_unit(scene):
    await running(scene)

    def too_large(document):
        for clique in document["spec"]["template"]["cliques"]:
            clique["spec"]["podSpec"]["containers"][0]["resources"]["requests"]["memory"] = "80Gi"

    await scene.edit("wl1", too_large)
    await scene.until(lambda world: len(world.pending()) > 0)
    await scene.always(lambda world: len(world.running()) >= 5, 120, "the rest runs")
    await scene.edit(
        "wl1",
        lambda document: [
            one["spec"]["podSpec"]["containers"][0]["resources"]["requests"].update(memory="80Mi")
            for one in document["spec"]["template"]["cliques"]
        ],
    )
    await scene.reaches(running=10)


@scenario
async def test_an_update_survives_its_operators(scene):
    await running(scene)
    mark = scene.diary.mark
    await scene.edit("wl1", image())
    for made in (1, 3, 5, 7):
        await mid_roll(scene, made=made)
        await scene.kill_operator()
        await scene.start_operator()
    await updated(scene, 10)
    assert lowest(scene, mark, 2, "wl1-0-pc-a") >= 1
    once_each(scene, mark)


# ------------------------------------------------------------ OnDelete


async def on_delete(scene, *changes, total=10):
    await running(scene, "workload-ondelete", *changes, total=total)


@scenario(real=True)
async def test_od1_od2_nothing_goes_by_itself_and_what_is_deleted_comes_back_new(scene):
    await on_delete(scene)
    before = await scene.world()
    await scene.edit("wlo", image())
    await scene.always(lambda world: world.uids() == before.uids(), 60, "nothing goes by itself")
    pod = before.running("wlo-0-pc-a")[0]
    await scene.kill_pod(pod)
    await scene.until(lambda world: world.images("wlo-0-pc-a") == [OLD, IMAGE] and world.count() == (10, 0))
    await scene.always(lambda world: world.images().count(IMAGE) == 1, 60, "and no other")


@scenario
async def test_od3_an_update_is_over_at_once(scene):
    await on_delete(scene)
    await scene.edit("wlo", image())
    await scene.rest()
    status = (await scene.world()).status(SETS, "wlo")
    assert status["updateProgress"]["updateEndedAt"]


@scenario
async def test_od4_a_clique_that_shrinks_loses_the_outdated(scene):
    await on_delete(scene)
    await scene.scale_clique("wlo-0-pc-a", 3)
    await scene.until(lambda world: world.count() == (11, 0))
    await scene.edit("wlo", image(IMAGE, "pc-a"))
    await scene.rest()
    await scene.kill_pod(min((await scene.world()).running("wlo-0-pc-a"), key=name))
    await scene.until(lambda world: world.count() == (11, 0) and IMAGE in world.images("wlo-0-pc-a"))
    await scene.scale_clique("wlo-0-pc-a", 1)
    await scene.until(lambda world: world.images("wlo-0-pc-a") == [IMAGE] and world.count() == (9, 0))


@scenario
async def test_od5_what_grows_is_new(scene):
    await on_delete(scene)
    await scene.edit("wlo", image())
    await scene.rest()
    await scene.scale_clique("wlo-0-pc-a", 3)
    await scene.scale_group("wlo-0-sg-x", 3)
    await scene.until(lambda world: world.count() == (15, 0))
    world = await scene.world()
    assert world.images("wlo-0-pc-a") == [OLD, OLD, IMAGE]
    assert world.images("wlo-0-sg-x-2") == [IMAGE] * 4
    assert world.images("wlo-0-sg-x-0", "wlo-0-sg-x-1") == [OLD] * 8


@scenario
async def test_od6_a_group_replica_that_is_deleted_comes_back_new(scene):
    await on_delete(scene)
    await scene.edit("wlo", image())
    await scene.rest()
    for pod in (await scene.world()).running("wlo-0-sg-x-1"):
        await scene.kill_pod(pod)
    await scene.until(lambda world: world.images("wlo-0-sg-x-1") == [IMAGE] * 4 and world.count() == (10, 0))
    assert (await scene.world()).images("wlo-0-sg-x-0", "wlo-0-pc") == [OLD] * 6


@scenario
async def test_od7_several_replicas_of_the_set(scene):
    await on_delete(scene, replicas(2), total=20)
    await scene.edit("wlo", image())
    await scene.rest()
    await scene.kill_pod(min((await scene.world()).running("wlo-1-pc-a"), key=name))
    await scene.until(lambda world: world.images("wlo-1").count(IMAGE) == 1 and world.count() == (20, 0))
    assert (await scene.world()).images("wlo-0") == [OLD] * 10


@scenario
async def test_od8_a_pod_that_fails_comes_back_new(scene):
    await on_delete(scene)
    await scene.edit("wlo", image())
    await scene.rest()
    await scene.fail_pod(min((await scene.world()).running("wlo-0-sg-x-0-pc-c"), key=name))
    await scene.until(
        lambda world: world.images("wlo-0-sg-x-0-pc-c") == [OLD, OLD, IMAGE] and world.count() == (10, 0)
    )


@scenario
async def test_od9_the_strategy_is_switched(scene):
    await on_delete(scene)
    await scene.edit("wlo", image())
    await scene.rest()
    await scene.kill_pod(min((await scene.world()).running("wlo-0-pc-a"), key=name))
    await scene.until(lambda world: IMAGE in world.images() and world.count() == (10, 0))
    mark = scene.diary.mark

    def rolling(document):
        document["spec"]["updateStrategy"]["type"] = "RollingRecreate"

    await scene.edit("wlo", rolling)
    await scene.until(lambda world: world.count() == (10, 0) and world.images() == [IMAGE] * 10, 600)
    assert lowest(scene, mark, 2, "wlo-0-pc-a") >= 1
