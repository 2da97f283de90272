/* place.c -- which worker: what is known of the prompt, who holds how much of it, choose and book, tell the index.
 *
 *   name_text -> match -> gdp_place (choose and book in one critical section) -> predict -> upstream_open
 *
 * What a prompt has in common with earlier ones is known in one of two ways, through the same index:
 *
 *   by tokens   x->chain, from the token thread: blocks that the workers themselves report
 *   by text     x->text: the value of `messages` (or `prompt`) as sent, 256 bytes a block. Nobody reports these, so
 *               each placement says them of its worker, for predict_text_s. A conversation that goes on begins with the
 *               same bytes, and so do requests with the same system prompt.
 *
 * By tokens, too, each placement is told to the index for predict_s: of two requests that come together with the same
 * new prefix the second should follow the first, which the worker will report a step later. */
#include <string.h>

#include "inner.h"

#define TEXT_WORDS (GDP_TEXT_BLOCK / 4)
#define CHUNK_BLOCKS 16u
#define FELL_BACK (60000 * MS) /* how long a request without its tokens makes others be named by text, too */

/* ---- names of text -------------------------------------------------------------------------------------------------- */

static bool by_cost(const gdp_exchange *x) { return x->policy == GDP_KV || x->policy == GDP_APPROX; }

/* What else makes equal text another prompt goes in front. */
static uint64_t text_root(const gdp_loop *l, const gdp_exchange *x, const model *m) {
    static const char KIND[] = "\ntext";
    const gdp_chain_key *key = gdp_indexer_key(l->plane->indexer);
    gdp_scope scope = {m->name, KIND, x->body.data + x->salt.off, m->name_len, sizeof KIND - 1, x->salt.len, TEXT_WORDS};
    return gdp_hash(x->body.data + x->tools.off, x->tools.len, gdp_chain_root(key, &scope) ^ x->endpoint);
}

/* Requests that have their tokens are named by text, too, while others have to do without: those find something then. */
static bool wants_text(gdp_loop *l, const gdp_exchange *x) {
    if (!x->chain) {
        const model *m = exchange_model(l, x);
        if (m && m->exact) l->fell_back_at = l->now;
        return true;
    }
    return l->fell_back_at && l->now - l->fell_back_at < FELL_BACK;
}

static void name_text(gdp_loop *l, gdp_exchange *x) {
    const gdp_indexer *ix = l->plane->indexer;
    const model *m = exchange_model(l, x);
    uint32_t n = x->prompt.len / GDP_TEXT_BLOCK;
    if (!ix || !m || !n || x->text || !by_cost(x) || !l->set->predict_text_s || !wants_text(l, x)) return;
    uint64_t *names = gdp_alloc(n * sizeof *names);
    if (!names) return;
    uint64_t parent = text_root(l, x, m);
    for (uint32_t done = 0; done < n; done += CHUNK_BLOCKS) {
        uint32_t words[CHUNK_BLOCKS * TEXT_WORDS], some = n - done < CHUNK_BLOCKS ? n - done : CHUNK_BLOCKS;
        memcpy(words, x->body.data + x->prompt.off + done * GDP_TEXT_BLOCK, some * GDP_TEXT_BLOCK); /* aligned */
        gdp_chain(gdp_indexer_key(ix), parent, words, some * TEXT_WORDS, TEXT_WORDS, NULL, names + done);
        parent = names[done + some - 1];
    }
    x->text = names;
    x->n_text = n;
}

/* ---- who holds it ----------------------------------------------------------------------------------------------------- */

/* In all media up to a lower one at least as much as in those above it. */
static void carry_down(const gdp_loop *l, uint32_t slots) {
    const uint32_t *gpu = l->reach[GDP_PREDICTED];
    uint32_t *cpu = l->reach[GDP_ON_CPU], *storage = l->reach[GDP_ON_STORAGE];
    for (uint32_t i = 0; i < slots; i++) {
        if (cpu[i] < gpu[i]) cpu[i] = gpu[i];
        if (storage[i] < cpu[i]) storage[i] = cpu[i];
    }
}

