/* relay.c -- the worker's answer on its way to the client.
 *
 * A stream's bytes go out as they came, chunk framing included, straight from the read buffer: one recv, one send, no
 * copy. That holds while every chunk carries whole events that need no change, which is how vLLM writes. Whatever else
 * comes (an event in pieces, one to drop, a worker that frames otherwise) is collected in l->emit and framed by us:
 *
 *     bytes read:   [chunk: event][chunk: event][chunk: eve      the rest of the event waits in x->tail
 *     written:      [--------- as it is -------]
 *     next read:    nt][chunk: event]
 *     written:      [chunk of ours: event event]
 *
 * So a client never sees a piece of an event, and when the worker dies, an error can follow as a clean event.
 *
 * Before the first byte goes out the answer is held: a stream until its first event that is no error, a small JSON
 * answer and any 5xx until it is complete, everything else until its first byte of body. What is held can be thrown
 * away and asked for again elsewhere. */
#include <stdio.h>
#include <string.h>

#include "inner.h"

#define USAGE_TAIL 2048   /* usage stands near the end of an answer */
#define COMMENTS_MAX 4096 /* keep-alive comments that are kept while the head is held */

/* ---- the head ----------------------------------------------------------------------------------------------------- */

static bool is_relayed(const gdp_header *h) {
    if (h->nominated || (h->id >= GDP_H_HOP_FIRST && h->id <= GDP_H_HOP_LAST)) return false;
    return h->id != GDP_H_CONTENT_LENGTH && h->id != GDP_H_TRANSFER_ENCODING && h->id != GDP_H_X_REQUEST_ID;
}

static int add_text(gdp_loop *l, buf *b, const char *text) { return buf_add(l, b, text, strlen(text)); }

/* Where it was placed, and how much of its prompt is expected to be there already. */
static int add_exposed(gdp_loop *l, const gdp_exchange *x, buf *b) {
    const gdp_worker *w = table_slot(l->table, x->leg[x->at].booking.slot);
    char line[GDP_ID_MAX + 32];
    int bad = 0;
    if (w) {
        snprintf(line, sizeof line, "x-grove-worker: %.*s\r\n", w->id_len, w->id);
        bad |= add_text(l, b, line);
    }
    if (x->predicted >= 0) {
        snprintf(line, sizeof line, "x-grove-cached-tokens: %lld\r\n", (long long)x->predicted);
        bad |= add_text(l, b, line);
    }
    return bad;
}

static int build_head(gdp_loop *l, gdp_exchange *x, const char *bytes, const gdp_response *r) {
    gdp_conn *c = x->client;
    buf *b = &x->held;
    char line[160];
    int bad = buf_reserve(l, b, 512);
    snprintf(line, sizeof line, "HTTP/1.1 %u ", r->status);
    bad |= add_text(l, b, line);
    bad |= buf_add(l, b, bytes + r->reason.off, r->reason.len);
    bad |= add_text(l, b, "\r\n");
    for (unsigned i = 0; i < r->n_headers; i++) {
        const gdp_header *h = &r->headers[i];
        if (!is_relayed(h)) continue;
        bad |= buf_add(l, b, bytes + h->name.off, h->name.len);
        bad |= buf_add(l, b, ": ", 2);
        bad |= buf_add(l, b, bytes + h->value.off, h->value.len);
        bad |= buf_add(l, b, "\r\n", 2);
    }
    if (x->out_framing == FR_LENGTH) {
        snprintf(line, sizeof line, "content-length: %llu\r\n", (unsigned long long)r->length);
        bad |= add_text(l, b, line);
    } else if (x->out_framing == FR_CHUNKED) {
        bad |= add_text(l, b, "transfer-encoding: chunked\r\n");
    }
    bad |= add_text(l, b, "x-request-id: ");
    bad |= buf_add(l, b, x->id, x->id_len);
    bad |= add_text(l, b, "\r\n");
    if (x->exposes) bad |= add_exposed(l, x, b);
    if (c->close_after || l->closing || x->out_framing == FR_CLOSE) {
        c->close_after = true;
        bad |= add_text(l, b, "connection: close\r\n");
    } else if (!x->minor) {
        bad |= add_text(l, b, "connection: keep-alive\r\n");
    }
    bad |= add_text(l, b, "\r\n");
    x->held_head = b->len;
    return bad;
}

