/* exchange.c -- one request from its head to its settling. Read it from top to bottom: that is a request's way.
 *
 *   1 head      exchange_head     route, limits; forward.c builds the head for the worker
 *   2 read      exchange_ready    the body is here: what does it ask for
 *   3 admit     check_model       the retry budget gets its share
 *   4 tokens    tokens_park       parked until token ids are known, where somebody has a tokenizer for the model
 *   5 place     place.c           choose and book (from the queue: again)
 *   6 send      upstream_open     -> relay.c for 7 (first event) and 8 (relay)
 *   9 settle    exchange_settle   once, whatever happened
 *
 * Failures come back here too: exchange_failed() decides between another worker and an error; exchange_end() knows how
 * to say it, which depends on what the client has seen so far. */
#include <stdio.h>
#include <string.h>

#include "inner.h"

/* ---- 1 head ----------------------------------------------------------------------------------------------------- */

gdp_exchange *exchange_new(gdp_loop *l, gdp_conn *c) {
    gdp_exchange *x = gdp_alloc(sizeof *x);
    if (!x) return NULL;
    x->client = c;
    x->endpoint = GDP_E_NONE;
    x->n_legs = 1;
    x->arrival = x->phase_at = l->now;
    x->usage = (gdp_usage){-1, -1, -1};
    x->predicted = x->max_tokens = -1;
    x->ticket = GDP_NO_TICKET;
    c->x = x;
    COUNT(l, exchanges, 1);
    return x;
}

static void note_id(gdp_loop *l, gdp_exchange *x, const char *bytes, const gdp_request *r) {
    const gdp_header *h = header_of(r, GDP_H_X_REQUEST_ID);
    if (h && h->value.len && h->value.len <= sizeof x->id) {
        memcpy(x->id, bytes + h->value.off, h->value.len);
        x->id_len = (uint8_t)h->value.len;
    } else {
        x->id_len = (uint8_t)mint_id(l, x->id);
    }
}

static bool same_name(const char *a, size_t n, const char *lower) {
    for (size_t i = 0; i < n; i++) {
        char c = a[i] >= 'A' && a[i] <= 'Z' ? (char)(a[i] + 32) : a[i];
        if (c != lower[i]) return false;
    }
    return lower[n] == 0;
}

static const gdp_header *named(const gdp_request *r, const char *bytes, const char *name) {
    size_t len = strlen(name);
    for (unsigned i = 0; len && i < r->n_headers; i++) {
        const gdp_header *h = &r->headers[i];
        if (h->name.len == len && h->value.len && same_name(bytes + h->name.off, len, name)) return h;
    }
    return NULL;
}

static void note_class(gdp_loop *l, gdp_exchange *x, const char *bytes, const gdp_request *r) {
    const gdp_settings *s = l->set;
    const gdp_header *h = named(r, bytes, s->class_header);
    uint64_t name = h ? gdp_hash(bytes + h->value.off, h->value.len, 0) : 0;
    x->ttft_s = s->late.ttft_slo_s;
    x->itl_s = s->late.itl_slo_s;
    for (uint32_t i = 0; h && i < s->n_classes; i++) {
        if (s->classes[i].name != name) continue;
        x->ttft_s = s->classes[i].ttft_s;
        x->itl_s = s->classes[i].itl_s;
        x->class_id = s->classes[i].id;
    }
}

/* The headers that say how to choose a worker. A policy that does not exist is no policy. */
static void note_wishes(gdp_loop *l, gdp_exchange *x, const char *bytes, const gdp_request *r) {
    const gdp_settings *s = l->set;
    const gdp_header *h = named(r, bytes, s->policy_header);
    x->policy = s->policy;
    for (uint8_t i = 0; h && i < GDP_POLICIES; i++)
        if (strlen(gdp_policy_name(i)) == h->value.len && same_name(bytes + h->value.off, h->value.len, gdp_policy_name(i)))
            x->policy = i;
    if (x->policy == GDP_SESSION && (h = named(r, bytes, s->session_header))) {
        x->session = gdp_hash(bytes + h->value.off, h->value.len, 0);
        x->has_session = true;
    }
    note_class(l, x, bytes, r);
    x->exposes = s->expose_headers || named(r, bytes, "x-grove-expose");
}

