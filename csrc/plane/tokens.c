/* tokens.c -- the token step: requests wait here until somebody with a tokenizer says which blocks their prompt has.
 *
 *     I/O thread                                    token thread (Python, without the GIL while it waits)
 *     tokens_park --- jobs (lock-free stack) ---->  gdp_plane_take_job
 *     tokens_tend <-- answered (one per loop) ----  gdp_plane_give_job
 *
 * A job has one owner at a time: the I/O thread makes it, the token thread reads its body (a copy: the exchange may end
 * meanwhile) and writes its answer, the I/O thread frees it. Only the I/O thread touches job->x.
 *
 * Nobody waits for the token thread longer than the deadline (tokens_wait_ns, and tokens_wait_64k_ns for every 64 KiB):
 * then the request goes on without its chain, counted. The timer wheel turns in steps of 16 ms, which is too coarse for
 * that, so parked requests hang in a list of their own that is looked at in every turn; it is as short as a few
 * milliseconds are.
 *
 * A prompt that was read before does not wait at all: what came of it is remembered by the bytes that ask for it. */
#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "gdp/prompt.h"
#include "inner.h"

struct gdp_job {
    gdp_job *next; /* in a stack, or in the order of taking */
    gdp_loop *loop;
    gdp_exchange *x; /* NULL: it does not wait any more */
    _Atomic bool gone;
    bool exact;
    uint8_t endpoint, model_len;
    char model[40];
    uint64_t key; /* of the prompt; 0: none */
    uint64_t *chain;
    uint32_t n_chain, prompt_tokens, block_tokens, body_len;
    char body[];
};

/* ---- stacks ------------------------------------------------------------------------------------------------------ */

static void push(_Atomic(gdp_job *) *stack, gdp_job *j) {
    gdp_job *top = atomic_load_explicit(stack, memory_order_relaxed);
    do j->next = top;
    while (!atomic_compare_exchange_weak(stack, &top, j));
}

/* All of a stack, the oldest first. Taking all at once is what makes a plain stack safe from ABA. */
static gdp_job *take_all(_Atomic(gdp_job *) *stack) {
    gdp_job *j = atomic_exchange(stack, NULL), *turned = NULL;
    while (j) {
        gdp_job *next = j->next;
        j->next = turned;
        turned = j;
        j = next;
    }
    return turned;
}

static void job_free(gdp_plane *p, gdp_job *j) {
    atomic_fetch_sub(&p->buffered, (int64_t)j->body_len);
    atomic_fetch_sub(&p->jobs_out, 1);
    gdp_free(j->chain);
    gdp_free(j);
}

static void jobs_free(gdp_plane *p, gdp_job *j) {
    while (j) {
        gdp_job *next = j->next;
        job_free(p, j);
        j = next;
    }
}

/* ---- the I/O thread's side --------------------------------------------------------------------------------------- */

