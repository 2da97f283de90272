"""PodCliqueScalingGroup: cliques that are scaled together."""

from typing import Final

from grove_operator.api import PODS_MOST
from grove_operator.crds.core import Core
from grove_operator.crds.definition import AGE, Column, Kind
from grove_operator.crds.parts import (
    CONDITIONS,
    GENERATION,
    LAST_ERRORS,
    UPDATED_COUNTS,
    auto_scaling,
    names,
    resource_sharing,
    rolling_update,
    topology_constraint,
)
from grove_operator.crds.schema import (
    Rule,
    Schema,
    fixed,
    keeps,
    listed,
    mapping,
    moment,
    record,
    ruled,
    text,
    whole,
)

__all__ = ["config", "scaling_group"]

_COLUMNS: Final = (
    Column("MinAvail", ".spec.minAvailable"),
    Column("Replicas", ".spec.replicas"),
    Column("Available", ".status.availableReplicas"),
    Column("Scheduled", ".status.scheduledReplicas"),
    Column("Updated", ".status.updatedReplicas"),
    Column("PCLQs-Updated", ".status.updateProgress.updatedPodCliquesCount"),
    Column("PCLQs-Total", ".status.updateProgress.totalPodCliquesCount"),
    Column("MinBreached", '.status.conditions[?(@.type=="MinAvailableBreached")].status', "string", 1),
    AGE,
)


def scaling_group() -> Kind:
    """The kind. Like a live clique it has no rules of its own."""
    return Kind(
        group="grove.io",
        kind="PodCliqueScalingGroup",
        plural="podcliquescalinggroups",
        short="pcsg",
        about="Cliques of one replica of a PodCliqueSet that are scaled together. The operator makes it.",
        columns=_COLUMNS,
        spec=record(
            "What a group is.",
            ["cliqueNames", "replicas"],
            replicas=whole("How many of each clique.", least=0, most=PODS_MOST, default=1),
            minAvailable=whole("How many start with the set's replica; fewer is a breach.", default=1),
            cliqueNames=names("The templates of its cliques."),
        ),
        status=_status(),
        selector=".status.selector",
    )


def config(core: Core) -> Schema:
    """A group as it stands in a PodCliqueSet."""
    group = record(
        "Cliques that are scaled together. They cannot be scaled alone.",
        ["name", "cliqueNames"],
        name=text("Unique in the set.", least=1, most=63),
        cliqueNames=fixed(names("Its cliques. A clique is in one group at most.", least=1)),
        annotations=mapping("For the PodCliqueScalingGroup."),
        replicas=whole("How many of each clique, at first.", least=1, most=PODS_MOST, default=1),
        minAvailable=fixed(
            whole("How many start with the set's replica; fewer is a breach.", least=1, default=1)
        ),
        scaleConfig=auto_scaling(core),
        rollingUpdate=rolling_update(),
        resourceSharing=fixed(
            resource_sharing(
                "Resource claims that its pods share.", childCliqueNames="These cliques of the group."
            )
        ),
        topologyConstraint=topology_constraint("the group"),
    )
    return ruled(
        keeps(group, "resourceSharing", "topologyConstraint"),
        Rule("self.minAvailable <= self.replicas", "must not be greater than replicas", ".minAvailable"),
        Rule(
            "!has(self.scaleConfig) || !has(self.scaleConfig.minReplicas)"
            " || self.scaleConfig.minReplicas >= self.minAvailable",
            "must be greater than or equal to minAvailable",
            ".scaleConfig.minReplicas",
        ),
    )


def _status() -> Schema:
    return record(
        "What a group came to.",
        ["availableReplicas", "scheduledReplicas", "updatedReplicas"],
        replicas=whole("Replicas that there are."),
        scheduledReplicas=whole("Replicas of which each clique has minAvailable pods on nodes.", default=0),
        availableReplicas=whole("Replicas of which each clique has minAvailable ready pods.", default=0),
        updatedReplicas=whole("Replicas of the newest revision.", default=0),
        selector=text("The labels of its pods."),
        observedGeneration=GENERATION,
        lastErrors=LAST_ERRORS,
        conditions=CONDITIONS,
        currentPodCliqueSetGenerationHash=text("The revision of the set that it has reached."),
        updateProgress=record(
            "How far an update is.",
            ["podCliqueSetGenerationHash", "updateStartedAt"],
            updateStartedAt=moment("When it began."),
            updateEndedAt=moment("When nothing was left to do."),
            podCliqueSetGenerationHash=text("The revision of the set that it leads to."),
            **UPDATED_COUNTS,
            readyReplicaIndicesSelectedToUpdate=record(
                "Ready replicas that were taken away for it.",
                ["current"],
                current=whole("The replica that goes now."),
                completed=listed("Replicas that went.", whole("An index.")),
            ),
        ),
    )