static void choose_framing(gdp_exchange *x, const gdp_response *r) {
    if (r->status == 204 || r->status == 304)
        x->in_framing = FR_NONE;
    else if (r->chunked)
        x->in_framing = FR_CHUNKED;
    else
        x->in_framing = r->has_length ? FR_LENGTH : FR_CLOSE;
    x->in_left = r->length;
    bool own = x->sse || x->in_framing == FR_CHUNKED || x->in_framing == FR_CLOSE;
    x->out_framing = x->in_framing == FR_NONE ? FR_NONE : !own ? FR_LENGTH : x->minor ? FR_CHUNKED : FR_CLOSE;
}

static uint8_t choose_hold(const gdp_exchange *x, const gdp_response *r) {
    if (x->sse) return HOLD_EVENT;
    /* Of unknown length: held as far as it is small. */
    bool small = x->in_framing == FR_LENGTH ? r->length <= HOLD_WHOLE_MAX : r->json;
    return small || r->status >= 500 ? HOLD_WHOLE : HOLD_BYTES;
}

static bool complete(gdp_loop *l, gdp_exchange *x);
static bool out(gdp_loop *l, gdp_exchange *x, const char *raw, size_t raw_len, bool last);

bool relay_head(gdp_loop *l, gdp_exchange *x, const char *bytes, const gdp_response *r) {
    x->status = r->status;
    x->sse = r->event_stream && r->status >= 200 && r->status < 300;
    x->json = r->json;
    choose_framing(x, r);
    x->keep_upstream = r->keep_alive && x->in_framing != FR_CLOSE;
    x->hold = choose_hold(x, r);
    x->chunks = (gdp_chunked){0};
    x->last_at = l->now;
    x->at_boundary = true;
    if (build_head(l, x, bytes, r) < 0) {
        exchange_failed(l, x, GDP_END_NEUTRAL, GDP_R_OUT_OF_MEMORY);
        return false;
    }
    x->phase = PH_HOLDING; /* the deadline of WAITING goes on */
    if (x->in_framing != FR_NONE && !(x->in_framing == FR_LENGTH && !x->in_left)) return true;
    l->emit.len = 0;
    return x->sse && x->in_framing == FR_LENGTH ? events_over(l, x, NULL, 0) : complete(l, x);
}

void relay_forget(gdp_loop *l, gdp_exchange *x) {
    buf_drop(l, &x->held);
    buf_drop(l, &x->tail);
    buf_drop(l, &x->finish);
    x->status = 0;
    x->tail_seen = 0;
    x->events = x->pieces = 0;
    x->answer_bytes = 0;
    x->comment_at = x->first_at = 0;
    x->has_payload = x->sse = x->saw_error = x->saw_done = x->in_event = x->leaving = x->keep_upstream = false;
    x->usage = (gdp_usage){-1, -1, -1};
}

/* ---- out to the client ---------------------------------------------------------------------------------------------- */

/* The client has its first byte: no retry any more, so what a retry would need can go. */
static void commit(gdp_loop *l, gdp_exchange *x) {
    x->started = true;
    x->sent_status = x->status;
    x->phase = PH_RELAYING;
    if (!x->first_at && !x->sse) x->first_at = l->now;
    if (upstream_all_sent(x)) {
        buf_drop(l, &x->body);
        buf_drop(l, &x->head);
        x->sent = 0;
    }
}

/* Write [head] raw [emit, framed]; `last` also ends a chunked body that we frame. */
static bool out(gdp_loop *l, gdp_exchange *x, const char *raw, size_t raw_len, bool last) {
    gdp_conn *c = x->client;
    char size[24];
    static char crlf[] = "\r\n", end[] = "0\r\n\r\n";
    struct iovec iov[6];
    int n = 0;
    if (x->held.len) iov[n++] = (struct iovec){x->held.data, x->held.len};
    if (raw_len) iov[n++] = (struct iovec){(void *)(uintptr_t)raw, raw_len};
    bool chunked = x->out_framing == FR_CHUNKED;
    if (l->emit.len) {
        if (chunked) iov[n++] = (struct iovec){size, (size_t)snprintf(size, sizeof size, "%x\r\n", l->emit.len)};
        iov[n++] = (struct iovec){l->emit.data, l->emit.len};
        if (chunked) iov[n++] = (struct iovec){crlf, 2};
    }
    if (last && chunked) iov[n++] = (struct iovec){end, 5};
    if (!n) return true;
    int r = conn_write(l, c, iov, n);
    if (x->held.cap) buf_drop(l, &x->held);
    if (!x->started) commit(l, x);
    if (r < 0) {
        exchange_gone(l, x, GDP_R_CLIENT_GONE);
        conn_close(l, c);
        return false;
    }
    x->last_at = l->now;
    conn_throttle(l, c);
    return true;
}

