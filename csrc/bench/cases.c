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

/* ---- choose, book, begin, settle ------------------------------------------------------------------------------------ */

#define PROMPT_BLOCKS 128u /* of 16 tokens; APPROX: of 256 bytes */
#define ANSWER 10

/* Every worker holds some part of the prompt, one in eight all of it. */
struct gdp_fleet {
    gdp_books *books;
    gdp_roster *roster; /* as the table has one for each model */
    uint32_t *reach;
    uint64_t chain[PROMPT_BLOCKS];
    uint32_t n, policy;
    uint64_t round;
    gdp_late_rule late;
};

static bool furnish(gdp_fleet *f) {
    f->books = gdp_books_new(1);
    f->roster = gdp_roster_empty(f->n);
    f->reach = gdp_alloc(sizeof *f->reach * f->n);
    if (!f->books || !f->roster || !f->reach) return false;
    gdp_roster_begin(f->roster, 0);
    for (uint32_t i = 0; i < f->n; i++) {
        const uint64_t key = gdp_hash(&i, sizeof i, 1);
        gdp_roster_add(f->roster, i, i, key, 0);
        f->reach[i] = key % 8 ? (uint32_t)(key >> 32) % (PROMPT_BLOCKS / 2) : PROMPT_BLOCKS;
    }
    gdp_roster_end(f->roster);
    for (uint32_t i = 0; i < PROMPT_BLOCKS; i++) f->chain[i] = gdp_hash(&i, sizeof i, 3);
    gdp_late_rule_init(&f->late);
    return true;
}

gdp_fleet *gdp_fleet_new(uint32_t policy, uint32_t workers) {
    gdp_fleet *f = workers && workers <= GDP_SLOTS_MAX && policy < GDP_POLICIES ? gdp_alloc(sizeof *f) : NULL;
    if (!f) return NULL;
    f->n = workers;
    f->policy = policy;
    if (furnish(f)) return f;
    gdp_fleet_free(f);
    return NULL;
}

void gdp_fleet_free(gdp_fleet *f) {
    if (!f) return;
    gdp_books_free(f->books);
    gdp_free(f->reach);
    gdp_roster_free(f->roster);
    gdp_free(f);
}

static gdp_wish wish_of(const gdp_fleet *f) {
    gdp_wish wish = {.policy = (uint8_t)f->policy, .has_session = true, .session = gdp_hash(&f->round, sizeof f->round, 2)};
    if (f->policy != GDP_KV && f->policy != GDP_APPROX) return wish;
    wish.stream = true;
    wish.late = &f->late;
    wish.text = f->policy == GDP_APPROX;
    wish.bytes = PROMPT_BLOCKS * GDP_TEXT_BLOCK;
    wish.ask = (gdp_ask){.prompt_tokens = PROMPT_BLOCKS * 16 + 5, .block_tokens = 16, .output_tokens = 256,
                         .reach = {f->reach}, .chain = f->chain, .blocks = PROMPT_BLOCKS, .salt = wish.session};
    return wish;
}

uint64_t gdp_case_place_settle(gdp_fleet *f, uint32_t rounds) {
    const gdp_circuit_rule rule = {.failures_max = 5, .open_ns = 1000000000u, .max_open_ns = 60000000000u};
    uint64_t sum = 1;
    for (uint32_t r = 0; r < rounds; r++) {
        const uint64_t now_ns = f->round++ * 1000000;
        const gdp_wish wish = wish_of(f);
        gdp_placement at;
        if (gdp_place_among(f->books, f->roster, &wish, now_ns, &at) != GDP_PLACED) return 0;
        if (wish.stream) gdp_begin(f->books, &at.booking, now_ns + 200000);
        gdp_settle(f->books, &at.booking, GDP_END_OK, ANSWER, &rule, now_ns + 900000);
        sum += at.chosen;
    }
    return sum;
}
