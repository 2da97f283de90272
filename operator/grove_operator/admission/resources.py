"""Shared resource claims: templates, and who shares what."""

from collections.abc import Iterator, Sequence
from typing import Final

from grove_operator.admission.drafts import Sharing
from grove_operator.admission.faults import Fault, duplicate, invalid, not_found, not_supported, required
from grove_operator.admission.subject import TEMPLATE, Rule, Subject

__all__ = ["RULES", "WARNINGS"]

SCOPES: Final = ("AllReplicas", "PerReplica")
FABRIC: Final = "grove.io/mnnvl-group"  # annotation that asks for a ComputeDomain


def claim_templates_are_complete(subject: Subject) -> Iterator[Fault]:
    """A name that is theirs alone, and a device at least."""
    seen: set[str] = set()
    for index, each in enumerate(subject.template.resource_claim_templates):
        path = f"{TEMPLATE}.resourceClaimTemplates[{index}]"
        if not each.name:
            yield required(f"{path}.name", "every template needs a name")
        elif each.name in seen:
            yield duplicate(f"{path}.name", each.name, "each name may be used once")
        seen.add(each.name)
        if not each.template_spec.spec.devices.requests:
            yield required(
                f"{path}.templateSpec.spec.devices.requests", "at least one device must be requested"
            )


def sharing_refers_to_templates(subject: Subject) -> Iterator[Fault]:
    """At all three levels: a name, once; no namespace for a template of this set; a scope."""
    own = {each.name for each in subject.template.resource_claim_templates if each.name}
    for path, shared in _levels(subject):
        seen: set[str] = set()
        for index, each in enumerate(shared):
            at = f"{path}[{index}]"
            if not each.name:
                yield required(f"{at}.name", "name a template")
            elif each.name in seen:
                yield duplicate(f"{at}.name", each.name, "each template can be shared once at a level")
            seen.add(each.name)
            if each.namespace and each.name in own:
                yield invalid(
                    f"{at}.namespace",
                    each.namespace,
                    f"must be empty: {each.name!r} is a template of this set; rename one of them",
                )
            if each.scope not in SCOPES:
                yield not_supported(f"{at}.scope", each.scope, SCOPES)


def filters_name_what_is_there(subject: Subject) -> Iterator[Fault]:
    """Of the set: its cliques and groups. Of a group: its own cliques."""
    groups = {each.name for each in subject.template.pod_clique_scaling_groups if each.name}
    of_set = f"{TEMPLATE}.resourceSharing"
    yield from _filters(of_set, subject.template.resource_sharing, set(subject.clique_named), groups)
    for path, group in subject.groups():
        yield from _filters(f"{path}.resourceSharing", group.resource_sharing, set(group.clique_names), None)


RULES: Final[tuple[Rule, ...]] = (
    claim_templates_are_complete,
    sharing_refers_to_templates,
    filters_name_what_is_there,
)


def claims_are_not_made(subject: Subject) -> Iterator[str]:
    """The fields are held to Grove's rules, and nothing comes of them: whoever needs devices has to know."""
    for path, shared in _levels(subject):
        if shared:
            yield (
                f"{path}: this operator makes no ResourceClaims, and pods start without them;"
                " name claims or their templates in podSpec.resourceClaims"
            )


def fabrics_are_not_made(subject: Subject) -> Iterator[str]:
    marked = [("metadata", subject.meta.annotations)]
    marked += [(path, clique.annotations) for path, clique in subject.cliques()]
    marked += [(path, group.annotations) for path, group in subject.groups()]
    for path, annotations in marked:
        if annotations.get(FABRIC, "none") != "none":
            yield (
                f"{path}.annotations[{FABRIC}]: this operator makes no ComputeDomains; pods start without:"
                " make one, and name its claim template in podSpec.resourceClaims"
            )


WARNINGS: Final = (claims_are_not_made, fabrics_are_not_made)


def _filters(
    path: str, shared: Sequence[Sharing], cliques: set[str], groups: set[str] | None
) -> Iterator[Fault]:
    for index, each in enumerate(shared):
        if each.filter is None:
            continue
        at = f"{path}[{index}].filter"
        named_groups = each.filter.child_scaling_group_names
        if not each.filter.child_clique_names and not (groups is not None and named_groups):
            wanted = "childCliqueNames" if groups is None else "childCliqueNames or childScalingGroupNames"
            yield required(at, f"name at least one of {wanted}, or leave the filter out")
        yield from _unknown(f"{at}.childCliqueNames", each.filter.child_clique_names, cliques)
        if groups is not None:
            yield from _unknown(f"{at}.childScalingGroupNames", named_groups, groups)


def _unknown(path: str, names: Sequence[str], known: set[str]) -> Iterator[Fault]:
    for index, name in enumerate(names):
        if name not in known:
            yield not_found(f"{path}[{index}]", name, f"known here: {', '.join(sorted(known)) or 'none'}")


def _levels(subject: Subject) -> Iterator[tuple[str, Sequence[Sharing]]]:
    yield f"{TEMPLATE}.resourceSharing", subject.template.resource_sharing
    for path, clique in subject.cliques():
        yield f"{path}.resourceSharing", clique.resource_sharing
    for path, group in subject.groups():
        yield f"{path}.resourceSharing", group.resource_sharing
