/* ledger.c -- what a request's life writes into the accounts of its model and class (gdp/account.h), and the record
 * that it leaves (gdp/plane.h). */
#include <string.h>

#include "inner.h"

/* ---- accounts --------------------------------------------------------------------------------------------------------- */

int gdp_plane_account(gdp_plane *p, uint32_t number, uint32_t thread, const gdp_account *cells) {
    if (number >= GDP_ACCOUNTS || thread >= p->n_loops) return GDP_BAD;
    gdp_account *a = gdp_alloc(sizeof *a);
    if (!a) return GDP_NOMEM;
    *a = *cells;
    gdp_account *none = NULL;
    _Atomic(gdp_account *) *place = &p->loops[thread].accounts[number];
    if (atomic_compare_exchange_strong(place, &none, a)) return 0;
    gdp_free(a);
    return GDP_BAD; /* a thread may be writing there */
}

uint32_t gdp_plane_threads(const gdp_plane *p) { return p->n_loops; }

void ledger_free(gdp_loop *l) {
    for (uint32_t i = 0; i < GDP_ACCOUNTS; i++) gdp_free(atomic_load(&l->accounts[i]));
}

void ledger_arrive(gdp_loop *l, gdp_exchange *x) {
    const model *m = exchange_model(l, x);
    const gdp_settings *s = l->set;
    uint32_t place = 0;
    for (uint32_t i = 0; i < s->n_classes; i++)
        if (s->classes[i].id == x->class_id) place = i + 1;
    if (!m || place >= m->n_accounts) return;
    x->account = atomic_load(&l->accounts[m->accounts[place]]);
    gdp_account_add(x->account, GDP_A_ARRIVED, 1, l->now);
    if (x->queued) ledger_wait(x, true); /* it came before its model was known, and waits already */
}

/* Tokens of its prompt, or about as many. */
static double prompt_size(const gdp_exchange *x) {
    return x->prompt_tokens ? (double)x->prompt_tokens : (double)x->prompt.len / 4;
}

void ledger_wait(gdp_exchange *x, bool begins) {
    if (begins) x->waiting_tokens = prompt_size(x);
    double sign = begins ? 1 : -1;
    gdp_account_move(x->account, GDP_A_WAITING, sign);
    gdp_account_move(x->account, GDP_A_WAITING_TOKENS, sign * x->waiting_tokens);
}

void ledger_place(gdp_loop *l, gdp_exchange *x) {
    if (!x->placed_at) gdp_account_observe(x->account, GDP_A_WAIT, l->now - x->arrival, l->now);
    gdp_account_add(x->account, GDP_A_WORK, x->prefill_s, l->now);
    double *work = &l->work_s[x->leg[x->at].booking.slot], sum = *work + x->prefill_s;
    __atomic_store(work, &sum, __ATOMIC_RELAXED);
    x->placed_last = l->now;
    if (!x->placed_at) x->placed_at = l->now;
}

/* ---- the end ---------------------------------------------------------------------------------------------------------- */

/* Mean time between tokens, by the events where the worker did not count. */
static double itl_s(const gdp_exchange *x) {
    int64_t n = x->usage.output > 0 ? x->usage.output : (int64_t)x->events;
    return n > 1 ? (double)(x->last_at - x->first_at) * 1e-9 / (double)(n - 1) : 0;
}

static uint8_t kept(const gdp_exchange *x) {
    if (!x->stream || !x->first_at) return 0;
    bool in_time = (double)(x->first_at - x->arrival) * 1e-9 <= x->ttft_s + x->prefill_s;
    return (uint8_t)(GDP_JUDGED | (in_time ? GDP_KEPT_TTFT : 0) | (itl_s(x) <= x->itl_s ? GDP_KEPT_ITL : 0));
}

static void copy_text(char *to, size_t size, const char *from, size_t len) {
    if (len >= size) len = size - 1;
    memcpy(to, from, len);
    to[len] = 0;
}