/* What would go out is kept with the head instead. */
static int hold_more(gdp_loop *l, gdp_exchange *x, const char *raw, size_t raw_len) {
    char size[24];
    bool chunked = x->out_framing == FR_CHUNKED;
    bool bad = buf_add(l, &x->held, raw, raw_len) < 0;
    if (!l->emit.len) return bad ? GDP_NOMEM : 0;
    if (chunked) bad |= buf_add(l, &x->held, size, (size_t)snprintf(size, sizeof size, "%x\r\n", l->emit.len)) < 0;
    bad |= buf_add(l, &x->held, l->emit.data, l->emit.len) < 0;
    if (chunked) bad |= buf_add(l, &x->held, "\r\n", 2) < 0;
    return bad ? GDP_NOMEM : 0;
}

/* ---- ends ------------------------------------------------------------------------------------------------------------ */

static bool broke_off(gdp_loop *l, gdp_exchange *x, gdp_reason why) {
    if (!x->started) {
        exchange_failed(l, x, GDP_END_FAILED, why);
    } else {
        exchange_release(l, x, GDP_END_FAILED, false);
        exchange_end(l, x, why);
    }
    return false;
}

/* A held 5xx: another worker may do better. True when the exchange went there. */
static bool retried_elsewhere(gdp_loop *l, gdp_exchange *x, const char *text, size_t n, int status) {
    bool leaving = edit_is_leaving(text, n);
    uint32_t slot = x->leg[x->at].booking.slot;
    if (!exchange_has_other(l, x) || !exchange_may_retry(l, x)) {
        x->leaving = leaving;
        return false;
    }
    /* 503: full. 500: worker or request? exchange_finish blames the worker if another one manages. */
    if (!leaving && status == 500 && x->n_blamed < GDP_TRIED_MAX) x->blamed[x->n_blamed++] = slot;
    exchange_retry(l, x, leaving ? GDP_END_LEAVING : status == 502 || status == 504 ? GDP_END_FAILED : GDP_END_NEUTRAL);
    return true;
}

static bool retried_if_held(gdp_loop *l, gdp_exchange *x) {
    return x->status >= 500 && !x->started &&
           retried_elsewhere(l, x, x->held.data + x->held_head, x->held.len - x->held_head, x->status);
}

static bool complete(gdp_loop *l, gdp_exchange *x) {
    if (retried_if_held(l, x)) return false;
    l->emit.len = 0;
    if (!x->started && !out(l, x, NULL, 0, false)) return false;
    if (x->json && x->usage.prompt < 0 && x->tail.len) gdp_openai_usage(x->tail.data, x->tail.len, &x->usage);
    x->keep_upstream = x->keep_upstream && upstream_all_sent(x);
    exchange_finish(l, x);
    return false;
}

bool relay_eof(gdp_loop *l, gdp_exchange *x, bool reset) {
    if (x->in_framing != FR_CLOSE || reset) return broke_off(l, x, GDP_R_WORKER_BROKE_OFF);
    l->emit.len = 0;
    if (x->sse) return events_over(l, x, NULL, 0);
    if (x->out_framing != FR_CHUNKED) return complete(l, x);
    if (retried_if_held(l, x) || !out(l, x, NULL, 0, true)) return false;
    return complete(l, x);
}

/* ---- answers that are no streams -------------------------------------------------------------------------------------- */

