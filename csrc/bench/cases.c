#include "cases.h"

#include "gdp/http1.h"
#include "gdp/load.h"
#include "gdp/openai.h"
#include "gdp/sse.h"

#define CLASSES 8
#define STATES 8

uint64_t gdp_case_calibration(const char *bytes, size_t len, uint32_t rounds) {
    uint8_t class[256], next[STATES][CLASSES];
    uint64_t sum = 1;
    for (unsigned i = 0; i < 256; i++) class[i] = (uint8_t)((i * 167u >> 3) % CLASSES);
    for (unsigned s = 0; s < STATES; s++)
        for (unsigned c = 0; c < CLASSES; c++) next[s][c] = (uint8_t)((s * 5 + c * 3 + 1) % STATES);
    for (uint32_t r = 0; r < rounds; r++) {
        unsigned a = r % STATES, b = 1, c = 2, d = 3;
        for (const char *p = bytes, *end = bytes + len; p < end; p += 4) {
            a = next[a][class[(uint8_t)p[0]]];
            b = next[b][class[(uint8_t)p[1]]];
            c = next[c][class[(uint8_t)p[2]]];
            d = next[d][class[(uint8_t)p[3]]];
        }
        sum += a + b + c + d;
    }
    return sum;
}

uint64_t gdp_case_http1_request(const char *head, size_t len, uint32_t rounds) {
    gdp_request out;
    uint64_t sum = 0;
    for (uint32_t r = 0; r < rounds; r++) {
        if (gdp_http1_request(head, len, 0, GDP_HEADERS_MAX, &out) != (int)len) return 0;
        sum += out.n_headers + out.length;
    }
    return sum;
}

uint64_t gdp_case_http1_response(const char *head, size_t len, uint32_t rounds) {
    gdp_response out;
    uint64_t sum = 0;
    for (uint32_t r = 0; r < rounds; r++) {
        if (gdp_http1_response(head, len, 0, &out) != (int)len) return 0;
        sum += out.status;
    }
    return sum;
}

uint64_t gdp_case_chunked(const char *body, size_t len, uint32_t rounds) {
    uint64_t sum = 0;
    for (uint32_t r = 0; r < rounds; r++) {
        gdp_chunked c = {0};
        for (size_t at = 0; at < len;) {
            gdp_span data;
            int64_t n = gdp_chunked_next(&c, body + at, len - at, &data);
            if (n <= 0) return 0;
            at += (size_t)n;
            sum += data.len;
        }
        if (!c.done) return 0;
    }
    return sum;
}

uint64_t gdp_case_openai_scan(const char *body, size_t len, uint32_t rounds) {
    gdp_body out;
    uint64_t sum = 0;
    for (uint32_t r = 0; r < rounds; r++) {
        if (gdp_openai_scan(body, len, &out) || !out.has_model) return 0;
        sum += out.model.len + out.messages.len;
    }
    return sum;
}

uint64_t gdp_case_openai_splice(const char *body, size_t len, uint32_t rounds) {
    gdp_body scanned;
    gdp_splice out;
    uint64_t sum = 0;
    if (gdp_openai_scan(body, len, &scanned)) return 0;
    for (uint32_t r = 0; r < rounds; r++) {
        if (gdp_openai_splice_usage(&scanned, &out) != 1) return 0;
        sum += out.text_len;
    }
    return sum;
}

uint64_t gdp_case_openai_usage(const char *json, size_t len, uint32_t rounds) {
    uint64_t sum = 0;
    for (uint32_t r = 0; r < rounds; r++) {
        gdp_usage out = {-1, -1, -1};
        if (gdp_openai_usage(json, len, &out) || out.prompt < 0) return 0;
        sum += (uint64_t)out.prompt + (uint64_t)out.output;
    }
    return sum;
}

uint64_t gdp_case_sse_next(const char *event, size_t len, uint32_t rounds) {
    gdp_event out;
    uint64_t sum = 0;
    for (uint32_t r = 0; r < rounds; r++) {
        if (gdp_sse_next(event, len, 0, &out) != (int64_t)len || out.kind != GDP_EV_DATA) return 0;
        sum += out.data.len;
    }
    return sum;
}

static void fill(gdp_worker *workers, uint32_t *candidates, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        workers[i] = (gdp_worker){.slot = i, .state = GDP_READY, .key = gdp_hash(&i, sizeof i, 1)};
        candidates[i] = i;
    }
}

static uint64_t place_and_settle(gdp_books *books, const gdp_worker *workers, const uint32_t *candidates, uint32_t n,
                                 uint32_t policy, uint32_t rounds) {
    const gdp_circuit_rule rule = {.failures_max = 5, .open_ns = 1000000000u, .max_open_ns = 60000000000u};
    uint64_t sum = 1;
    for (uint32_t r = 0; r < rounds; r++) {
        const gdp_wish wish = {.policy = (uint8_t)policy, .has_session = true, .session = gdp_hash(&r, sizeof r, 2)};
        gdp_placement at;
        if (gdp_place(books, workers, candidates, n, &wish, r, &at) != GDP_PLACED) return 0;
        gdp_settle(books, &at.booking, GDP_END_OK, 10, &rule, r);
        sum += at.chosen;
    }
    return sum;
}

uint64_t gdp_case_place_settle(uint32_t policy, uint32_t workers, uint32_t rounds) {
    if (workers > GDP_SLOTS_MAX) return 0;
    gdp_worker *table = gdp_alloc(sizeof *table * workers);
    uint32_t *candidates = gdp_alloc(sizeof *candidates * workers);
    gdp_books *books = gdp_books_new(1);
    uint64_t sum = 0;
    if (table && candidates && books) {
        fill(table, candidates, workers);
        sum = place_and_settle(books, table, candidates, workers, policy, rounds);
    }
    gdp_books_free(books);
    gdp_free(candidates);
    gdp_free(table);
    return sum;
}
