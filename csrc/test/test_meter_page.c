/* test_meter_page.c -- what a family may be, and the page byte by byte. */
#include <math.h>

#include "gdp/meter_expose.h"
#include "test.h"

void gdp_test_meter_spec(void);
void gdp_test_meter_page(void);
void gdp_test_meter_bytes(void);
void gdp_oom_meter(void);
void gdp_bench_meter_page(void);

#define S GDP_SECOND_NS

static bool refused(gdp_family_spec spec, const char *reason)
{
    gdp_meter *m = gdp_meter_new(0);
    const char *why = NULL;
    if (!spec.help) spec.help = "h";
    const bool is = !gdp_meter_family(m, &spec, &why) && strncmp(why, reason, strlen(reason)) == 0;
    gdp_meter_free(m);
    return is;
}

void gdp_test_meter_spec(void)
{
    static const char *const bad[] = {"", "1a", "a-b", "a b", "\xc3\xa4", "a{", NULL};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK(refused((gdp_family_spec){.name = bad[i]}, "BadMetricName"));
    CHECK(refused((gdp_family_spec){.name = "requests_total"}, "BadMetricName"));
    CHECK(refused((gdp_family_spec){.name = "a", .unit = "seconds"}, "BadUnit"));
    CHECK(refused((gdp_family_spec){.name = "aseconds", .unit = "seconds"}, "BadUnit"));
    CHECK(refused((gdp_family_spec){.name = "a", .n_labels = 1, .labels = {"le"}}, "BadLabelName"));
    CHECK(refused((gdp_family_spec){.name = "a", .n_labels = 1, .labels = {"__a"}}, "BadLabelName"));
    CHECK(refused((gdp_family_spec){.name = "a", .n_labels = 1, .labels = {"a:b"}}, "BadLabelName"));
    CHECK(refused((gdp_family_spec){.name = "a", .n_labels = 2, .labels = {"a", "a"}}, "LabelTwice"));
    CHECK(refused((gdp_family_spec){.name = "a", .n_labels = 9}, "TooManyLabels"));
    CHECK(refused((gdp_family_spec){.name = "a", .kind = GDP_GAUGE, .window = true}, "BadKind"));
    CHECK(refused((gdp_family_spec){.name = "a", .kind = GDP_HISTOGRAM, .lo = 0, .octaves = 31}, "BadRange"));
    CHECK(refused((gdp_family_spec){.name = "a", .kind = GDP_HISTOGRAM, .rung_first = 9, .rung_last = 8, .rung_step = 1},
                  "BadBuckets"));
    CHECK(refused((gdp_family_spec){.name = "a", .kind = GDP_HISTOGRAM, .rung_last = 16 * 13, .rung_step = 16}, "BadBuckets"));
    const char *why;
    gdp_meter *m = gdp_meter_new(0);
    const gdp_family_spec spec = {.name = "a:b_2", .help = "h", .n_labels = 1, .labels = {"l"}, .series_max = 2};
    gdp_family *f = gdp_meter_family(m, &spec, &why);
    CHECK(f && !gdp_meter_family(m, &spec, &why) && strncmp(why, "NameTaken", 9) == 0);
    gdp_series *one = gdp_family_series(f, &(const char *){"1"}, &why);
    CHECK(one && gdp_family_series(f, &(const char *){"2"}, &why) != one);
    CHECK(gdp_family_series(f, &(const char *){"1"}, &why) == one);
    CHECK(!gdp_family_series(f, &(const char *){"3"}, &why) && strncmp(why, "TooManySeries", 13) == 0);
    CHECK(!gdp_series_gauge(one) && !gdp_series_histogram(one));
    gdp_view v = {.count = 0};
    CHECK(gdp_series_view(one, S, 60, &v) == GDP_BAD);
    gdp_meter_free(m);
    gdp_meter_free(NULL);
}

/* ---- the page ---------------------------------------------------------------------------------------------------- */

static gdp_meter *furnished(void)
{
    const char *why;
    gdp_meter *m = gdp_meter_new(0);
    const char *values[] = {"a\\b\"c\nd", "\xc3\xa4"};
    CHECK(m);
    values[0] = gdp_walled(values[0], strlen(values[0]) + 1, true);
    const gdp_family_spec tokens = {.name = "t_tokens", .help = "a \"b\" \\ c\nd", .unit = "tokens", .n_labels = 2,
                                    .labels = {"model", "class"}};
    gdp_counter *c = gdp_series_counter(gdp_family_series(gdp_meter_family(m, &tokens, &why), values, &why));
    const gdp_family_spec load = {.name = "load", .help = "l", .kind = GDP_GAUGE};
    gdp_gauge *g = gdp_series_gauge(gdp_family_series(gdp_meter_family(m, &load, &why), NULL, &why));
    const gdp_family_spec wait = {.name = "w_seconds", .help = "w", .unit = "seconds", .kind = GDP_HISTOGRAM,
                                  .rung_first = -16, .rung_last = 16, .rung_step = 8};
    gdp_histogram *h = gdp_series_histogram(gdp_family_series(gdp_meter_family(m, &wait, &why), NULL, &why));
    CHECK(c && g && h);
    gdp_counter_add(c, 5, 0), gdp_counter_add(c, -1, 0), gdp_counter_add(c, NAN, 0);
    gdp_gauge_set(g, -2), gdp_gauge_add(g, 0.1);
    static const double waits[] = {0, 0.5, 0.6, 0.75, 3, 1e9};
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) gdp_histogram_observe(h, waits[i], 0);
    gdp_histogram_observe(h, -1, 0), gdp_histogram_observe(h, NAN, 0);
    return m;
}