/* What becomes of this request, from its head alone. */
static gdp_reason judge(gdp_exchange *x, const route *way) {
    if (!way->methods) return GDP_R_NOT_FOUND;
    if (x->method == GDP_OPTIONS) {
        x->local = true;
        return GDP_R_OK;
    }
    uint8_t asked = x->method == GDP_POST ? M_POST
                    : x->method == GDP_GET || (x->method == GDP_HEAD && way->local) ? M_GET : 0;
    if (!(way->methods & asked)) return GDP_R_METHOD_NOT_ALLOWED;
    x->local = way->local;
    return GDP_R_OK;
}

void exchange_head(gdp_loop *l, gdp_exchange *x, const char *bytes, const gdp_request *r) {
    gdp_conn *c = x->client;
    const char *path = bytes + r->path.off;
    route way = route_of(path, r->path.len);
    c->close_after = !r->keep_alive || l->closing;
    x->minor = r->minor;
    x->method = r->method_id;
    x->endpoint = way.endpoint;
    x->methods = way.methods;
    x->bodiless = way.bodiless;
    x->chunked_in = r->chunked;
    x->body_left = r->length;
    x->request_bytes = 0;
    note_id(l, x, bytes, r);
    if (way.id.len) x->sticky_id = gdp_hash(path + way.id.off, way.id.len, 0);
    bool has_body = r->chunked || r->length;
    x->body_read = !has_body;
    x->verdict = (uint8_t)judge(x, &way);
    x->discard = x->local || x->verdict != GDP_R_OK;
    if (r->length > l->set->body_bytes) {
        answer_error(l, x, GDP_R_BODY_TOO_LARGE, NULL);
        return;
    }
    if (x->discard && r->expect_continue && has_body) { /* the client waits for a word before it sends */
        x->client->close_after = x->client->linger = true;
        exchange_ready(l, x);
        return;
    }
    if (x->local) {
        if (buf_add(l, &x->head, path, r->path.len) < 0) {
            answer_error(l, x, GDP_R_OUT_OF_MEMORY, NULL);
            return;
        }
        x->head_len = x->head.len;
    } else if (!x->discard) {
        note_wishes(l, x, bytes, r);
        if (forward_head(l, x, bytes, r) < 0) {
            answer_error(l, x, GDP_R_OUT_OF_MEMORY, NULL);
            return;
        }
    }
    if (!has_body) {
        exchange_ready(l, x);
        return;
    }
    x->expects_continue = r->expect_continue;
    exchange_phase(l, x, PH_BODY);
}

/* ---- 2 read ----------------------------------------------------------------------------------------------------- */

static const char *json_trouble(gdp_json_why why) {
    switch (why) {
    case GDP_JSON_EMPTY: return "It is empty.";
    case GDP_JSON_NOT_OBJECT: return "It is not an object.";
    case GDP_JSON_TOO_DEEP: return "It is nested too deeply.";
    case GDP_JSON_BAD_MODEL: return "`model` is not a string.";
    case GDP_JSON_BAD_STREAM: return "`stream` is not a boolean.";
    default: return NULL;
    }
}

/* Escaped names are rare: the plain form is kept beside the body, where retries find it. */
static int keep_unescaped(gdp_loop *l, gdp_exchange *x, gdp_span raw) {
    if (buf_reserve(l, &x->name, raw.len + 1) < 0) return GDP_NOMEM;
    int64_t n = gdp_openai_unescape(x->body.data + raw.off, raw.len, x->name.data, raw.len);
    if (n < 0) return GDP_BAD;
    x->model = (gdp_span){0, (uint32_t)n};
    return 0;
}

static gdp_reason read_json(gdp_loop *l, gdp_exchange *x, const char **detail, char room[80]) {
    gdp_body b;
    if (gdp_openai_scan(x->body.data, x->body.len, &b) < 0) {
        *detail = json_trouble((gdp_json_why)b.why);
        if (!*detail) {
            snprintf(room, 80, "The fault is at byte %u.", b.where);
            *detail = room;
        }
        return GDP_R_BAD_JSON;
    }
    x->stream = b.stream;
    x->many = b.many;
    x->max_tokens = b.max_tokens;
    x->open_at = b.open.off;
    x->prompt = b.messages.len ? b.messages : b.prompt;
    x->tools = b.tools;
    x->salt = b.cache_salt;
    if (b.has_model && b.model_escaped) {
        int r = keep_unescaped(l, x, b.model);
        if (r < 0) return r == GDP_NOMEM ? GDP_R_OUT_OF_MEMORY : GDP_R_BAD_JSON;
    } else if (b.has_model) {
        x->model = b.model;
    }
    if (b.previous_id.len) x->sticky_id = gdp_hash(x->body.data + b.previous_id.off, b.previous_id.len, 0);
    bool streams_usage = x->endpoint == GDP_E_CHAT || x->endpoint == GDP_E_COMPLETIONS;
    if (l->set->inject_usage && streams_usage && gdp_openai_splice_usage(&b, &x->splice) == 1) x->inject = true;
    return GDP_R_OK;
}