static void note_payload(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n, bool whole) {
    if (!x->json || x->status != 200 || !n) return;
    if (x->endpoint == GDP_E_RESPONSES && x->answer_bytes <= n + HOLD_WHOLE_MAX) sticky_from(l, x, bytes, n);
    if (whole) {
        gdp_openai_usage(bytes, n, &x->usage);
        return;
    }
    if (n >= USAGE_TAIL) {
        x->tail.len = 0;
        buf_add(l, &x->tail, bytes + n - USAGE_TAIL, USAGE_TAIL); /* out of memory: usage is missing, the answer is not */
        return;
    }
    if (x->tail.len + n > USAGE_TAIL) {
        uint32_t keep = USAGE_TAIL - (uint32_t)n;
        if (keep > x->tail.len) keep = x->tail.len;
        memmove(x->tail.data, x->tail.data + x->tail.len - keep, keep);
        x->tail.len = keep;
    }
    buf_add(l, &x->tail, bytes, n);
}

/* Bytes as they go to the client: raw, or in l->emit. False: the framing is broken. */
static bool plain_bytes(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n, size_t *raw, bool *done) {
    l->emit.len = 0;
    *raw = 0;
    if (x->in_framing == FR_LENGTH) {
        size_t take = n < x->in_left ? n : (size_t)x->in_left;
        bool first = x->answer_bytes == n;
        x->in_left -= take;
        *done = !x->in_left;
        *raw = take;
        x->has_payload |= take > 0;
        note_payload(l, x, bytes, take, first && *done);
        if (take < n) x->keep_upstream = false;
        return true;
    }
    if (x->in_framing == FR_CLOSE) {
        x->has_payload = true;
        note_payload(l, x, bytes, n, false);
        if (x->out_framing == FR_CHUNKED) return buf_add(l, &l->emit, bytes, n) == 0;
        *raw = n;
        return true;
    }
    size_t at = 0;
    while (at < n && !x->chunks.done) {
        gdp_span run = {0};
        int64_t used = gdp_chunked_next(&x->chunks, bytes + at, n - at, &run);
        if (used < 0) return false;
        x->has_payload |= run.len > 0;
        note_payload(l, x, bytes + at + run.off, run.len, false);
        if (x->out_framing != FR_CHUNKED && buf_add(l, &l->emit, bytes + at + run.off, run.len) < 0) return false;
        at += (size_t)used;
    }
    *done = x->chunks.done;
    if (x->out_framing == FR_CHUNKED) *raw = at;
    if (at < n) x->keep_upstream = false;
    return true;
}

static bool relay_plain(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n) {
    size_t raw;
    bool done = false;
    if (x->in_framing == FR_NONE) {
        x->keep_upstream = false;
        return true;
    }
    if (!plain_bytes(l, x, bytes, n, &raw, &done)) return broke_off(l, x, GDP_R_WORKER_BAD_ANSWER);
    if (!x->started && (x->hold == HOLD_WHOLE || !x->has_payload)) {
        if (hold_more(l, x, bytes, raw) < 0) return broke_off(l, x, GDP_R_OUT_OF_MEMORY);
        l->emit.len = 0;
        if (done) return complete(l, x);
        if (x->held.len - x->held_head <= HOLD_WHOLE_MAX) return true;
        raw = 0;
    }
    if (!out(l, x, bytes, raw, false)) return false;
    if (done) return complete(l, x);
    exchange_deadline(l, x);
    return true;
}

/* ---- streams of events -------------------------------------------------------------------------------------------------- */

typedef enum { RUN_PURE /* whole events, none changed */, RUN_EMITTED, RUN_ERROR /* the first event is an error: *at */, RUN_NOMEM } run_result;

/* Should this event be answered instead of relayed? Only an error before anything else. */
static bool is_early_error(const gdp_exchange *x, const gdp_event *ev) {
    return ev->kind == GDP_EV_ERROR && !x->started && !x->events;
}

/* The rest of an event that went out in pieces is no event of its own. */
static event_act judge(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n, const gdp_event *ev) {
    if (!x->in_event) return edit_judge(l, x, bytes, n, ev);
    x->in_event = false;
    return EV_PASS;
}

static run_result run_fresh(gdp_loop *l, gdp_exchange *x, const char *b, size_t n, gdp_event *error) {
    size_t at = 0, from = 0;
    bool pure = true;
    while (at < n) {
        gdp_event ev;
        int64_t k = gdp_sse_next(b + at, n - at, 0, &ev);
        if (k < 0) break;
        if (is_early_error(x, &ev)) {
            *error = ev;
            error->data.off += (uint32_t)at;
            return RUN_ERROR;
        }
        event_act act = judge(l, x, b + at, (size_t)k, &ev);
        if (act != EV_PASS) {
            pure = false;
            if (buf_add(l, &l->emit, b + from, at - from) < 0 || edit_apply(l, x, b + at, (size_t)k, act) < 0) return RUN_NOMEM;
            from = at + (size_t)k;
        }
        at += (size_t)k;
    }
    if (pure && at == n) return RUN_PURE;
    if (buf_add(l, &l->emit, b + from, at - from) < 0 || buf_add(l, &x->tail, b + at, n - at) < 0) return RUN_NOMEM;
    x->tail_seen = x->tail.len;
    return RUN_EMITTED;
}

