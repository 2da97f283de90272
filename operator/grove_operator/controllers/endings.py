"""Objects on their way out: our finalizers come off, so that the garbage collector can go on.

A finalizer of ours holds an object until we have looked. Pods of a clique are deleted before it goes: the
garbage collector would read each of them first, and find only what is on its way out already. What else there
is goes by owner references. Finalizers of others stay, and hold it.
"""

from collections.abc import Iterator
from contextlib import suppress

from grove_dp.kube.errors import Conflict, Invalid
from grove_dp.kube.objects import Resource
from grove_operator.api import CLIQUES, GROUPS
from grove_operator.applying import Writer, together
from grove_operator.held import Held
from grove_operator.naming import CLIQUE_FINALIZER, GROUP_FINALIZER
from grove_operator.watching import ReplicaKey, Watched

__all__ = ["ORPHAN", "end_finalizers", "without_finalizer"]

ORPHAN = "orphan"  # the garbage collector's finalizer: dependants are to stay
FINALIZERS = ((GROUPS, GROUP_FINALIZER), (CLIQUES, CLIQUE_FINALIZER))


async def end_finalizers(watched: Watched, writer: Writer, key: ReplicaKey) -> None:
    """Of the cliques and groups of a replica that are being deleted."""
    ending = list(_ending(watched, key))
    cliques = (
        held for kind, held, _ in ending if kind == CLIQUES and ORPHAN not in (held.metadata.finalizers or ())
    )
    await writer.delete_pods(pod for held in cliques for pod in watched.pods.by("owner", held.metadata.uid))
    await together(without_finalizer(writer, kind, held, finalizer) for kind, held, finalizer in ending)


def _ending(watched: Watched, key: ReplicaKey) -> Iterator[tuple[Resource, Held, str]]:
    where = f"{key.namespace}/{key.name}/{key.number}"
    for kind, finalizer in FINALIZERS:
        for held in watched.kinds[kind.kind].by("replica", where):
            if held.metadata.deletion_timestamp and finalizer in (held.metadata.finalizers or ()):
                yield kind, held, finalizer


async def without_finalizer(writer: Writer, kind: Resource, held: Held, finalizer: str) -> None:
    """Take it off that version of the object; if it has changed, another look follows the change."""
    meta = held.metadata
    left = [one for one in meta.finalizers or () if one != finalizer]
    patch = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": left or None}}
    with suppress(Conflict, Invalid):  # Invalid: another of that name is there
        await writer.merge(kind, meta.namespace, meta.name, patch)