static bool is_multipart(const gdp_exchange *x) {
    static const char FORM[] = "multipart/form-data";
    if (x->content_type.len < sizeof FORM - 1) return false;
    const char *type = x->head.data + x->content_type.off;
    for (size_t i = 0; i < sizeof FORM - 1; i++)
        if ((type[i] | 0x20) != FORM[i] && type[i] != FORM[i]) return false;
    return true;
}

static gdp_reason read_form(gdp_exchange *x, const char **detail) {
    int r = gdp_multipart_scan(x->head.data + x->content_type.off, x->content_type.len, x->body.data, x->body.len,
                               &x->model, &x->stream);
    if (r == GDP_BAD) {
        *detail = "The multipart form is malformed.";
        return GDP_R_BAD_REQUEST;
    }
    return GDP_R_OK;
}

static const char *model_text(const gdp_exchange *x) {
    return (x->name.data ? x->name.data : x->body.data) + x->model.off;
}

const model *exchange_model(const gdp_loop *l, const gdp_exchange *x) {
    if (x->model.len) return table_model(l->table, model_text(x), x->model.len);
    return l->table->n_models == 1 ? &l->table->models[0] : NULL;
}

gdp_reason exchange_check_model(gdp_loop *l, gdp_exchange *x, const char **detail, char room[80]) {
    const model *m = exchange_model(l, x);
    if (m) {
        x->model_len = (uint8_t)(m->name_len < sizeof x->model_name ? m->name_len : sizeof x->model_name);
        memcpy(x->model_name, m->name, x->model_len);
        return GDP_R_OK;
    }
    if (!l->table->n_models) return GDP_R_OK; /* nobody has answered yet which models there are: wait for a worker */
    if (!x->model.len && x->bodiless) return place_sticky(l, x->sticky_id) ? GDP_R_OK : GDP_R_NOT_FOUND;
    if (!x->model.len) return GDP_R_MODEL_REQUIRED;
    const char *name = model_text(x);
    bool printable = x->model.len <= 60;
    for (uint32_t i = 0; i < x->model.len && printable; i++)
        printable = name[i] >= 0x20 && name[i] < 0x7f && name[i] != '"' && name[i] != '\\';
    if (printable) {
        snprintf(room, 80, "Asked for: `%.*s`.", (int)x->model.len, name);
        *detail = room;
    }
    return GDP_R_MODEL_NOT_FOUND;
}

void exchange_ready(gdp_loop *l, gdp_exchange *x) {
    const char *detail = NULL;
    char room[80];
    x->body_read = x->chunked_in ? x->chunks.done : !x->body_left;
    x->expects_continue = false;
    x->chunks = (gdp_chunked){0};
    if (x->verdict != GDP_R_OK) {
        answer_error(l, x, (gdp_reason)x->verdict, NULL);
        return;
    }
    if (x->local) {
        answer_local(l, x);
        return;
    }
    x->multipart = is_multipart(x);
    gdp_reason why = x->bodiless && !x->body.len ? GDP_R_OK
                     : x->multipart             ? read_form(x, &detail)
                                                : read_json(l, x, &detail, room);
    if (why == GDP_R_OK) why = exchange_check_model(l, x, &detail, room);
    if (why == GDP_R_OK && l->cutting) why = GDP_R_SHUTTING_DOWN;
    if (why != GDP_R_OK) {
        answer_error(l, x, why, detail);
        return;
    }
    budget_deposit(l);
    ledger_arrive(l, x);
    if (!tokens_park(l, x)) exchange_place(l, x);
}

/* ---- the retry budget: a bucket that requests fill and retries empty ---------------------------------------------- */

