"""Wanted against observed: what to create, to patch and to delete; nothing, when nothing differs.

A patch is a merge patch of fields that are ours and differ. Ours is what a wanted document names, but for
what stands `once`. Other fields are the API server's (defaults), other controllers' or the user's, and stay:

    labels, annotations   our keys; keys that a former template had put there go
    finalizers            ours is added while the object lives; others stay
    ownerReferences       set where there are none; an object that someone else controls is not touched
    WHOLE                 fields that are ours to the last key: what we do not name goes
    other maps            key by key; other lists: item by item, as a whole where one differs

An object that is being deleted is left alone until it is gone; then it is missing, and made again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from grove_dp.kube.objects import Resource
from grove_operator import naming
from grove_operator.api import (
    AUTOSCALERS,
    CLIQUES,
    GANGS,
    GROUPS,
    KAI_GROUPS,
    KINDS,
    POD_GROUPS,
    ROLE_BINDINGS,
    ROLES,
    SERVICES,
    kind_key,
)
from grove_operator.plan.defaults import metrics_form, pod_spec_form
from grove_operator.plan.documents import FROM_TEMPLATE, Document, Key, Path, Wanted, from_template

__all__ = ["Delete", "Patch", "Steps", "changes", "diff", "is_ours"]

Form = Callable[[Any], Any]
NOTHING: Final[Document] = {}
RESOURCES: Final[Mapping[str, Resource]] = {**KINDS, **{kind_key(kind): kind for kind in POD_GROUPS}}


def _same(value: Any) -> Any:
    return value


WHOLE: Final[Mapping[str, Mapping[Path, Form]]] = {
    SERVICES.kind: {("spec", "selector"): _same},
    ROLES.kind: {("rules",): _same},
    ROLE_BINDINGS.kind: {("subjects",): _same},
    AUTOSCALERS.kind: {("spec", "metrics"): metrics_form, ("spec", "scaleTargetRef"): _same},
    GROUPS.kind: {("spec", "cliqueNames"): _same},
    CLIQUES.kind: {
        ("spec", "podSpec"): pod_spec_form,
        ("spec", "startsAfter"): _same,
        ("spec", "autoScalingConfig"): metrics_form,
    },
    GANGS.kind: {
        ("spec", "podgroups"): _same,
        ("spec", "topologyConstraint"): _same,
        ("spec", "topologyConstraintGroupConfigs"): _same,
        ("spec", "priorityClassName"): _same,
    },
    kind_key(KAI_GROUPS): {("spec", "topologyConstraint"): _same},
}


class Patch(msgspec.Struct, frozen=True):
    """A merge patch for the object of that path."""

    wanted: Wanted
    patch: Document

    @property
    def path(self) -> str:
        """Of the object."""
        return self.wanted.path


class Delete(msgspec.Struct, frozen=True):
    """An object that is too many; that very one, by its uid."""

    resource: Resource
    namespace: str
    name: str
    uid: str

    @property
    def path(self) -> str:
        """Of the object."""
        return self.resource.path(self.namespace, self.name)


class Steps(msgspec.Struct, frozen=True):
    """What is to be done. Deletes come first: a surplus gang must not hold what a new one needs."""

    deletes: tuple[Delete, ...] = ()
    creates: tuple[Wanted, ...] = ()
    patches: tuple[Patch, ...] = ()
    leaving: tuple[Wanted, ...] = ()  # to be made again when the one that is being deleted is gone
    foreign: tuple[Wanted, ...] = ()  # the name is another's, who is not touched

    def __bool__(self) -> bool:
        return bool(self.deletes or self.creates or self.patches)


def diff(wanted: Iterable[Wanted], observed: Mapping[Key, Document], owners: Collection[str]) -> Steps:
    """*observed*: whole documents by kind and name; *owners*: uids of the set and its groups."""
    wishes = {one.key: one for one in wanted}
    creates, patches, leaving, foreign = [], [], [], []
    for key, wish in wishes.items():
        held = observed.get(key)
        if held is None:
            creates.append(wish)
        elif not is_ours(held, wish, owners):
            foreign.append(wish)
        elif held["metadata"].get("deletionTimestamp"):
            leaving.append(wish)
        elif patch := changes(wish, held):
            patches.append(Patch(wish, patch))
    deletes = [
        Delete(RESOURCES[kind], held["metadata"].get("namespace", ""), name, held["metadata"].get("uid", ""))
        for (kind, name), held in observed.items()
        if (kind, name) not in wishes
        and _controller(held) in owners
        and not held["metadata"].get("deletionTimestamp")
    ]
    return Steps(tuple(deletes), tuple(creates), tuple(patches), tuple(leaving), tuple(foreign))


def changes(wanted: Wanted, held: Document) -> Document:
    """The merge patch that makes *held* what is wanted; empty when it is."""
    whole = WHOLE.get(kind_key(wanted.resource), {})
    patch = _metadata(wanted, held.get("metadata") or {})
    names = [name for name in wanted.document if name not in ("apiVersion", "kind", "metadata")]
    for name in dict.fromkeys([*names, *(path[0] for path in whole if len(path) == 1)]):
        found = _field((name,), wanted.document.get(name), held.get(name), whole, wanted.once)
        if found is not NOTHING:
            patch[name] = found
    return patch


# ------------------------------------------------------------ whose it is


def _controller(held: Document) -> str:
    owners = held["metadata"].get("ownerReferences") or ()
    return next((str(owner.get("uid", "")) for owner in owners if owner.get("controller")), "")


def is_ours(held: Document, wish: Wanted, owners: Collection[str]) -> bool:
    """Whether one of *owners* controls it; an orphan with the labels of our set is ours, too."""
    meta = held["metadata"]
    if meta.get("ownerReferences"):
        return _controller(held) in owners
    marks = naming.managed(wish.document["metadata"]["labels"][naming.L.PART_OF])
    return marks.items() <= (meta.get("labels") or {}).items()


# ------------------------------------------------------------ metadata


def _metadata(wanted: Wanted, held: Document) -> Document:
    wish = wanted.document["metadata"]
    patch: Document = {}
    former = _former(wanted, held)
    for what in ("labels", "annotations"):
        if ("metadata", what) in wanted.once:
            continue
        marks = _marks(what, wish.get(what) or {}, held.get(what) or {}, former[what], wanted.once)
        if marks:
            patch[what] = marks
    if not held.get("ownerReferences"):
        patch["ownerReferences"] = wish["ownerReferences"]
    missing = [one for one in wish.get("finalizers") or () if one not in (held.get("finalizers") or ())]
    if missing:
        patch["finalizers"] = [*(held.get("finalizers") or ()), *missing]
    return {"metadata": patch} if patch else {}


def _former(wanted: Wanted, held: Document) -> Mapping[str, Collection[str]]:
    """Keys that a template had put there, and the note of them; none where the template is not looked at."""
    notes = held.get("annotations") or {}
    if ("metadata", "annotations") in wanted.once or FROM_TEMPLATE not in notes:
        return {"labels": (), "annotations": ()}
    named = from_template(notes)
    return {"labels": named["labels"], "annotations": named["annotations"] | {FROM_TEMPLATE}}


def _marks(
    what: str,
    wish: Mapping[str, str],
    held: Mapping[str, str],
    former: Collection[str],
    once: Collection[Path],
) -> Document:
    ours = {key: value for key, value in wish.items() if ("metadata", what, key) not in once}
    patch: Document = {key: value for key, value in ours.items() if held.get(key) != value}
    return patch | {key: None for key in former if key in held and key not in wish}


# ------------------------------------------------------------ fields


def _field(path: Path, wish: Any, held: Any, whole: Mapping[Path, Form], once: Collection[Path]) -> Any:
    """What a merge patch has to say of a field; NOTHING where it is as it should be."""
    if path in once or wish == held:  # PERF: forms of equal pod specs need not be made
        return NOTHING
    if path in whole:
        return _exact(wish, held) if _formed(whole[path], wish) != _formed(whole[path], held) else NOTHING
    if not isinstance(wish, Mapping) or not isinstance(held, Mapping):
        return NOTHING if _holds(wish, held) else wish
    beneath = [
        beyond[len(path)] for beyond in whole if beyond[: len(path)] == path and len(beyond) > len(path)
    ]
    found = {
        name: _field((*path, name), wish.get(name), held.get(name), whole, once)
        for name in dict.fromkeys([*wish, *beneath])
    }
    return {name: patch for name, patch in found.items() if patch is not NOTHING} or NOTHING


def _formed(form: Form, value: Any) -> Any:
    """Empty is as good as absent; so are lists and tuples the same."""
    return form(_plain(value)) if value else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _exact(wish: Any, held: Any) -> Any:
    """The merge patch from *held* to *wish*, whole."""
    if not isinstance(wish, Mapping) or not isinstance(held, Mapping):
        return wish
    gone: Document = {name: None for name in held if name not in wish}
    changed = {name: _exact(one, held.get(name)) for name, one in wish.items() if held.get(name) != one}
    return gone | changed


def _holds(wish: Any, held: Any) -> bool:
    """Whether *held* has all that is wished; it may have more in its maps."""
    if isinstance(wish, Mapping):
        return isinstance(held, Mapping) and all(_holds(one, held.get(key)) for key, one in wish.items())
    if isinstance(wish, (list, tuple)):
        if not wish:
            return not held
        return (
            isinstance(held, (list, tuple))
            and len(held) == len(wish)
            and all(_holds(one, other) for one, other in zip(wish, held, strict=True))
        )
    return bool(wish == held)
