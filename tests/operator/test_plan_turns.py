"""Whose turn it is, and what a set says of its update."""

import msgspec
import pytest
from grove_operator.api import PodCliqueSet, SetStatus
from grove_operator.plan.rollout import rollout
from grove_operator.plan.turns import Stage, stage, turns

from tests.operator.plan_samples import workload
from tests.operator.update_world import World

NOW = 1_790_000_000.0
AT = "2026-09-21T14:13:20Z"
LATER = "2026-09-21T14:14:20Z"
OLD, NEW = "0123456789abcdef", "fedcba9876543210"


def owner(replicas=3, strategy="RollingRecreate", **status):
    document = msgspec.to_builtins(workload(replicas))
    document["spec"]["updateStrategy"] = {"type": strategy}
    document["status"] = status
    return msgspec.convert(document, PodCliqueSet)


def behind(index, **more):
    return Stage(index, NEW, left=True, done=False, cliques=1, groups=1, **more)


def there(index, **more):
    return Stage(index, NEW, cliques=1, cliques_updated=1, groups=1, groups_updated=1, **more)


def lost(index):
    """All of it is new, and it does not serve again yet."""
    return there(index, done=False, begun=True, breached=True)


def turn(*stages, **status):
    found = turns(owner(len(stages), **status), {one.index: one for one in stages}, NEW, NOW)
    assert len(found.indices) <= 1
    return next(iter(found.indices), None)


def progress(*stages, current=NEW, now=NOW, strategy="RollingRecreate", **status):
    held = owner(len(stages), strategy, **status)
    return turns(held, {one.index: one for one in stages}, current, now).progress


# ------------------------------------------------------------ turns


@pytest.mark.parametrize(
    ("stages", "whose"),
    [
        ([there(0), there(1)], None),
        ([behind(0), behind(1)], 0),
        ([behind(0), behind(1), behind(2, breached=True)], 2),
        ([behind(0), behind(1, breached=True), behind(2, breached=True, scheduled=False)], 2),
        ([there(0), behind(1), behind(2)], 1),
        ([behind(0), behind(1, begun=True), behind(2, scheduled=False)], 1),
        ([behind(0), lost(1), behind(2)], 1),
        ([behind(0), there(1, breached=True, scheduled=False), behind(2)], 0),  # there never was room for it
        ([behind(0), Stage(1, OLD), behind(2)], None),  # it has not seen the latest
        ([behind(0, begun=True), Stage(1, OLD), behind(2)], 0),
        ([], None),
    ],
    ids=[
        "nothing differs",
        "by index",
        "breached first",
        "not scheduled before breached",
        "those done are passed over",
        "who has begun goes on",
        "who does not serve again is waited for",
        "who never served is not",
        "one is not known: nobody begins",
        "one is not known: who has begun goes on",
        "no replicas",
    ],
)
def test_one_replica_has_the_turn(stages, whose):
    assert turn(*stages) == whose


def test_the_turn_is_kept_where_all_have_begun():
    all_begun = [behind(index, begun=True) for index in range(3)]
    held = {"updateProgress": {"updateStartedAt": AT, "currentlyUpdating": [{"replicaIndex": 1}]}}
    assert turn(*all_begun) == 0
    assert turn(*all_begun, **held) == 1
    assert turn(all_begun[0], there(1), all_begun[2], **held) == 0


def test_a_replica_that_is_gone_has_no_turn():
    stages = {index: behind(index, breached=index == 2) for index in range(3)}
    assert turns(owner(3), stages, NEW, NOW).indices == {2}
    assert turns(owner(2), stages, NEW, NOW).indices == {0}


def test_under_on_delete_nobody_has_a_turn():
    assert turns(owner(1, "OnDelete"), {0: behind(0)}, NEW, NOW).indices == frozenset()


# ------------------------------------------------------------ progress


def test_a_set_that_is_seen_for_the_first_time_is_not_being_updated():
    assert progress(there(0)) is None
    assert progress(behind(0)) is None


def test_a_change_of_hash_starts_an_update():
    assert progress(there(0), behind(1), currentGenerationHash=OLD) == {
        "updateStartedAt": AT,
        "updatedPodCliquesCount": 1,
        "totalPodCliquesCount": 2,
        "updatedPodCliqueScalingGroupsCount": 1,
        "totalPodCliqueScalingGroupsCount": 2,
        "currentlyUpdating": [{"replicaIndex": 1, "updateStartedAt": AT}],
    }


def test_it_goes_on_with_the_times_that_it_has():
    begun = progress(behind(0), behind(1), currentGenerationHash=OLD)
    held = {"currentGenerationHash": NEW, "updateProgress": begun}
    assert progress(behind(0), behind(1), now=NOW + 60, **held) == begun
    found = progress(there(0), behind(1), now=NOW + 60, **held)
    assert found["updateStartedAt"] == AT
    assert found["currentlyUpdating"] == [{"replicaIndex": 1, "updateStartedAt": LATER}]


