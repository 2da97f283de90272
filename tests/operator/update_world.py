"""A set and its pods, in steps: an operator that only updates, and nodes that make pods ready or do not.

    operate()   one pass: turns, then for each replica what `rollout` and `crew` say; the rules are asserted
    settle()    nodes: pods on their way out are gone, others find a node while there is room, and are ready

The operator keeps nothing from pass to pass, so every pass is that of one that has just been started.
"""

import msgspec
from grove_operator.api import PodClique, PodCliqueScalingGroup, PodCliqueSet
from grove_operator.naming import L
from grove_operator.plan.crew import crew
from grove_operator.plan.hashing import set_hash
from grove_operator.plan.picture import CliqueSeen, Picture
from grove_operator.plan.pods import FORMER_NODE
from grove_operator.plan.rollout import rollout
from grove_operator.plan.tree import Live, tree
from grove_operator.plan.turns import stage, turns
from grove_operator.pods import Pod

from grove_dp.kube.objects import Meta
from grove_dp.kube.stamps import second_time


class Box(msgspec.Struct):
    """A pod."""

    name: str
    clique: str
    index: int
    hash: str
    made: int
    node: bool = False
    ready: bool = False
    leaving: bool = False
    former: bool = False  # its index had a node before

    def pod(self):
        labels = {L.CLIQUE: self.clique, L.POD_INDEX: str(self.index)}
        if self.hash:
            labels[L.TEMPLATE_HASH] = self.hash
        meta = {
            "name": self.name,
            "uid": self.name,
            "labels": labels,
            "creationTimestamp": second_time(self.made),
        }
        if self.former:
            meta["annotations"] = {FORMER_NODE: "n"}
        if self.leaving:
            meta["deletionTimestamp"] = "2026-01-01T10:00:00Z"
        status = {
            "phase": "Running" if self.node else "Pending",
            "conditions": [{"type": "Ready", "status": "True" if self.ready else "False"}],
        }
        document = {"metadata": meta, "spec": {"nodeName": "n" if self.node else ""}, "status": status}
        return msgspec.convert(document, Pod)


