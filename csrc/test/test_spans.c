/* test_spans.c -- one level of JSON, behind walls and cut at every byte. */
#include "gdp/spans.h"
#include "test.h"

void gdp_test_spans(void);
void gdp_bench_spans(void);

/* Whether span i of `text` is `wanted`. */
static bool gdp_reads(const char *text, gdp_span s, const char *wanted)
{
    return s.len == strlen(wanted) && memcmp(text + s.off, wanted, s.len) == 0;
}

static void gdp_check_items(const char *text, int64_t n, const char *const *wanted)
{
    gdp_span out[8];
    gdp_case(text);
    for (int back = 0; back < 2; back++) {
        const char *p = gdp_walled(text, strlen(text), back);
        CHECK(gdp_json_items(p, strlen(text), out, 8) == n);
        for (int64_t i = 0; i < n; i++) CHECK(gdp_reads(p, out[i], wanted[i]));
    }
    if (n > 0) CHECK(gdp_json_items(text, strlen(text), out, (size_t)n - 1) == GDP_NOMEM);
    for (size_t cut = 0; cut < strlen(text) && n >= 0; cut++) {
        const char *p = gdp_walled(text, cut, true);
        const int64_t got = gdp_json_items(p, cut, out, 8);
        CHECK(got == GDP_BAD || (got == n && gdp_json_items(text, cut, out, 8) == n)); /* only blanks were cut */
    }
    gdp_case(NULL);
}

static void gdp_test_items(void)
{
    gdp_check_items("[]", 0, NULL);
    gdp_check_items(" [ \n] ", 0, NULL);
    gdp_check_items("[1]", 1, (const char *[]){"1"});
    gdp_check_items("[ 1 ,\"a]\\\",b\" , {\"x\":[1,2,\"}\"]},null ]", 4,
                    (const char *[]){"1", "\"a]\\\",b\"", "{\"x\":[1,2,\"}\"]}", "null"});
    gdp_check_items("[[[[]]],{}]", 2, (const char *[]){"[[[]]]", "{}"});
    const char *bad[] = {"", "[", "]", "{}", "[,]", "[1,]", "[1 2]", "[1]]", "[1] x", "[\"]", "[{]", "[1", "[1:2]", "[\"a\nb\"]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) gdp_check_items(bad[i], GDP_BAD, NULL);
}

static void gdp_test_fields(void)
{
    const char *text = " {\"model\" : \"m\", \"mess\\u0061ges\":[1, {}],\"n\":-1e5 ,\"n\":true} ";
    const char *keys[] = {"model", "mess\\u0061ges", "n", "n"}, *values[] = {"\"m\"", "[1, {}]", "-1e5", "true"};
    gdp_field out[8];
    for (int back = 0; back < 2; back++) {
        const char *p = gdp_walled(text, strlen(text), back);
        CHECK(gdp_json_fields(p, strlen(text), out, 8) == 4);
        for (int i = 0; i < 4; i++) CHECK(gdp_reads(p, out[i].key, keys[i]) && gdp_reads(p, out[i].value, values[i]));
    }
    CHECK(gdp_json_fields(text, strlen(text), out, 3) == GDP_NOMEM);
    CHECK(gdp_json_fields(STR("{}"), out, 0) == 0);
    const char *bad[] = {"", "{", "[]", "{1:2}", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{\"a\":1}}", "{\"a:1}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gdp_case(bad[i]);
        CHECK(gdp_json_fields(gdp_walled(bad[i], strlen(bad[i]), true), strlen(bad[i]), out, 8) == GDP_BAD);
    }
    gdp_case(NULL);
}

static size_t gdp_cut(const char *text, size_t least, size_t max, uint32_t *out)
{
    size_t n = 0;
    for (int back = 0; back < 2; back++) {
        const char *p = gdp_walled(text, strlen(text), back);
        n = gdp_text_cuts(p, strlen(text), STR("<>"), 1, least, out, max);
    }
    return n;
}

static void gdp_test_cuts(void)
{
    uint32_t out[8];
    CHECK(gdp_cut("", 1, 8, out) == 0);
    CHECK(gdp_cut("<>", 1, 8, out) == 0); /* no cut at the beginning */
    CHECK(gdp_cut("<>a<>b<<>", 1, 8, out) == 2 && out[0] == 3 && out[1] == 7);
    CHECK(gdp_cut("<>a<>b<<>", 4, 8, out) == 1 && out[0] == 7);
    CHECK(gdp_cut("<><><><>", 2, 8, out) == 3 && out[0] == 2 && out[2] == 6);
    CHECK(gdp_cut("<><><><>", 2, 2, out) == 2);
    CHECK(gdp_cut("<><><><>", 3, 8, out) == 1 && out[0] == 4);
    CHECK(gdp_cut("abcdefg<", 1, 8, out) == 0);
    CHECK(gdp_cut("ab<>", 5, 8, out) == 0 && gdp_cut("ab<>", 2, 8, out) == 1);
    CHECK(gdp_text_cuts(STR("a.<>b<><><>"), STR("<>"), 2, 2, out, 8) == 1 && out[0] == 2);
    CHECK(gdp_text_cuts(STR("....<><>xx<>"), STR("<><>"), 4, 4, out, 8) == 1 && out[0] == 4);
}

/* Reads no byte too many, and every byte counts. */
static void gdp_test_keys(void)
{
    char text[150];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)i;
    for (size_t len = 0; len <= sizeof text; len++) {
        const uint64_t key = gdp_text_key(gdp_walled(text, len, false), len, 7);
        CHECK(key == gdp_text_key(gdp_walled(text, len, true), len, 7) && key != gdp_text_key(text, len, 8));
        for (size_t i = 0; i < len; i++) {
            text[i] ^= 1;
            CHECK(gdp_text_key(text, len, 7) != key);
            text[i] ^= 1;
        }
    }
}

void gdp_test_spans(void)
{
    gdp_test_keys();
    gdp_test_items();
    gdp_test_fields();
    gdp_test_cuts();
}

typedef struct {
    const char *text;
    size_t len;
} gdp_spans_bench;

static void gdp_split(void *arg)
{
    const gdp_spans_bench *b = arg;
    static gdp_span out[64];
    if (gdp_json_items(b->text, b->len, out, 64) != 40) abort();
}

/* A conversation of 40 messages, with an escape every 40 bytes as in code. */
void gdp_bench_spans(void)
{
    const size_t each = 3276;
    char *text = malloc(40 * (each + 32) + 2), *p = text;
    for (int i = 0; i < 40; i++) {
        p += sprintf(p, "%c{\"role\":\"user\",\"content\":\"", i ? ',' : '[');
        for (size_t j = 0; j < each; j++) *p++ = j % 40 == 38 ? '\\' : 'n';
        p += sprintf(p, "\"}");
    }
    *p++ = ']';
    gdp_spans_bench b = {text, (size_t)(p - text)};
    gdp_bench_row("spans: 40 messages", b.len, gdp_bench_ns(gdp_split, &b));
    free(text);
}
