"""PodCliqueSet: what a user writes. The other kinds are made from it."""

from typing import Final

from grove_operator.api import REPLICAS_MOST
from grove_operator.crds.core import Core
from grove_operator.crds.definition import AGE, Column, Kind
from grove_operator.crds.parts import (
    CONDITIONS,
    GENERATION,
    LAST_ERRORS,
    MEMBERS_MOST,
    UPDATED_COUNTS,
    resource_sharing,
    rolling_update,
    topology_constraint,
)
from grove_operator.crds.podclique import template as clique_spec
from grove_operator.crds.scalinggroup import config as group
from grove_operator.crds.schema import (
    Rule,
    Schema,
    described,
    duration,
    fixed,
    flag,
    keeps,
    listed,
    mapping,
    moment,
    record,
    ruled,
    text,
    whole,
)

__all__ = ["pod_clique_set"]

_NAME_LENGTH: Final = 63  # what is part of a label
_PROGRESS: Final = ".status.updateProgress"
_COLUMNS: Final = (
    Column("Replicas", ".spec.replicas"),
    Column("Available", ".status.availableReplicas"),
    Column("Updated", ".status.updatedReplicas"),
    Column("PCLQs-Updated", f"{_PROGRESS}.updatedPodCliquesCount"),
    Column("PCLQs-Total", f"{_PROGRESS}.totalPodCliquesCount"),
    Column("PCSGs-Updated", f"{_PROGRESS}.updatedPodCliqueScalingGroupsCount"),
    Column("PCSGs-Total", f"{_PROGRESS}.totalPodCliqueScalingGroupsCount"),
    AGE,
)
_SAME_NAMES: Final = Rule(
    "self.size() == oldSelf.size() && self.all(x, oldSelf.exists(y, y.name == x.name))",
    "entries cannot be added, removed or renamed: create a new set",
)
_SAME_ORDER: Final = Rule(
    "self.cliqueStartupType == 'CliqueStartupTypeAnyOrder'"
    " || self.cliques.map(c, c.name) == oldSelf.cliques.map(c, c.name)",
    "the order of cliques is their start order and cannot be changed: create a new set",
    ".cliques",
)
_ONE_ROLE_EACH: Final = Rule(
    "self.all(x, self.exists_one(y, y.spec.roleName == x.spec.roleName))", "roleName must be unique"
)


def pod_clique_set(core: Core) -> Kind:
    """The kind."""
    return Kind(
        group="grove.io",
        kind="PodCliqueSet",
        plural="podcliquesets",
        short="pcs",
        about="An inference system: cliques of pods that start, recover, scale and update together.",
        columns=_COLUMNS,
        spec=record(
            "What a set is.",
            ["template"],
            replicas=whole("How many of the whole system.", least=0, most=REPLICAS_MOST, default=0),
            updateStrategy=record(
                "How pods get a new template.",
                [],
                type=text(
                    "RollingRecreate: unit by unit. OnDelete: when somebody deletes them.",
                    of=["RollingRecreate", "OnDelete"],
                    default="RollingRecreate",
                ),
            ),
            template=_template(core),
        ),
        status=_status(),
        selector=".status.hpaPodSelector",
        rules=[
            _no_pack_domain("template", "topologyConstraint", ".packDomain"),
            _no_pack_domain("template.cliques", "topologyConstraint"),
            _no_pack_domain("template.podCliqueScalingGroups", "topologyConstraint"),
        ],
    )


def _no_pack_domain(where: str, constraint: str, field: str = "") -> Rule:
    """New sets use pack.required; old ones may keep what they have."""
    path = f"self.spec.{where}"
    if field:
        free = f"!has({path}.{constraint}) || !has({path}.{constraint}{field})"
        at = f".spec.{where}.{constraint}{field}"
    else:
        free = f"!has({path}) || {path}.all(x, !has(x.{constraint}) || !has(x.{constraint}.packDomain))"
        at = f".spec.{where}"
    message = "packDomain is deprecated and cannot be used on new workloads; use pack.required"
    return Rule(f"oldSelf.hasValue() || {free}", message, at, "FieldValueForbidden", old_may_miss=True)