static run_result run_with_tail(gdp_loop *l, gdp_exchange *x, const char *b, size_t n, gdp_event *error) {
    if (buf_add(l, &x->tail, b, n) < 0) return RUN_NOMEM;
    size_t at = 0;
    while (at < x->tail.len) {
        gdp_event ev;
        int64_t k = gdp_sse_next(x->tail.data + at, x->tail.len - at, at ? 0 : x->tail_seen, &ev);
        if (k < 0) break;
        if (is_early_error(x, &ev)) {
            *error = ev;
            error->data.off += (uint32_t)at;
            return RUN_ERROR;
        }
        event_act act = judge(l, x, x->tail.data + at, (size_t)k, &ev);
        if (edit_apply(l, x, x->tail.data + at, (size_t)k, act) < 0) return RUN_NOMEM;
        at += (size_t)k;
    }
    if (at == x->tail.len) {
        buf_drop(l, &x->tail);
    } else if (at) {
        memmove(x->tail.data, x->tail.data + at, x->tail.len - at);
        x->tail.len -= (uint32_t)at;
    }
    x->tail_seen = x->tail.len;
    if (x->tail.len > (x->events ? TAIL_MAX : TAIL_FIRST_MAX)) {
        x->in_event = true;
        if (!x->events) x->events = 1;
        if (buf_add(l, &l->emit, x->tail.data, x->tail.len) < 0) return RUN_NOMEM;
        buf_drop(l, &x->tail);
        x->tail_seen = 0;
    }
    return RUN_EMITTED;
}

/* `"code": 503` in an error event's data; 500 when it names none. */
static int error_code(const char *data, size_t n) {
    const char *at = memmem(data, n, "\"code\":", 7), *end = data + n;
    int code = 0;
    if (!at) return 500;
    for (at += 7; at < end && *at == ' ';) at++;
    for (; at < end && *at >= '0' && *at <= '9' && code < 1000; at++) code = code * 10 + (*at - '0');
    return code >= 400 && code <= 599 ? code : 500;
}

/* The stream began with an error: 200 was a lie. Another worker, or the error as a proper HTTP answer. */
static bool early_error(gdp_loop *l, gdp_exchange *x, const char *data, size_t n) {
    int code = error_code(data, n);
    if (code >= 500 && retried_elsewhere(l, x, data, n, code)) return false;
    char *copy = gdp_alloc(n + 1);
    if (!copy) {
        exchange_end(l, x, GDP_R_OUT_OF_MEMORY);
        return false;
    }
    memcpy(copy, data, n);
    exchange_release(l, x, x->leaving ? GDP_END_LEAVING : code < 500 ? GDP_END_OK : GDP_END_NEUTRAL, false);
    relay_forget(l, x);
    x->status = (uint16_t)code;
    answer_json(l, x, code, copy, n);
    gdp_free(copy);
    return false;
}

/* The stream is complete on the worker's side. Did it say so to the client? */
bool events_over(gdp_loop *l, gdp_exchange *x, const char *raw, size_t raw_len) {
    bool knows_end = x->endpoint == GDP_E_CHAT || x->endpoint == GDP_E_COMPLETIONS || x->endpoint == GDP_E_RESPONSES ||
                     x->endpoint == GDP_E_MESSAGES;
    if (x->tail.len || (knows_end && !x->saw_done && !x->saw_error)) {
        if (x->started && (raw_len || l->emit.len) && !out(l, x, raw, raw_len, false)) return false;
        return broke_off(l, x, GDP_R_WORKER_BROKE_OFF);
    }
    if (x->finish.len) {
        if (buf_add(l, &l->emit, x->finish.data, x->finish.len) < 0) return broke_off(l, x, GDP_R_OUT_OF_MEMORY);
        buf_drop(l, &x->finish);
    }
    if (!out(l, x, raw, raw_len, true)) return false;
    return complete(l, x);
}

