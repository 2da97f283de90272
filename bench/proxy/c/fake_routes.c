#define _GNU_SOURCE
#include "fake.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What follows `"key":` in a JSON text, or NULL. Good for the bodies that bodies.py writes, and no more. */
static const char *value_of(const char *body, size_t n, const char *key) {
    const char *at = memmem(body, n, key, strlen(key));
    if (!at) return NULL;
    const char *end = body + n;
    for (at += strlen(key); at < end && (*at == ' ' || *at == ':');) at++;
    return at < end ? at : NULL;
}

static bool is_true(const char *body, size_t n, const char *key) {
    const char *value = value_of(body, n, key);
    return value && body + n - value >= 4 && !memcmp(value, "true", 4);
}

static unsigned number(const char *body, size_t n, const char *key, unsigned otherwise) {
    const char *value = value_of(body, n, key);
    if (!value || !isdigit((unsigned char)*value)) return otherwise;
    unsigned sum = 0;
    for (; value < body + n && isdigit((unsigned char)*value); value++) sum = sum * 10 + (unsigned)(*value - '0');
    return sum;
}

static void complete(gdp_fake *f, gdp_fake_conn *c, const char *body, size_t n, const gdp_dialect *dialect) {
    f->seen.requests[c->port]++;
    unsigned tokens = number(body, n, "\"max_tokens\"", 16);
    if (is_true(body, n, "\"stream\"")) {
        c->dialect = dialect;
        c->left = c->total = tokens ? tokens : 1;
        c->usage = is_true(body, n, "\"include_usage\"");
        gdp_fake_start_stream(f, c);
        return;
    }
    char out[GDP_REPLY_MAX];
    gdp_fake_send(f, c, out, gdp_vllm_answer(&f->text, dialect->chat, tokens, out));
}

static bool path_is(const gdp_head *h, const char *path) {
    size_t n = strlen(path);
    return h->path_len >= n && !memcmp(h->path, path, n) && (h->path_len == n || h->path[n] == '?');
}

static void write_models(const gdp_fake *f, char *out, size_t room) {
    snprintf(out, room,
             "{\"object\":\"list\",\"data\":[{\"id\":\"%s\",\"object\":\"model\",\"created\":1795224942,"
             "\"owned_by\":\"vllm\",\"root\":\"%s\",\"parent\":null,\"max_model_len\":131072,\"permission\":[]}]}",
             f->text.model, f->root);
}

/* Room enough that no prompt ever waits for it: what is measured is the proxy. */
static void write_metrics(const gdp_fake *f, char *out, size_t room) {
    snprintf(out, room,
             "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{engine=\"0\",model_name=\"%s\"} 0.0\n"
             "# TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{engine=\"0\",model_name=\"%s\"} 0.0\n"
             "# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc{engine=\"0\",model_name=\"%s\"} 0.0\n"
             "# TYPE vllm:cache_config_info gauge\nvllm:cache_config_info{block_size=\"16\",engine=\"0\","
             "num_gpu_blocks=\"1000000\"} 1.0\n",
             f->text.model, f->text.model, f->text.model);
}

static void tokenize(gdp_fake *f, gdp_fake_conn *c, const char *body, size_t n) {
    char out[GDP_REPLY_MAX];
    for (size_t i = 0; i < f->n_asked; i++) {
        const gdp_fake_asked *a = &f->asked[i];
        if (a->n != n || memcmp(a->body, body, n)) continue;
        gdp_fake_send(f, c, out, gdp_vllm_head(200, "application/json", a->n_answer, out));
        return gdp_fake_send(f, c, a->answer, a->n_answer);
    }
    gdp_fake_send(f, c, out, gdp_vllm_reply(404, "application/json", "{\"detail\":\"Not Found\"}", out));
}

static void write_seen(const gdp_fake *f, char *out, size_t room) {
    int n = snprintf(out, room,
                     "{\"accepted\":%llu,\"aborted\":%llu,\"late\":%llu,\"unknown\":%llu,\"unknown_path\":\"%s\",\"requests\":[",
                     (unsigned long long)f->seen.accepted, (unsigned long long)f->seen.aborted,
                     (unsigned long long)f->seen.late, (unsigned long long)f->seen.unknown, f->seen.unknown_path);
    for (unsigned p = 0; p < f->ports; p++)
        n += snprintf(out + n, room - (size_t)n, "%s%llu", p ? "," : "", (unsigned long long)f->seen.requests[p]);
    snprintf(out + n, room - (size_t)n, "]}");
}

/* /_bench/period?us=20000 sets the tick. */
static void set_period(gdp_fake *f, const gdp_head *h) {
    const char *us = memmem(h->path, h->path_len, "us=", 3);
    uint64_t ns = us ? strtoull(us + 3, NULL, 10) * 1000 : 0;
    if (ns) f->period_ns = ns;
}

static void note_unknown(gdp_fake *f, const gdp_head *h) {
    f->seen.unknown++;
    size_t n = 0;
    for (; n < h->path_len && n + 1 < sizeof f->seen.unknown_path; n++) {
        char c = h->path[n];
        f->seen.unknown_path[n] = c == '"' || c == '\\' || c < ' ' ? '?' : c;
    }
    f->seen.unknown_path[n] = 0;
}

void gdp_fake_answer(gdp_fake *f, gdp_fake_conn *c, const gdp_head *h, const char *body, size_t n) {
    if (path_is(h, "/v1/chat/completions")) return complete(f, c, body, n, &f->text.chat);
    if (path_is(h, "/v1/completions")) return complete(f, c, body, n, &f->text.completion);
    if (path_is(h, "/tokenize")) return tokenize(f, c, body, n);
    char json[GDP_REPLY_MAX / 2] = "", out[GDP_REPLY_MAX];
    int status = 200;
    if (path_is(h, "/v1/models")) write_models(f, json, sizeof json);
    else if (path_is(h, "/version")) snprintf(json, sizeof json, "{\"version\":\"0.32.0\"}");
    else if (path_is(h, "/load")) snprintf(json, sizeof json, "{\"server_load\":0}");
    else if (path_is(h, "/metrics")) write_metrics(f, json, sizeof json);
    else if (path_is(h, "/_bench/seen")) write_seen(f, json, sizeof json);
    else if (path_is(h, "/_bench/period")) set_period(f, h);
    else if (!path_is(h, "/health") && !path_is(h, "/ping")) {
        note_unknown(f, h);
        status = 404;
        snprintf(json, sizeof json, "{\"detail\":\"Not Found\"}");
    }
    gdp_fake_send(f, c, out, gdp_vllm_reply(status, "application/json", json, out));
}