class World:
    """*room*: how many pods find a node; *cordoned*: none does any more; *broken*: images that never run."""

    def __init__(self, owner, room=10**6):
        self.owner = owner
        self.room = room
        self.cordoned = False
        self.broken = set()
        self.counts = {}
        self.group_counts = {}
        self.cliques = {}
        self.boxes = {}
        self.placed = set()  # cliques and indices of which a pod had a node
        self.progress = None
        self.turn = frozenset()
        self.made = 0
        self.taken = []  # ready pods that went for an update, pass by pass
        self.operate()
        self.stored = self.hash
        self.settle_all()

    # what users do

    def image(self, tag, *names):
        """A new template for cliques *names*, or for all."""
        document = msgspec.to_builtins(self.owner)
        for one in document["spec"]["template"]["cliques"]:
            if not names or one["name"] in names:
                one["spec"]["podSpec"]["containers"][0]["image"] = f"registry.test/worker:{tag}"
        self.owner = msgspec.convert(document, PodCliqueSet)

    def strategy(self, kind):
        document = msgspec.to_builtins(self.owner)
        document["spec"]["updateStrategy"] = {"type": kind}
        self.owner = msgspec.convert(document, PodCliqueSet)

    def scale(self, replicas):
        document = msgspec.to_builtins(self.owner)
        document["spec"]["replicas"] = replicas
        self.owner = msgspec.convert(document, PodCliqueSet)

    def kill(self, clique):
        """Its oldest pod."""
        min(self.pods(clique), key=lambda one: one.made).leaving = True

    # what is to be seen

    @property
    def hash(self):
        return set_hash(self.owner.spec.template)

    def pods(self, clique=""):
        return [one for one in self.boxes.values() if one.clique.startswith(clique) and not one.leaving]

    def old(self, clique=""):
        hashes = {unit.name: unit.hash for replica in self.tree() for unit in replica.units}
        return [one for one in self.pods(clique) if one.hash != hashes.get(one.clique)]

    def new(self, clique=""):
        names = {one.name for one in self.old(clique)}
        return [one for one in self.pods(clique) if one.name not in names]

    def names(self, clique=""):
        return {one.name for one in self.pods(clique)}

    def ready(self, clique=""):
        return sum(one.ready for one in self.pods(clique))

    def tree(self):
        metas = {name: Meta(name=name, uid=name) for name in self.group_counts}
        return tree(self.owner, Live(self.counts, self.group_counts, metas))

    def pictures(self):
        return {replica.index: self._picture(replica) for replica in self.tree()}

    def _picture(self, replica):
        seen = {
            unit.name: CliqueSeen(
                unit,
                self.cliques.get(unit.name),
                tuple(one.pod() for one in self.boxes.values() if one.clique == unit.name),
            )
            for unit in replica.units
        }
        groups = {
            group.name: PodCliqueScalingGroup(metadata=Meta(name=group.name)) for group in replica.groups
        }
        return Picture(self.owner, replica, self.hash, seen, groups)

    # the operator

    def operate(self):
        """One pass; whether anything was done."""
        pictures = self.pictures()
        done = self._drop()
        stages = {index: stage(one, rollout(one, index in self.turn)) for index, one in pictures.items()}
        self.turn = turns(self.owner, stages, self.hash, 1e9).indices
        went = []
        for index, picture in pictures.items():
            update = rollout(picture, index in self.turn)
            check(picture, update, index in self.turn)
            went += [pod.metadata.name for pod in update.replace if pod.ready]
            done |= self._apply(picture, update)
        if went:
            self.taken.append(went)
        return done

    def _drop(self):
        """Cliques that are too many go, and their pods."""
        wanted = {unit.name for replica in self.tree() for unit in replica.units}
        gone = [name for name in self.cliques if name not in wanted]
        for name in gone:
            del self.cliques[name]
        lone = [name for name, one in self.boxes.items() if one.clique not in wanted]
        for name in lone:
            del self.boxes[name]
        return bool(gone or lone)

    def _apply(self, picture, update):
        done = False
        going = {pod.metadata.name for pod in update.replace}
        for name, seen in picture.cliques.items():
            if name not in update.held and (
                seen.held is None or seen.held.metadata.label(L.TEMPLATE_HASH) != seen.unit.hash
            ):
                self.cliques[name] = self._described(seen)
                done = True
                continue
            unit = msgspec.structs.replace(seen.unit, count=seen.unit.count + update.surge.get(name, 0))
            held = [pod for pod in seen.pods if pod.metadata.name not in going]
            found = crew(unit, held, unit.hash, b"%d" % self.made)
            for berth in found.missing:
                self._make(seen, berth)
            leave = {pod.metadata.name for pod in (*found.surplus, *found.lost)}
            leave |= {pod.metadata.name for pod in seen.living} & going
            for pod in leave:
                self.boxes[pod].leaving = True
            done |= bool(found.missing or leave)
        return done

    def _described(self, seen):
        unit = seen.unit
        status = msgspec.to_builtins(seen.held.status) if seen.held else {}
        document = {
            "metadata": {"name": unit.name, "uid": unit.name, "labels": {L.TEMPLATE_HASH: unit.hash}},
            "spec": msgspec.to_builtins(unit.template.spec),
            "status": status,
        }
        return msgspec.convert(document, PodClique)

    def _make(self, seen, berth):
        self.made += 1
        held = self.cliques[seen.unit.name]
        hash_ = held.metadata.label(L.TEMPLATE_HASH) or seen.unit.hash
        clique, index = seen.unit.name, berth.index
        former = (clique, index) in self.placed
        self.boxes[berth.name] = Box(berth.name, clique, index, hash_, self.made, former=former)

    # nodes

    def settle(self):
        """Pods go, come, and get ready; those that served say so."""
        self.boxes = {name: one for name, one in self.boxes.items() if not one.leaving}
        room = self.room - sum(one.node for one in self.boxes.values())
        for one in sorted(self.boxes.values(), key=self._precedence):
            if not one.node and room > 0 and not self.cordoned:
                one.node = True
                self.placed.add((one.clique, one.index))
                room -= 1
            image = self.cliques[one.clique].spec.pod_spec["containers"][0]["image"].rpartition(":")[2]
            one.ready = one.node and (image not in self.broken or one.ready)
        for name, held in self.cliques.items():
            if self.ready_of(name) >= held.spec.min_available:
                document = msgspec.to_builtins(held)
                document["status"]["recovery"] = {"healthy": True}
                self.cliques[name] = msgspec.convert(document, PodClique)

    def _precedence(self, box):
        """A gang that runs gets back what it has lost before others begin."""
        return self.cliques[box.clique].status.recovery is None, not box.former, box.made

    def ready_of(self, clique):
        return sum(one.ready for one in self.boxes.values() if one.clique == clique and not one.leaving)

    def step(self, times=1):
        for _ in range(times):
            self.operate()
            self.settle()

    def settle_all(self, most=400):
        """Until nothing moves any more."""
        for _ in range(most):
            before = {name: (one.node, one.ready) for name, one in self.boxes.items()}
            moved = self.operate()
            self.settle()
            if not moved and before == {name: (one.node, one.ready) for name, one in self.boxes.items()}:
                return
        raise AssertionError("the update does not come to an end")


# ------------------------------------------------------------ the rules of updates


def check(picture, update, turn):
    """That an update takes no more than it may."""
    hashes = {name: seen.unit.hash for name, seen in picture.cliques.items()}
    assert all(pod.hash != hashes[pod.clique] for pod in update.replace), "a pod of the template is replaced"
    assert turn or not update.replace, "a replica is updated without its turn"
    going = {pod.metadata.name for pod in update.replace}
    for seen in picture.standalone():
        _check_clique(seen, going)
    for group in picture.replica.groups:
        _check_group(picture, group, going)


def away(bounds, surge):
    given = bounds.max_unavailable if bounds else None
    return 1 if given is None else max(given, 0 if surge else 1)


def _check_clique(seen, going):
    ready = sum(pod.ready for pod in seen.living)
    took = sum(pod.ready and pod.metadata.name in going for pod in seen.living)
    if took:
        bounds = seen.unit.template.rolling_update
        first = sum(not pod.bound and pod.metadata.annotation(FORMER_NODE) is None for pod in seen.living)
        missing = min(seen.unit.count, len(seen.living) - first) - (ready - took)
        assert missing <= away(bounds, bounds.max_surge if bounds else 0), "more are missing than may be"
        assert ready - took + 1 >= seen.minimum, "one went while too few were ready"


def _check_group(picture, group, going):
    def serves(seen, less=frozenset()):
        living = [pod for pod in seen.living if pod.metadata.name not in less]
        return sum(pod.ready for pod in living) >= seen.minimum

    places = [picture.members(group, index) for index in range(group.count)]
    available = [place for place in places if all(serves(seen) for seen in place)]
    took = [
        place
        for place in available
        if any(pod.metadata.name in going for seen in place for pod in seen.living)
    ]
    if took:
        served = [
            place
            for place in places
            if place not in available
            and any(seen.held and seen.held.status.recovery and not serves(seen) for seen in place)
        ]
        assert len(took) + len(served) <= away(group.template.rolling_update, 0)
        assert len(available) - len(took) + 1 >= group.template.minimum
