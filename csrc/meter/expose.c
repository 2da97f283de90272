/* expose.c -- see gdp/meter_expose.h. Room is made per series, for the most that it can take; then bytes are copied
 * without looking. */
#include "gdp/meter_expose.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "page.h"
#include "shared.h"

#define NUMBER_MAX 32u
#define LINE_MORE (NUMBER_MAX + 64u) /* what a line has beside its name and its labels */

/* ---- room ------------------------------------------------------------------------------------------------------ */

bool gdp_page_fit(gdp_page *p, size_t more)
{
    if (p->room - p->len >= more) return true;
    size_t room = p->room ? p->room : 4096;
    while (room - p->len < more) room *= 2;
    char *bytes = gdp_resize(p->bytes, room);
    if (!bytes) return false;
    p->bytes = bytes;
    p->room = room;
    return true;
}

void gdp_page_free(gdp_page *page)
{
    gdp_free(page->bytes);
    *page = (gdp_page){0};
}

static void put_text(gdp_page *p, const char *s)
{
    gdp_page_put(p, s, strlen(s));
}

/* ---- numbers --------------------------------------------------------------------------------------------------- */

/* `to` has room for 20 bytes whatever n is: a copy of constant size is a few moves, one of n bytes a call. */
static size_t write_count(char *to, uint64_t n)
{
    char digits[40];
    size_t at = 20;
    if (n < 10) return (size_t)(*to = (char)('0' + n), 1);
    do digits[--at] = (char)('0' + n % 10);
    while (n /= 10);
    memcpy(to, digits + at, 20);
    return 20 - at;
}

static void put_count(gdp_page *p, uint64_t n)
{
    p->len += write_count(p->bytes + p->len, n);
}