#define LABELS "{model=\"a\\\\b\\\"c\\nd\",class=\"\xc3\xa4\"}"
#define CLASSIC                                                                                                      \
    "w_seconds_bucket{le=\"0.5\"} 4\nw_seconds_bucket{le=\"0.707107\"} 5\nw_seconds_bucket{le=\"1.0\"} 6\n"          \
    "w_seconds_bucket{le=\"1.41421\"} 6\nw_seconds_bucket{le=\"2.0\"} 6\nw_seconds_bucket{le=\"+Inf\"} 8\n"         \
    "w_seconds_count 8\nw_seconds_sum 1000000004.85\n"

#define TEXTS GDP_PROTOBUF /* the forms before it */
static const char *const PAGES[TEXTS] = {
    "# HELP t_tokens_total a \"b\" \\\\ c\\nd\n# TYPE t_tokens_total counter\nt_tokens_total" LABELS " 5\n"
    "# HELP load l\n# TYPE load gauge\nload -1.9\n# HELP w_seconds w\n# TYPE w_seconds histogram\n" CLASSIC,
    "# HELP t_tokens a \\\"b\\\" \\\\ c\\nd\n# TYPE t_tokens counter\n# UNIT t_tokens tokens\nt_tokens_total" LABELS " 5\n"
    "# HELP load l\n# TYPE load gauge\nload -1.9\n"
    "# HELP w_seconds w\n# TYPE w_seconds histogram\n# UNIT w_seconds seconds\n" CLASSIC "# EOF\n",
    "# HELP t_tokens a \\\"b\\\" \\\\ c\\nd\n# TYPE t_tokens counter\n# UNIT t_tokens tokens\nt_tokens_total" LABELS " 5\n"
    "# HELP load l\n# TYPE load gauge\nload -1.9\n"
    "# HELP w_seconds w\n# TYPE w_seconds histogram\n# UNIT w_seconds seconds\n"
    "w_seconds {count:8,sum:1000000004.85,schema:4,zero_threshold:3.814697265625e-06,zero_count:3,"
    "positive_spans:[-16:1,4:1,4:1,31:1,166:1],positive_deltas:[1,0,0,0,0]}\n# EOF\n"};

static bool page_is(const gdp_page *p, const char *text)
{
    if (p->len == strlen(text) && memcmp(p->bytes, text, p->len) == 0) return true;
    fprintf(stderr, "%.*s", (int)p->len, p->bytes);
    return false;
}

static void numbers_come_back(void)
{
    static const double values[] = {0, 1, -1, 0.1, 1e14, 1e15, 1e300, -5e-324, 123456.789, 1.0 / 3};
    uint64_t random = 23;
    char text[40];
    for (size_t i = 0; i < 20000; i++) {
        double value = i < sizeof values / sizeof *values ? values[i] : gdp_random(&random) / 65536.0 / gdp_random(&random);
        const size_t n = gdp_page_number(text, value);
        CHECK(n <= 32);
        text[n] = 0;
        CHECK(strtod(text, NULL) == value);
    }
    CHECK(gdp_page_number(text, INFINITY) == 4 && memcmp(text, "+Inf", 4) == 0);
    CHECK(gdp_page_number(text, -INFINITY) == 4 && gdp_page_number(text, NAN) == 3);
}

