"""What happened to pods, in order; and how long a gang stood half on its nodes.

A gang is half-bound while some pods of it have a node, and some clique of it has fewer bound pods than its
minimum, before it was whole for the first time. A whole gang that loses pods recovers one by one: that is no
half gang. Neither is one whose cliques start one after the other, for the rest of it has its places reserved.
"""

import msgspec
from grove_operator.naming import MANAGED_BY, OPERATOR, L


class Entry(msgspec.Struct, frozen=True):
    at: float
    what: str  # made, released, bound, ready, unready, over, ending, gone
    pod: str
    uid: str
    clique: str
    gang: str


class Diary:
    """*minima*: the minimum of each clique of a gang, by its name; None: nobody knows, or by stages."""

    def __init__(self, clock, minima):
        self.entries = []
        self.longest_half_s = {}  # by gang: the longest time that it stood half
        self._clock = clock
        self._minima = minima
        self._seen = {}  # by uid: what was said last
        self._pods = {}  # by gang, by uid: clique of bound pods
        self._since = {}  # gangs that stand half
        self._whole = set()

    def told(self, old, new):
        """A pod as a document was *old*, and is *new*."""
        pod = new or old
        marks = pod["metadata"].get("labels") or {}
        if marks.get(MANAGED_BY) != OPERATOR:
            return
        state = self._state(new)
        last = self._seen.get(pod["metadata"]["uid"])
        if state == last:
            return
        self._seen[pod["metadata"]["uid"]] = state
        gang, clique = marks.get(L.GANG, ""), marks.get(L.CLIQUE, "")
        now = self._clock.now()
        for what in self._news(last, state):
            entry = Entry(now, what, pod["metadata"]["name"], pod["metadata"]["uid"], clique, gang)
            self.entries.append(entry)
        self._judge(gang, clique, pod["metadata"]["uid"], state is not None and "bound" in state, now)

    def since(self, mark, what=None):
        return [entry for entry in self.entries[mark:] if what in (None, entry.what)]

    @property
    def mark(self):
        return len(self.entries)

    def times(self, what, *cliques):
        """When it happened to pods of cliques whose names begin so."""
        return [
            entry.at
            for entry in self.entries
            if entry.what == what and entry.clique.startswith(cliques or "")
        ]

    def half_bound(self):
        """The longest time by gang, those that still stand half included."""
        now = self._clock.now()
        open_ = {gang: now - since for gang, since in self._since.items()}
        return {
            gang: max(self.longest_half_s.get(gang, 0.0), open_.get(gang, 0.0))
            for gang in {*self.longest_half_s, *open_}
        }

    @staticmethod
    def _state(pod):
        if pod is None:
            return None
        status, spec = pod.get("status") or {}, pod["spec"]
        held = {one["type"]: one["status"] for one in status.get("conditions") or ()}
        marks = {"made"}
        if not spec.get("schedulingGates"):
            marks.add("released")
        if "deletionTimestamp" in pod["metadata"]:
            marks.add("ending")
        if status.get("phase") in ("Failed", "Succeeded"):
            marks.add("over")
        elif held.get("Ready") == "True" and "ending" not in marks:
            marks.add("ready")
        if spec.get("nodeName"):
            marks.add("bound")
        return frozenset(marks)

    @staticmethod
    def _news(last, state):
        if state is None:
            return ["unready", "gone"] if last and "ready" in last else ["gone"]
        order = ("made", "released", "bound", "ready", "over", "ending")
        fresh = [what for what in order if what in state and (last is None or what not in last)]
        return [*fresh, "unready"] if last and "ready" in last and "ready" not in state else fresh

    def _judge(self, gang, clique, uid, bound, now):
        held = self._pods.setdefault(gang, {})
        if bound:
            held[uid] = clique
        else:
            held.pop(uid, None)
        if not held:
            self._whole.discard(gang)
        minima = self._minima(gang)
        if minima is None or gang in self._whole or not held:
            self._end(gang, now)
            return
        counts = list(held.values())
        if all(counts.count(name) >= minimum for name, minimum in minima.items()):
            self._whole.add(gang)
            self._end(gang, now)
        else:
            self._since.setdefault(gang, now)

    def _end(self, gang, now):
        since = self._since.pop(gang, None)
        if since is not None:
            self.longest_half_s[gang] = max(self.longest_half_s.get(gang, 0.0), now - since)
