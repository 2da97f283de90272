/* message.c -- the page as protobuf, for Prometheus servers that take native histograms: io.prometheus.client's
 * MetricFamily, each behind its length.
 *
 * Every histogram has its classic buckets, too: a server that does not store native ones asks for this form as well
 * when it wants to know of created timestamps. A message's length stands before it, so its bytes are written first and
 * moved up by the few that the length takes. */
#include "page.h"
#include "shared.h"

/* Numbers of fields, from metrics.proto. */
enum { FAMILY_NAME = 1, FAMILY_HELP, FAMILY_TYPE, FAMILY_METRIC, FAMILY_UNIT };
enum { METRIC_LABEL = 1, METRIC_GAUGE = 2, METRIC_COUNTER = 3, METRIC_HISTOGRAM = 7, LABEL_NAME = 1, LABEL_VALUE = 2 };
enum { HIST_COUNT = 1, HIST_SUM = 2, HIST_BUCKET = 3, HIST_SCHEMA = 5, HIST_ZERO_THRESHOLD = 6, HIST_ZERO_COUNT = 7,
       HIST_SPAN = 12, HIST_DELTA = 13, BUCKET_COUNT = 1, BUCKET_BOUND = 2, SPAN_OFFSET = 1, SPAN_LENGTH = 2 };
enum { VARINT = 0, FIXED64 = 1, BYTES = 2 };

#define VARINT_MAX 10u

/* ---- fields ------------------------------------------------------------------------------------------------------ */

static size_t write_varint(char *to, uint64_t n)
{
    size_t at = 0;
    for (; n > 127; n >>= 7) to[at++] = (char)(n | 128);
    to[at++] = (char)n;
    return at;
}

static void put_varint(gdp_page *p, uint64_t n)
{
    p->len += write_varint(p->bytes + p->len, n);
}

static void put_tag(gdp_page *p, unsigned field, unsigned kind)
{
    put_varint(p, field << 3 | kind);
}

static void put_uint(gdp_page *p, unsigned field, uint64_t n)
{
    put_tag(p, field, VARINT);
    put_varint(p, n);
}

/* Small numbers of both signs are short: 0, -1, 1, -2, ... */
static uint64_t zigzag(int64_t n)
{
    return (uint64_t)n << 1 ^ (n < 0 ? UINT64_MAX : 0);
}

static void put_double(gdp_page *p, unsigned field, double value)
{
    uint64_t bits;
    put_tag(p, field, FIXED64);
    memcpy(&bits, &value, sizeof bits);
    for (unsigned i = 0; i < 8; i++) gdp_page_byte(p, (char)(bits >> 8 * i));
}

static void put_string(gdp_page *p, unsigned field, const char *s, size_t n)
{
    put_tag(p, field, BYTES);
    put_varint(p, n);
    gdp_page_put(p, s, n);
}

/* A message within: begin, its fields, end. */
static size_t begin(gdp_page *p, unsigned field)
{
    if (field) put_tag(p, field, BYTES); /* 0: one of its own */
    return p->len;
}

static void end(gdp_page *p, size_t from)
{
    char length[VARINT_MAX];
    const size_t n = write_varint(length, p->len - from);
    memmove(p->bytes + from + n, p->bytes + from, p->len - from);
    memcpy(p->bytes + from, length, n);
    p->len += n;
}

/* ---- metrics ----------------------------------------------------------------------------------------------------- */

/* A value as it was before it was escaped; returns what follows its closing quote. */
static const char *put_unescaped(gdp_page *p, const char *s)
{
    for (; *s != '"'; s++) {
        const bool escape = *s == '\\';
        s += escape;
        gdp_page_byte(p, escape && *s == 'n' ? '\n' : *s);
    }
    return s + 1;
}

static void put_labels(gdp_page *p, const gdp_series *s)
{
    const char *at = s->text;
    for (uint32_t i = 0; i < s->family->n_labels; i++) {
        const size_t n = strlen(s->family->labels[i]), label = begin(p, METRIC_LABEL);
        put_string(p, LABEL_NAME, at + (i > 0), n);
        const size_t value = begin(p, LABEL_VALUE);
        at = put_unescaped(p, at + (i > 0) + n + 2); /* ,name=" */
        end(p, value);
        end(p, label);
    }
}