void gdp_test_meter_page(void)
{
    gdp_meter *m = furnished();
    gdp_page page = {0};
    for (unsigned form = 0; form < TEXTS; form++) {
        CHECK(gdp_page_render(&page, m, (gdp_form)form, true) == (int64_t)strlen(PAGES[form]));
        CHECK(page_is(&page, PAGES[form]));
        const int64_t part = gdp_page_render(&page, m, (gdp_form)form, false);
        CHECK((size_t)part == strlen(PAGES[form]) - (form == GDP_TEXT ? 0 : 6));
    }
    CHECK(gdp_page_render(&page, m, GDP_FORMS, true) == GDP_BAD);
    const char *why;
    const gdp_family_spec spec = {.name = "worker", .help = "h", .kind = GDP_GAUGE, .n_labels = 1, .labels = {"w"}};
    gdp_series *s = gdp_family_series(gdp_meter_family(m, &spec, &why), &(const char *){"1"}, &why);
    const int64_t shown = gdp_page_render(&page, m, GDP_TEXT, true);
    gdp_series_show(s, false);
    CHECK(gdp_page_render(&page, m, GDP_TEXT, true) == shown - (int64_t)strlen("worker{w=\"1\"} 0\n"));
    gdp_page_free(&page);
    gdp_meter_free(m);
    numbers_come_back();
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static gdp_series *with_labels(gdp_meter *m, const char *name, gdp_kind kind, bool window)
{
    const char *why, *values[] = {"meta-llama/Llama-3.1-70B-Instruct", "interactive"};
    const gdp_family_spec spec = {.name = name, .help = "h", .kind = kind, .window = window, .n_labels = 2,
                                  .labels = {"model", "class"}};
    gdp_family *f = gdp_meter_family(m, &spec, &why);
    return f ? gdp_family_series(f, values, &why) : NULL;
}

void gdp_test_meter_bytes(void)
{
    static const struct {
        gdp_kind kind;
        bool window;
        uint64_t most;
    } budgets[] = {{GDP_COUNTER, false, 256},    {GDP_COUNTER, true, 4600}, {GDP_GAUGE, false, 256},
                   {GDP_HISTOGRAM, false, 4096}, {GDP_HISTOGRAM, true, 65536}};
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        gdp_meter *m = gdp_meter_new(0);
        const char *why, *values[] = {"meta-llama/Llama-3.1-70B-Instruct", "interactive"};
        const gdp_family_spec spec = {.name = "a", .help = "h", .kind = budgets[i].kind, .window = budgets[i].window,
                                      .n_labels = 2, .labels = {"model", "class"}};
        gdp_family *f = gdp_meter_family(m, &spec, &why);
        const uint64_t before = gdp_meter_bytes(m); /* a family's own bytes are shared by its series */
        gdp_series *s = gdp_family_series(f, values, &why);
        CHECK(gdp_series_counter(s) || gdp_series_gauge(s) || gdp_series_histogram(s));
        CHECK(gdp_meter_bytes(m) - before <= budgets[i].most);
        gdp_meter_free(m);
    }
}

void gdp_oom_meter(void)
{
    gdp_meter *m = gdp_meter_new(0);
    gdp_page page = {0};
    if (!m) return;
    static const char *const names[] = {"a", "b", "c"};
    for (int kind = 0; kind < 3; kind++) {
        const uint64_t before = gdp_meter_bytes(m);
        gdp_series *s = with_labels(m, names[kind], (gdp_kind)kind, kind != GDP_GAUGE);
        if (!s) continue;
        CHECK(gdp_meter_bytes(m) > before);
        gdp_counter *c = gdp_series_counter(s);
        gdp_gauge *g = gdp_series_gauge(s);
        gdp_histogram *h = gdp_series_histogram(s);
        if (c) gdp_counter_add(c, 1, S);
        if (g) gdp_gauge_set(g, 1);
        if (h) gdp_histogram_observe(h, 1, S);
    }
    for (unsigned form = 0; form < GDP_FORMS; form++) {
        const int64_t length = gdp_page_render(&page, m, (gdp_form)form, true);
        CHECK(length >= 0 ? (size_t)length == page.len : length == GDP_NOMEM && page.len == 0);
    }
    gdp_page_free(&page);
    gdp_meter_free(m);
}

/* ---- cost -------------------------------------------------------------------------------------------------------- */

typedef struct {
    gdp_meter *m;
    gdp_page page;
    gdp_form form;
} scrape;

static void render(void *arg)
{
    scrape *s = arg;
    gdp_page_render(&s->page, s->m, s->form, true);
}

void gdp_bench_meter_page(void)
{
    static const char *const names[] = {"1,000 histograms, text", "OpenMetrics 1", "OpenMetrics 2, native", "protobuf"};
    scrape s = {.m = gdp_meter_new(0)};
    const char *why;
    const gdp_family_spec spec = {.name = "grove_dp_time_to_first_token_seconds", .help = "h", .unit = "seconds",
                                  .kind = GDP_HISTOGRAM, .n_labels = 2, .labels = {"model", "class"}};
    gdp_family *f = gdp_meter_family(s.m, &spec, &why);
    uint64_t random = 29;
    for (unsigned i = 0; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "model-%u", i);
        const char *values[] = {name, "interactive"};
        gdp_histogram *h = gdp_series_histogram(gdp_family_series(f, values, &why));
        for (int k = 0; k < 300; k++) gdp_histogram_observe(h, exp2(-8 + 8 * (gdp_random(&random) / 4294967296.0)), 0);
    }
    for (unsigned form = 0; form < GDP_FORMS; form++) {
        s.form = (gdp_form)form;
        const double ns = gdp_bench_ns(render, &s);
        gdp_bench_row(names[form], s.page.len, ns);
    }
    gdp_page_free(&s.page);
    gdp_meter_free(s.m);
}
