from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

_S = TypeVar("_S", bound=Series, covariant=True)

TEXT: int
OPENMETRICS_1: int
OPENMETRICS_2: int
PROTOBUF: int
WINDOW_MAX_S: int

class Window(NamedTuple):
    """What the last seconds held; `span_s` is shorter than asked for while the meter is younger."""

    n: float
    sum: float
    span_s: float

class Buckets(NamedTuple):
    """Since the start: upper bounds and counts of the buckets that hold something."""

    bounds: list[float]
    counts: list[int]
    sum: float

class Meter:
    """Families of series. *clock*: seconds that do not go back; None: CLOCK_MONOTONIC, to 4 ms."""

    families: dict[str, Family[Series]]
    nbytes: int
    def __init__(self, clock: Callable[[], float] | None = None) -> None: ...
    def counter(
        self,
        name: str,
        help: str,
        *,
        unit: str = "",
        labels: Iterable[str] = (),
        window: bool = False,
        series_max: int = 1000,
    ) -> Family[Counter]: ...
    def gauge(
        self, name: str, help: str, *, unit: str = "", labels: Iterable[str] = (), series_max: int = 1000
    ) -> Family[Gauge]: ...
    def histogram(
        self,
        name: str,
        help: str,
        *,
        unit: str = "",
        labels: Iterable[str] = (),
        window: bool = False,
        series_max: int = 1000,
        octaves: tuple[int, int] = (-18, 12),
        rungs: tuple[int, int, int] | tuple[()] = (),
    ) -> Family[Histogram]:
        """*octaves*: values from 2**first to 2**last are told apart, 30 powers of two at most. *rungs*:
        classic buckets at 2**(k/16), k from first to last by step; (): powers of two, 2**-10 to 2**8."""
    def render(self, form: int, whole: bool = True) -> bytes:
        """The page. The GIL is released meanwhile; *whole*: with the end mark of OpenMetrics."""

class Family(Generic[_S]):
    """The series of one name."""

    meter: Meter
    name: str
    help: str
    unit: str
    kind: str
    windowed: bool
    labels: tuple[str, ...]
    known: dict[tuple[str, ...], _S]
    def series(self, *values: str, **named: str) -> _S:
        """The series of these label values: made, or found. ValueError when the family is full."""
    def quantile(self, q: float, window_s: int, **named: str) -> float:
        """Over all series with these label values together."""
    def window(self, window_s: int, **named: str) -> Window: ...

class Series:
    family: Family[Series]
    values: tuple[str, ...]
    value: float
    def show(self, shown: bool = True) -> None:
        """Whether the page has it; what it counted stays."""
    def window(self, window_s: int) -> Window: ...
    def mean(self, window_s: int) -> float:
        """Of the values added or observed; nan when there were none."""

class Counter(Series):
    def add(self, by: float = 1.0) -> None: ...
    def rate(self, window_s: int) -> float:
        """What was added, per second."""

class Gauge(Series):
    def set(self, value: float) -> None: ...
    def add(self, by: float = 1.0) -> None: ...

class Histogram(Series):
    def observe(self, value: float) -> None: ...
    def observe_times(self, value: float, times: int) -> None: ...
    def rate(self, window_s: int) -> float:
        """Observations per second."""
    def quantile(self, q: float, window_s: int) -> float:
        """Within 2.2 % of the value at rank ceil(q * count); nan when there is none."""
    def quantiles(self, qs: Iterable[float], window_s: int) -> tuple[float, ...]: ...
    def buckets(self) -> Buckets: ...
