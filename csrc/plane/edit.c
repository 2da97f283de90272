/* edit.c -- what is noted of each event of a stream, and what is changed on its way to the client.
 *
 * When the client did not ask for usage, we asked in its place (splice of include_usage). vLLM then differs in two
 * places from the stream that the client expects, and both are put right:
 *
 *   asked                                                unasked
 *   ..."finish_reason":"stop",...}]}                     ..."finish_reason":"stop",...}],"system_fingerprint":"F"}
 *   {..."choices":[],"usage":{..},"system_fingerprint":"F"}     (no such event)
 *   [DONE]                                               [DONE]
 *
 * So a finish event is kept until the usage event tells F; they come in the same engine step. With several choices the
 * others go on streaming meanwhile: then F is taken from the worker's last stream, and only its very first stream waits. */
#include <string.h>

#include "inner.h"

#define KEEP_MAX (64u * 1024)

static bool contains(const char *bytes, size_t n, const char *what) { return memmem(bytes, n, what, strlen(what)) != NULL; }

/* The two messages with which a vLLM that shuts down or has lost its engine answers. */
bool edit_is_leaving(const char *bytes, size_t n) {
    return contains(bytes, n, "cannot schedule new futures after shutdown") || contains(bytes, n, "EngineCore encountered an issue");
}

static bool ends_in(const char *bytes, size_t n, const char *what) {
    const size_t size = strlen(what);
    return n >= size && !memcmp(bytes + n - size, what, size);
}

/* Whether an event brings output, as far as that is cheap to see: not the end, the usage, who speaks (the first of a chat),
 * nor what the other endpoints tell around their deltas. */
static bool brings_output(const gdp_exchange *x, const char *bytes, size_t n, const gdp_event *ev) {
    if (ev->kind != GDP_EV_DATA || ev->usage_only) return false;
    if (!ev->name.len) return x->pieces || !contains(bytes, n, "\"role\":");
    const char *name = bytes + ev->name.off;
    return ends_in(name, ev->name.len, "delta") && !ends_in(name, ev->name.len, "message_delta");
}

static void note_time(gdp_loop *l, gdp_exchange *x, bool output) {
    if (!x->first_at) {
        x->first_at = l->now;
        gdp_account_observe(x->account, GDP_A_TTFT, l->now - x->arrival, l->now);
        place_begun(l, x);
    }
    x->last_at = l->now;
    x->events++;
    COUNT(l, events, 1);
    if (!output) return;
    if (x->pieces++) gdp_account_observe(x->account, GDP_A_GAP, l->now - x->piece_at, l->now);
    x->piece_at = l->now;
    gdp_account_add(x->account, GDP_A_OUTPUT, 1, l->now);
}

static bool is_last_name(const char *name, size_t n) {
    static const char *const LAST[] = {"message_stop", "response.completed", "response.incomplete", "response.failed",
                                       "response.cancelled"};
    for (size_t i = 0; i < sizeof LAST / sizeof *LAST; i++)
        if (strlen(LAST[i]) == n && !memcmp(name, LAST[i], n)) return true;
    return false;
}

/* The worker's fingerprint as it was last seen, e.g. `"system_fingerprint":"vllm-0.32.0-07a17c73"`. */
static size_t known_fingerprint(gdp_loop *l, uint32_t slot, char out[GDP_FINGERPRINT]) {
    pthread_mutex_lock(&l->plane->budget_lock);
    memcpy(out, l->plane->fingerprints[slot], GDP_FINGERPRINT);
    pthread_mutex_unlock(&l->plane->budget_lock);
    return strnlen(out, GDP_FINGERPRINT);
}

static void learn_fingerprint(gdp_loop *l, uint32_t slot, const char *text, size_t n) {
    char *known = l->plane->fingerprints[slot];
    if (n >= GDP_FINGERPRINT) return;
    pthread_mutex_lock(&l->plane->budget_lock);
    memset(known, 0, GDP_FINGERPRINT);
    memcpy(known, text, n);
    pthread_mutex_unlock(&l->plane->budget_lock);
}

