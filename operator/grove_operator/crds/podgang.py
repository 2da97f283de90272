"""PodGang: pods that are scheduled together or not at all; what schedulers read."""

from typing import Final

from grove_operator.crds.definition import AGE, Column, Kind
from grove_operator.crds.parts import CONDITIONS
from grove_operator.crds.schema import Schema, listed, number, record, text, whole

__all__ = ["pod_gang"]

_COLUMNS: Final = (Column("Phase", ".status.phase", "string"), AGE)


def pod_gang() -> Kind:
    """The kind."""
    return Kind(
        group="scheduler.grove.io",
        kind="PodGang",
        plural="podgangs",
        short="pg",
        about="Pods that are scheduled together or not at all. The operator makes it.",
        columns=_COLUMNS,
        spec=_spec(),
        status=record(
            "What a gang came to.",
            ["phase"],
            phase=text("How far it is.", of=["Pending", "Starting", "Running"]),
            conditions=CONDITIONS,
            placementScore=number("How good its place is; 1 is the best there could be."),
        ),
    )


def _spec() -> Schema:
    return record(
        "What a gang is.",
        ["podgroups"],
        podgroups=listed(
            "Its pods, by role.",
            record(
                "The pods of one PodClique.",
                ["minReplicas", "name", "podReferences"],
                name=text("The PodClique."),
                podReferences=listed("Its pods, by name.", _object("One pod.")),
                minReplicas=whole("How many of them the gang cannot do without."),
                topologyConstraint=_constraint("the pods of the group"),
            ),
        ),
        topologyConstraint=_constraint("all pods"),
        topologyConstraintGroupConfigs=listed(
            "Groups that belong closer together than the gang.",
            record(
                "Some groups.",
                ["name", "podGroupNames"],
                name=text("By which a scheduler tells them apart."),
                podGroupNames=listed("Which.", text("A group's name.")),
                topologyConstraint=_constraint("the pods of these groups"),
            ),
        ),
        priorityClassName=text("The PriorityClass of the gang."),
        reuseReservationRef=_object("A gang that was there before, whose place may be taken over."),
    )


def _object(about: str) -> Schema:
    return record(about, ["name", "namespace"], namespace=text("Its namespace."), name=text("Its name."))


def _constraint(whose: str) -> Schema:
    return record(
        f"How close together {whose} must be.",
        [],
        packConstraint=record(
            "Within which domain; domains are keys of nodes' labels.",
            [],
            required=text("One value of this label for all, or they do not run."),
            preferred=text("One value of this label for all, if there is room."),
        ),
    )
