"""What a namespace holds at one moment, and what can be said about it."""

from functools import cached_property

import msgspec
from grove_operator.api import (
    AUTOSCALERS,
    BINDINGS,
    CLIQUES,
    GANGS,
    GROUPS,
    NODES,
    PODS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
    SETS,
)
from grove_operator.naming import MANAGED_BY, OPERATOR, L
from grove_operator.pods import Pod

# What the operator makes of sets.
MADE = (GROUPS, CLIQUES, GANGS, PODS, SERVICES, AUTOSCALERS, SERVICE_ACCOUNTS, ROLES, ROLE_BINDINGS, SECRETS)
KINDS = (SETS, *MADE)
CLUSTER_KINDS = (NODES, BINDINGS)


def labels(document):
    return document["metadata"].get("labels") or {}


def name(document):
    return document["metadata"]["name"]


def uid(document):
    return document["metadata"]["uid"]


def going(document):
    return "deletionTimestamp" in document["metadata"]


def ours(document):
    return labels(document).get(MANAGED_BY) == OPERATOR


def controller(document):
    """Kind, name and uid of the owner that controls it."""
    references = document["metadata"].get("ownerReferences") or ()
    return next(((one["kind"], one["name"], one["uid"]) for one in references if one.get("controller")), None)


def condition(document, type_):
    """Status and reason of one of its conditions; a pair of empty strings without."""
    held = (document.get("status") or {}).get("conditions") or ()
    return next(((one["status"], one.get("reason", "")) for one in held if one["type"] == type_), ("", ""))


class World:
    """*kinds*: documents by the plural of their kind."""

    def __init__(self, kinds):
        self.kinds = kinds

    def of(self, resource):
        return self.kinds[resource.plural]

    def named(self, resource, wanted):
        return next((one for one in self.of(resource) if name(one) == wanted), None)

    def names(self, resource):
        """Of ours, sorted."""
        return sorted(name(one) for one in self.of(resource) if resource is SETS or ours(one))

    @cached_property
    def pods(self):
        """Of ours, and not on their way out."""
        return [pod for pod in self.of(PODS) if ours(pod) and not going(pod)]

    @cached_property
    def read(self):
        """All of ours, as the operator reads them, by name."""
        return {name(pod): msgspec.convert(pod, Pod) for pod in self.of(PODS) if ours(pod)}

    def crew(self, *parts):
        """Pods, not on their way out, whose clique is called so or begins so."""
        wanted = tuple(parts)
        return [pod for pod in self.pods if labels(pod)[L.CLIQUE].startswith(wanted)] if wanted else self.pods

    def running(self, *parts):
        return [pod for pod in self.crew(*parts) if self.read[name(pod)].ready]

    def bound(self, *parts):
        return [pod for pod in self.crew(*parts) if pod["spec"].get("nodeName")]

    def pending(self, *parts):
        """Gated, or with no node that would have it."""
        return [pod for pod in self.crew(*parts) if not pod["spec"].get("nodeName")]

    def count(self, *parts):
        """Running and pending."""
        return len(self.running(*parts)), len(self.pending(*parts))

    def uids(self, *parts):
        return {uid(pod) for pod in self.crew(*parts)}

    def on(self, *parts):
        """The nodes of pods that have one."""
        return [pod["spec"]["nodeName"] for pod in self.bound(*parts)]

    def hash_of(self, *parts):
        return {labels(pod)[L.TEMPLATE_HASH] for pod in self.crew(*parts)}

    def images(self, *parts):
        """Of the first container, sorted, one for each pod."""
        return sorted(pod["spec"]["containers"][0]["image"] for pod in self.crew(*parts))

    def status(self, resource, wanted):
        return (self.named(resource, wanted) or {}).get("status") or {}

    def replicas(self, resource, wanted):
        found = self.named(resource, wanted)
        return None if found is None else found["spec"].get("replicas")
