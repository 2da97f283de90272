"""The metering engine as other shells see it: csrc/include/gdp/meter.h, meter_expose.h.

A shell that has a thread in C takes a `Series`, opens a cell of it for that thread with
`gdp_series_counter(series._s)` and its like, and keeps the Meter alive as long as the thread runs.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "gdp/meter.h" nogil:
    enum: GDP_LABELS_MAX, GDP_BUCKETS_MAX, GDP_SLOT_ROOM, GDP_WINDOW_MAX_S
    ctypedef struct gdp_meter:
        pass
    ctypedef struct gdp_family:
        pass
    ctypedef struct gdp_series:
        pass
    ctypedef struct gdp_counter:
        pass
    ctypedef struct gdp_gauge:
        pass
    ctypedef struct gdp_histogram:
        pass
    ctypedef struct gdp_scale:
        double low, high
        uint32_t buckets
    ctypedef struct gdp_view:
        double count, sum
        double *bucket
    ctypedef enum gdp_kind:
        GDP_COUNTER, GDP_GAUGE, GDP_HISTOGRAM
    ctypedef struct gdp_family_spec:
        const char *name
        const char *help
        const char *unit
        gdp_kind kind
        bint window
        uint32_t n_labels, series_max
        const char **labels
        int lo
        unsigned int octaves
        int rung_first, rung_last, rung_step
    gdp_meter *gdp_meter_new(uint64_t born_ns)
    void gdp_meter_free(gdp_meter *m)
    uint64_t gdp_meter_bytes(const gdp_meter *m)
    gdp_family *gdp_meter_family(gdp_meter *m, const gdp_family_spec *spec, const char **why)
    gdp_series *gdp_family_series(gdp_family *f, const char **values, const char **why)
    gdp_counter *gdp_series_counter(gdp_series *s)
    gdp_gauge *gdp_series_gauge(gdp_series *s)
    gdp_histogram *gdp_series_histogram(gdp_series *s)
    void gdp_series_show(gdp_series *s, bint shown)
    void gdp_counter_add(gdp_counter *c, double by, uint64_t now_ns)
    void gdp_gauge_set(gdp_gauge *g, double value)
    void gdp_gauge_add(gdp_gauge *g, double by)
    void gdp_histogram_observe(gdp_histogram *h, double value, uint64_t now_ns)
    void gdp_histogram_observe_times(gdp_histogram *h, double value, uint32_t times, uint64_t now_ns)
    const gdp_scale *gdp_series_scale(const gdp_series *s)
    double gdp_series_value(const gdp_series *s)
    uint64_t gdp_series_buckets(const gdp_series *s, uint64_t *bucket, double *sum)
    double gdp_series_view(const gdp_series *s, uint64_t now_ns, uint32_t window_s, gdp_view *into)
    double gdp_view_quantile(const gdp_view *v, const gdp_scale *scale, double q)
    double gdp_scale_bound(const gdp_scale *s, unsigned int bucket)

cdef extern from "gdp/meter_expose.h" nogil:
    ctypedef enum gdp_form:
        GDP_TEXT, GDP_OPEN_1, GDP_OPEN_2, GDP_PROTOBUF
    ctypedef struct gdp_page:
        char *bytes
        size_t len, room
    int64_t gdp_page_render(gdp_page *page, const gdp_meter *m, gdp_form form, bint whole)
    void gdp_page_free(gdp_page *page)

cdef class Meter:
    cdef gdp_meter *_m
    cdef object _clock  # None: the machine's
    cdef gdp_page _page
    cdef bint _rendering
    cdef readonly dict families
    cdef Family _family(self, gdp_family_spec *spec, str name, str help, str unit, tuple labels)

cdef class Family:
    cdef gdp_family *_f
    cdef readonly Meter meter
    cdef readonly str name, help, unit, kind
    cdef readonly bint windowed
    cdef readonly tuple labels
    cdef readonly dict known

cdef class Series:
    cdef gdp_series *_s
    cdef readonly Family family
    cdef readonly tuple values
    cdef Meter _meter
    cdef bint _timed  # its window wants to know when

cdef class Counter(Series):
    cdef gdp_counter *_c

cdef class Gauge(Series):
    cdef gdp_gauge *_g

cdef class Histogram(Series):
    cdef gdp_histogram *_h
