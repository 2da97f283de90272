"""PodClique: pods of one role."""

from typing import Final

from grove_operator.api import PODS_MOST
from grove_operator.crds.core import Core
from grove_operator.crds.definition import AGE, Column, Kind
from grove_operator.crds.parts import CONDITIONS, GENERATION, LAST_ERRORS, auto_scaling, names
from grove_operator.crds.schema import (
    NAME_LENGTH,
    Rule,
    Schema,
    described,
    fixed,
    flag,
    keeps,
    listed,
    moment,
    record,
    ruled,
    text,
    whole,
)

__all__ = ["pod_clique", "template"]

_COLUMNS: Final = (
    Column("MinAvail", ".spec.minAvailable"),
    Column("Replicas", ".spec.replicas"),
    Column("Ready", ".status.readyReplicas"),
    Column("Scheduled", ".status.scheduledReplicas"),
    Column("Updated", ".status.updatedReplicas"),
    Column("Gated", ".status.scheduleGatedReplicas", priority=1),
    Column("MinBreached", '.status.conditions[?(@.type=="MinAvailableBreached")].status', "string", 1),
    AGE,
)


def pod_clique(core: Core) -> Kind:
    """The kind. A live clique has no rules of its own: the operator and scalers write it."""
    return Kind(
        group="grove.io",
        kind="PodClique",
        plural="podcliques",
        short="pclq",
        about="Pods of one role, of one replica of a PodCliqueSet. The operator makes it.",
        columns=_COLUMNS,
        spec=_spec(core),
        status=_status(),
        selector=".status.hpaPodSelector",
    )


def _spec(core: Core) -> Schema:
    return record(
        "What a clique is.",
        ["roleName", "podSpec", "replicas"],
        roleName=text("The role of its pods.", most=NAME_LENGTH),
        podSpec=described(core.pod_spec, "Its pods: fields as `kubectl explain pod.spec` tells."),
        replicas=whole("How many pods.", least=0, most=PODS_MOST, default=1),
        minAvailable=whole("How many start together or not at all; fewer ready is a breach.", least=1),
        startsAfter=names("Cliques that must have started before."),
        autoScalingConfig=auto_scaling(core),
    )


def template(core: Core) -> Schema:
    """The same as it stands in a PodCliqueSet, where it has rules and much of it is fixed."""
    spec = _spec(core)
    fields: dict[str, Schema] = spec["properties"]
    starts_after = described(fields["startsAfter"], "Cliques that must have started before, by name.")
    changed = {
        "roleName": fixed(described(fields["roleName"], "The role of its pods, unique in the set.")),
        "podSpec": _pod_template(fields["podSpec"]),
        "minAvailable": fixed(
            described(
                fields["minAvailable"],
                "How many start together or not at all; fewer ready is a breach. Replicas unless given.",
            )
        ),
        "startsAfter": fixed(starts_after),
    }
    bounds = (
        Rule(
            "self.replicas == 0 || !has(self.minAvailable) || self.minAvailable <= self.replicas",
            "must not be greater than replicas",
            ".minAvailable",
        ),
        Rule(
            "!has(self.autoScalingConfig) || self.autoScalingConfig.maxReplicas >= self.replicas",
            "must be greater than or equal to replicas",
            ".autoScalingConfig.maxReplicas",
        ),
    )
    return ruled(keeps(spec | {"properties": fields | changed}, "startsAfter"), *bounds)


_INSTEAD: Final = {
    "nodeName": "the scheduler places gangs; use nodeSelector or affinity",
    "topologySpreadConstraints": "gangs are packed; use topologyConstraint",
}


def _pod_template(pod_spec: Schema) -> Schema:
    """What placing pods is ours to decide is refused, and the scheduler stays who it is."""
    fields: dict[str, Schema] = pod_spec["properties"]
    refused = (
        Rule(
            f"oldSelf.hasValue() || !has(self.{name})",
            f"must not be set: {instead}",
            f".{name}",
            "FieldValueForbidden",
            old_may_miss=True,
        )
        for name, instead in _INSTEAD.items()
    )
    with_scheduler = fields | {"schedulerName": fixed(fields["schedulerName"] | {"maxLength": NAME_LENGTH})}
    return ruled(pod_spec | {"properties": with_scheduler}, *refused)


def _status() -> Schema:
    return record(
        "What a clique came to.",
        ["readyReplicas", "updatedReplicas", "scheduleGatedReplicas", "scheduledReplicas"],
        observedGeneration=GENERATION,
        lastErrors=LAST_ERRORS,
        replicas=whole("Pods that are not on their way out."),
        readyReplicas=whole("Pods that are ready.", default=0),
        updatedReplicas=whole("Pods of the newest template.", default=0),
        scheduleGatedReplicas=whole("Pods that no scheduler may look at yet.", default=0),
        scheduledReplicas=whole("Pods that have a node.", default=0),
        hpaPodSelector=text("The labels of its pods; none for a clique in a scaling group."),
        conditions=CONDITIONS,
        currentPodCliqueSetGenerationHash=text("The revision of the set that it has reached."),
        currentPodTemplateHash=text("The pod template that it has reached."),
        updateProgress=record(
            "How far an update is.",
            ["podCliqueSetGenerationHash", "podTemplateHash"],
            updateStartedAt=moment("When it began."),
            updateEndedAt=moment("When nothing was left to do."),
            podCliqueSetGenerationHash=text("The revision of the set that it leads to."),
            podTemplateHash=text("The pod template that it leads to."),
            readyPodsSelectedToUpdate=record(
                "Ready pods that were taken away for it.",
                ["current"],
                current=text("The pod that goes now."),
                completed=listed("Pods that went.", text("A pod's name.")),
            ),
        ),
        recovery=record(
            "What gang termination knows of it; one breach ends its gang once.",
            [],
            healthy=flag("Its minimum was ready since it was ended last: a breach counts."),
            terminations=whole("How often it was ended in a row; each waits longer than the one before."),
            lastTerminatedAt=moment("When it was ended last."),
        ),
    )
