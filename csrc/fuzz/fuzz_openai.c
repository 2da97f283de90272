/* fuzz_openai.c -- bodies: spans inside, and what is spliced in is found by the next scan; answers and forms too. */
#include "fuzz.h"
#include "gdp/openai.h"

int gdp_fuzz_openai(const uint8_t *data, size_t size);

static void gdp_check_splice(const char *p, size_t size, const gdp_body *body)
{
    gdp_splice s;
    if (gdp_openai_splice_usage(body, &s) == 0) return;
    FUZZ_CHECK((size_t)s.at + s.cut <= size && s.at > 0);
    char *joined = malloc(size - s.cut + s.text_len);
    memcpy(joined, p, s.at);
    memcpy(joined + s.at, s.text, s.text_len);
    memcpy(joined + s.at + s.text_len, p + s.at + s.cut, size - s.at - s.cut);
    gdp_body again;
    FUZZ_CHECK(gdp_openai_scan(joined, size - s.cut + s.text_len, &again) == 0);
    FUZZ_CHECK(again.include_usage == GDP_TRI_TRUE && again.stream && again.n == body->n);
    FUZZ_CHECK(again.model.len == body->model.len && again.messages.len == body->messages.len);
    FUZZ_CHECK(gdp_openai_splice_usage(&again, &s) == 0);
    free(joined);
}

static void gdp_check_body(const char *p, size_t size)
{
    gdp_body b;
    int got = gdp_openai_scan(p, size, &b);
    FUZZ_CHECK(got == 0 ? b.why == GDP_JSON_OK : got == GDP_BAD && b.why != GDP_JSON_OK && b.where <= size);
    if (got) return;
    const gdp_span spans[] = {b.model, b.open,        b.options_value, b.include_value, b.cache_salt, b.previous_id,
                              b.kv_transfer, b.messages, b.prompt,    b.tools};
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) FUZZ_INSIDE(spans[i], size);
    FUZZ_CHECK(p[b.open.off] == '{' && b.max_tokens >= -1);
    gdp_check_splice(p, size, &b);
}

int gdp_fuzz_openai(const uint8_t *data, size_t size)
{
    static const char type[] = "multipart/form-data; boundary=b1";
    const char *p = (const char *)data;
    char out[64];
    bool stream;
    gdp_span model;
    gdp_usage usage = {-1, -1, -1};
    gdp_check_body(p, size);
    for (size_t room = 0; room <= sizeof out; room += 16) {
        int64_t used = gdp_openai_unescape(p, size, out, room);
        FUZZ_CHECK(used == GDP_BAD || used == GDP_MORE || (used >= 0 && (size_t)used <= room));
    }
    int got = gdp_openai_usage(p, size, &usage);
    FUZZ_CHECK(got == GDP_MORE || got == 0);
    FUZZ_CHECK(usage.prompt >= -1 && usage.output >= -1 && usage.cached >= -1);
    FUZZ_INSIDE(gdp_openai_response_id(p, size), size);
    got = gdp_multipart_scan(type, sizeof type - 1, p, size, &model, &stream);
    FUZZ_CHECK(got == 0 || got == GDP_MORE || got == GDP_BAD);
    if (got == 0) FUZZ_INSIDE(model, size);
    (void)gdp_multipart_scan(p, size, p, size, &model, &stream);
    return 0;
}