static gdp_record record_of(const gdp_loop *l, const gdp_exchange *x) {
    gdp_record r = {
        .arrival_ns = x->arrival, .tokens_ns = x->tokens_at, .placed_ns = x->placed_last, .sent_ns = x->wait_at,
        .first_ns = x->first_at, .last_ns = x->last_at, .end_ns = l->now, .prompt_tokens = x->usage.prompt,
        .cached_tokens = x->usage.cached, .output_tokens = x->usage.output, .predicted_tokens = x->predicted,
        .prefill_s = x->prefill_s, .request_bytes = x->request_bytes, .answer_bytes = x->answer_bytes,
        .slot = x->placed_at ? x->leg[x->at].booking.slot : UINT32_MAX, .prefill_slot = UINT32_MAX,
        .events = x->events, .status = x->sent_status, .reason = x->reason, .endpoint = x->endpoint,
        .retries = (uint8_t)(x->attempts ? x->attempts - 1 : 0), .stream = x->stream, .class_id = x->class_id,
        .kept = kept(x),
    };
    copy_text(r.id, sizeof r.id, x->id, x->id_len);
    copy_text(r.model, sizeof r.model, x->model_name, x->model_len);
    return r;
}

static void keep_record(gdp_loop *l, const gdp_record *r) {
    const size_t size = GDP_RECORDS * sizeof *l->records;
    if (!l->records && (l->records = gdp_resize(NULL, size))) memset(l->records, 0, size); /* touched: it does not grow */
    uint64_t head = atomic_load_explicit(&l->rec_head, memory_order_relaxed);
    if (!l->records || head - atomic_load_explicit(&l->rec_tail, memory_order_acquire) >= GDP_RECORDS) {
        COUNT(l, records_lost, 1);
        return;
    }
    l->records[head % GDP_RECORDS] = *r;
    atomic_store_explicit(&l->rec_head, head + 1, memory_order_release);
}

static void add_stage(const gdp_account *a, gdp_account_count stage, uint64_t from, uint64_t to, uint64_t now) {
    if (from && to > from) gdp_account_add(a, stage, (double)(to - from) * 1e-9, now);
}

static void add_stages(const gdp_account *a, const gdp_record *r) {
    uint64_t now = r->end_ns, known = r->tokens_ns ? r->tokens_ns : r->arrival_ns;
    add_stage(a, GDP_A_TOKENISE, r->arrival_ns, r->tokens_ns, now);
    add_stage(a, GDP_A_QUEUE, known, r->placed_ns, now);
    add_stage(a, GDP_A_PLACE, r->placed_ns, r->sent_ns, now);
    add_stage(a, GDP_A_PREFILL, r->sent_ns, r->first_ns, now);
    add_stage(a, GDP_A_DECODE, r->first_ns, r->stream ? r->last_ns : now, now);
}

/* *pieces*: tokens counted as they passed, one for each event that brought some. */
static void add_tokens(const gdp_account *a, const gdp_record *r, int64_t pieces) {
    uint64_t now = r->end_ns;
    if (r->prompt_tokens > 0) gdp_account_add(a, GDP_A_PROMPT, (double)r->prompt_tokens, now);
    if (r->prompt_tokens > 0 && r->cached_tokens >= 0) {
        gdp_account_add(a, GDP_A_CACHED, (double)r->cached_tokens, now);
        gdp_account_add(a, GDP_A_UNCACHED, (double)(r->prompt_tokens - r->cached_tokens), now);
    }
    if (r->output_tokens > pieces) gdp_account_add(a, GDP_A_OUTPUT, (double)(r->output_tokens - pieces), now);
}

void ledger_end(gdp_loop *l, const gdp_exchange *x) {
    COUNT(l, ended[x->endpoint][x->reason], 1);
    if (x->sent_status) COUNT(l, status[x->sent_status % 600], 1);
    gdp_record r = record_of(l, x);
    keep_record(l, &r);
    const gdp_account *a = x->account;
    if (!a) return;
    gdp_account_add(a, GDP_A_ENDED, 1, l->now);
    gdp_account_observe(a, GDP_A_DURATION, l->now - x->arrival, l->now);
    add_stages(a, &r);
    add_tokens(a, &r, x->pieces);
    if (!r.kept) return;
    const bool ttft = r.kept & GDP_KEPT_TTFT, itl = r.kept & GDP_KEPT_ITL;
    gdp_account_add(a, GDP_A_JUDGED, 1, l->now);
    if (ttft) gdp_account_add(a, GDP_A_KEPT_TTFT, 1, l->now);
    if (itl) gdp_account_add(a, GDP_A_KEPT_ITL, 1, l->now);
    if (ttft && itl) gdp_account_add(a, GDP_A_KEPT, 1, l->now);
}
