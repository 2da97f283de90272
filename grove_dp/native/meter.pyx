"""Series, windows and pages: the shell of csrc/meter/.

Python threads share one cell per series: they write with the GIL held, one at a time. A cell is made by the
first write, so a series that only C writes has none.
"""

cimport cython
from libc.math cimport NAN
from libc.string cimport memset
from posix.time cimport clock_gettime, timespec

import math
from collections import namedtuple

cdef extern from "time.h" nogil:
    int CLOCK_MONOTONIC_COARSE

TEXT, OPENMETRICS_1, OPENMETRICS_2, PROTOBUF = range(4)
WINDOW_MAX_S = GDP_WINDOW_MAX_S

Window = namedtuple("Window", "n sum span_s")
Buckets = namedtuple("Buckets", "bounds counts sum")


cdef inline uint64_t _now(Meter meter) except? 0:
    """PERF: the coarse clock is a few ms late and costs 5 ns; windows are made of seconds."""
    cdef timespec t
    if meter._clock is not None:
        return <uint64_t> (<double> meter._clock() * 1e9)
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t)
    return <uint64_t> t.tv_sec * 1000000000 + <uint64_t> t.tv_nsec


@cython.no_gc_clear  # its families' series use it to their end
cdef class Meter:
    def __cinit__(self, clock=None, **_):  # a subclass may take more
        self._clock = clock
        self.families = {}
        self._m = gdp_meter_new(_now(self))
        if self._m is NULL:
            raise MemoryError

    def __dealloc__(self):
        gdp_meter_free(self._m)
        gdp_page_free(&self._page)

    @property
    def nbytes(self):
        return gdp_meter_bytes(self._m)

    def counter(self, str name, str help, *, str unit="", labels=(), bint window=False, int series_max=1000):
        cdef gdp_family_spec spec
        memset(&spec, 0, sizeof(spec))
        spec.kind, spec.window, spec.series_max = GDP_COUNTER, window, _positive(series_max)
        return self._family(&spec, name, help, unit, tuple(labels))

    def gauge(self, str name, str help, *, str unit="", labels=(), int series_max=1000):
        cdef gdp_family_spec spec
        memset(&spec, 0, sizeof(spec))
        spec.kind, spec.series_max = GDP_GAUGE, _positive(series_max)
        return self._family(&spec, name, help, unit, tuple(labels))

    def histogram(self, str name, str help, *, str unit="", labels=(), bint window=False, int series_max=1000,
                  tuple octaves=(-18, 12), tuple rungs=()):
        cdef gdp_family_spec spec
        memset(&spec, 0, sizeof(spec))
        spec.kind, spec.window, spec.series_max = GDP_HISTOGRAM, window, _positive(series_max)
        spec.lo = octaves[0]
        spec.octaves = max(octaves[1] - octaves[0], 0) or 99  # 99: refused, while 0 would mean the usual ones
        if rungs:
            spec.rung_first, spec.rung_last, spec.rung_step = rungs
            spec.rung_step = spec.rung_step or -1
        return self._family(&spec, name, help, unit, tuple(labels))

    cdef Family _family(self, gdp_family_spec *spec, str name, str help, str unit, tuple labels):
        cdef const char *why = NULL
        cdef Family family = Family.__new__(Family)
        cdef list kept = [_text(text) for text in (name, help, unit, *labels)]
        if len(labels) > GDP_LABELS_MAX:
            raise ValueError(f"TooManyLabels: {name}: at most {GDP_LABELS_MAX} labels, got {len(labels)}")
        spec.name, spec.help, spec.unit = kept[0], kept[1], kept[2]
        spec.n_labels = len(labels)
        for i in range(len(labels)):
            spec.labels[i] = <bytes> kept[3 + i]
        family._f = gdp_meter_family(self._m, spec, &why)
        if family._f is NULL:
            raise _refused(why, name)
        family.meter, family.name, family.help, family.unit, family.labels = self, name, help, unit, labels
        family.kind = ("counter", "gauge", "histogram")[<int> spec.kind]
        family.known, family.windowed = {}, spec.window
        self.families[name] = family
        return family

    def render(self, int form, bint whole=True):
        cdef gdp_page own
        cdef gdp_page *page = &own
        cdef int64_t size
        memset(&own, 0, sizeof(own))
        cdef bint shared = not self._rendering
        if shared:
            page, self._rendering = &self._page, True
        try:
            with nogil:
                size = gdp_page_render(page, self._m, <gdp_form> form, whole)
            if size == -3:
                raise MemoryError
            if size < 0:
                raise ValueError(f"form is TEXT, OPENMETRICS_1, OPENMETRICS_2 or PROTOBUF, got {form}")
            return page.bytes[:size]
        finally:
            if shared:
                self._rendering = False
            gdp_page_free(&own)


