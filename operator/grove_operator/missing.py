"""What an operator still has to see before it can work, with the remedy: for the log and for `/readyz`.

    the kind is not there (404)   its definition is to be applied
    we may not (403)              its rights are to be applied
    who are we? (401), nobody     what the call says: the kubeconfig or the API server is wrong

The operator waits in all of these cases: definitions and rights are often applied while it starts.
"""

from collections.abc import Iterable
from typing import Any, Final

from grove_dp.errors import GroveError
from grove_dp.kube.errors import Forbidden, NotFound
from grove_dp.kube.informer import Informer
from grove_dp.kube.objects import Resource

__all__ = ["missing", "troubled"]

APPLY: Final = "grove-dp manifests operator --image IMAGE | kubectl apply --server-side -f -"


def troubled(informers: Iterable[Informer[Any]]) -> bool:
    """Whether there is more to it than that not everything has been listed yet."""
    return any(informer.trouble is not None for informer in informers if not informer.is_synced)


def missing(informers: Iterable[Informer[Any]]) -> str:
    """In words, with the remedy; empty when everything has been seen."""
    unseen = [informer for informer in informers if not informer.is_synced]
    if not unseen:
        return ""
    whole: dict[str, list[str]] = {}
    for informer in unseen:
        whole.setdefault(_why(informer.trouble), []).append(_name(informer.resource))
    return "; ".join(f"{', '.join(kinds)}: {why}" for why, kinds in whole.items())


def _why(trouble: GroveError | None) -> str:
    """Alike for all kinds that need the same."""
    if trouble is None:
        return "not listed yet"
    if isinstance(trouble, NotFound):
        return f"the API server does not know this kind; apply its definition: {APPLY}"
    if isinstance(trouble, Forbidden):
        who = str(trouble).partition('User "')[2].partition('"')[0]
        return (
            f"{who or 'we'} may not list and watch this kind; apply the rights and work under them: {APPLY}"
        )
    return str(trouble).partition(": ")[2] or str(trouble)  # without the call, which differs


def _name(kind: Resource) -> str:
    """As people and kubectl name it."""
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural
