"""Schedulers: one for the whole set, one that is there, and what KAI and Volcano ask for besides."""

from collections.abc import Iterator
from typing import Final

from grove_operator.admission.faults import Fault, forbidden, invalid, not_found
from grove_operator.admission.grammar import bad_label
from grove_operator.admission.subject import Rule, Subject
from grove_operator.admission.topology import constraints

__all__ = ["RULES"]

KAI: Final = "kai-scheduler"
VOLCANO: Final = "volcano"
LPX: Final = "lpx-scheduler"
KAI_QUEUE: Final = "kai.scheduler/queue"
VOLCANO_QUEUE: Final = "scheduling.grove.io/volcano-queue"
OPEN: Final = "Open"


def there_is_one_scheduler(subject: Subject) -> Iterator[Fault]:
    """A gang cannot be placed by two; one that is not enabled has a fault of its own."""
    enabled = [each for each in subject.schedulers if each in subject.world.schedulers]
    for path, clique in subject.cliques():
        if subject.scheduler(clique) in enabled[1:]:
            yield invalid(
                f"{path}.spec.podSpec.schedulerName",
                subject.scheduler(clique),
                f"all cliques of a set need the same scheduler, and others are placed by {enabled[0]!r}",
            )


def scheduler_is_enabled(subject: Subject) -> Iterator[Fault]:
    known = subject.world.schedulers
    for path, clique in subject.cliques():
        name = subject.scheduler(clique)
        if name not in known:
            yield invalid(
                f"{path}.spec.podSpec.schedulerName",
                name,
                f"no scheduler of this name is enabled; enabled are {', '.join(sorted(known))}: name one of"
                " these, leave it out, or enable it in the operator's setting scheduler.names",
            )


def kai_queue_is_one(subject: Subject) -> Iterator[Fault]:
    """By label or annotation, of the set or its cliques."""
    if KAI not in subject.schedulers:
        return
    named = [("metadata", subject.meta.labels), ("metadata", subject.meta.annotations)]
    for path, clique in subject.cliques():
        named += [(path, clique.labels), (path, clique.annotations)]
    queues = [(path, words[KAI_QUEUE]) for path, words in named if words.get(KAI_QUEUE)]
    for path, queue in queues:
        if queue != queues[0][1]:
            yield invalid(
                path,
                queue,
                f"{KAI_QUEUE} must be the same everywhere in a set: {queues[0][0]} says {queues[0][1]!r}",
            )


def volcano_queue_is_open(subject: Subject) -> Iterator[Fault]:
    """One for all; `default` if none is named."""
    if VOLCANO not in subject.schedulers:
        return
    first: str | None = None
    of_set = subject.meta.annotations.get(VOLCANO_QUEUE, "").strip()
    for path, clique in subject.cliques():
        own = clique.annotations.get(VOLCANO_QUEUE, "").strip()
        at = f"{path}.annotations[{VOLCANO_QUEUE}]" if own else f"metadata.annotations[{VOLCANO_QUEUE}]"
        queue = own or of_set or "default"
        if first is None:
            first = of_set or queue
            yield from _queue(subject, at, queue)
        if queue != first:
            yield invalid(at, queue, f"all cliques of a set need the same queue, here {first!r}")


def scheduler_knows_topology(subject: Subject) -> Iterator[Fault]:
    for scheduler in subject.schedulers:
        if scheduler in (VOLCANO, LPX):
            for each in constraints(subject):
                yield forbidden(
                    each.path,
                    f"{scheduler} knows no topology constraints: leave it out or use another scheduler",
                )
            return


RULES: Final[tuple[Rule, ...]] = (
    there_is_one_scheduler,
    scheduler_is_enabled,
    kai_queue_is_one,
    volcano_queue_is_open,
    scheduler_knows_topology,
)


def _queue(subject: Subject, path: str, queue: str) -> Iterator[Fault]:
    known = subject.world.volcano_queues
    if why := bad_label(queue):
        yield invalid(path, queue, why)
    elif known is not None and queue not in known:
        yield not_found(path, queue, "create the Volcano queue, or name one that exists")
    elif known is not None and known[queue] != OPEN:
        yield invalid(
            path, queue, f"the Volcano queue is {known[queue]}; open it, or name one that is {OPEN}"
        )
