"""What the statuses of cliques and groups say of an update."""

import msgspec
import pytest
from grove_operator.api import CliqueProgress, GroupProgress, PodCliqueScalingGroup
from grove_operator.plan.picture import CliqueSeen, Picture
from grove_operator.plan.progress import clique_progress, group_progress
from grove_operator.plan.rollout import rollout

from tests.operator.plan_samples import a_set, clique, group
from tests.operator.update_world import World

NOW = 1_790_000_000.0
AT = "2026-09-21T14:13:20Z"
LATER = "2026-09-21T14:14:20Z"


class Told:
    """A world with one clique `a` and one group `g` of `b`, and what their statuses have been told so far."""

    def __init__(self):
        self.world = World(
            a_set([clique("a", 2, 1), clique("b", 1)], [group("g", "b", replicas=2, minimum=1)])
        )
        self.clique = self.group = None
        self.hashes = self.world.pictures()[0].cliques["w-0-a"].unit.hash, self.world.hash

    def picture(self):
        found = self.world.pictures()[0]
        seen = found.cliques["w-0-a"]
        template, revision = self.hashes
        status = msgspec.structs.replace(
            seen.held.status,
            update_progress=msgspec.convert(self.clique, CliqueProgress | None),
            current_pod_template_hash=template,
        )
        held = msgspec.structs.replace(seen.held, status=status)
        kept = msgspec.structs.replace(
            PodCliqueScalingGroup().status,
            update_progress=msgspec.convert(self.group, GroupProgress | None),
            current_pod_clique_set_generation_hash=revision,
        )
        return Picture(
            found.owner,
            found.replica,
            found.hash,
            {**found.cliques, "w-0-a": CliqueSeen(seen.unit, held, seen.pods)},
            {"w-0-g": PodCliqueScalingGroup(metadata=found.groups["w-0-g"].metadata, status=kept)},
        )

    def look(self, now=NOW, turn=True):
        """Both, as they are to be written; the same again if nothing moves."""
        for _ in range(2):
            picture = self.picture()
            update = rollout(picture, turn)
            (group,) = picture.replica.groups
            before = self.clique, self.group
            self.clique = clique_progress(picture, "w-0-a", update, now)
            self.group = group_progress(picture, group, update, now)
        assert before == (self.clique, self.group)
        return self.clique, self.group


@pytest.fixture
def told():
    return Told()


def test_nothing_is_said_before_the_first_update(told):
    assert told.look() == (None, None)


def test_a_clique_that_is_held_says_what_it_said(told):
    told.world.image("2")
    assert told.look(turn=False) == (None, None)


def test_an_update_starts_names_who_goes_and_ends(told):
    told.world.image("2")
    pods = [one.name for one in sorted(told.world.pods("w-0-a"), key=lambda one: one.made)]
    told.world.operate()
    template, revision = told.picture().cliques["w-0-a"].unit.hash, told.world.hash
    assert told.look() == (
        {
            "updateStartedAt": AT,
            "podCliqueSetGenerationHash": revision,
            "podTemplateHash": template,
            "readyPodsSelectedToUpdate": {"current": pods[0]},
        },
        {
            "updateStartedAt": AT,
            "podCliqueSetGenerationHash": revision,
            "updatedPodCliquesCount": 0,
            "totalPodCliquesCount": 2,
            "readyReplicaIndicesSelectedToUpdate": {"current": 0},
        },
    )
    told.world.operate()
    assert told.look(NOW + 60)[0]["readyPodsSelectedToUpdate"] == {"current": pods[0]}
    for _ in range(4):
        told.world.settle()
        told.look(NOW + 60)
        told.world.operate()
    of_clique, of_group = told.look(NOW + 60)
    assert of_clique["readyPodsSelectedToUpdate"] == {"current": pods[1], "completed": [pods[0]]}
    assert of_group["readyReplicaIndicesSelectedToUpdate"] == {"current": 1, "completed": [0]}
    assert (of_group["updatedPodCliquesCount"], of_group["totalPodCliquesCount"]) == (2, 2)
    for one in (of_clique, of_group):
        assert (one["updateStartedAt"], one["updateEndedAt"]) == (AT, LATER)
    assert told.look(NOW + 120) == (of_clique, of_group)


def test_an_update_that_nobody_saw_has_started_and_ended(told):
    told.world.image("2")
    told.world.settle_all()
    for one in told.look():
        assert (one["updateStartedAt"], one["updateEndedAt"]) == (AT, AT)
    assert "readyPodsSelectedToUpdate" not in told.clique


def test_another_template_starts_it_anew(told):
    told.world.image("2")
    told.world.settle_all()
    told.look()
    told.world.image("3")
    told.world.step(2)
    for one in told.look(NOW + 60):
        assert one["updateStartedAt"] == LATER
        assert "updateEndedAt" not in one


def test_under_on_delete_it_ends_where_it_starts_and_nobody_is_chosen(told):
    told.world.strategy("OnDelete")
    told.world.image("2")
    told.world.operate()
    told.world.kill("w-0-a")
    for one in told.look():
        assert (one["updateStartedAt"], one["updateEndedAt"]) == (AT, AT)
        assert not any(field.startswith("ready") for field in one)


def test_a_clique_that_was_not_changed_says_nothing_when_others_are(told):
    told.world.image("2", "b")
    told.world.step(3)
    of_clique, of_group = told.look()
    assert of_clique is None
    assert of_group["updateStartedAt"] == AT