cdef class Family:
    def __init__(self):
        raise TypeError("families are made by Meter.counter, gauge and histogram")

    def series(self, *values, **named):
        if named:
            values = self._positional(values, named)
        cdef Series found = self.known.get(values)
        return found if found is not None else self._made(values)

    def _positional(self, tuple values, dict named):
        rest = self.labels[len(values):]
        if set(rest) != set(named):
            raise ValueError(f"WrongLabels: {self.name} has labels {self.labels}, got {(*values, *named)}")
        return (*values, *(named[label] for label in rest))

    def _made(self, tuple values):
        cdef const char *texts[8]
        cdef const char *why = NULL
        cdef list kept = [_text(value) for value in values]
        cdef Series made
        if len(values) != len(self.labels):
            raise ValueError(f"WrongLabels: {self.name} has the labels {self.labels}, got {values}")
        for i in range(len(values)):
            texts[i] = <bytes> kept[i]
        made = (Counter if self.kind == "counter" else Gauge if self.kind == "gauge" else Histogram)._bare()
        made._s = gdp_family_series(self._f, texts, &why)
        if made._s is NULL:
            raise _refused(why, f"{self.name}{values}")
        made.family, made._meter, made.values, made._timed = self, self.meter, values, self.windowed
        self.known[values] = made
        return made

    def quantile(self, double q, unsigned int window_s, **named):
        cdef gdp_view view
        cdef Series series
        memset(&view, 0, sizeof(view))
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is 0..1, got {q}")
        if self.kind != "histogram":
            raise ValueError(f"NoQuantile: {self.name} is a {self.kind}; only histograms have quantiles")
        cdef const gdp_scale *scale = NULL
        for series in self._matching(named):
            _look(series, window_s, &view)
            scale = gdp_series_scale(series._s)
        return NAN if scale is NULL else gdp_view_quantile(&view, scale, q)

    def window(self, unsigned int window_s, **named):
        cdef gdp_view view
        cdef Series series
        cdef double span_s = NAN
        memset(&view, 0, sizeof(view))
        for series in self._matching(named):
            span_s = _look(series, window_s, &view)
        return Window(view.count, view.sum, span_s)

    def _matching(self, dict named):
        if unknown := set(named) - set(self.labels):
            raise ValueError(f"WrongLabels: {self.name} has the labels {self.labels}, got {sorted(unknown)}")
        places = [(self.labels.index(label), value) for label, value in named.items()]
        return [series for values, series in self.known.items()
                if all(values[place] == value for place, value in places)]


cdef class Series:
    def __init__(self):
        raise TypeError("series are made by Family.series")

    @classmethod
    def _bare(cls):
        return cls.__new__(cls)

    @property
    def value(self):
        return gdp_series_value(self._s)

    def show(self, bint shown=True):
        gdp_series_show(self._s, shown)

    def window(self, unsigned int window_s):
        cdef gdp_view view
        memset(&view, 0, sizeof(view))
        cdef double span_s = _look(self, window_s, &view)
        return Window(view.count, view.sum, span_s)

    def mean(self, unsigned int window_s):
        cdef gdp_view view
        memset(&view, 0, sizeof(view))
        _look(self, window_s, &view)
        return view.sum / view.count if view.count > 0 else NAN


cdef class Counter(Series):
    def add(self, double by=1.0):
        if self._c is NULL:
            _open_counter(self)
        if not by >= 0:
            raise ValueError(f"a counter only grows: {self.family.name}.add({by})")
        gdp_counter_add(self._c, by, _now(self._meter) if self._timed else 0)

    def rate(self, unsigned int window_s):
        cdef gdp_view view
        view.count = view.sum = 0
        cdef double span_s = _look(self, window_s, &view)
        return view.sum / span_s


