/* test_sse.c -- events, one line each, behind walls and cut at every byte. */
#include "gdp/sse.h"
#include "test.h"

void gdp_test_sse(void);
void gdp_test_sse_fingerprint(void);
void gdp_test_sse_large(void);

enum { FINISH = 1, USAGE = 2, ONLY = 4 };

typedef struct {
    int size; /* of the first event, or GDP_MORE */
    int kind, flags;
    const char *data, *name;
    const char *bytes;
    size_t len;
} gdp_event_case;

#define EV(size, kind, flags, data, name, text) {size, GDP_EV_##kind, flags, data, name, text, sizeof(text) - 1}
#define ALL(kind, flags, data, name, text) EV((int)sizeof(text) - 1, kind, flags, data, name, text)
#define MORE(text) {GDP_MORE, 0, 0, "", "", text, sizeof(text) - 1}
#define DATA(flags, json) ALL(DATA, flags, json, "", "data: " json "\n\n")
#define FAIL(json) ALL(ERROR, 0, json, "", "data: " json "\n\n")

static const gdp_event_case gdp_events[] = {
    /* ends */
    ALL(DATA, 0, "x", "", "data: x\n\n"),
    ALL(DATA, 0, "x", "", "data: x\r\n\r\n"),
    ALL(DATA, 0, "x", "", "data: x\r\n\n"),
    ALL(DATA, 0, "x", "", "data: x\n\r\n"),
    EV(9, DATA, 0, "x", "", "data: x\r\rdata"),
    EV(9, DATA, 0, "x", "", "data: x\n\ndata: y\n\n"),
    EV(1, COMMENT, 0, "", "", "\ndata: y\n\n"),
    EV(2, COMMENT, 0, "", "", "\r\n\r\n"),
    EV(1, COMMENT, 0, "", "", "\r\r"),
    MORE(""),
    MORE("\r"),
    MORE("d"),
    MORE("data: x"),
    MORE("data: x\n"),
    MORE("data: x\r\n"),
    MORE("data: x\r\n\r"),
    MORE("data: x\r\r"),
    MORE("data: x\ndata: y\nid"),
    /* lines */
    ALL(DATA, 0, "x", "", "data:x\n\n"),
    ALL(DATA, 0, " x ", "", "data:  x \n\n"),
    ALL(DATA, 0, "", "", "data\n\n"),
    ALL(DATA, 0, "", "", "data:\n\n"),
    ALL(DATA, 0, "x", "", "data: x\ndata: y\n\n"),
    ALL(DATA, 0, "x", "b", "event: a\nid: 1\ndata: x\nevent:b\n\n"),
    ALL(COMMENT, 0, "", "", ": keep-alive\n\n"),
    ALL(COMMENT, 0, "", "", ":\n\n"),
    ALL(COMMENT, 0, "", "", "retry: 100\n\n"),
    ALL(COMMENT, 0, "", "ping", "event: ping\n\n"),
    ALL(COMMENT, 0, "", "", "dataset: x\neventual: y\nDATA: z\n\n"),
    ALL(COMMENT, 0, "", "", " data: x\n\n"),
    /* done and errors */
    ALL(DONE, 0, "[DONE]", "", "data: [DONE]\n\n"),
    ALL(DONE, 0, "[DONE]", "", "data:[DONE]\r\n\r\n"),
    ALL(DATA, 0, "[DONE] ", "", "data: [DONE] \n\n"),
    FAIL("{\"error\":{\"code\":503}}"),
    FAIL("{\"error\": {\"code\": 503}}"),
    FAIL("{ \"error\" : \"x\" }"),
    DATA(0, "{\"error\":null}"),
    DATA(0, "{\"errors\":{}}"),
    DATA(0, "{\"a\":{\"error\":{}}}"),
    DATA(0, "{\"content\":\"{\\\"error\\\":1}\"}"),
    DATA(0, "{\"error\""),
    ALL(ERROR, 0, "{\"type\":\"error\"}", "error", "event: error\ndata: {\"type\":\"error\"}\n\n"),
    ALL(ERROR, 0, "{}", "response.failed", "event:response.failed\ndata: {}\n\n"),
    ALL(ERROR, 0, "", "error", "event: error\n\n"),
    ALL(DATA, 0, "{}", "errors", "event: errors\ndata: {}\n\n"),
    /* keys */
    DATA(0, "{\"finish_reason\":null}"),
    DATA(0, "{\"finish_reason\": null}"),
    DATA(FINISH, "{\"finish_reason\":\"stop\"}"),
    DATA(FINISH, "{\"finish_reason\" : \"length\"}"),
    DATA(FINISH, "{\"choices\":[{\"finish_reason\":null},{\"finish_reason\":\"stop\"}]}"),
    DATA(0, "{\"text\":\"\\\"finish_reason\\\":\\\"stop\\\"\"}"),
    DATA(0, "{\"my_finish_reason\":1,\"finish_reasons\":2}"),
    DATA(0, "{\"finish_reason\"}"),
    DATA(0, "{\"usage\":null}"),
    DATA(0, "{\"choices\":[],\"usage\":null}"),
    DATA(USAGE, "{\"usage\":{\"prompt_tokens\":1}}"),
    DATA(USAGE, "{\"choices\":[{}],\"usage\" : {}}"),
    DATA(USAGE | ONLY, "{\"choices\":[],\"usage\":{}}"),
    DATA(USAGE | ONLY, "{\"usage\": {}, \"choices\" : [ ] }"),
    DATA(USAGE | FINISH, "{\"choices\":[{\"finish_reason\":\"stop\"}],\"usage\":{}}"),
    DATA(0, "{\"text\":\"\\\"usage\\\":{\"}"),
    DATA(0, "{\"top_logprobs\":{\"\\\"usage\":{}}}"),
    DATA(0, "{\"usage_x\":{},\"xusage\":{}}"),
    ALL(DATA, USAGE | ONLY, "a", "", "data: a\ndata: \"usage\":{}\ndata: \"choices\":[]\n\n"),
    ALL(COMMENT, 0, "", "", ": \"usage\":{} \"finish_reason\":1\n\n"),
    ALL(DATA, USAGE, "{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1}}}", "message_start",
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1}}}\n\n"),
};