def _template(core: Core) -> Schema:
    cliques = listed("Its roles.", _clique(core), by=["name"], least=1, most=MEMBERS_MOST)
    groups = listed("Roles that are scaled together.", group(core), by=["name"], most=MEMBERS_MOST)
    template = record(
        "One replica of the system.",
        ["cliques"],
        cliques=ruled(cliques, _SAME_NAMES, _ONE_ROLE_EACH),
        cliqueStartupType=fixed(
            text(
                "AnyOrder: all at once. InOrder: one after the other, as they are listed. "
                "Explicit: each after those that its startsAfter names.",
                of=[f"CliqueStartupType{order}" for order in ("AnyOrder", "InOrder", "Explicit")],
                default="CliqueStartupTypeAnyOrder",
            )
        ),
        priorityClassName=text("The PriorityClass of its gangs."),
        headlessServiceConfig=record(
            "The Service by which the pods of a replica find each other.",
            ["publishNotReadyAddresses"],
            publishNotReadyAddresses=flag("Name pods that are not ready, too.", default=True),
        ),
        topologyConstraint=topology_constraint("the set"),
        terminationDelay=described(
            duration(""),
            "How long a breach of minAvailable may last until the gang is made anew; 4h unless given.",
        ),
        resourceClaimTemplates=fixed(_claim_templates(core)),
        resourceSharing=fixed(
            resource_sharing(
                "Resource claims that its pods share.",
                childCliqueNames="These cliques.",
                childScalingGroupNames="The cliques of these groups.",
            )
        ),
        podCliqueScalingGroups=ruled(groups, _SAME_NAMES),
    )
    kept = keeps(
        template,
        "podCliqueScalingGroups",
        "resourceClaimTemplates",
        "resourceSharing",
        "topologyConstraint",
    )
    return ruled(kept, _SAME_ORDER)


def _clique(core: Core) -> Schema:
    clique = record(
        "One role.",
        ["name", "spec"],
        name=text("Unique in the set; the role's pods are named by it.", least=1, most=_NAME_LENGTH),
        labels=mapping("For the PodClique and its pods."),
        annotations=mapping("For the PodClique and its pods."),
        topologyConstraint=topology_constraint("the clique"),
        resourceSharing=fixed(resource_sharing("Resource claims that its pods share.")),
        rollingUpdate=rolling_update(),
        spec=clique_spec(core),
    )
    return keeps(clique, "topologyConstraint", "resourceSharing")


def _claim_templates(core: Core) -> Schema:
    one = ruled(
        record(
            "One template.",
            ["name", "templateSpec"],
            name=text("By which resourceSharing refers to it.", least=1, most=_NAME_LENGTH),
            templateSpec=described(
                core.claim_template, "Fields as `kubectl explain resourceclaimtemplate.spec` tells."
            ),
        ),
        Rule(
            "has(self.templateSpec.spec.devices) && has(self.templateSpec.spec.devices.requests)"
            " && self.templateSpec.spec.devices.requests.size() > 0",
            "must request at least one device",
            ".templateSpec.spec",
            "FieldValueRequired",
        ),
    )
    return listed("Templates of resource claims, for resourceSharing.", one, by=["name"], most=MEMBERS_MOST)


def _status() -> Schema:
    return record(
        "What a set came to.",
        ["availableReplicas", "updatedReplicas"],
        observedGeneration=GENERATION,
        conditions=CONDITIONS,
        lastErrors=LAST_ERRORS,
        replicas=whole("Replicas that there are."),
        updatedReplicas=whole("Replicas of the newest revision.", default=0),
        availableReplicas=whole("Replicas in which nothing is below its minAvailable.", default=0),
        hpaPodSelector=text("The labels of its pods."),
        podGangStatuses=listed(
            "Its gangs.",
            record(
                "One gang.",
                ["name", "phase"],
                name=text("The PodGang."),
                phase=text("How far it is.", of=["Pending", "Starting", "Running", "Failed", "Succeeded"]),
                conditions=CONDITIONS,
            ),
        ),
        currentGenerationHash=text("The revision of the template that is wanted."),
        updateProgress=_update_progress(),
    )


def _update_progress() -> Schema:
    return record(
        "How far an update is.",
        [],
        updateStartedAt=moment("When it began."),
        updateEndedAt=moment("When nothing was left to do."),
        **UPDATED_COUNTS,
        updatedPodCliqueScalingGroupsCount=whole("Scaling groups that have the new template.", default=0),
        totalPodCliqueScalingGroupsCount=whole("Scaling groups that there are to be.", default=0),
        currentlyUpdating=listed(
            "Replicas that are on their way.",
            record(
                "One replica.",
                ["replicaIndex"],
                replicaIndex=whole("Which."),
                updateStartedAt=moment("When it began."),
                updateEndedAt=moment("When all its pods had the new template."),
            ),
        ),
    )