static void ring(gdp_plane *p) {
    atomic_fetch_add(&p->jobs_bell, 1);
    if (atomic_load(&p->jobs_sleepers)) syscall(SYS_futex, &p->jobs_bell, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static gdp_job *job_new(gdp_loop *l, gdp_exchange *x, uint64_t key) {
    gdp_plane *p = l->plane;
    if (atomic_load_explicit(&p->jobs_out, memory_order_relaxed) >= l->set->tokens_jobs) return NULL;
    int64_t buffered = atomic_load_explicit(&p->buffered, memory_order_relaxed);
    if (buffered + (int64_t)x->body.len > (int64_t)l->set->buffered_bytes) return NULL;
    gdp_job *j = gdp_resize(NULL, sizeof *j + x->body.len);
    if (!j) return NULL;
    *j = (gdp_job){.loop = l, .x = x, .key = key, .endpoint = x->endpoint, .model_len = x->model_len};
    memcpy(j->model, x->model_name, sizeof j->model);
    j->body_len = x->body.len;
    memcpy(j->body, x->body.data, x->body.len);
    atomic_fetch_add(&p->buffered, (int64_t)j->body_len);
    atomic_fetch_add(&p->jobs_out, 1);
    return j;
}

/* Names what the body asks for, and whether that is known: then the exchange has its tokens. */
static bool recall(gdp_loop *l, gdp_exchange *x, const model *m, uint64_t *key) {
    gdp_recalled known;
    *key = 0;
    if (!m->recall_seed || !atomic_load_explicit(&l->plane->recall_bytes, memory_order_relaxed)) return false;
    *key = gdp_prompt_key(x->body.data, x->body.len, m->recall_seed + x->endpoint);
    if (!*key || !gdp_recall_find(l->plane->recall, *key, &known)) return false;
    COUNT(l, tokens_recalled, 1);
    x->chain = known.chain;
    x->n_chain = known.n;
    x->prompt_tokens = known.prompt_tokens;
    x->block_tokens = known.block_tokens;
    return true;
}

bool tokens_park(gdp_loop *l, gdp_exchange *x) {
    const model *m = exchange_model(l, x);
    bool asks = x->endpoint <= GDP_E_MESSAGES && x->policy == GDP_KV;
    if (!asks || x->multipart || !x->body.len || !m || !m->exact) return false;
    uint64_t key;
    if (recall(l, x, m, &key)) return false;
    gdp_job *j = job_new(l, x, key);
    if (!j) {
        COUNT(l, tokens_skipped, 1);
        return false;
    }
    x->job = j;
    x->park_until = l->now + l->set->tokens_wait_ns + l->set->tokens_wait_64k_ns * (x->body.len >> 16);
    x->t_prev = l->t_tail;
    x->t_next = NULL;
    *(l->t_tail ? &l->t_tail->t_next : &l->t_head) = x;
    l->t_tail = x;
    if (!l->t_due || x->park_until < l->t_due) l->t_due = x->park_until;
    exchange_phase(l, x, PH_TOKENS);
    push(&l->plane->jobs, j);
    ring(l->plane);
    return true;
}

void tokens_leave(gdp_loop *l, gdp_exchange *x) {
    if (!x->job) return;
    x->job->x = NULL;
    atomic_store_explicit(&x->job->gone, true, memory_order_relaxed);
    x->job = NULL;
    *(x->t_prev ? &x->t_prev->t_next : &l->t_head) = x->t_next;
    *(x->t_next ? &x->t_next->t_prev : &l->t_tail) = x->t_prev;
}

void tokens_late(gdp_loop *l, gdp_exchange *x) {
    COUNT(l, tokens_late, 1);
    tokens_leave(l, x);
    exchange_place(l, x);
}

static void answered(gdp_loop *l, gdp_job *j) {
    gdp_exchange *x = j->x;
    if (!x) return;
    tokens_leave(l, x);
    if (j->exact) {
        COUNT(l, tokens_exact, 1);
        x->chain = j->chain;
        x->n_chain = j->n_chain;
        x->prompt_tokens = j->prompt_tokens;
        x->block_tokens = j->block_tokens;
        j->chain = NULL;
    } else {
        COUNT(l, tokens_declined, 1);
    }
    exchange_place(l, x);
}

void tokens_tend(gdp_loop *l) {
    if (atomic_load_explicit(&l->answered, memory_order_relaxed)) {
        for (gdp_job *j = take_all(&l->answered), *next; j; j = next) {
            next = j->next;
            answered(l, j);
            job_free(l->plane, j);
        }
    }
    if (l->t_due && l->now >= l->t_due) {
        for (gdp_exchange *x = l->t_head, *next; x; x = next) {
            next = x->t_next;
            if (l->now >= x->park_until) tokens_late(l, x);
        }
    }
    l->t_due = 0;
    for (const gdp_exchange *x = l->t_head; x; x = x->t_next)
        if (!l->t_due || x->park_until < l->t_due) l->t_due = x->park_until;
}

void tokens_free(gdp_plane *p) {
    jobs_free(p, take_all(&p->jobs));
    jobs_free(p, p->jobs_taken);
    p->jobs_taken = NULL;
    for (uint32_t i = 0; i < p->n_loops; i++) jobs_free(p, take_all(&p->loops[i].answered));
}

/* ---- the token thread's side ------------------------------------------------------------------------------------- */

static gdp_job *next_job(gdp_plane *p) {
    pthread_mutex_lock(&p->jobs_lock); /* among token threads only */
    if (!p->jobs_taken) p->jobs_taken = take_all(&p->jobs);
    gdp_job *j = p->jobs_taken;
    if (j) p->jobs_taken = j->next;
    pthread_mutex_unlock(&p->jobs_lock);
    return j;
}

gdp_job *gdp_plane_take_job(gdp_plane *p, int timeout_ms) {
    uint64_t until = clock_ns() + (timeout_ms > 0 ? (unsigned)timeout_ms * MS : 0);
    for (;;) {
        uint32_t bell = atomic_load(&p->jobs_bell);
        if (atomic_load(&p->jobs_closed)) return NULL;
        gdp_job *j = next_job(p);
        uint64_t now = clock_ns();
        if (j || now >= until) return j;
        struct timespec left = {.tv_sec = (time_t)((until - now) / 1000000000ull), .tv_nsec = (long)((until - now) % 1000000000ull)};
        atomic_fetch_add(&p->jobs_sleepers, 1);
        syscall(SYS_futex, &p->jobs_bell, FUTEX_WAIT_PRIVATE, bell, &left, NULL, 0);
        atomic_fetch_sub(&p->jobs_sleepers, 1);
    }
}

gdp_job_view gdp_job_look(const gdp_job *j) {
    return (gdp_job_view){.endpoint = j->endpoint, .model = j->model, .model_len = j->model_len, .body = j->body,
                          .body_len = j->body_len, .gone = atomic_load_explicit(&j->gone, memory_order_relaxed)};
}

void gdp_plane_give_job(gdp_plane *p, gdp_job *j, const uint64_t *chain, uint32_t n, uint32_t prompt_tokens,
                        uint32_t block_tokens) {
    if (chain) j->chain = gdp_resize(NULL, (n + 1) * sizeof *chain);
    if (j->chain) {
        if (n) memcpy(j->chain, chain, n * sizeof *chain);
        j->n_chain = n;
        j->prompt_tokens = prompt_tokens;
        j->block_tokens = block_tokens;
        j->exact = true;
        const gdp_recalled told = {j->chain, n, prompt_tokens, block_tokens};
        if (j->key) gdp_recall_put(p->recall, j->key, &told, atomic_load(&p->recall_bytes));
    }
    gdp_loop *l = j->loop; /* j is not ours any more once it is pushed */
    push(&l->answered, j);
    loop_wake(l);
}

void gdp_plane_close_jobs(gdp_plane *p) {
    atomic_store(&p->jobs_closed, true);
    atomic_fetch_add(&p->jobs_bell, 1);
    syscall(SYS_futex, &p->jobs_bell, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}