static bool gdp_is(const char *base, gdp_span span, const char *text)
{
    return span.len == strlen(text) && memcmp(base + span.off, text, span.len) == 0;
}

static void gdp_event_check(const gdp_event_case *c, const char *p, int64_t got, const gdp_event *e)
{
    CHECK(got == c->size);
    if (got < 0) return;
    CHECK(e->kind == c->kind && gdp_is(p, e->data, c->data) && gdp_is(p, e->name, c->name));
    CHECK(((e->finish ? FINISH : 0) | (e->usage ? USAGE : 0) | (e->usage_only ? ONLY : 0)) == c->flags);
}

void gdp_test_sse(void)
{
    gdp_event e;
    for (size_t i = 0; i < sizeof gdp_events / sizeof gdp_events[0]; i++) {
        const gdp_event_case *c = &gdp_events[i];
        gdp_case(c->bytes);
        for (int back = 0; back < 2; back++) {
            const char *p = gdp_walled(c->bytes, c->len, back);
            gdp_event_check(c, p, gdp_sse_next(p, c->len, 0, &e), &e);
        }
        for (size_t cut = 0; cut < c->len; cut++) {
            const char *p = gdp_walled(c->bytes, cut, true);
            int64_t early = gdp_sse_next(p, cut, 0, &e);
            if (early != GDP_MORE) {
                gdp_event_check(c, p, early, &e);
                continue;
            }
            p = gdp_walled(c->bytes, c->len, true);
            gdp_event_check(c, p, gdp_sse_next(p, c->len, cut, &e), &e);
        }
    }
    gdp_case(NULL);
}

void gdp_test_sse_fingerprint(void)
{
    static const char both[] = "data: {\"a\":\"\\\"system_fingerprint\\\":\\\"no\\\"\",\"system_fingerprint\" : \"v\\\"1\"}";
    gdp_span s = gdp_sse_fingerprint(STR(both));
    CHECK(gdp_is(both, s, "\"system_fingerprint\" : \"v\\\"1\""));
    CHECK(gdp_sse_fingerprint(STR("{\"system_fingerprint\":null}")).len == 0);
    CHECK(gdp_sse_fingerprint(STR("{\"system_fingerprint\":\"cut")).len == 0);
    CHECK(gdp_sse_fingerprint(STR("{\"system_fingerprint\":\"cut\\")).len == 0);
    CHECK(gdp_sse_fingerprint(STR("")).len == 0);
}

/* Fed byte by byte a long event would be quadratic without `seen`: 4 MiB x 2 MiB = 10^13 bytes. */
void gdp_test_sse_large(void)
{
    const size_t len = 4u << 20;
    char *big = malloc(len);
    gdp_event e;
    memset(big, 'x', len);
    memcpy(big, "data: ", 6);
    memcpy(big + len - 2, "\n\n", 2);
    for (size_t end = 1; end < len; end++) CHECK(gdp_sse_next(big, end, end - 1, &e) == GDP_MORE);
    CHECK(gdp_sse_next(big, len, len - 1, &e) == (int64_t)len && e.data.len == len - 8);
    free(big);
}
