"""Names: what they may look like, how long they may be together, and that no two objects get the same.

    pod         p-r-g-i-c-xxxxx     63 characters at most, as every label value
    host name   p-r-g-i-c-n         63, as every part of a host name

Grove allows the three names 45 characters together and does not count the digits of indices, so that with
many replicas host names come out too long, and the API server refuses the pods of the last ones. Both limits
hold here. Indices count as far as the document tells: replicas, and how far autoscaling may go.

Grove allows dots in names and learns from the API server that neither Services nor host names do; it also
lets clique `b` of group `a` and a clique `a-0-b` be the same PodClique.
"""

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from grove_operator import naming
from grove_operator.admission.drafts import Scale
from grove_operator.admission.faults import Fault, duplicate, invalid, required, too_long
from grove_operator.admission.grammar import bad_label
from grove_operator.admission.subject import Rule, Subject

__all__ = ["RULES", "WARNINGS"]

TOGETHER_MAX: Final = 45  # Grove's
LABEL_MAX: Final = 63
SUFFIX: Final = 5  # of a pod's name


class _Made(Struct, frozen=True):
    """The last PodClique that a template makes, by name."""

    path: str
    parts: tuple[str, ...]
    longest: str
    pods: int


def set_has_a_name(subject: Subject) -> Iterator[Fault]:
    """A name, or the beginning of one that the API server completes."""
    meta = subject.meta
    if not meta.name and not meta.generate_name:
        yield required("metadata.name", "name the set, or give generateName")
    elif meta.name and (why := bad_label(meta.name)):
        yield invalid("metadata.name", meta.name, why)


def cliques_have_names(subject: Subject) -> Iterator[Fault]:
    for path, clique in subject.cliques():
        yield from _named(f"{path}.name", clique.name, "clique")


def groups_have_names(subject: Subject) -> Iterator[Fault]:
    for path, group in subject.groups():
        yield from _named(f"{path}.name", group.name, "scaling group")


def clique_names_are_unique(subject: Subject) -> Iterator[Fault]:
    yield from _unique((f"{path}.name", clique.name) for path, clique in subject.cliques())


def group_names_are_unique(subject: Subject) -> Iterator[Fault]:
    yield from _unique((f"{path}.name", group.name) for path, group in subject.groups())


def names_fit_together(subject: Subject) -> Iterator[Fault]:
    """Grove's budget, which Grove's users know."""
    for made in _made(subject):
        length = sum(map(len, made.parts))
        if length > TOGETHER_MAX:
            yield too_long(
                made.path,
                f"the names {_quoted(made.parts)} have {length} characters together, {TOGETHER_MAX} are"
                f" allowed: shorten them by {length - TOGETHER_MAX}",
            )


def host_names_fit(subject: Subject) -> Iterator[Fault]:
    """The same with hyphens and the digits of the highest indices."""
    for made in _made(subject):
        if sum(map(len, made.parts)) > TOGETHER_MAX:
            continue  # said already
        tail = max(SUFFIX, len(str(made.pods - 1)))
        over = len(made.longest) + 1 + tail - LABEL_MAX
        if over > 0:
            yield too_long(
                made.path,
                f"with so many replicas the last PodClique is named {made.longest!r}, and with the {tail + 1}"
                f" characters that pods add {LABEL_MAX} are allowed: shorten {_quoted(made.parts)} by {over},"
                " or use fewer replicas",
            )


def generated_names_differ(subject: Subject) -> Iterator[Fault]:
    """`g-i-c` of one group is nobody else's."""
    members = _members(subject)
    by_name = {(group, member): path for group, member, path in members}
    by_halves = {
        (before, after, member): group for group, member, _ in members for before, after in _split(group)
    }
    for path, clique in subject.cliques():
        if clique.name in subject.group_of:
            continue
        for group, member in _split(clique.name):
            if (group, member) in by_name:
                yield _taken(f"{path}.name", clique.name, member, group)
    for group, name, path in members:
        for before, member in _split(name):
            rival = by_halves.get((group, before, member))
            if rival is not None:
                yield _taken(path, name, member, rival)