/* Still no event but comments: they wait with the head, the newest are dropped when they are many. */
static bool hold_comments(gdp_loop *l, gdp_exchange *x, const char *raw, size_t raw_len) {
    if (!x->comment_at && (raw_len || l->emit.len)) {
        x->comment_at = l->now;
        exchange_deadline(l, x);
    }
    if (x->held.len - x->held_head + raw_len + l->emit.len > COMMENTS_MAX) return true;
    return hold_more(l, x, raw, raw_len) < 0 ? broke_off(l, x, GDP_R_OUT_OF_MEMORY) : true;
}

/* The next run of payload: bytes[*at + run->off ..]. Sets *end to where its chunk ends in bytes, 0 when that is not
 * (known to be) in this read. False: broken framing. */
static bool next_run(gdp_exchange *x, const char *bytes, size_t n, size_t *at, gdp_span *run, size_t *end, bool *done) {
    *end = 0;
    if (x->in_framing == FR_CHUNKED) {
        int64_t used = gdp_chunked_next(&x->chunks, bytes + *at, n - *at, run);
        if (used < 0) return false;
        run->off += (uint32_t)*at;
        *at += (size_t)used;
        *done = x->chunks.done;
        if (x->chunks.boundary)
            *end = *at;
        else if (run->len && !x->chunks.left && n - *at >= 2)
            *end = *at + 2; /* CRLF: the next call checks it before anything is written */
        return true;
    }
    size_t take = n - *at;
    if (x->in_framing == FR_LENGTH) {
        if (take > x->in_left) take = (size_t)x->in_left;
        x->in_left -= take;
        *done = !x->in_left;
    }
    *run = (gdp_span){(uint32_t)*at, (uint32_t)take};
    *at += take;
    return true;
}

static bool relay_events(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n) {
    bool verbatim = x->in_framing == FR_CHUNKED && x->out_framing == FR_CHUNKED && x->at_boundary;
    bool done = false, bad = false;
    size_t at = 0, clean = 0;
    l->emit.len = 0;
    while (at < n && !done) {
        gdp_span run = {0};
        gdp_event error = {0};
        size_t end;
        if (!next_run(x, bytes, n, &at, &run, &end, &done)) {
            bad = true;
            break;
        }
        run_result r = RUN_PURE;
        bool with_tail = x->tail.len > 0;
        if (run.len) r = (with_tail ? run_with_tail : run_fresh)(l, x, bytes + run.off, run.len, &error);
        if (r == RUN_ERROR) {
            const char *base = with_tail ? x->tail.data : bytes + run.off;
            return early_error(l, x, base + error.data.off, error.data.len);
        }
        if (r == RUN_NOMEM) return broke_off(l, x, GDP_R_OUT_OF_MEMORY);
        if (r == RUN_EMITTED) verbatim = false;
        if (verbatim && end) {
            if (!done) clean = end; /* the last chunk is ours to write: something may have to go before it */
        } else if (r == RUN_PURE && run.len) {
            verbatim = false;
            if (buf_add(l, &l->emit, bytes + run.off, run.len) < 0) return broke_off(l, x, GDP_R_OUT_OF_MEMORY);
        }
    }
    x->at_boundary = x->in_framing == FR_CHUNKED && x->chunks.boundary && !x->tail.len;
    if (at < n) x->keep_upstream = false;
    if (!x->started && !x->events && !done && !bad) return hold_comments(l, x, bytes, clean);
    if (bad) {
        if (x->started && !out(l, x, bytes, clean, false)) return false;
        return broke_off(l, x, GDP_R_WORKER_BAD_ANSWER);
    }
    if (done) return events_over(l, x, bytes, clean);
    if (!out(l, x, bytes, clean, false)) return false;
    exchange_deadline(l, x);
    return true;
}

bool relay_bytes(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n) {
    if (!n) return true;
    x->answer_bytes += n;
    return x->sse ? relay_events(l, x, bytes, n) : relay_plain(l, x, bytes, n);
}

bool relay_release_head(gdp_loop *l, gdp_exchange *x) {
    l->emit.len = 0;
    if (!out(l, x, NULL, 0, false)) return false;
    exchange_deadline(l, x);
    return true;
}
