"""What controllers share, and what replicas of a set tell each other: all of it can be found out again."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from grove_dp.clock import Clock
from grove_dp.kube.events import Recorder
from grove_operator.api import PodCliqueSet
from grove_operator.applying import Writer
from grove_operator.observing import Hashes
from grove_operator.plan.expand import Rules
from grove_operator.plan.picture import Waiting
from grove_operator.plan.status import ReplicaSummary
from grove_operator.plan.troubles import Trouble
from grove_operator.plan.turns import Stage
from grove_operator.watching import Key, ReplicaKey, SetKey, Watched

__all__ = ["Boards", "Ground", "SetBoard", "Troubles"]


class Troubles:
    """What keeps each replica of a set, and the set itself (None), from being as it should; since when."""

    def __init__(self) -> None:
        self._since: dict[int | None, dict[Trouble, float]] = {}

    def put(self, index: int | None, troubles: Collection[Trouble], now: float) -> bool:
        """All that went wrong in the last try; whether there is news, or there may be once it has lasted."""
        former = self._since.pop(index, {})
        begun = {one.sort: since for one, since in former.items()}
        if troubles:
            self._since[index] = {one: begun.get(one.sort, now) for one in troubles}
        return bool(former or troubles)

    def told(self, now: float, codes: Collection[str]) -> Mapping[int | None, tuple[Trouble, ...]]:
        """What has lasted; that of *codes*, which is told already, may be younger."""
        return {
            index: found
            for index in self._since
            if (found := tuple(self._told(self._since[index], now, codes)))
        }

    def of(self, index: int, owner: tuple[str, str], now: float, codes: Collection[str]) -> list[Trouble]:
        """The same of one object of a replica."""
        held = self._since.get(index)
        return [one for one in self._told(held, now, codes) if one.owner == owner] if held else []

    def due_s(self, now: float) -> float | None:
        """When the next will have lasted."""
        waits = [
            left
            for held in self._since.values()
            for one, since in held.items()
            if (left := since + one.lasts_s - now) > 0
        ]
        return min(waits, default=None)

    @staticmethod
    def _told(held: Mapping[Trouble, float], now: float, codes: Collection[str]) -> Iterator[Trouble]:
        return (one for one, since in held.items() if now >= since + one.lasts_s or one.code in codes)


class SetBoard:
    """Of one set."""

    def __init__(self) -> None:
        self.summaries: dict[int, ReplicaSummary] = {}
        self.stages: dict[int, Stage] = {}
        self.troubles = Troubles()
        self.turns: frozenset[int] = frozenset()  # replicas that may be updated now
        self.complete = False  # every replica has been looked at once
        self.refused = False  # the set breaks a rule: what there is stays as it is
        self.expanded: object = None  # what of the set its replicas were last told of


class Boards:
    """Of all sets; and of all gangs, why they wait."""

    def __init__(self) -> None:
        self._boards: dict[SetKey, SetBoard] = {}
        self._waiting: dict[tuple[str, str], Waiting] = {}
        self.scores: dict[tuple[str, str], float] = {}  # of gangs that were placed
        self.changed: Callable[[str, str], None] = lambda namespace, gang: None

    def __contains__(self, key: object) -> bool:
        return key in self._boards

    def of(self, key: SetKey) -> SetBoard:
        """That of a set."""
        return self._boards.setdefault(key, SetBoard())

    def put(self, key: ReplicaKey, summary: ReplicaSummary, stage: Stage) -> bool:
        """What a replica has come to; whether that is news."""
        board = self.of(key.set)
        news = board.summaries.get(key.number) != summary or board.stages.get(key.number) != stage
        board.summaries[key.number], board.stages[key.number] = summary, stage
        return news

    def drop(self, key: ReplicaKey) -> bool:
        """A replica that is not to be; whether that is news."""
        board = self.of(key.set)
        board.stages.pop(key.number, None)
        return board.summaries.pop(key.number, None) is not None

    def forget(self, key: SetKey) -> None:
        """A set that is gone."""
        self._boards.pop(key, None)

    # ------------------------------------------------------------ gangs

    @property
    def waiting(self) -> Mapping[tuple[str, str], Waiting]:
        """Gangs that are held back, by namespace and name."""
        return self._waiting

    def hold_back(self, namespace: str, gang: str, waiting: Waiting | None) -> None:
        """Say why a gang waits, or that it does not."""
        key = (namespace, gang)
        if self._waiting.get(key) == waiting:
            return
        if waiting is None:
            del self._waiting[key]
        else:
            self._waiting[key] = waiting
        self.changed(namespace, gang)

    def score(self, namespace: str, gang: str, score: float) -> None:
        """How good a gang's place is."""
        self.scores[namespace, gang] = score

    def forget_gang(self, namespace: str, gang: str) -> None:
        """A gang that is gone: one of its name is another."""
        self.scores.pop((namespace, gang), None)


class Ground(NamedTuple):
    """What the controllers of sets and of replicas stand on."""

    watched: Watched
    writer: Writer
    rules: Callable[[PodCliqueSet], Rules]
    hashes: Hashes
    boards: Boards
    recorder: Recorder
    clock: Clock
    wake: Callable[[Key, float], None]  # has a key reconciled after some seconds
