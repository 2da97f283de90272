"""Values for autoscalers, rendered before anyone asks.

The HPA sums what it is given and believes it. So the rules of this board are about what it must not say:

    a partial sum     a picture that lacks a frontend answers 503 and names who is missing
    an old value      so does a picture that nobody has renewed for `stale_after_s`
    nothing           a known target without traffic has a sample of 0; "no items" would be an error
    a value twice     two samples with equal labels, or a value that is no number: 503 for that metric

Whoever merges the frontends publishes a picture about once a second; each sample becomes bytes then, after a
head that stays while the series does (1.5 ms for 200 series instead of 8). A query joins the bytes of the
samples that its selector takes, and is remembered until the next picture: 0.6 µs against 14.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol

from msgspec import Struct

from grove_dp.clock import Clock
from grove_dp.metering.external.documents import (
    NotFound,
    Unavailable,
    item,
    item_head,
    value_list,
)
from grove_dp.metering.external.selector import Selector, is_label_value, parse

__all__ = ["EVERYWHERE", "METRICS", "Board", "Picture", "Sample", "Source", "Target", "label_value"]

EVERYWHERE: Final = "*"  # a sample's namespace when its target is in none: every namespace sees it
QUERIES_MAX: Final = 1024  # remembered per picture

METRICS: Final[Mapping[str, str]] = {
    "grove_dp_desired_replicas": "replicas wished for; use with AverageValue 1",
    "grove_dp_prefill_work_seconds_per_second": "uncached prompts that arrive, in seconds of a worker",
    "grove_dp_decode_virtual_load": "workers that decoding would need at the limit of its promise",
    "grove_dp_queued_tokens": "prompt tokens that wait for a worker",
    "grove_dp_queue_wait_seconds": "how long requests waited, 99th percentile",
    "grove_dp_output_tokens_per_second": "tokens told to clients",
}


class Sample(Struct, frozen=True, kw_only=True):
    """One number about one target, with the labels pcs, component, role, model that it has."""

    metric: str
    namespace: str
    labels: Mapping[str, str]
    value: float
    wall_s: float
    window_s: int | None = None


class Picture(Struct, frozen=True, kw_only=True):
    """What all frontends together tell; *missing* names those that do not answer."""

    samples: tuple[Sample, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.missing


class Target(NamedTuple):
    """A number for KEDA, summed over the samples of one target."""

    metric: str
    value: float
    wall_s: float


class Source(Protocol):
    """What the server reads. Each call raises Unavailable rather than tell half the truth."""

    @property
    def published(self) -> bool:
        """Whether there was ever a picture."""
        ...

    @property
    def complete(self) -> bool:
        """Whether nobody is missing in it."""
        ...

    @property
    def age_s(self) -> float | None:
        """How old it is."""
        ...

    @property
    def series(self) -> int:
        """How many it has."""
        ...

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of all metrics, sorted."""
        ...

    def query(self, namespace: str, metric: str, selector: str) -> bytes:
        """The value list of *metric* in *namespace*. NotFound, BadSelector."""
        ...

    def target(self, namespace: str, metric: str, target: str) -> Target:
        """The value of *target*, `<pcs>-<component>` or a model. NotFound."""
        ...


class _Identity(NamedTuple):
    """What of a series stays from picture to picture."""

    labels: Mapping[str, str]
    shown: str
    targets: tuple[str, ...]
    head: bytes


class _Series(NamedTuple):
    identity: _Identity
    sample: Sample
    rendered: bytes


class _Shelf(NamedTuple):
    """The series of one metric in one namespace, and why they must not be told, if so."""

    series: list[_Series]
    broken: list[str]
    seen: set[str]


