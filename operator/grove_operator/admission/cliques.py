"""Cliques, each for itself: how many pods, how many of them at least, how far autoscaling may go."""

from collections.abc import Iterator
from typing import Final

from grove_operator.admission.drafts import Container
from grove_operator.admission.faults import (
    Fault,
    duplicate,
    forbidden,
    invalid,
    not_supported,
    required,
)
from grove_operator.admission.grammar import bad_key, bad_label_value, bad_variable, duration_s
from grove_operator.admission.subject import CLIQUES, EXPLICIT, IN_ORDER, TEMPLATE, Rule, Subject

__all__ = ["RULES", "WARNINGS"]

STARTUP_TYPES: Final = ("CliqueStartupTypeAnyOrder", IN_ORDER, EXPLICIT)
UPDATE_TYPES: Final = ("RollingRecreate", "OnDelete")
ANNOTATIONS_MAX: Final = 256 * 1024  # bytes, the API server's limit for all of an object


def set_replicas_are_not_negative(subject: Subject) -> Iterator[Fault]:
    replicas = subject.set.spec.replicas
    if replicas is not None and replicas < 0:
        yield invalid("spec.replicas", replicas, "must be 0 or more")


def update_strategy_is_known(subject: Subject) -> Iterator[Fault]:
    strategy = subject.set.spec.update_strategy
    if strategy and strategy.type not in UPDATE_TYPES:
        yield not_supported("spec.updateStrategy.type", strategy.type, UPDATE_TYPES)


def startup_type_is_known(subject: Subject) -> Iterator[Fault]:
    if subject.startup not in STARTUP_TYPES:
        yield not_supported(f"{TEMPLATE}.cliqueStartupType", subject.startup, STARTUP_TYPES)


def termination_delay_is_positive(subject: Subject) -> Iterator[Fault]:
    given = subject.template.termination_delay
    path = f"{TEMPLATE}.terminationDelay"
    if not given:
        yield required(path, "say how long a gang may lack pods before it is made anew, such as 4h")
        return
    seconds = duration_s(given)
    if seconds is None:
        yield invalid(path, given, "must be a duration such as 4h, 90s or 1h30m")
    elif seconds <= 0:
        yield invalid(path, given, "must be greater than 0")


def there_are_cliques(subject: Subject) -> Iterator[Fault]:
    if not subject.template.cliques:
        yield required(CLIQUES, "at least one clique must be defined")


def roles_are_unique(subject: Subject) -> Iterator[Fault]:
    """One clique may have the empty role, as clients send it that know of none; Grove takes that, too."""
    seen: set[str] = set()
    for path, clique in subject.cliques():
        role = clique.spec.role_name
        if role and role in seen:
            yield duplicate(f"{path}.spec.roleName", role, "each role belongs to one clique")
        elif role in seen:
            yield required(
                f"{path}.spec.roleName",
                "another clique has none already: name what this one does, such as prefill or decode",
            )
        seen.add(role)


def labels_are_labels(subject: Subject) -> Iterator[Fault]:
    """They go to PodCliques and pods, where the API server would refuse them too late."""
    for path, clique in subject.cliques():
        for key, value in clique.labels.items():
            if why := bad_key(key):
                yield invalid(f"{path}.labels", key, why)
            if why := bad_label_value(value):
                yield invalid(f"{path}.labels", value, f"of {key}: {why}")


def annotations_are_annotations(subject: Subject) -> Iterator[Fault]:
    for path, clique in subject.cliques():
        for key in clique.annotations:
            if why := bad_key(key.lower()):
                yield invalid(f"{path}.annotations", key, why)
        size = sum(len(key.encode()) + len(value.encode()) for key, value in clique.annotations.items())
        if size > ANNOTATIONS_MAX:
            yield invalid(f"{path}.annotations", f"{size} bytes", f"must be at most {ANNOTATIONS_MAX} bytes")


def clique_replicas_are_positive(subject: Subject) -> Iterator[Fault]:
    for path, clique in subject.cliques():
        replicas = clique.spec.replicas
        if replicas is not None and replicas <= 0:
            yield invalid(
                f"{path}.spec.replicas",
                replicas,
                "must be greater than 0; to run none, scale the PodClique itself to 0",
            )


def clique_min_available_fits(subject: Subject) -> Iterator[Fault]:
    for path, clique in subject.cliques():
        at_least, replicas = clique.spec.min_available, clique.spec.replicas
        path = f"{path}.spec.minAvailable"
        if at_least is None:
            yield required(path, "say how many pods a gang cannot do without, 1 to replicas")
        elif at_least <= 0:
            yield invalid(path, at_least, "must be greater than 0")
        elif replicas is not None and at_least > replicas:
            yield invalid(path, at_least, f"must not be greater than replicas, which are {replicas}")


