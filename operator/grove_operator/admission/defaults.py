"""What Grove's mutating webhook fills in, so that nobody later asks what an absent field means.

    spec.replicas                                         0       (schema)
    spec.updateStrategy.type            if there is one   RollingRecreate       (schema)
    template.cliqueStartupType                            CliqueStartupTypeAnyOrder       (schema)
    template.terminationDelay                             4h0m0s
    template.headlessServiceConfig                        {publishNotReadyAddresses: true}
    cliques[].spec.replicas             absent or 0       1
    cliques[].spec.minAvailable                           replicas
    cliques[].spec.autoScalingConfig.minReplicas          replicas
    cliques[].spec.podSpec.restartPolicy                  Always
    cliques[].spec.podSpec.terminationGracePeriodSeconds  30
    podCliqueScalingGroups[].replicas, .minAvailable      1       (schema)
    podCliqueScalingGroups[].scaleConfig.minReplicas      replicas

What the schema fills in is repeated, so that documents that never saw the API server read the same. Only
absent fields are written (null is absent), only in objects that are there, and no other field is touched:
what has the wrong type stays for validation to name.

Two differences to Grove: `autoScalingConfig.minReplicas` follows replicas *after* their own default, and in
an update an absent minAvailable, which can never change, is what it was: Grove sets it to the new number of
replicas, and then refuses the change.
"""

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, Final

from msgspec import Struct

__all__ = ["Default", "defaulted", "defaults", "patch"]

RESTART: Final = "Always"
GRACE_S: Final = 30
TERMINATION_DELAY: Final = "4h0m0s"  # as Go writes it

Document = Mapping[str, Any]
Steps = tuple[str | int, ...]


class Default(Struct, frozen=True):
    """A field that was absent, and what it is then."""

    path: Steps
    value: Any

    @property
    def pointer(self) -> str:
        """As JSON Patch writes it."""
        return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in self.path)


def defaults(document: object, old: object = None) -> list[Default]:
    """What a PodCliqueSet lacks, in the order of the document; *old* is what it was before an update."""
    return list(_set(document, _min_available(old)))


def defaulted(document: object, old: object = None) -> Any:
    """*document* with its defaults; what did not change is shared with it, and it stays as it was."""
    found = defaults(document, old)
    if not found:
        return document
    root: Any = copy(document)
    ours = {id(root)}  # copies: each object and list on the way is copied once, however many defaults it gets
    for *way, field, value in ((*default.path, default.value) for default in found):
        owner: Any = root
        for step in way:
            if id(owner[step]) not in ours:
                owner[step] = copy(owner[step])
                ours.add(id(owner[step]))
            owner = owner[step]
        owner[field] = value
    return root


def patch(document: object, old: object = None) -> list[dict[str, Any]]:
    """The defaults as a JSON patch."""
    return [
        {"op": "add", "path": default.pointer, "value": default.value} for default in defaults(document, old)
    ]


# ------------------------------------------------------------ what is lacking


def _set(document: object, stood: "_Stood") -> Iterator[Default]:
    spec = _object(document, "spec")
    if spec is None:
        return
    yield from _lacking(spec, ("spec",), replicas=0)
    strategy = _object(spec, "updateStrategy")
    if strategy is not None:
        yield from _lacking(strategy, ("spec", "updateStrategy"), type="RollingRecreate")
    template = _object(spec, "template")
    if template is None:
        return
    at: Steps = ("spec", "template")
    for index, each in _elements(template, "cliques"):
        yield from _clique(each, (*at, "cliques", index), stood)
    yield from _lacking(
        template,
        at,
        cliqueStartupType="CliqueStartupTypeAnyOrder",
        headlessServiceConfig={"publishNotReadyAddresses": True},
    )
    for index, each in _elements(template, "podCliqueScalingGroups"):
        yield from _group(each, (*at, "podCliqueScalingGroups", index), stood)
    yield from _lacking(template, at, terminationDelay=TERMINATION_DELAY)


def _clique(clique: Document, at: Steps, stood: "_Stood") -> Iterator[Default]:
    spec = _object(clique, "spec")
    if spec is None:
        return
    at = (*at, "spec")
    pod = _object(spec, "podSpec")
    if pod is not None:
        in_pod = (*at, "podSpec")
        if pod.get("restartPolicy") == "":
            yield Default((*in_pod, "restartPolicy"), RESTART)
        yield from _lacking(pod, in_pod, restartPolicy=RESTART, terminationGracePeriodSeconds=GRACE_S)
    given = spec.get("replicas")
    replicas = 1 if given is None or (_is_int(given) and given == 0) else given
    if replicas is not given:
        yield Default((*at, "replicas"), replicas)
    if _is_int(replicas):
        yield from _lacking(spec, at, minAvailable=stood.cliques.get(_name(clique), replicas))
        yield from _scale(spec, at, "autoScalingConfig", replicas)


def _group(group: Document, at: Steps, stood: "_Stood") -> Iterator[Default]:
    yield from _lacking(group, at, replicas=1, minAvailable=stood.groups.get(_name(group), 1))
    replicas = group.get("replicas")
    yield from _scale(group, at, "scaleConfig", 1 if replicas is None else replicas)


def _scale(owner: Document, at: Steps, field: str, replicas: object) -> Iterator[Default]:
    scale = _object(owner, field)
    if scale is not None and _is_int(replicas):
        yield from _lacking(scale, (*at, field), minReplicas=replicas)


def _lacking(owner: Document, at: Steps, **fields: Any) -> Iterator[Default]:
    for field, value in fields.items():
        if owner.get(field) is None:
            yield Default((*at, field), value)


# ------------------------------------------------------------ what was before


class _Stood(Struct, frozen=True):
    """minAvailable by name: of cliques, and of groups."""

    cliques: dict[str, int] = {}
    groups: dict[str, int] = {}


def _min_available(old: object) -> _Stood:
    """As it was meant, even if *old* was stored before anybody filled it in."""
    if old is None:
        return _Stood()
    template = _object(_object(defaulted(old), "spec"), "template") or {}
    return _Stood(
        {
            _name(clique): spec["minAvailable"]
            for _, clique in _elements(template, "cliques")
            if (spec := _object(clique, "spec")) and _is_int(spec.get("minAvailable"))
        },
        {
            _name(group): group["minAvailable"]
            for _, group in _elements(template, "podCliqueScalingGroups")
            if _is_int(group.get("minAvailable"))
        },
    )


# ------------------------------------------------------------ documents of any shape


def _object(owner: object, field: str) -> Document | None:
    found = owner.get(field) if isinstance(owner, Mapping) else None
    return found if isinstance(found, Mapping) else None


def _elements(owner: Document, field: str) -> Iterator[tuple[int, Document]]:
    found = owner.get(field)
    for index, each in enumerate(found if isinstance(found, list) else ()):
        if isinstance(each, Mapping):
            yield index, each


def _name(owner: Document) -> str:
    found = owner.get("name")
    return found if isinstance(found, str) else ""


def _is_int(value: object) -> bool:
    return type(value) is int  # True is an int to Python alone