class Board:
    """The Source that a merging loop publishes to."""

    def __init__(self, clock: Clock, *, stale_after_s: float = 15.0) -> None:
        self._clock = clock
        self._stale_after_s = stale_after_s
        self._picture: Picture | None = None
        self._taken = 0.0
        self._identities: dict[tuple[Any, ...], _Identity] = {}
        self._shelves: dict[tuple[str, str], _Shelf] = {}
        self._answers: dict[tuple[str, str, str], bytes] = {}
        self.metrics = tuple(sorted(METRICS))

    def publish(self, picture: Picture) -> None:
        """Replace what is told."""
        shelves: defaultdict[tuple[str, str], _Shelf] = defaultdict(lambda: _Shelf([], [], set()))
        identities: dict[tuple[Any, ...], _Identity] = {}
        for sample in picture.samples:
            key = (sample.metric, *sample.labels.items())
            identity = identities[key] = self._identities.get(key) or _identity(sample)
            _shelve(shelves[sample.namespace, sample.metric], sample, identity)
        self._identities = identities
        self.metrics = tuple(sorted({*METRICS, *(sample.metric for sample in picture.samples)}))
        self._picture, self._taken = picture, self._clock.now()
        self._shelves = dict(shelves)
        self._answers = {}

    @property
    def published(self) -> bool:
        return self._picture is not None

    @property
    def complete(self) -> bool:
        """Whether the last picture has all frontends."""
        return self._picture is not None and self._picture.complete

    @property
    def age_s(self) -> float | None:
        """How old it is."""
        return None if self._picture is None else self._clock.now() - self._taken

    @property
    def series(self) -> int:
        """How many it has."""
        return 0 if self._picture is None else len(self._picture.samples)

    def query(self, namespace: str, metric: str, selector: str) -> bytes:
        self._check()
        asked = (namespace, metric, selector)
        known = self._answers.get(asked)
        if known is None:
            wanted = parse(selector)
            found = [series.rendered for series in self._matching(namespace, metric, wanted, selector)]
            known = value_list(found)
            if len(self._answers) < QUERIES_MAX:
                self._answers[asked] = known
        return known

    def target(self, namespace: str, metric: str, target: str) -> Target:
        self._check()
        samples = [each.sample for each in self._series(namespace, metric) if target in each.identity.targets]
        if not samples:
            raise NotFound(
                f"{metric} has no target {target} in namespace {namespace}; write PCS-COMPONENT or a model"
            )
        return Target(metric, sum(each.value for each in samples), min(each.wall_s for each in samples))

    # ------------------------------------------------------------ what may be told

    def _check(self) -> None:
        if self._picture is None:
            raise Unavailable("no picture of the frontends yet; ask again")
        if self._picture.missing:
            missing = ", ".join(self._picture.missing)
            raise Unavailable(
                f"the picture is incomplete: no answer from {missing}; a partial sum is not told"
            )
        age = self._clock.now() - self._taken
        if age > self._stale_after_s:
            raise Unavailable(
                f"the last picture of the frontends is {age:.0f} s old; it is not told any more"
            )

    def _series(self, namespace: str, metric: str) -> list[_Series]:
        shelves = [self._shelves.get((place, metric)) for place in dict.fromkeys([namespace, EVERYWHERE])]
        found = [shelf for shelf in shelves if shelf is not None]
        broken = [why for shelf in found for why in shelf.broken]
        if broken:
            raise Unavailable(f"{metric} is not told: {broken[0]}")
        if not found:
            raise NotFound(f"the server could not find the metric {metric} in namespace {namespace}")
        return [series for shelf in found for series in shelf.series]

    def _matching(self, namespace: str, metric: str, wanted: Selector, selector: str) -> list[_Series]:
        all_series = self._series(namespace, metric)
        found = [series for series in all_series if wanted.matches(series.identity.labels)]
        if not found:
            raise NotFound(
                f"the server could not find the metric {metric} with {selector} in namespace {namespace};"
                f" there is {_some(all_series)}"
            )
        return found


def _identity(sample: Sample) -> _Identity:
    raw = sample.labels
    labels = {key: label_value(value) for key, value in sorted(raw.items())}
    whole = f"{raw['pcs']}-{raw['component']}" if "pcs" in raw and "component" in raw else ""
    targets = tuple(name for name in (whole, raw.get("model", ""), labels.get("model", "")) if name)
    shown = ",".join(f"{key}={value}" for key, value in labels.items())
    return _Identity(labels, shown, targets, item_head(sample.metric, labels))


def _shelve(shelf: _Shelf, sample: Sample, identity: _Identity) -> None:
    if identity.shown in shelf.seen:
        shelf.broken.append(f"two series have the labels {identity.shown}")
        return
    shelf.seen.add(identity.shown)
    try:
        rendered = item(identity.head, sample.value, sample.wall_s, sample.window_s)
    except ValueError as error:
        shelf.broken.append(f"{identity.shown}: {error}")
        return
    shelf.series.append(_Series(identity, sample, rendered))


def _some(all_series: list[_Series]) -> str:
    shown = [each.identity.shown for each in all_series]
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""
    return "; ".join(shown[:3]) + more


def label_value(text: str) -> str:
    """*text* as a value that selectors can name: `org/model` becomes `org_model`, at most 63 characters."""
    if is_label_value(text):
        return text
    clean = "".join(each if each.isascii() and (each.isalnum() or each in "-_.") else "_" for each in text)
    return clean[:63].strip("-_.")