/* Fills what the index knows into the question; returns how many leading blocks anybody holds. */
static uint32_t match(gdp_loop *l, const gdp_exchange *x, gdp_wish *wish) {
    const bool tokens = x->chain != NULL, tiers = tokens && gdp_indexer_tiers(l->plane->indexer);
    uint32_t slots = l->table->n_slots;
    uint32_t *const reach[GDP_INDEX_MEDIA] = {
        [GDP_ON_CPU] = tiers ? l->reach[GDP_ON_CPU] : NULL, [GDP_ON_STORAGE] = tiers ? l->reach[GDP_ON_STORAGE] : NULL,
        [GDP_PREDICTED] = l->reach[GDP_PREDICTED],
    };
    gdp_ask *ask = &wish->ask;
    ask->chain = tokens ? x->chain : x->text;
    ask->blocks = tokens ? x->n_chain : x->n_text;
    wish->text = !tokens;
    size_t known = gdp_index_match(l->reader, ask->chain, ask->blocks, (uint32_t)(l->now / 1000000000u), slots, reach);
    if (tiers) carry_down(l, slots);
    for (unsigned m = 0; m < GDP_MEDIA; m++) ask->reach[m] = !m ? reach[GDP_PREDICTED] : tiers ? reach[m] : NULL;
    return (uint32_t)known;
}

/* Tells the index what its worker will hold. By tokens only what it does not hold already; by text all of it, which
 * renews what an earlier turn said. */
static void predict(gdp_loop *l, const gdp_exchange *x, uint32_t slot) {
    gdp_indexer *ix = l->plane->indexer;
    const gdp_settings *s = l->set;
    uint32_t now_s = (uint32_t)(l->now / 1000000000u), held = x->chain ? l->reach[GDP_PREDICTED][slot] : 0;
    if (x->chain && s->predict_s) gdp_indexer_predict(ix, slot, x->chain, x->n_chain, held, now_s + s->predict_s);
    if (x->text && s->predict_text_s) gdp_indexer_predict(ix, slot, x->text, x->n_text, 0, now_s + s->predict_text_s);
}

/* ---- responses that stay with their worker --------------------------------------------------------------------------- */

uint64_t place_sticky(const gdp_loop *l, uint64_t id) {
    const sticky *s = &l->plane->sticky[id % STICKY];
    if (!id || atomic_load_explicit(&s->id, memory_order_acquire) != id) return 0;
    return atomic_load_explicit(&s->slot, memory_order_relaxed);
}

void sticky_from(gdp_loop *l, const gdp_exchange *x, const char *json, size_t n) {
    gdp_span id = gdp_openai_response_id(json, n);
    if (!id.len) return;
    uint64_t hash = gdp_hash(json + id.off, id.len, 0);
    sticky *s = &l->plane->sticky[hash % STICKY];
    atomic_store_explicit(&s->id, 0, memory_order_relaxed);
    atomic_store_explicit(&s->slot, (uint64_t)x->leg[x->at].booking.slot + 1, memory_order_release);
    atomic_store_explicit(&s->id, hash, memory_order_release);
}

/* ---- choose and book ---------------------------------------------------------------------------------------------------- */

static bool generates(const gdp_exchange *x) { return x->endpoint <= GDP_E_MESSAGES; }

static gdp_placing choose(gdp_loop *l, const gdp_exchange *x, const gdp_wish *wish, gdp_placement *out) {
    const gdp_table *t = l->table;
    const model *m = exchange_model(l, x);
    gdp_books *books = l->plane->books;
    if (m) return gdp_place_among(books, m->roster, wish, l->now, out);
    if (!wish->sticky) return GDP_NONE_READY;
    for (uint32_t i = 0; i < t->n_workers; i++)
        if (t->workers[i].slot + 1 == wish->sticky) return gdp_place(books, t->workers, &i, 1, wish, l->now, out);
    return GDP_NONE_READY;
}

