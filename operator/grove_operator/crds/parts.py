"""Parts that several kinds share."""

from typing import Final

from grove_operator.crds.core import Core
from grove_operator.crds.schema import (
    DOMAIN,
    IMMUTABLE,
    NAME_LENGTH,
    Rule,
    Schema,
    described,
    listed,
    moment,
    record,
    ruled,
    text,
    whole,
)

__all__ = [
    "CONDITIONS",
    "GENERATION",
    "LAST_ERRORS",
    "MEMBERS_MOST",
    "UPDATED_COUNTS",
    "auto_scaling",
    "names",
    "resource_sharing",
    "rolling_update",
    "topology_constraint",
]

MEMBERS_MOST: Final = 128  # cliques, or groups, of a set; without a bound no rule may compare them all

GENERATION: Final = whole("The generation of the spec that this status is about.", bits=64)

CONDITIONS: Final = listed(
    "What holds of it and what does not.",
    record(
        "One thing that holds or does not.",
        ["type", "status", "lastTransitionTime", "reason", "message"],
        type=text(
            "What it is about, in CamelCase.",
            pattern=(
                r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
                r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
            ),
            most=316,
        ),
        status=text("Whether it holds.", of=["True", "False", "Unknown"]),
        lastTransitionTime=moment("When the status changed last."),
        reason=text(
            "Why, in one word of CamelCase.",
            pattern="^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            least=1,
            most=1024,
        ),
        message=text("Why, for people.", most=32768),
        observedGeneration=whole("The generation it is about.", bits=64, least=0),
    ),
    by=["type"],
)

LAST_ERRORS: Final = listed(
    "What went wrong in the last reconcile; empty when nothing did.",
    record(
        "One error.",
        ["code", "description", "observedAt"],
        code=text("Which, in one word."),
        description=text("What happened, for people."),
        observedAt=moment("When."),
    ),
)

UPDATED_COUNTS: Final[dict[str, Schema]] = {
    "updatedPodCliquesCount": whole("PodCliques that have the new template.", default=0),
    "totalPodCliquesCount": whole("PodCliques that there are to be.", default=0),
}


def names(about: str, *, least: int = 0) -> Schema:
    """Names of cliques or groups, in the order that counts."""
    return listed(about, text("A name.", most=NAME_LENGTH), least=least, most=MEMBERS_MOST)


def auto_scaling(core: Core) -> Schema:
    """What a HorizontalPodAutoscaler is made of."""
    scaling = record(
        "Asks for a HorizontalPodAutoscaler of these bounds and metrics.",
        ["maxReplicas"],
        minReplicas=whole("Never fewer; the replicas of the template unless given."),
        maxReplicas=whole("Never more."),
        metrics=listed(
            "What it follows, as autoscaling/v2 has it; 80 % of the requested CPU unless given.",
            core.metric_spec,
            kind="atomic",
        ),
    )
    low = "!has(self.minReplicas) || self.minReplicas <= self.maxReplicas"
    return ruled(scaling, Rule(low, "must be greater than or equal to minReplicas", ".maxReplicas"))


def rolling_update() -> Schema:
    """How many units of a component an update may take at once."""
    return record(
        "How an update goes about it. Units are pods of a clique, or replicas of a scaling group.",
        [],
        maxUnavailable=whole("Units that an update may take away at once; 1 unless given.", least=0),
        maxSurge=whole("Units beyond the wanted number while it runs; 0 unless given.", least=0),
    )


def topology_constraint(of: str) -> Schema:
    """Where pods must or should be close together."""
    constraint = record(
        f"How close together the pods of each replica of {of} must be.",
        [],
        topologyName=text(
            "The ClusterTopologyBinding whose domains are meant; inherited from above unless given.",
            most=NAME_LENGTH,
        ),
        pack=ruled(
            record(
                "Within which domain.",
                [],
                required=_domain("A domain that holds them all, or they do not run."),
                preferred=_domain("A narrower domain that holds them all, if there is room."),
            ),
            Rule(
                "has(self.required) || has(self.preferred)",
                "pack must specify at least one of required or preferred",
                reason="FieldValueRequired",
            ),
        ),
        packDomain=_domain("Deprecated: what pack.required is, of sets made before that field."),
    )
    return ruled(
        constraint,
        Rule(
            "has(self.pack) || has(self.packDomain)",
            "topologyConstraint must specify pack or deprecated packDomain",
            ".pack",
            "FieldValueRequired",
        ),
        Rule(
            "!(has(self.packDomain) && has(self.pack) && has(self.pack.required))",
            "must not set both pack.required and deprecated packDomain",
            ".pack.required",
        ),
        Rule(
            "!has(self.packDomain) || has(oldSelf.packDomain)",
            "packDomain is deprecated and cannot be added; use pack.required",
            ".packDomain",
            "FieldValueForbidden",
        ),
        Rule(  # it may be named late, as a set from before topologies were told apart needs
            "!has(oldSelf.topologyName)"
            " || (has(self.topologyName) && self.topologyName == oldSelf.topologyName)",
            IMMUTABLE,
            ".topologyName",
        ),
        _unchanged(  # it may move to the new field
            ".pack.required",
            "has({0}.pack) && has({0}.pack.required) ? {0}.pack.required"
            " : has({0}.packDomain) ? {0}.packDomain",
        ),
        _unchanged(".pack.preferred", "has({0}.pack) && has({0}.pack.preferred) ? {0}.pack.preferred"),
    )


def _domain(about: str) -> Schema:
    return text(about, pattern=DOMAIN, least=1, most=63)


def _unchanged(at: str, found: str) -> Rule:
    new, old = (f"({found.format(whose)} : '')" for whose in ("self", "oldSelf"))
    return Rule(f"{new} == {old}", IMMUTABLE, at)


def resource_sharing(about: str, **children: str) -> Schema:
    """Resource claims that pods have in common; *children* are the fields of the filter, if there is one."""
    fields: dict[str, Schema] = {
        "name": text("A template of the set, else a ResourceClaimTemplate.", most=NAME_LENGTH),
        "namespace": text("Of that ResourceClaimTemplate; the set's unless given.", most=NAME_LENGTH),
        "scope": text(
            "One claim for all replicas together, or one for each.", of=["AllReplicas", "PerReplica"]
        ),
    }
    if children:
        limits = {name: names(of) for name, of in children.items()}
        fields["filter"] = record("Who gets the claims; everybody unless given.", [], **limits)
    return described(
        listed("", record("One claim shared.", ["name", "scope"], **fields), most=MEMBERS_MOST), about
    )