def clique_autoscaling_fits(subject: Subject) -> Iterator[Fault]:
    """minAvailable <= minReplicas <= maxReplicas, and replicas <= maxReplicas."""
    for path, clique in subject.cliques():
        scale = clique.spec.auto_scaling_config
        if scale is None or clique.name in subject.group_of:
            continue
        path = f"{path}.spec.autoScalingConfig"
        low, high = scale.min_replicas, scale.max_replicas
        at_least, replicas = clique.spec.min_available, clique.spec.replicas
        if low is None:
            yield required(f"{path}.minReplicas", "say how few pods there may be")
        elif at_least is not None and low < at_least:
            yield invalid(f"{path}.minReplicas", low, f"must be at least minAvailable, which is {at_least}")
        if high is None:
            yield required(f"{path}.maxReplicas", "say how many pods there may be")
        elif low is not None and high < low:
            yield invalid(f"{path}.maxReplicas", high, f"must be at least minReplicas, which are {low}")
        elif replicas is not None and high < replicas:
            yield invalid(f"{path}.maxReplicas", high, f"must be at least replicas, which are {replicas}")


def members_are_scaled_by_their_group(subject: Subject) -> Iterator[Fault]:
    for path, clique in subject.cliques():
        group = subject.group_of.get(clique.name)
        if group and clique.spec.auto_scaling_config:
            yield forbidden(
                f"{path}.spec.autoScalingConfig",
                f"the clique is a member of group {group.name!r}, whose replicas are scaled as a whole:"
                " move it to the group's scaleConfig",
            )


def pods_have_containers(subject: Subject) -> Iterator[Fault]:
    """Not Grove's rule, but without one no pod can be created."""
    for path, clique in subject.cliques():
        if not clique.spec.pod_spec.containers:
            yield required(f"{path}.spec.podSpec.containers", "a pod needs at least one container")


def containers_can_be_created(subject: Subject) -> Iterator[Fault]:
    """Nor is this: what the API server would refuse pod by pod is told before there is any."""
    for path, clique in subject.cliques():
        pod = clique.spec.pod_spec
        for part, containers in (("initContainers", pod.init_containers), ("containers", pod.containers)):
            for index, container in enumerate(containers):
                yield from _container(f"{path}.spec.podSpec.{part}[{index}]", container)


def pods_are_not_bound_to_a_node(subject: Subject) -> Iterator[Fault]:
    for path, clique in subject.cliques():
        if node := clique.spec.pod_spec.node_name:
            yield invalid(
                f"{path}.spec.podSpec.nodeName",
                node,
                "must not be set: the scheduler places gangs; use nodeSelector or affinity",
            )


def pods_are_not_spread(subject: Subject) -> Iterator[Fault]:
    for path, clique in subject.cliques():
        if spread := clique.spec.pod_spec.topology_spread_constraints:
            yield invalid(
                f"{path}.spec.podSpec.topologySpreadConstraints",
                spread,
                "must not be set: gangs are packed; use topologyConstraint",
            )


RULES: Final[tuple[Rule, ...]] = (
    set_replicas_are_not_negative,
    update_strategy_is_known,
    startup_type_is_known,
    termination_delay_is_positive,
    there_are_cliques,
    roles_are_unique,
    labels_are_labels,
    annotations_are_annotations,
    clique_replicas_are_positive,
    clique_min_available_fits,
    clique_autoscaling_fits,
    members_are_scaled_by_their_group,
    pods_have_containers,
    containers_can_be_created,
    pods_are_not_bound_to_a_node,
    pods_are_not_spread,
)


def restart_policy_is_ignored(subject: Subject) -> Iterator[str]:
    """Grove's words."""
    for path, clique in subject.cliques():
        policy = clique.spec.pod_spec.restart_policy
        if policy not in ("", "Always"):
            yield (
                f"{path}.spec.podSpec.restartPolicy: restartPolicy will be ignored, it will be set to Always"
            )


def reserved_variables_are_replaced(subject: Subject) -> Iterator[str]:
    for path, clique in subject.cliques():
        pod = clique.spec.pod_spec
        for container in (*pod.init_containers, *pod.containers):
            taken = [each.name for each in container.env if each.name in RESERVED]
            if taken:
                yield (
                    f"{path}.spec.podSpec: container {container.name!r} sets {', '.join(taken)}, which every"
                    " pod is given; the values here are dropped"
                )


WARNINGS: Final = (restart_policy_is_ignored, reserved_variables_are_replaced)

RESERVED: Final = frozenset(
    [
        "GROVE_PCS_NAME",
        "GROVE_PCS_INDEX",
        "GROVE_PCLQ_NAME",
        "GROVE_HEADLESS_SERVICE",
        "GROVE_PCLQ_POD_INDEX",
        "GROVE_PCSG_NAME",
        "GROVE_PCSG_INDEX",
        "GROVE_PCSG_POD_INDEX",
        "GROVE_PCSG_TEMPLATE_NUM_PODS",
    ]
)


def _container(path: str, container: Container) -> Iterator[Fault]:
    if not container.image:
        yield required(f"{path}.image", "name the image that the container runs")
    for index, variable in enumerate(container.env):
        if why := bad_variable(variable.name):
            yield invalid(f"{path}.env[{index}].name", variable.name, why)