static double budget_now(gdp_loop *l) {
    gdp_plane *p = l->plane;
    double dt = l->now > p->budget_at ? (double)(l->now - p->budget_at) * 1e-9 : 0.0;
    double b = p->budget + dt * l->set->budget_per_s;
    p->budget_at = l->now;
    return b < l->set->budget_burst ? b : l->set->budget_burst;
}

void budget_deposit(gdp_loop *l) {
    gdp_plane *p = l->plane;
    pthread_mutex_lock(&p->budget_lock);
    if (!p->budget_open) { /* starts full: the first failure must not meet an empty bucket */
        p->budget_open = true;
        p->budget = l->set->budget_burst;
    }
    double b = budget_now(l) + l->set->budget_ratio;
    p->budget = b < l->set->budget_burst ? b : l->set->budget_burst;
    pthread_mutex_unlock(&p->budget_lock);
}

static bool budget_take(gdp_loop *l) {
    gdp_plane *p = l->plane;
    pthread_mutex_lock(&p->budget_lock);
    p->budget = budget_now(l);
    bool yes = p->budget >= 1.0;
    if (yes) p->budget -= 1.0;
    pthread_mutex_unlock(&p->budget_lock);
    return yes;
}

/* ---- time --------------------------------------------------------------------------------------------------------- */

void exchange_phase(gdp_loop *l, gdp_exchange *x, phase p) {
    x->phase = (uint8_t)p;
    x->phase_at = l->now;
    if (p == PH_WAITING) x->wait_at = l->now;
    exchange_deadline(l, x);
}

static uint64_t answer_due(const gdp_loop *l, const gdp_exchange *x) {
    return x->wait_at + (x->stream ? l->set->first_token_ns : l->set->answer_ns);
}

static uint64_t phase_due(const gdp_loop *l, const gdp_exchange *x) {
    const gdp_settings *s = l->set;
    uint64_t due;
    switch ((phase)x->phase) {
    case PH_BODY: return x->phase_at + s->body_ns;
    case PH_TOKENS:
    case PH_QUEUED: return x->park_until;
    case PH_SENDING: return x->phase_at + s->connect_ns;
    case PH_WAITING: return answer_due(l, x);
    case PH_HOLDING:
        due = answer_due(l, x);
        return x->comment_at && x->comment_at + s->hold_max_ns < due ? x->comment_at + s->hold_max_ns : due;
    default:
        due = (x->client->paused_upstream ? x->client->since : x->last_at) + s->between_tokens_ns;
        return !x->events && x->stream && x->sse && answer_due(l, x) > due ? answer_due(l, x) : due;
    }
}

static uint64_t exchange_due(const gdp_loop *l, const gdp_exchange *x) {
    uint64_t due = phase_due(l, x), total = l->set->total_ns ? x->arrival + l->set->total_ns : UINT64_MAX;
    return total < due ? total : due;
}

void exchange_deadline(gdp_loop *l, gdp_exchange *x) { timer_set(l, &x->client->timer, exchange_due(l, x)); }

void exchange_timeout(gdp_loop *l, gdp_exchange *x) {
    const gdp_settings *s = l->set;
    if (l->now < exchange_due(l, x)) { /* a table with longer deadlines was published meanwhile */
        exchange_deadline(l, x);
        return;
    }
    if (s->total_ns && l->now >= x->arrival + s->total_ns) {
        exchange_end(l, x, GDP_R_TOTAL_TIMEOUT);
        return;
    }
    switch ((phase)x->phase) {
    case PH_BODY: answer_error(l, x, GDP_R_BODY_TIMEOUT, NULL); break;
    case PH_TOKENS: tokens_late(l, x); break;
    case PH_QUEUED: {
        gdp_reason why = !x->no_worker ? GDP_R_QUEUE_TIMEOUT
                         : x->last_failure ? (gdp_reason)x->last_failure : GDP_R_NO_READY_WORKER;
        exchange_end(l, x, why);
        break;
    }
    case PH_SENDING: exchange_failed(l, x, GDP_END_FAILED, GDP_R_CONNECT_TIMEOUT); break;
    case PH_HOLDING:
        if (l->now < answer_due(l, x)) {
            relay_release_head(l, x);
            break;
        } /* fall through */
    case PH_WAITING:
        exchange_failed(l, x, GDP_END_FAILED, x->stream ? GDP_R_FIRST_TOKEN_TIMEOUT : GDP_R_ANSWER_TIMEOUT);
        break;
    default:
        if (x->client->paused_upstream) {
            gdp_conn *c = x->client;
            exchange_gone(l, x, GDP_R_CLIENT_STALLED);
            conn_abort(l, c);
        } else {
            exchange_release(l, x, GDP_END_FAILED, false);
            exchange_end(l, x, GDP_R_TOKEN_GAP_TIMEOUT);
        }
    }
}