def test_it_ends_once_and_stays_ended():
    begun = progress(behind(0), currentGenerationHash=OLD)
    ended = progress(there(0), now=NOW + 60, currentGenerationHash=NEW, updateProgress=begun)
    assert (ended["updateStartedAt"], ended["updateEndedAt"]) == (AT, LATER)
    assert "currentlyUpdating" not in ended
    held = {"currentGenerationHash": NEW, "updateProgress": ended}
    assert progress(there(0), now=NOW + 99, **held) == ended
    assert progress(lost(0), now=NOW + 99, **held) == ended


def test_it_does_not_end_while_a_replica_speaks_of_a_former_revision():
    begun = progress(Stage(0, OLD), currentGenerationHash=OLD)
    assert begun == {
        "updateStartedAt": AT,
        "updatedPodCliquesCount": 0,
        "totalPodCliquesCount": 0,
        "updatedPodCliqueScalingGroupsCount": 0,
        "totalPodCliqueScalingGroupsCount": 0,
    }


def test_a_third_template_starts_it_anew():
    begun = progress(behind(0), currentGenerationHash=OLD)
    found = progress(behind(0), now=NOW + 60, currentGenerationHash=OLD, updateProgress=begun)
    assert found["updateStartedAt"] == LATER
    assert found["currentlyUpdating"] == [{"replicaIndex": 0, "updateStartedAt": LATER}]


def test_under_on_delete_it_ends_where_it_starts_and_counts_go_on():
    found = progress(behind(0), strategy="OnDelete", currentGenerationHash=OLD)
    assert (found["updateStartedAt"], found["updateEndedAt"], found["updatedPodCliquesCount"]) == (AT, AT, 0)
    held = {"currentGenerationHash": NEW, "updateProgress": found}
    found = progress(there(0), strategy="OnDelete", now=NOW + 60, **held)
    assert (found["updateStartedAt"], found["updateEndedAt"], found["updatedPodCliquesCount"]) == (AT, AT, 1)


def test_a_switch_from_on_delete_takes_it_up_again():
    found = progress(behind(0), strategy="OnDelete", currentGenerationHash=OLD)
    held = {"currentGenerationHash": NEW, "updateProgress": found}
    again = progress(behind(0), now=NOW + 60, **held)
    assert again["updateStartedAt"] == LATER
    assert "updateEndedAt" not in again


def test_taking_over_from_another_operator_is_no_update():
    foreign = "5cd4f9b7dc4b58d9f6"
    assert progress(there(0), currentGenerationHash=foreign) is None
    assert progress(behind(0), currentGenerationHash=foreign) is not None


# ------------------------------------------------------------ stages


def staged(world, index=0, turn=False):
    picture = world.pictures()[index]
    return stage(picture, rollout(picture, turn))


def test_a_stage_tells_how_far_a_replica_is():
    world = World(workload())
    assert staged(world) == Stage(0, world.hash, cliques=1, cliques_updated=1, groups=1, groups_updated=1)
    world.image("2", "pc-a")
    found = staged(world)
    assert (found.hash, found.left, found.done, found.begun) == (world.hash, True, False, False)
    assert (found.cliques_updated, found.groups_updated) == (0, 1)
    world.step()
    assert staged(world).begun
    world.settle_all()
    assert staged(world) == Stage(0, world.hash, cliques=1, cliques_updated=1, groups=1, groups_updated=1)


def test_a_replica_that_has_served_is_not_done_until_it_serves_again():
    world = World(workload())
    world.image("2", "pc-a")
    world.step(2)
    world.cordoned = True
    world.settle_all()
    found = staged(world)
    assert (found.left, found.done, found.begun, found.breached) == (False, False, True, True)


def test_a_replica_that_never_served_is_done_as_soon_as_all_of_it_is_new():
    world = World(workload(), room=0)
    world.image("2")
    world.settle_all()
    found = staged(world)
    assert (found.left, found.done, found.scheduled, found.breached) == (False, True, False, True)


def test_a_gang_that_was_ended_is_waited_for_while_it_has_nodes():
    world = World(workload())
    world.cliques = {
        name: msgspec.structs.replace(
            held,
            status=msgspec.structs.replace(
                held.status,
                recovery=msgspec.structs.replace(held.status.recovery, healthy=False, terminations=1),
            ),
        )
        for name, held in world.cliques.items()
    }
    for one in world.pods():
        one.ready = False
    assert not staged(world).done
    for one in world.pods():
        one.node = False
    assert staged(world).done


def test_under_on_delete_a_replica_is_done_and_counts_what_is_new():
    world = World(workload())
    world.strategy("OnDelete")
    world.image("2")
    world.settle_all()
    found = staged(world)
    assert (found.done, found.left, found.cliques_updated, found.groups_updated) == (True, False, 0, 0)


def test_a_set_goes_replica_by_replica():
    world = World(workload(3))
    world.image("2")
    order = []
    for _ in range(60):
        world.step()
        order += [index for index in world.turn if index not in order[-1:]]
    assert order == [0, 1, 2]
    assert not world.old()


def test_status_is_written_by_the_names_of_the_api():
    begun = progress(there(0), behind(1), currentGenerationHash=OLD)
    held = msgspec.convert({"updateProgress": begun}, SetStatus)
    assert held.update_progress.currently_updating[0].update_started_at == AT
    assert held.update_progress.total_pod_cliques_count == 2