static void put_classic(gdp_page *p, const gdp_family *f, const uint64_t *bucket)
{
    uint64_t seen = 0;
    uint32_t next = 0;
    for (uint32_t i = 0; i < f->n_rungs; i++) {
        while (next <= f->rungs[i].bucket) seen += bucket[next++];
        const size_t from = begin(p, HIST_BUCKET);
        put_uint(p, BUCKET_COUNT, seen);
        put_double(p, BUCKET_BOUND, gdp_scale_bound(&f->scale, f->rungs[i].bucket));
        end(p, from);
    }
}

static void put_span(gdp_page *p, int64_t offset, uint32_t length)
{
    const size_t from = begin(p, HIST_SPAN);
    put_uint(p, SPAN_OFFSET, zigzag(offset));
    put_uint(p, SPAN_LENGTH, length);
    end(p, from);
}

static void put_native(gdp_page *p, const gdp_scale *scale, const uint64_t *bucket)
{
    int64_t after = -16 * (int64_t)scale->lo; /* index here of native bucket 0 */
    uint64_t before = 0;
    put_uint(p, HIST_SCHEMA, zigzag(4));
    put_double(p, HIST_ZERO_THRESHOLD, scale->low);
    put_uint(p, HIST_ZERO_COUNT, bucket[0]);
    for (uint32_t i = 1; i < scale->buckets; i++) {
        uint32_t run = 0;
        while (i + run < scale->buckets && bucket[i + run]) run++;
        if (!run) continue;
        put_span(p, (int64_t)i - after, run);
        after = (int64_t)i + run;
        i += run;
    }
    const size_t deltas = begin(p, HIST_DELTA);
    for (uint32_t i = 1; i < scale->buckets; i++) {
        if (!bucket[i]) continue;
        put_varint(p, zigzag((int64_t)(bucket[i] - before)));
        before = bucket[i];
    }
    end(p, deltas);
}

static void put_histogram(gdp_page *p, const gdp_series *s)
{
    uint64_t bucket[GDP_BUCKETS_MAX] = {0};
    double sum = 0;
    const uint64_t count = gdp_series_buckets(s, bucket, &sum);
    const size_t from = begin(p, METRIC_HISTOGRAM);
    put_uint(p, HIST_COUNT, count);
    put_double(p, HIST_SUM, sum);
    put_classic(p, s->family, bucket);
    put_native(p, &s->family->scale, bucket);
    end(p, from);
}

static void put_value(gdp_page *p, const gdp_series *s)
{
    const size_t from = begin(p, s->family->kind == GDP_COUNTER ? METRIC_COUNTER : METRIC_GAUGE);
    put_double(p, 1, gdp_series_value(s));
    end(p, from);
}

static size_t metric_most(const gdp_series *s)
{
    const gdp_family *f = s->family;
    const size_t own = s->n_text + 64 + 32ull * f->n_labels;
    return f->kind == GDP_HISTOGRAM ? own + 32ull * f->n_rungs + 32ull * f->scale.buckets : own;
}

bool gdp_page_message(gdp_page *p, const gdp_family *f)
{
    static const uint8_t types[] = {[GDP_COUNTER] = 0, [GDP_GAUGE] = 1, [GDP_HISTOGRAM] = 4};
    const bool total = f->kind == GDP_COUNTER;
    if (!gdp_page_fit(p, f->n_name + strlen(f->help) + 96)) return false;
    const size_t from = begin(p, 0), name = begin(p, FAMILY_NAME);
    gdp_page_put(p, f->name, f->n_name);
    if (total) gdp_page_put(p, "_total", 6);
    end(p, name);
    put_string(p, FAMILY_HELP, f->help, strlen(f->help));
    put_uint(p, FAMILY_TYPE, types[f->kind]);
    for (const gdp_series *s = GDP_ACQUIRE(&f->series); s; s = GDP_ACQUIRE(&s->next)) {
        if (GDP_LOOK(&s->hidden)) continue;
        if (!gdp_page_fit(p, metric_most(s))) return false;
        const size_t metric = begin(p, FAMILY_METRIC);
        put_labels(p, s);
        f->kind == GDP_HISTOGRAM ? put_histogram(p, s) : put_value(p, s);
        end(p, metric);
    }
    if (!gdp_page_fit(p, strlen(f->unit) + 32)) return false;
    if (*f->unit) put_string(p, FAMILY_UNIT, f->unit, strlen(f->unit));
    end(p, from);
    return true;
}