/* ---- failure ------------------------------------------------------------------------------------------------------- */

void exchange_release(gdp_loop *l, gdp_exchange *x, gdp_end end, bool keep_connection) {
    leg *g = &x->leg[x->at];
    if (g->up) {
        gdp_upstream *u = g->up;
        g->up = NULL;
        u->x = NULL;
        upstream_release(l, u, keep_connection);
    }
    if (!g->booked) return;
    g->booked = false;
    gdp_settle(l->plane->books, &g->booking, end, x->usage.output, &l->set->circuit, l->now);
    queue_freed(l);
}

static bool failed_before_sending(gdp_reason why) { return why == GDP_R_WORKER_UNREACHABLE || why == GDP_R_CONNECT_TIMEOUT; }

bool exchange_may_retry(gdp_loop *l, gdp_exchange *x) {
    if (x->started || l->cutting || x->n_tried == GDP_TRIED_MAX) return false;
    if (x->attempts >= l->set->attempts) return false;
    if (budget_take(l)) return true;
    COUNT(l, retries_denied, 1);
    return false;
}

void exchange_retry(gdp_loop *l, gdp_exchange *x, gdp_end end) {
    x->tried[x->n_tried++] = x->leg[x->at].booking.slot;
    exchange_release(l, x, end, false);
    relay_forget(l, x);
    COUNT(l, retries, 1);
    exchange_place(l, x);
}

void exchange_failed(gdp_loop *l, gdp_exchange *x, gdp_end end, gdp_reason why) {
    bool once_is_enough = why == GDP_R_ANSWER_TIMEOUT; /* the second worker would take as long */
    x->last_failure = (uint8_t)why;
    /* A connection that could not be made costs nobody anything: it needs no budget and counts as no attempt. */
    bool retry = failed_before_sending(why) ? !x->started && !l->cutting && x->n_tried < GDP_TRIED_MAX
                                            : !once_is_enough && exchange_may_retry(l, x);
    if (retry) {
        exchange_retry(l, x, end);
        return;
    }
    exchange_release(l, x, end, false);
    exchange_end(l, x, why);
}

bool exchange_has_other(gdp_loop *l, const gdp_exchange *x) {
    const model *m = exchange_model(l, x);
    for (uint32_t i = 0; m && i < m->n_workers; i++) {
        const gdp_worker *w = &l->table->workers[m->workers[i]];
        gdp_book book;
        bool tried = w->slot == x->leg[x->at].booking.slot;
        for (unsigned k = 0; k < x->n_tried; k++) tried |= x->tried[k] == w->slot;
        if (tried || w->state != GDP_READY) continue;
        gdp_book_copy(l->plane->books, w->slot, l->now, &book);
        if (book.circuit == GDP_CLOSED || (book.circuit == GDP_OPEN && book.open_until_ns <= l->now)) return true;
    }
    return false;
}

static bool waits_in_vain(gdp_loop *l, const gdp_exchange *x) {
    if (x->started || (x->phase != PH_WAITING && x->phase != PH_HOLDING)) return false;
    const gdp_worker *w = table_slot(l->table, x->leg[x->at].booking.slot);
    return w && w->state == GDP_REFUSING && exchange_has_other(l, x);
}

void exchange_sweep(gdp_loop *l) {
    bool any = false;
    for (uint32_t i = 0; i < l->table->n_workers && !any; i++) any = l->table->workers[i].state == GDP_REFUSING;
    if (!any) return;
    for (gdp_conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        if (c->x && waits_in_vain(l, c->x)) exchange_failed(l, c->x, GDP_END_FAILED, GDP_R_WORKER_BROKE_OFF);
    }
}

/* ---- the ends ------------------------------------------------------------------------------------------------------ */