static gdp_wish wish_of(gdp_loop *l, const gdp_exchange *x, double deadline_s) {
    const gdp_settings *s = l->set;
    l->rule = s->late;
    l->rule.ttft_slo_s = x->ttft_s;
    l->rule.itl_slo_s = x->itl_s;
    gdp_wish wish = {
        .policy = x->policy, .has_session = x->has_session, .session = x->session, .stream = x->stream && generates(x),
        .n_tried = x->n_tried, .sticky = place_sticky(l, x->sticky_id), .bytes = x->prompt.len,
        .late = s->late_on && generates(x) ? &l->rule : NULL, .weights = &s->weights, .deadline_s = deadline_s,
        .ask = {.prompt_tokens = x->prompt_tokens, .salt = gdp_hash(x->id, x->id_len, 0),
                .block_tokens = x->block_tokens,
                .output_tokens = generates(x) ? x->max_tokens < 0 ? 1e9 : (double)x->max_tokens : 0},
    };
    memcpy(wish.tried, x->tried, sizeof wish.tried);
    return wish;
}

static void no_worker(gdp_loop *l, gdp_exchange *x) {
    gdp_reason why = x->last_failure ? (gdp_reason)x->last_failure : GDP_R_NO_READY_WORKER;
    if (!x->no_worker_since) x->no_worker_since = l->now;
    if (l->now >= x->no_worker_since + l->set->no_worker_ns)
        exchange_end(l, x, why);
    else
        queue_park(l, x, true);
}

static void placed(gdp_loop *l, gdp_exchange *x, const gdp_wish *wish, const gdp_placement *at, uint32_t known) {
    leg *g = &x->leg[x->at];
    g->booking = at->booking;
    g->booked = true;
    bool basis = wish->ask.chain != NULL;
    x->predicted = basis ? (int64_t)at->shown[0].cached_tokens : -1;
    COUNT(l, placed_by[!basis ? GDP_BY_NOTHING : wish->text ? GDP_BY_TEXT : GDP_BY_TOKENS], 1);
    decision_note(l, x, wish, at, known);
    if (l->plane->indexer) predict(l, x, at->booking.slot);
    queue_leave(l, x);
    x->prefill_s = at->booking.lot.prefill_s;
    ledger_place(l, x);
    x->reconnected = false;
    upstream_open(l, x, &l->table->workers[at->chosen]);
}

gdp_placing place_by(gdp_loop *l, gdp_exchange *x, double deadline_s) {
    name_text(l, x);
    gdp_wish wish = wish_of(l, x, deadline_s);
    gdp_placement at;
    uint32_t known = l->reader && by_cost(x) && (x->chain || x->n_text) ? match(l, x, &wish) : 0;
    gdp_placing result = choose(l, x, &wish, &at);
    if (result == GDP_PLACED) placed(l, x, &wish, &at, known);
    if (result == GDP_NONE_READY) no_worker(l, x);
    if (result == GDP_ALL_BUSY) queue_busy(l, x, &at);
    return result;
}

gdp_placing exchange_place(gdp_loop *l, gdp_exchange *x) {
    if (!x->model_len && x->queued) { /* it came before any model was known */
        const char *detail = NULL;
        char room[80];
        gdp_reason why = exchange_check_model(l, x, &detail, room);
        if (why != GDP_R_OK) {
            answer_error(l, x, why, detail);
            return GDP_NONE_READY;
        }
        if (!x->account) ledger_arrive(l, x);
    }
    if (queue_goes_first(l, x)) {
        queue_park(l, x, false);
        return GDP_ALL_BUSY;
    }
    return place_by(l, x, 0);
}

void place_begun(gdp_loop *l, gdp_exchange *x) {
    leg *g = &x->leg[x->at];
    if (!g->booked) return;
    gdp_begin(l->plane->books, &g->booking, l->now);
    queue_freed(l); /* its prompt is computed: there may be room for another */
}
