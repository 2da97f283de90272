"""`Meter`: counters, gauges and histograms that can also tell what the last 1 to 900 seconds were like.

    meter = Meter()
    ttft = meter.histogram("app_ttft_seconds", "Arrival to first token", unit="seconds", labels=("model",),
                           window=True)
    llama = ttft.series("llama")         # once; keep it
    llama.observe(0.21)                  # seconds, 40 ns
    llama.quantile(0.99, window_s=60)    # within 2.2 %, 3 to 15 us
    llama.rate(60), llama.mean(60)       # observations per second, seconds
    ttft.quantile(0.99, 60)              # over all its series together

    tokens = meter.counter("app_output_tokens", "Tokens sent", unit="tokens", window=True).series()
    tokens.add(17)
    tokens.rate(10)                      # tokens per second

    page, content_type = meter.scrape(accept_header)    # /metrics, rendered in C without the GIL
    prometheus_client.REGISTRY.register(meter)          # or among the metrics of another page

    what       values             since the start       with window=True: of the last 1..900 s
    counter    grow               value                 rate (amount/s), mean (of one add), window
    gauge      any                value                 -
    histogram  >= 0, else 0       value, buckets        rate (observations/s), mean, quantile(s), window

Values are in the unit of the name (seconds, tokens, bytes). Label sets are bounded: series_max, 1,000 unless
told otherwise. What cannot be is a ValueError that begins with its reason: BadMetricName, BadUnit, NameTaken,
WrongLabels, TooManySeries, NoWindow. Memory: 4 KiB a histogram series, 64 KiB with a window, whatever is
observed; how: csrc/include/gdp/meter.h, meter_window.h.

A window slides: the oldest slot, a second (from 118 s on: ten seconds), counts with the share of it that is
inside. Rates of a young meter are over its age. Of nothing the mean and quantiles are nan, the rate is 0.
"""

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from grove_dp.native import meter as native
from grove_dp.native.meter import Buckets, Counter, Family, Gauge, Histogram, Series, Window

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = [
    "Buckets",
    "Counter",
    "Family",
    "Form",
    "Gauge",
    "Histogram",
    "Meter",
    "Others",
    "Series",
    "Window",
    "form_for",
    "rungs",
]


class Others(Protocol):
    """A registry of prometheus-client, or whatever else collects."""

    def collect(self) -> "Iterable[Metric]": ...


class Form(NamedTuple):
    """One way to write the page."""

    number: int
    content_type: str


TEXT: Final = Form(native.TEXT, "text/plain; version=0.0.4; charset=utf-8")
OPENMETRICS_1: Final = Form(
    native.OPENMETRICS_1, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
)
OPENMETRICS_2: Final = Form(
    native.OPENMETRICS_2, "application/openmetrics-text; version=2.0.0; charset=utf-8; escaping=underscores"
)

PROTOBUF: Final = Form(
    native.PROTOBUF,
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
)
_END: Final = b"# EOF\n"
_FORMS: Final = {  # by media type and the version's first number, or the message
    ("application/openmetrics-text", ""): OPENMETRICS_1,
    ("application/openmetrics-text", "0"): OPENMETRICS_1,
    ("application/openmetrics-text", "1"): OPENMETRICS_1,
    ("application/openmetrics-text", "2"): OPENMETRICS_2,
    ("application/vnd.google.protobuf", "io.prometheus.client.metricfamily delimited"): PROTOBUF,
    ("text/plain", ""): TEXT,
    ("text/plain", "0"): TEXT,
    ("text/plain", "1"): TEXT,
    ("*/*", ""): TEXT,
}


def form_for(accept: str) -> Form:
    """What an Accept header prefers; the old text for everybody who does not ask for more."""
    best, best_q = TEXT, 0.0
    for part in accept.split(","):
        kind, *parameters = (word.strip().lower() for word in part.split(";"))
        told = dict(word.partition("=")[::2] for word in parameters)
        detail = told.get("version", "").split(".")[0]
        if "proto" in told:
            detail = f"{told['proto']} {told.get('encoding', '')}"
        form, q = _FORMS.get((kind, detail)), _quality(told.get("q", "1"))
        if form is not None and q > best_q:
            best, best_q = form, q
    return best


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def rungs(first: float, last: float, per_octave: int = 1) -> tuple[int, int, int]:
    """Classic buckets from about *first* to about *last*, *per_octave* (1, 2, 4, 8, 16) per doubling.

    Bounds are powers of 2**(1/16), so that what a bucket counts is exact: 0.5, 1 and 2, but not 0.3.
    """
    if per_octave not in (1, 2, 4, 8, 16) or not 0 < first <= last:
        raise ValueError(
            f"BadBuckets: 0 < first <= last and per_octave 1, 2, 4, 8 or 16, got {first, last, per_octave}"
        )
    step = 16 // per_octave
    return (round(math.log2(first) * per_octave) * step, round(math.log2(last) * per_octave) * step, step)


class Meter(native.Meter):
    """Series and the page that shows them; any thread may ask, Python threads may write.

    *clock*: seconds that do not go back, for tests; None: the machine's. A page is rendered anew when the
    last one is older than *page_age_s*: several scrapers cost as much as one.
    """

    def __init__(self, clock: Callable[[], float] | None = None, *, page_age_s: float = 0.5) -> None:
        self._time = clock or time.monotonic
        self._page_age_s = page_age_s
        self._pages: dict[tuple[Form, int], tuple[float, bytes]] = {}
        self._rendering = threading.Lock()

    def scrape(self, accept: str = "", *others: "Others") -> tuple[bytes, str]:
        """The page and its content type, as *accept* asks for it; the metrics of *others* behind ours.

        Prometheus asks for protobuf where it stores native histograms.
        """
        form = form_for(accept)
        key = (form, hash(others))
        with self._rendering:  # who waits for a page gets the one that is being made
            made = self._pages.get(key)
            if made is None or not 0 <= self._time() - made[0] < self._page_age_s:
                made = self._pages[key] = (self._time(), self._rendered(form, others))
        return made[1], form.content_type

    def _rendered(self, form: Form, others: "tuple[Others, ...]") -> bytes:
        if not others:
            return self.render(form.number)
        if form is PROTOBUF:
            from grove_dp.metering.protobuf import delimited  # not needed by whoever has no others

            return self.render(form.number) + b"".join(delimited(other.collect()) for other in others)
        from prometheus_client.exposition import choose_encoder

        encode: Callable[[Any], bytes] = choose_encoder(form.content_type)[0]
        pages = [self.render(form.number, False), *map(encode, others)]
        text = b"".join(page.removesuffix(_END) for page in pages)
        return text if form is TEXT else text + _END

    def reference(self) -> str:
        """Every family as a row of a table in Markdown: for a page that lists what there is."""
        head = "| metric | kind | unit | labels | window | what |\n|---|---|---|---|---|---|\n"
        rows = (
            f"| `{family.name}{'_total' if family.kind == 'counter' else ''}` | {family.kind} "
            f"| {family.unit or '-'} | {', '.join(family.labels) or '-'} "
            f"| {'1..900 s' if family.windowed else '-'} | {_cell(family.help)} |\n"
            for family in sorted(self.families.values(), key=lambda family: family.name)
        )
        return head + "".join(rows)

    def collect(self) -> "Iterator[Metric]":
        """The series as prometheus-client's families, for another registry's page; 15 us a sample."""
        from prometheus_client.openmetrics import parser

        read: Callable[[str], Iterator[Metric]] = parser.text_string_to_metric_families
        yield from read(self.render(native.OPENMETRICS_1).decode())