static void end_stream(gdp_loop *l, gdp_exchange *x, gdp_reason why) {
    gdp_conn *c = x->client;
    char text[1024], size[24];
    size_t n = 0;
    if (x->in_event) {
        memcpy(text, "\n\n", 2);
        n = 2;
    }
    n += answer_stream_error(x, why, text + n, sizeof text - n);
    int k = snprintf(size, sizeof size, "%zx\r\n", x->finish.len + n);
    static char end[] = "\r\n0\r\n\r\n";
    bool chunked = x->out_framing == FR_CHUNKED;
    struct iovec iov[4] = {{size, chunked ? (size_t)k : 0}, {x->finish.data, x->finish.len}, {text, n}, {end, chunked ? sizeof end - 1 : 0}};
    bool gone = conn_write(l, c, iov, 4) < 0;
    if (!chunked) c->close_after = true;
    exchange_settle(l, x, why);
    if (gone)
        conn_close(l, c);
    else
        conn_answered(l, c);
}

void exchange_end(gdp_loop *l, gdp_exchange *x, gdp_reason why) {
    gdp_conn *c = x->client;
    queue_leave(l, x);
    exchange_release(l, x, GDP_END_NEUTRAL, false);
    if (!x->started) {
        relay_forget(l, x);
        answer_error(l, x, why, NULL);
    } else if (x->sse) {
        end_stream(l, x, why);
    } else {
        exchange_settle(l, x, why);
        conn_abort(l, c);
    }
}

void exchange_gone(gdp_loop *l, gdp_exchange *x, gdp_reason why) {
    gdp_conn *c = x->client;
    exchange_settle(l, x, why);
    c->x = NULL;
}

/* Whose fault were the 500s of earlier attempts? Another worker managed: theirs. */
static void blame_earlier(gdp_loop *l, gdp_exchange *x) {
    for (unsigned i = 0; i < x->n_blamed; i++) gdp_blame(l->plane->books, x->blamed[i], &l->set->circuit, l->now);
}

void exchange_finish(gdp_loop *l, gdp_exchange *x) {
    gdp_conn *c = x->client;
    gdp_end end = x->leaving ? GDP_END_LEAVING : x->saw_error || x->status >= 500 ? GDP_END_NEUTRAL : GDP_END_OK;
    gdp_reason why = x->saw_error           ? GDP_R_STREAM_ERROR
                     : x->status >= 500     ? GDP_R_RELAYED_5XX
                     : x->status >= 400     ? GDP_R_RELAYED_4XX
                                            : GDP_R_OK;
    if (end == GDP_END_OK) blame_earlier(l, x);
    exchange_release(l, x, end, x->keep_upstream);
    if (x->out_framing == FR_CLOSE) c->close_after = true;
    exchange_settle(l, x, why);
    conn_answered(l, c);
}

/* ---- 9 settle ------------------------------------------------------------------------------------------------------ */

static void meter(gdp_loop *l, const gdp_exchange *x) {
    ledger_end(l, x);
    if (!x->placed_at) return;
    if (x->usage.prompt < 0 && x->started && x->status < 400) COUNT(l, usage_missing, 1);
    if (x->usage.prompt > 0) COUNT(l, prompt_tokens, x->usage.prompt);
    if (x->usage.cached > 0) COUNT(l, cached_tokens, x->usage.cached);
    if (x->usage.output > 0) COUNT(l, output_tokens, x->usage.output);
    if (x->usage.prompt < 0 && x->usage.output < 0) return;
    gdp_told told = {x->usage.prompt, x->usage.cached, x->usage.output, x->predicted, x->leg[x->at].booking.text, x->prompt.len};
    gdp_tokens(l->plane->books, x->leg[x->at].booking.slot, &told);
}

void exchange_settle(gdp_loop *l, gdp_exchange *x, gdp_reason why) {
    x->reason = (uint8_t)why;
    tokens_leave(l, x);
    queue_leave(l, x);
    exchange_release(l, x, GDP_END_NEUTRAL, false);
    meter(l, x);
    COUNT(l, exchanges, -1);
    buf_drop(l, &x->head);
    buf_drop(l, &x->body);
    buf_drop(l, &x->name);
    buf_drop(l, &x->held);
    buf_drop(l, &x->tail);
    buf_drop(l, &x->finish);
    gdp_free(x->chain);
    gdp_free(x->text);
    x->phase = PH_DONE;
    x->q_next = l->dead;
    l->dead = x;
}
