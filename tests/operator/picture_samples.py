"""One replica of a set as a picture: its pods in words, its statuses as they were last written."""

import msgspec
from grove_operator.api import PodClique, PodCliqueScalingGroup, PodCliqueSet, PodGang
from grove_operator.naming import GATE, L
from grove_operator.plan.hashing import set_hash
from grove_operator.plan.picture import CliqueSeen, Picture
from grove_operator.plan.recovery import recovery
from grove_operator.plan.rollout import rollout
from grove_operator.plan.status import (
    clique_status,
    gang_status,
    group_status,
    set_status,
    settled,
    status_patch,
    summary,
)
from grove_operator.plan.tree import Live, clique_hashes, tree
from grove_operator.pods import Pod

from grove_dp.kube.stamps import second_time

T0 = 1_800_000_000.0
ENDED = {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:00:00Z"}}
DONE = {"terminated": {"exitCode": 0}}
WORDS = {  # bound, started, ready, what the container was before
    "gated": (False, None, False, {}),
    "pending": (False, None, False, {}),
    "refused": (False, None, False, {}),
    "bound": (True, None, False, {}),  # no container yet: images are pulled
    "probing": (True, False, False, {}),  # the start-up probe has not passed
    "running": (True, True, False, {}),
    "ready": (True, True, True, {}),
    "crashing": (True, False, False, {"lastState": ENDED}),
    "crashed": (True, False, False, {"state": ENDED}),
    "restarted": (True, False, False, {"lastState": DONE}),
    "recovered": (True, True, True, {"lastState": ENDED}),
    "leaving": (True, True, True, {}),
    "failed": (True, False, False, {}),
    "succeeded": (True, False, False, {}),
}


def a_pod(word, name="p", *, hash_="", made=T0, index=0):
    """A pod that is *word*."""
    bound, started, ready, before = WORDS[word]
    meta = {
        "name": name,
        "uid": name,
        "labels": {L.TEMPLATE_HASH: hash_, L.POD_INDEX: str(index)},
        "creationTimestamp": second_time(made),
    }
    if word == "leaving":
        meta["deletionTimestamp"] = second_time(made)
    spec = {"nodeName": "n1"} if bound else {}
    if word == "gated":
        spec["schedulingGates"] = [{"name": GATE}]
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    if word == "refused":
        refusal = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        conditions.append(refusal | {"message": "0/5 nodes are available"})
    container = {"name": "main", "ready": ready, "started": started, **before}
    phase = {"failed": "Failed", "succeeded": "Succeeded"}.get(word, "Running" if bound else "Pending")
    status = {"phase": phase, "conditions": conditions}
    if bound and word != "bound":
        status["containerStatuses"] = [container]
    return msgspec.convert({"metadata": meta, "spec": spec, "status": status}, Pod)


def merged(document, patch):
    """What a merge patch makes of a document."""
    if not isinstance(patch, dict):
        return patch
    kept = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            kept.pop(key, None)
        else:
            kept[key] = merged(kept.get(key), value)
    return kept


class Scene:
    """Replica 0 of *owner*. Pods are words by clique; statuses are those that were written."""

    def __init__(self, owner, now=T0):
        self.owner, self.now = owner, now
        self.words = {}
        self.counts, self.group_counts = {}, {}
        self.labels = {}  # hashes that cliques keep
        self.missing = set()  # cliques that are not there
        self.waiting = {}
        self.turn = False
        self.statuses = {}
        self.made = {}
        self.names = 0
        self.pods = {}
        self._hashed = self._known = None

    # what happens

    def put(self, **words):
        """Make cliques have these pods; `a="ready ready"`. Those that are as they were stay the same pods."""
        for clique, text in words.items():
            name = self.name(clique)
            former = self.pods.get(name, [])
            self.pods[name] = [
                former[index] if index < len(former) and former[index][0] == word else self._new(name, word)
                for index, word in enumerate(text.split())
            ]
        return self

    def turn_into(self, **words):
        """The same pods, in another state."""
        for clique, text in words.items():
            name = self.name(clique)
            new = text.split()
            former = self.pods[name]
            assert len(new) == len(former)
            self.pods[name] = [(word, *one[1:]) for word, one in zip(new, former, strict=True)]
        return self

    def all(self, word):
        """Every clique has all pods that it is to have, and they are *word*."""
        for unit in self.replica.units:
            self.pods[unit.name] = [self._new(unit.name, word) for _ in range(unit.count)]
        return self

    def later(self, seconds):
        self.now += seconds
        return self

    def _new(self, clique, word):
        self.names += 1
        unit = next(one for one in self.replica.units if one.name == clique)
        return word, f"{clique}-{self.names}", self.labels.get(clique, unit.hash), self.now

    def image(self, tag):
        """A new template; cliques keep their labels until `reach`."""
        for unit in self.replica.units:
            self.labels.setdefault(unit.name, unit.hash)
        document = msgspec.to_builtins(self.owner)
        for one in document["spec"]["template"]["cliques"]:
            one["spec"]["podSpec"]["containers"][0]["image"] = f"registry.test/worker:{tag}"
        self.owner = msgspec.convert(document, PodCliqueSet)
        return self

    def reach(self, *cliques):
        """An update has reached these cliques."""
        self.turn = True
        for clique in cliques:
            self.labels.pop(self.name(clique), None)
        return self

    # what is seen

    def name(self, clique):
        return clique.replace("_", "-") if clique.startswith("w_") else f"w-0-{clique.replace('_', '-')}"

    @property
    def replica(self):
        live = Live(self.counts, self.group_counts)
        return tree(self.owner, live, range(1), self._hashes)[0]

    @property
    def _hashes(self):
        if self._hashed is not self.owner:
            self._hashed, self._known = self.owner, clique_hashes(self.owner)
        return self._known

    def picture(self):
        replica = self.replica
        return Picture(
            owner=self._read(self.owner, "set", PodCliqueSet),
            replica=replica,
            hash=set_hash(self.owner.spec.template, self._hashes),
            cliques={unit.name: self._seen(unit) for unit in replica.units},
            groups={one.name: self._object(one.name, PodCliqueScalingGroup) for one in replica.groups},
            gangs={one.name: self._object(f"gang {one.name}", PodGang) for one in replica.gangs},
            waiting=self.waiting,
        )

    def _seen(self, unit):
        pods = tuple(
            a_pod(word, name, hash_=hash_, made=made, index=index)
            for index, (word, name, hash_, made) in enumerate(self.pods.get(unit.name, ()))
        )
        if unit.name in self.missing:
            return CliqueSeen(unit)
        label = {L.TEMPLATE_HASH: self.labels.get(unit.name, unit.hash)}
        return CliqueSeen(unit, self._object(unit.name, PodClique, label), pods)

    def _object(self, name, kind, labels=None):
        meta = {"name": name, "uid": f"uid-{name}", "generation": 3, "labels": labels or {}}
        return msgspec.convert({"metadata": meta, "status": self.statuses.get(name, {})}, kind)

    def _read(self, owner, name, kind):
        document = msgspec.to_builtins(owner) | {"status": self.statuses.get(name, {})}
        return msgspec.convert(document, kind)

    # what is decided

    def wanted(self):
        """All statuses, by name."""
        picture = self.picture()
        update = rollout(picture, self.turn)
        found = {
            name: clique_status(seen, picture, self.now, update)
            for name, seen in picture.cliques.items()
            if seen.held is not None
        }
        for group in picture.replica.groups:
            found[group.name] = group_status(group, picture, self.now, update)
        for gang in picture.replica.gangs:
            found[f"gang {gang.name}"] = gang_status(gang, picture, self.now)
        found["set"] = set_status(picture.owner, {0: summary(picture)}, picture.hash, self.now)
        return found

    def write(self):
        """Write what differs; returns who was written."""
        written = set()
        for name, status in self.wanted().items():
            patch = status_patch(self.statuses.get(name), status)
            if patch is not None:
                self.statuses[name] = merged(self.statuses.get(name), patch)
                written.add(name)
        return written

    def recover(self):
        """What recovery says; its records are written, and pods deleted, as the operator does."""
        found = recovery(self.picture(), self.now)
        for name, document in found.cliques.items():
            self.statuses[name] = merged(self.statuses.get(name), {"recovery": document})
        gone = {pod.metadata.name for pod in found.terminate}
        for name, pods in self.pods.items():
            self.pods[name] = [one for one in pods if one[1] not in gone]
        return found

    def settled(self):
        return settled(self.picture())

    def status(self, clique):
        return self.statuses[clique if clique == "set" or clique.startswith("gang ") else self.name(clique)]

    def condition(self, of, type_):
        """Status and reason of a condition."""
        held = [one for one in self.status(of)["conditions"] if one["type"] == type_]
        return (held[0]["status"], held[0]["reason"]) if held else None