event_act edit_judge(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n, const gdp_event *ev) {
    if (ev->kind == GDP_EV_COMMENT) return x->finish.len ? EV_KEEP : EV_PASS;
    note_time(l, x, brings_output(x, bytes, n, ev));
    if (ev->kind == GDP_EV_ERROR) {
        x->saw_error = true;
        x->leaving |= edit_is_leaving(bytes, n);
        return x->finish.len ? EV_FLUSH : EV_PASS;
    }
    if (ev->kind == GDP_EV_DONE) {
        x->saw_done = true;
        return x->finish.len ? EV_FLUSH : EV_PASS;
    }
    if (ev->name.len) {
        x->saw_done |= is_last_name(bytes + ev->name.off, ev->name.len);
        if (x->events == 1 && x->endpoint == GDP_E_RESPONSES) sticky_from(l, x, bytes, n);
    }
    if (!x->inject) {
        if (ev->usage) gdp_openai_usage(bytes, n, &x->usage);
        return EV_PASS;
    }
    if (ev->usage_only) return EV_USAGE;
    if (ev->finish && !gdp_sse_fingerprint(bytes, n).len) {
        char known[GDP_FINGERPRINT];
        if (x->many && !x->finish.len && known_fingerprint(l, x->leg[x->at].booking.slot, known)) return EV_SPLICE;
        return EV_KEEP;
    }
    return x->finish.len ? EV_KEEP : EV_PASS;
}

/* ---- changes: everything goes to l->emit ------------------------------------------------------------------------- */

static int emit(gdp_loop *l, const char *bytes, size_t n) { return buf_add(l, &l->emit, bytes, n); }

/* An event with the fingerprint put before its last brace. */
static int emit_spliced(gdp_loop *l, const char *event, size_t n, const char *fp, size_t fp_len) {
    const char *brace = memrchr(event, '}', n);
    if (!brace || !fp_len) return emit(l, event, n);
    size_t before = (size_t)(brace - event);
    if (emit(l, event, before) < 0 || emit(l, ",", 1) < 0 || emit(l, fp, fp_len) < 0) return GDP_NOMEM;
    return emit(l, brace, n - before);
}

/* The kept events go out, each finish among them with the fingerprint. */
static int emit_kept(gdp_loop *l, gdp_exchange *x, const char *fp, size_t fp_len) {
    gdp_event ev;
    size_t at = 0;
    int r = 0;
    while (r >= 0 && at < x->finish.len) {
        const char *event = x->finish.data + at;
        int64_t n = gdp_sse_next(event, x->finish.len - at, 0, &ev);
        if (n <= 0) n = (int64_t)(x->finish.len - at);
        bool wants = ev.finish && !gdp_sse_fingerprint(event, (size_t)n).len;
        r = wants ? emit_spliced(l, event, (size_t)n, fp, fp_len) : emit(l, event, (size_t)n);
        at += (size_t)n;
    }
    buf_drop(l, &x->finish);
    return r;
}

static int apply_usage(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n) {
    gdp_openai_usage(bytes, n, &x->usage);
    gdp_span fp = gdp_sse_fingerprint(bytes, n);
    if (fp.len) learn_fingerprint(l, x->leg[x->at].booking.slot, bytes + fp.off, fp.len);
    return emit_kept(l, x, bytes + fp.off, fp.len);
}

int edit_apply(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n, event_act act) {
    char fp[GDP_FINGERPRINT];
    switch (act) {
    case EV_USAGE: return apply_usage(l, x, bytes, n);
    case EV_SPLICE: return emit_spliced(l, bytes, n, fp, known_fingerprint(l, x->leg[x->at].booking.slot, fp));
    case EV_KEEP:
        if (x->finish.len + n <= KEEP_MAX) return buf_add(l, &x->finish, bytes, n);
        x->inject = false; /* no usage event in sight: let it all go as it is */ /* fall through */
    case EV_FLUSH:
        if (emit_kept(l, x, "", 0) < 0) return GDP_NOMEM; /* fall through */
    default: return emit(l, bytes, n);
    }
}
