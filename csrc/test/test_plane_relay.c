/* test_plane_relay.c -- recorded streams of vLLM, delivered in every possible piece: the client gets the same payload. */
#include "scene.h"

void gdp_test_plane_relay(void);

#define BASE "../tests/fixtures/vllm_http/base/"

/* The recorded payload, without chunk framing. */
static char *recorded(const char *file, size_t *len) {
    char path[200];
    peer p = {.fd = -1};
    snprintf(path, sizeof path, BASE "%s.response.http", file);
    p.data = scene_file(path, &p.len);
    if (!p.data) fprintf(stderr, "%s is missing; run from the folder csrc\n", path);
    CHECK(p.data != NULL);
    char *payload = scene_payload(&p, len);
    CHECK(payload != NULL);
    free(p.data);
    return payload;
}

static size_t cut_out(char *text, size_t n, const char *from, size_t len) {
    char *at = memmem(text, n, from, len);
    if (!at) return n;
    memmove(at, at + len, n - (size_t)(at + len - text));
    return n - len;
}

#define PRINT STR(",\"system_fingerprint\":\"vllm-0.32.0-07a17c73\"")
#define USAGE_TEXT                                                                                                    \
    "data: {\"id\":\"x\",\"choices\":[],\"usage\":{\"prompt_tokens\":18,\"total_tokens\":24,\"completion_tokens\":6}," \
    "\"system_fingerprint\":\"vllm-0.32.0-07a17c73\"}\n\n"

/* What vLLM says to the same request with usage asked for: no fingerprints, and a usage event before [DONE]. */
static char *with_usage(const char *plain, size_t n, size_t *len) {
    char *out = malloc(n + 1000);
    CHECK(out != NULL);
    memcpy(out, plain, n);
    for (size_t before = 0; before != n;) {
        before = n;
        n = cut_out(out, n, PRINT);
    }
    char *done = memmem(out, n, STR("data: [DONE]"));
    CHECK(done != NULL);
    memmove(done + (sizeof(USAGE_TEXT) - 1), done, n - (size_t)(done - out));
    memcpy(done, USAGE_TEXT, sizeof(USAGE_TEXT) - 1);
    *len = n + sizeof(USAGE_TEXT) - 1;
    return out;
}

/* Frames a payload into chunks of `step` bytes; 0: one per event, as vLLM does. Trailers, odd sizes, extensions. */
static char *framed(const char *payload, size_t n, size_t step, size_t *len) {
    char *out = malloc(n * 24 + 200);
    size_t at = 0, k = 0;
    CHECK(out != NULL);
    while (at < n) {
        size_t take = step;
        if (!step) {
            const char *end = memmem(payload + at, n - at, "\n\n", 2);
            CHECK(end != NULL);
            take = (size_t)(end + 2 - payload) - at;
        }
        if (take > n - at) take = n - at;
        k += (size_t)sprintf(out + k, step ? "00%zX;a=b\r\n" : "%zx\r\n", take);
        memcpy(out + k, payload + at, take);
        k += take;
        at += take;
        memcpy(out + k, "\r\n", 2);
        k += 2;
    }
    const char *last = step ? "0\r\nx-t: 1\r\n\r\n" : "0\r\n\r\n";
    memcpy(out + k, last, strlen(last));
    *len = k + strlen(last);
    return out;
}

/* One answer, said in pieces that end at `cut` (0: whole, SIZE_MAX: byte by byte). */
static void deliver(scene *s, peer *c, peer *w, const char *bytes, size_t n, size_t cut) {
    scene_say(s, w, STREAM_HEAD);
    if (cut == SIZE_MAX) {
        for (size_t i = 0; i < n; i++) {
            scene_say(s, w, bytes + i, 1);
            gdp_plane_step(s->plane);
            scene_read(c);
        }
    } else {
        scene_say(s, w, bytes, cut);
        scene_turn(s);
        scene_say(s, w, bytes + cut, n - cut);
    }
}

static void check_stream(const char *file, const char *path, bool asked) {
    gdp_case(file);
    scene s = {0};
    scene_open(&s, 1);
    size_t plain_n, said_n, head_n;
    char *plain = recorded(file, &plain_n), *said = asked ? NULL : with_usage(plain, plain_n, &said_n), head[300];
    if (asked) said = memcpy(malloc(plain_n), plain, plain_n), said_n = plain_n;
    const char *body = asked ? "{\"model\":\"m\",\"stream\":true,\"n\":2,\"stream_options\":{\"include_usage\":true}}"
                             : "{\"model\":\"m\",\"stream\":true,\"n\":2}";
    head_n = (size_t)snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nhost: f\r\ncontent-length: %zu\r\n\r\n%s", path, strlen(body), body);
    peer c = scene_client(&s), w = {.fd = -1};
    static const size_t STEPS[] = {0, 1, 7, 100, 1 << 20};
    for (unsigned i = 0; i < sizeof STEPS / sizeof *STEPS; i++) {
        size_t n;
        char *bytes = framed(said, said_n, STEPS[i], &n);
        /* Every cut for the framing of vLLM; for others some, and byte by byte. */
        size_t stride = STEPS[i] ? n / 11 + 1 : 1;
        for (size_t cut = 0;; cut += stride) {
            if (cut > n) cut = SIZE_MAX;
            scene_say(&s, &c, head, head_n);
            if (w.fd < 0) w = scene_worker(&s, 0);
            scene_hear(&s, &w, "}");
            scene_hear(&s, &w, asked ? "}}" : "\"include_usage\":true");
            peer_clear(&w);
            deliver(&s, &c, &w, bytes, n, cut);
            scene_hear(&s, &c, "\r\n0\r\n\r\n");
            size_t got_n;
            char *got = scene_payload(&c, &got_n);
            CHECK(got != NULL);
            CHECK(got_n == plain_n && !memcmp(got, plain, got_n));
            free(got);
            peer_clear(&c);
            if (cut == SIZE_MAX) break;
        }
        free(bytes);
    }
    CHECK(scene_counters(&s).upstream_connects == 1);
    CHECK(scene_counters(&s).usage_missing == 0);
    free(plain);
    free(said);
    peer_end(&c);
    peer_end(&w);
    scene_close(&s);
}

void gdp_test_plane_relay(void)
{
    check_stream("chat_stream", "/v1/chat/completions", false);
    check_stream("chat_stream_n2", "/v1/chat/completions", false);
    check_stream("completion_batch_prompts_stream", "/v1/completions", false);
    check_stream("chat_stream_usage", "/v1/chat/completions", true);
    check_stream("completion_stream_usage", "/v1/completions", true);
}
