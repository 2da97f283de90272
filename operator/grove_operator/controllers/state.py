"""What replicas of a set tell each other, in memory: all of it can be found out again."""

from collections.abc import Callable, Mapping

from grove_operator.plan.picture import Waiting
from grove_operator.plan.status import ReplicaSummary
from grove_operator.plan.turns import Stage
from grove_operator.watching import ReplicaKey, SetKey

__all__ = ["Boards", "SetBoard"]


class SetBoard:
    """Of one set."""

    def __init__(self) -> None:
        self.summaries: dict[int, ReplicaSummary] = {}
        self.stages: dict[int, Stage] = {}
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