static void put_delta(gdp_page *p, int64_t n)
{
    if (n < 0) gdp_page_byte(p, '-');
    put_count(p, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

size_t gdp_page_number(char *to, double value)
{
    if (value >= 0 && value < 1e15 && value == floor(value)) return write_count(to, (uint64_t)value);
    if (isnan(value)) return (size_t)(memcpy(to, "NaN", 3), 3);
    if (isinf(value)) return (size_t)(memcpy(to, value > 0 ? "+Inf" : "-Inf", 4), 4);
    char text[NUMBER_MAX];
    double back;
    for (int digits = 15;; digits += 2) { /* 17 always come back */
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (digits == 17 || (sscanf(text, "%lf", &back) == 1 && memcmp(&back, &value, sizeof back) == 0)) break;
    }
    for (char *c = text; *c; c++)
        if (*c == ',') *c = '.'; /* whatever the locale */
    const size_t n = strlen(text);
    memcpy(to, text, n);
    return n;
}

static void put_number(gdp_page *p, double value)
{
    p->len += gdp_page_number(p->bytes + p->len, value);
}

/* ---- heads ----------------------------------------------------------------------------------------------------- */

static void put_escaped(gdp_page *p, const char *s, bool quotes)
{
    for (; *s; s++) {
        if (*s == '\\' || *s == '\n' || (quotes && *s == '"')) p->bytes[p->len++] = '\\';
        p->bytes[p->len++] = *s == '\n' ? 'n' : *s;
    }
}

static void put_line_of(gdp_page *p, const char *what, const gdp_family *f, bool total)
{
    put_text(p, what);
    gdp_page_put(p, f->name, f->n_name);
    put_text(p, total ? "_total " : " ");
}

static bool put_head(gdp_page *p, const gdp_family *f, gdp_form form)
{
    static const char *const kinds[] = {"counter\n", "gauge\n", "histogram\n"};
    const bool total = form == GDP_TEXT && f->kind == GDP_COUNTER; /* OpenMetrics names the family without it */
    if (!gdp_page_fit(p, 3 * (f->n_name + 32) + 2 * strlen(f->help) + strlen(f->unit))) return false;
    put_line_of(p, "# HELP ", f, total);
    put_escaped(p, f->help, form != GDP_TEXT);
    put_line_of(p, "\n# TYPE ", f, total);
    put_text(p, kinds[f->kind]);
    if (form == GDP_TEXT || !*f->unit) return true;
    put_line_of(p, "# UNIT ", f, false);
    put_text(p, f->unit);
    gdp_page_byte(p, '\n');
    return true;
}

/* ---- samples --------------------------------------------------------------------------------------------------- */

/* name_suffix{labels} */
static void put_sample(gdp_page *p, const gdp_series *s, const char *suffix)
{
    gdp_page_put(p, s->family->name, s->family->n_name);
    put_text(p, suffix);
    if (s->n_text) {
        gdp_page_byte(p, '{');
        gdp_page_put(p, s->text, s->n_text);
        gdp_page_byte(p, '}');
    }
    gdp_page_byte(p, ' ');
}

static size_t line_most(const gdp_series *s)
{
    return s->family->n_name + s->n_text + LINE_MORE;
}

static void put_value(gdp_page *p, const gdp_series *s)
{
    put_sample(p, s, s->family->kind == GDP_COUNTER ? "_total" : "");
    put_number(p, gdp_series_value(s));
    gdp_page_byte(p, '\n');
}

static void put_bucket(gdp_page *p, const gdp_series *s, const char *bound, uint64_t count)
{
    gdp_page_put(p, s->family->name, s->family->n_name);
    gdp_page_put(p, "_bucket{", 8);
    gdp_page_put(p, s->text, s->n_text);
    if (s->n_text) gdp_page_byte(p, ',');
    gdp_page_put(p, "le=\"", 4);
    put_text(p, bound);
    gdp_page_put(p, "\"} ", 3);
    put_count(p, count);
    gdp_page_byte(p, '\n');
}

static void put_classic(gdp_page *p, const gdp_series *s, const uint64_t *bucket, uint64_t count, double sum)
{
    const gdp_family *f = s->family;
    uint64_t seen = 0;
    uint32_t next = 0;
    for (uint32_t i = 0; i < f->n_rungs; i++) {
        while (next <= f->rungs[i].bucket) seen += bucket[next++];
        put_bucket(p, s, f->rungs[i].text, seen);
    }
    put_bucket(p, s, "+Inf", count);
    put_sample(p, s, "_count");
    put_count(p, count);
    gdp_page_byte(p, '\n');
    put_sample(p, s, "_sum");
    put_number(p, sum);
    gdp_page_byte(p, '\n');
}

/* ---- native histograms ------------------------------------------------------------------------------------------- */

/* Runs of buckets that hold something, as offset:length; the first offset counts from the bucket that ends at 1, the
 * others from the run before. The bucket of all beyond the range goes as the next one after it. */
static void put_spans(gdp_page *p, const gdp_scale *scale, const uint64_t *bucket)
{
    int64_t after = -16 * (int64_t)scale->lo; /* index here of native bucket 0 */
    bool any = false;
    put_text(p, ",positive_spans:[");
    for (uint32_t i = 1, run; i < scale->buckets; i += run) {
        for (run = 0; i + run < scale->buckets && bucket[i + run]; run++) {}
        if (run) {
            if (any) gdp_page_byte(p, ',');
            put_delta(p, (int64_t)i - after);
            gdp_page_byte(p, ':');
            put_count(p, run);
            after = i + run;
            any = true;
        }
        run += run == 0;
    }
    gdp_page_byte(p, ']');
}

static void put_deltas(gdp_page *p, const gdp_scale *scale, const uint64_t *bucket)
{
    uint64_t before = 0;
    put_text(p, ",positive_deltas:[");
    for (uint32_t i = 1; i < scale->buckets; i++) {
        if (!bucket[i]) continue;
        if (before) gdp_page_byte(p, ',');
        put_delta(p, (int64_t)(bucket[i] - before));
        before = bucket[i];
    }
    gdp_page_byte(p, ']');
}

static void put_native(gdp_page *p, const gdp_series *s, const uint64_t *bucket, uint64_t count, double sum)
{
    const gdp_scale *scale = &s->family->scale;
    put_sample(p, s, "");
    put_text(p, "{count:");
    put_count(p, count);
    put_text(p, ",sum:");
    put_number(p, sum);
    put_text(p, ",schema:4,zero_threshold:");
    put_number(p, scale->low);
    put_text(p, ",zero_count:");
    put_count(p, bucket[0]);
    if (count > bucket[0]) {
        put_spans(p, scale, bucket);
        put_deltas(p, scale, bucket);
    }
    put_text(p, "}\n");
}

static bool put_histogram(gdp_page *p, const gdp_series *s, gdp_form form)
{
    const gdp_family *f = s->family;
    const bool native = form == GDP_OPEN_2;
    uint64_t bucket[GDP_BUCKETS_MAX] = {0};
    double sum = 0;
    if (!gdp_page_fit(p, native ? 4 * line_most(s) + 40ull * f->scale.buckets : (f->n_rungs + 3) * line_most(s))) return false;
    const uint64_t count = gdp_series_buckets(s, bucket, &sum);
    (native ? put_native : put_classic)(p, s, bucket, count, sum);
    return true;
}

/* ---- the page ---------------------------------------------------------------------------------------------------- */

static bool put_family(gdp_page *p, const gdp_family *f, gdp_form form)
{
    if (!put_head(p, f, form)) return false;
    for (const gdp_series *s = GDP_ACQUIRE(&f->series); s; s = GDP_ACQUIRE(&s->next)) {
        if (GDP_LOOK(&s->hidden)) continue;
        if (f->kind == GDP_HISTOGRAM) {
            if (!put_histogram(p, s, form)) return false;
        } else {
            if (!gdp_page_fit(p, line_most(s))) return false;
            put_value(p, s);
        }
    }
    return true;
}

static bool put_any(gdp_page *p, const gdp_family *f, gdp_form form)
{
    return form == GDP_PROTOBUF ? gdp_page_message(p, f) : put_family(p, f, form);
}

int64_t gdp_page_render(gdp_page *page, const gdp_meter *m, gdp_form form, bool whole)
{
    page->len = 0;
    if ((unsigned)form >= GDP_FORMS) return GDP_BAD;
    bool room = gdp_page_fit(page, 16);
    for (const gdp_family *f = GDP_ACQUIRE(&m->families); f && room; f = GDP_ACQUIRE(&f->next))
        room = put_any(page, f, form);
    const bool marked = whole && (form == GDP_OPEN_1 || form == GDP_OPEN_2);
    if (room && marked && (room = gdp_page_fit(page, 16))) put_text(page, "# EOF\n");
    if (!room) page->len = 0;
    return room ? (int64_t)page->len : GDP_NOMEM;
}