cdef class Gauge(Series):
    def set(self, double value):
        if self._g is NULL:
            _open_gauge(self)
        gdp_gauge_set(self._g, value)

    def add(self, double by=1.0):
        if self._g is NULL:
            _open_gauge(self)
        gdp_gauge_add(self._g, by)


cdef class Histogram(Series):
    def observe(self, double value):
        if self._h is NULL:
            _open_histogram(self)
        gdp_histogram_observe(self._h, value, _now(self._meter) if self._timed else 0)

    def observe_times(self, double value, unsigned int times):
        if self._h is NULL:
            _open_histogram(self)
        gdp_histogram_observe_times(self._h, value, times, _now(self._meter) if self._timed else 0)

    def rate(self, unsigned int window_s):
        cdef gdp_view view
        memset(&view, 0, sizeof(view))
        cdef double span_s = _look(self, window_s, &view)
        return view.count / span_s

    def quantile(self, double q, unsigned int window_s):
        cdef gdp_view view
        if not 0 <= q <= 1:
            raise ValueError(f"a quantile is 0..1, got {q}")
        memset(&view, 0, sizeof(view))
        _look(self, window_s, &view)
        return gdp_view_quantile(&view, gdp_series_scale(self._s), q)

    def quantiles(self, qs, unsigned int window_s):
        cdef gdp_view view
        memset(&view, 0, sizeof(view))
        _look(self, window_s, &view)
        return tuple([gdp_view_quantile(&view, gdp_series_scale(self._s), q) for q in qs])

    def window_buckets(self, unsigned int window_s):
        cdef gdp_view view
        cdef const gdp_scale *scale = gdp_series_scale(self._s)
        memset(&view, 0, sizeof(view))
        _look(self, window_s, &view)
        first = round(16 * math.log2(scale.low))
        return {first + i: view.bucket[i] for i in range(scale.buckets) if view.bucket[i] > 0}

    def buckets(self):
        cdef uint64_t counts[GDP_BUCKETS_MAX]
        cdef double total = 0
        cdef const gdp_scale *scale = gdp_series_scale(self._s)
        memset(counts, 0, sizeof(counts))
        gdp_series_buckets(self._s, counts, &total)
        held = [i for i in range(scale.buckets) if counts[i]]
        return Buckets([gdp_scale_bound(scale, i) for i in held], [counts[i] for i in held], total)


cdef int _open_counter(Counter counter) except -1:
    counter._c = gdp_series_counter(counter._s)
    if counter._c is NULL:
        raise MemoryError
    return 0


cdef int _open_gauge(Gauge gauge) except -1:
    gauge._g = gdp_series_gauge(gauge._s)
    if gauge._g is NULL:
        raise MemoryError
    return 0


cdef int _open_histogram(Histogram histogram) except -1:
    histogram._h = gdp_series_histogram(histogram._s)
    if histogram._h is NULL:
        raise MemoryError
    return 0


cdef double _look(Series series, unsigned int window_s, gdp_view *view) except? -1:
    """Adds what the last seconds of a series hold; the length of that window."""
    cdef double span_s = gdp_series_view(series._s, _now(series._meter), window_s, view)
    if span_s < 0:
        if not 1 <= window_s <= GDP_WINDOW_MAX_S:
            raise ValueError(f"a window is 1..{GDP_WINDOW_MAX_S} seconds long, got {window_s}")
        raise ValueError(f"NoWindow: {series.family.name} keeps no window; make it with window=True")
    return span_s


cdef _refused(const char *why, str what):
    text = why.decode() if why is not NULL else "OutOfMemory"
    if text == "OutOfMemory":
        return MemoryError()
    reason, _, sentence = text.partition(": ")
    return ValueError(f"{reason}: {what}: {sentence}")


cdef bytes _text(text):
    if not isinstance(text, str):
        raise TypeError(f"names and label values are str, got {text!r}")
    if "\0" in text:
        raise ValueError(f"BadText: {text!r} has a zero in it")
    return text.encode()


cdef unsigned int _positive(int n) except 0:
    if n < 1:
        raise ValueError(f"series_max must be at least 1, got {n}")
    return n