def autoscaler_names_differ(subject: Subject) -> Iterator[Fault]:
    """A HorizontalPodAutoscaler has the name of what it scales."""
    scaled = {
        clique.name: path
        for path, clique in subject.cliques()
        if clique.spec.auto_scaling_config and clique.name not in subject.group_of
    }
    for path, group in subject.groups():
        if group.scale_config and group.name in scaled:
            yield invalid(
                f"{path}.name",
                group.name,
                f"a clique has this name ({scaled[group.name]}) and both are autoscaled, so that their"
                " HorizontalPodAutoscalers would be one: rename either",
            )


RULES: Final[tuple[Rule, ...]] = (
    set_has_a_name,
    cliques_have_names,
    groups_have_names,
    clique_names_are_unique,
    group_names_are_unique,
    names_fit_together,
    host_names_fit,
    generated_names_differ,
    autoscaler_names_differ,
)


def service_name_may_be_refused(subject: Subject) -> Iterator[str]:
    if subject.meta.name[:1].isdigit():
        yield (
            f"metadata.name: {subject.meta.name!r} begins with a digit; many API servers refuse Services of"
            " such names, and pods then find each other only by address"
        )


WARNINGS: Final = (service_name_may_be_refused,)


def _made(subject: Subject) -> Iterator[_Made]:
    """The longest name that each template makes; without names there is nothing to measure."""
    name = subject.meta.name or f"{subject.meta.generate_name}{'x' * SUFFIX}"
    last = max(subject.set.spec.replicas or 0, 1) - 1
    for path, clique in subject.cliques():
        pods = _most(clique.spec.replicas, clique.spec.auto_scaling_config)
        if clique.name and clique.name not in subject.group_of:
            longest = naming.clique(name, last, clique.name)
            yield _Made(f"{path}.name", (name, clique.name), longest, pods)
    for path, group in subject.groups():
        replicas = _most(group.replicas, group.scale_config)
        for index, member in enumerate(group.clique_names):
            known = subject.clique_named.get(member)
            if known is None or not group.name:
                continue
            longest = naming.group_clique(naming.group(name, last, group.name), replicas - 1, member)
            pods = _most(known.spec.replicas, None)
            yield _Made(f"{path}.cliqueNames[{index}]", (name, group.name, member), longest, pods)


def _most(replicas: int | None, scale: Scale | None) -> int:
    return max(replicas or 1, (scale and scale.max_replicas) or 1, 1)


def _members(subject: Subject) -> list[tuple[str, str, str]]:
    """Group, clique, and where the one names the other."""
    return [
        (group.name, name, f"{path}.cliqueNames[{index}]")
        for path, group in subject.groups()
        for index, name in enumerate(group.clique_names)
        if group.name and name
    ]


def _split(name: str) -> Iterator[tuple[str, str]]:
    """What stands before and after each part that could be an index."""
    parts = name.split("-")
    for at, part in enumerate(parts):
        if part.isascii() and part.isdigit():
            yield "-".join(parts[:at]), "-".join(parts[at + 1 :])


def _taken(path: str, name: str, member: str, group: str) -> Fault:
    return invalid(
        path,
        name,
        f"PodCliques of clique {member!r} in group {group!r} would have the same names: rename one of them",
    )


def _named(path: str, name: str, what: str) -> Iterator[Fault]:
    if not name:
        yield required(path, f"every {what} needs a name")
    elif why := bad_label(name):
        yield invalid(path, name, why)


def _unique(named: Iterator[tuple[str, str]]) -> Iterator[Fault]:
    seen = set()
    for path, name in named:
        if name and name in seen:
            yield duplicate(path, name, "each name may be used once")
        seen.add(name)


def _quoted(parts: tuple[str, ...]) -> str:
    return " + ".join(repr(part) for part in parts)
