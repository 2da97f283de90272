/* fuzz_page.c -- any bytes as help and label values: the page has the lines it must have, and unescapes to them. */
#include "fuzz.h"
#include "gdp/meter_expose.h"

int gdp_fuzz_page(const uint8_t *data, size_t size);

#define TEXT_MAX 2048

/* A piece of the input as a C string; where the next begins. */
static const uint8_t *text_of(const uint8_t *at, const uint8_t *end, char text[TEXT_MAX])
{
    size_t n = 0;
    while (at < end && *at && n + 1 < TEXT_MAX) text[n++] = (char)*at++;
    text[n] = 0;
    return at < end ? at + 1 : end;
}

/* `what` unescaped from the page at *at, up to an unescaped `stop`. */
static void read_back(const char **at, const char *end, const char *what, char stop)
{
    const char *p = *at;
    for (; p < end && *p != stop; p++, what++) {
        char c = *p;
        if (c == '\\') {
            FUZZ_CHECK(++p < end);
            c = *p == 'n' ? '\n' : *p;
        }
        FUZZ_CHECK(c == *what);
    }
    FUZZ_CHECK(p < end && !*what);
    *at = p + 1;
}

static void skip(const char **at, const char *end, const char *text)
{
    const size_t n = strlen(text);
    FUZZ_CHECK((size_t)(end - *at) >= n && memcmp(*at, text, n) == 0);
    *at += n;
}

static void one_page(const gdp_meter *m, gdp_page *page, gdp_form form, const char *help, const char *values[2])
{
    FUZZ_CHECK(gdp_page_render(page, m, form, true) == (int64_t)page->len);
    const char *at = page->bytes, *end = page->bytes + page->len;
    skip(&at, end, form == GDP_TEXT ? "# HELP c_total " : "# HELP c ");
    read_back(&at, end, help, '\n');
    skip(&at, end, form == GDP_TEXT ? "# TYPE c_total counter\n" : "# TYPE c counter\n");
    skip(&at, end, "c_total{a=\"");
    read_back(&at, end, values[0], '"');
    skip(&at, end, ",b=\"");
    read_back(&at, end, values[1], '"');
    skip(&at, end, form == GDP_TEXT ? "} 1\n" : "} 1\n# EOF\n");
    FUZZ_CHECK(at == end);
}

/* Values stand raw in the message. */
static void one_message(const gdp_meter *m, gdp_page *page, const char *values[2])
{
    FUZZ_CHECK(gdp_page_render(page, m, GDP_PROTOBUF, true) == (int64_t)page->len);
    for (int i = 0; i < 2; i++) {
        const size_t n = strlen(values[i]);
        FUZZ_CHECK(n == 0 || memmem(page->bytes, page->len, values[i], n));
    }
}

int gdp_fuzz_page(const uint8_t *data, size_t size)
{
    static char texts[3][TEXT_MAX];
    const uint8_t *at = data;
    for (int i = 0; i < 3; i++) at = text_of(at, data + size, texts[i]);
    const char *why, *values[2] = {texts[1], texts[2]};
    const gdp_family_spec spec = {.name = "c", .help = texts[0], .n_labels = 2, .labels = {"a", "b"}};
    gdp_meter *m = gdp_meter_new(0);
    FUZZ_CHECK(m);
    gdp_family *f = gdp_meter_family(m, &spec, &why);
    FUZZ_CHECK(f);
    gdp_series *s = gdp_family_series(f, values, &why);
    FUZZ_CHECK(s && gdp_family_series(f, values, &why) == s);
    gdp_counter_add(gdp_series_counter(s), 1, 0);
    gdp_page page = {0};
    for (unsigned form = 0; form < GDP_PROTOBUF; form++) one_page(m, &page, (gdp_form)form, texts[0], values);
    one_message(m, &page, values);
    gdp_page_free(&page);
    gdp_meter_free(m);
    const gdp_family_spec named = {.name = texts[0], .help = "h", .unit = texts[1], .n_labels = 1, .labels = {texts[2]}};
    m = gdp_meter_new(0);
    FUZZ_CHECK(m && ((gdp_meter_family(m, &named, &why) != NULL) || why)); /* taken, or refused with a reason */
    gdp_meter_free(m);
    return 0;
}
