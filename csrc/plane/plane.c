/* plane.c -- see gdp/plane.h: tables in, counters out, threads. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inner.h"
#include "loop.h"

/* Unsent bytes that the kernel may hold for one client: what is beyond stays with the worker. */
#define NOTSENT_LOWAT (128 * 1024)

gdp_plane *gdp_plane_new(uint32_t threads, uint64_t seed) {
    gdp_plane *p = gdp_alloc(sizeof *p);
    if (!p) return NULL;
    p->nested = threads == 0;
    p->seed = seed;
    pthread_mutex_init(&p->budget_lock, NULL);
    pthread_mutex_init(&p->jobs_lock, NULL);
    p->budget_at = clock_ns();
    atomic_store(&p->epoch, 1);
    uint32_t n = threads ? threads : 1;
    p->books = gdp_books_new(gdp_hash(&p, sizeof p, seed ^ p->budget_at));
    p->recall = gdp_recall_new();
    p->loops = gdp_alloc(n * sizeof *p->loops);
    gdp_settings none = {.headers = GDP_HEADERS_MAX, .head_bytes = 65536, .attempts = 1};
    gdp_table *empty = gdp_table_new(&none, 0, 0);
    if (!p->books || !p->recall || !p->loops || !empty) {
        gdp_table_free(empty);
        gdp_plane_free(p);
        return NULL;
    }
    atomic_store(&p->table, empty);
    for (; p->n_loops < n; p->n_loops++) {
        gdp_loop *l = &p->loops[p->n_loops];
        l->table = empty;
        l->set = &empty->set;
        if (loop_init(l, p, p->n_loops) < 0) {
            p->n_loops++;
            gdp_plane_free(p);
            return NULL;
        }
    }
    return p;
}

/* ---- listening ------------------------------------------------------------------------------------------------ */

static int open_listener(const struct sockaddr *address, socklen_t size) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int one = 1, lowat = NOTSENT_LOWAT;
    /* Accepted sockets inherit these, which saves their system calls. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat);
    (void)size;
    return fd;
}

static int listen_one(const struct sockaddr_storage *address, socklen_t size, bool share) {
    int fd = open_listener((const struct sockaddr *)address, size), one = 1, error;
    if (fd < 0) return fd;
    if (share) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)address, size) || listen(fd, 4096)) {
        error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static int parse_address(const char *ip, uint16_t port, struct sockaddr_storage *out, socklen_t *size) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        *size = sizeof *v4;
        return 0;
    }
    if (inet_pton(AF_INET6, ip, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        *size = sizeof *v6;
        return 0;
    }
    return -EINVAL;
}

int gdp_plane_listen(gdp_plane *p, const char *ip, uint16_t port, uint16_t *bound) {
    struct sockaddr_storage address;
    socklen_t size;
    int error = parse_address(ip, port, &address, &size);
    if (error) return error;
    /* A probe without SO_REUSEPORT first: two frontends on one port must not share it silently. */
    int fd = listen_one(&address, size, false);
    if (fd < 0) return fd;
    socklen_t got = sizeof address;
    getsockname(fd, (struct sockaddr *)&address, &got);
    *bound = ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                                : ((struct sockaddr_in6 *)&address)->sin6_port);
    if (p->n_loops > 1) close(fd);
    for (uint32_t i = 0; i < p->n_loops; i++) {
        gdp_loop *l = &p->loops[i];
        if (p->n_loops > 1) fd = listen_one(&address, size, true);
        if (fd < 0) return fd;
        l->listener.fd = fd;
        l->listener.events = UINT32_MAX;
        loop_watch(l, &l->listener, EPOLLIN);
    }
    return 0;
}

/* ---- tables: swapped, then freed when no thread can still see them ---------------------------------------------- */

static uint64_t oldest_epoch(gdp_plane *p) {
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < p->n_loops; i++) {
        uint64_t e = atomic_load(&p->loops[i].epoch);
        if (e < oldest) oldest = e;
    }
    return oldest;
}

static void free_retired(gdp_plane *p, uint64_t before) {
    gdp_table **at = &p->retired;
    while (*at) {
        gdp_table *t = *at;
        if (t->retired_at < before) {
            *at = t->retired_next;
            gdp_table_free(t);
        } else {
            at = &t->retired_next;
        }
    }
}

void gdp_plane_publish(gdp_plane *p, gdp_table *t) {
    atomic_store(&p->recall_bytes, t->set.recall_bytes);
    gdp_table *old = atomic_exchange(&p->table, t);
    /* A thread that shows an epoch greater than this one has taken the new table since. */
    old->retired_at = atomic_fetch_add(&p->epoch, 1);
    old->retired_next = p->retired;
    p->retired = old;
    for (uint32_t i = 0; i < p->n_loops; i++) loop_wake(&p->loops[i]);
    free_retired(p, oldest_epoch(p));
}

/* ---- running -------------------------------------------------------------------------------------------------- */

int gdp_plane_start(gdp_plane *p) {
    if (p->nested) return 0;
    for (uint32_t i = 0; i < p->n_loops; i++) {
        int error = pthread_create(&p->loops[i].thread, NULL, loop_main, &p->loops[i]);
        if (error) return -error;
        p->loops[i].running = true;
    }
    return 0;
}

int gdp_plane_fd(gdp_plane *p) { return p->loops[0].epfd; }
int gdp_plane_wait_ms(gdp_plane *p) { return loop_wait_ms(&p->loops[0]); }
void gdp_plane_step(gdp_plane *p) { loop_turn(&p->loops[0], false); }
gdp_books *gdp_plane_books(gdp_plane *p) { return p->books; }

void gdp_plane_ask(gdp_plane *p, uint32_t asks) {
    for (uint32_t i = 0; i < p->n_loops; i++) {
        atomic_fetch_or(&p->loops[i].asks, asks);
        loop_wake(&p->loops[i]);
    }
}

void gdp_plane_free(gdp_plane *p) {
    if (!p) return;
    if (p->loops) {
        for (uint32_t i = 0; i < p->n_loops; i++) {
            gdp_loop *l = &p->loops[i];
            if (!l->running) continue;
            atomic_fetch_or(&l->asks, GDP_ASK_EXIT);
            loop_wake(l);
            pthread_join(l->thread, NULL);
        }
        for (uint32_t i = 0; i < p->n_loops; i++) loop_free(&p->loops[i], atomic_load(&p->table));
        tokens_free(p);
    }
    free_retired(p, UINT64_MAX);
    gdp_table_free(atomic_load(&p->table));
    gdp_books_free(p->books);
    gdp_recall_free(p->recall);
    pthread_mutex_destroy(&p->budget_lock);
    pthread_mutex_destroy(&p->jobs_lock);
    gdp_free(p->loops);
    gdp_free(p);
}

int gdp_plane_attach(gdp_plane *p, gdp_indexer *indexer) {
    for (uint32_t i = 0; i < p->n_loops; i++) {
        gdp_loop *l = &p->loops[i];
        uint32_t *rows = gdp_alloc(GDP_INDEX_MEDIA * GDP_SLOTS_MAX * sizeof *rows);
        if (!rows) return GDP_NOMEM;
        for (unsigned m = 0; m < GDP_INDEX_MEDIA; m++) l->reach[m] = rows + m * GDP_SLOTS_MAX;
        l->reader = gdp_index_reader_new(gdp_indexer_index(indexer));
        if (!l->reader) return GDP_NOMEM;
    }
    p->indexer = indexer;
    return 0;
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

void gdp_plane_counters(gdp_plane *p, gdp_counters *out) {
    memset(out, 0, sizeof *out);
    uint64_t *sum = (uint64_t *)out;
    for (uint32_t i = 0; i < p->n_loops; i++) {
        const uint64_t *from = (const uint64_t *)&p->loops[i].count;
        for (size_t k = 0; k < sizeof *out / sizeof *sum; k++) sum[k] += __atomic_load_n(&from[k], __ATOMIC_RELAXED);
    }
    out->buffered_bytes = (uint64_t)atomic_load(&p->buffered);
    out->connections = (uint64_t)atomic_load(&p->connections);
    out->waiting = (uint64_t)atomic_load(&p->waiting);
}

void gdp_plane_histogram(gdp_plane *p, gdp_hist_id id, gdp_hist *out) {
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < p->n_loops; i++) gdp_hist_merge(out, &p->loops[i].hist[id]);
}

size_t gdp_plane_records(gdp_plane *p, gdp_record *out, size_t max) {
    size_t n = 0;
    for (uint32_t i = 0; i < p->n_loops; i++) {
        gdp_loop *l = &p->loops[i];
        uint64_t tail = atomic_load_explicit(&l->rec_tail, memory_order_relaxed);
        uint64_t head = atomic_load_explicit(&l->rec_head, memory_order_acquire);
        for (; n < max && tail < head; tail++) out[n++] = l->records[tail % RECORDS];
        atomic_store_explicit(&l->rec_tail, tail, memory_order_release);
    }
    return n;
}

/* The boxes point into `out`; a thread that answers late would write after we left, so its question is taken back.
 * In nested mode call it from a thread that does not own the loop. */
size_t gdp_plane_look(gdp_plane *p, gdp_sight *out, size_t max, int timeout_ms, size_t *total, unsigned *missed) {
    size_t share = max / p->n_loops, n = 0;
    *total = 0;
    *missed = 0;
    for (uint32_t i = 0; i < p->n_loops; i++) {
        p->loops[i].look = (look_box){.out = out + i * share, .max = share};
        atomic_store(&p->loops[i].look_state, 1);
        loop_wake(&p->loops[i]);
    }
    uint64_t until = clock_ns() + (timeout_ms < 0 ? 0u : (unsigned)timeout_ms) * MS;
    for (uint32_t i = 0; i < p->n_loops; i++) {
        gdp_loop *l = &p->loops[i];
        while (atomic_load(&l->look_state) != 2 && clock_ns() < until) poll(NULL, 0, 1);
        uint32_t asked = 1;
        if (atomic_compare_exchange_strong(&l->look_state, &asked, 0)) { /* not begun: taken back */
            ++*missed;
            continue;
        }
        while (atomic_load(&l->look_state) != 2) poll(NULL, 0, 1); /* begun: it ends within one turn */
        atomic_store(&l->look_state, 0);
        memmove(out + n, l->look.out, l->look.n * sizeof *out);
        n += l->look.n;
        *total += l->look.total;
    }
    return n;
}

/* ---- names ---------------------------------------------------------------------------------------------------- */

const char *gdp_reason_name(gdp_reason r) {
    static const char *const NAMES[GDP_REASONS] = {
        "OK", "RelayedClientError", "RelayedWorkerError", "StreamError", "Local", "BadRequest", "InvalidJSON",
        "ModelRequired", "ModelNotFound", "NotFound", "MethodNotAllowed", "HeadTooLarge", "BodyTooLarge",
        "ExpectationFailed", "HeadTimeout", "BodyTimeout", "ClientGone", "ClientStalled", "NotImplemented",
        "VersionNotSupported", "WorkerUnreachable", "WorkerBrokeOff", "WorkerBadAnswer", "FirstTokenTimeout",
        "AnswerTimeout", "TokenGapTimeout", "TotalTimeout", "ConnectTimeout", "NoReadyWorker", "QueueFull",
        "QueueTimeout", "BuffersFull", "TooManyConnections", "ShuttingDown", "OutOfMemory"};
    return r < GDP_REASONS ? NAMES[r] : "Unknown";
}

const char *gdp_policy_name(uint8_t policy) {
    static const char *const NAMES[GDP_POLICIES] = {"round_robin", "random", "least_load", "session", "kv", "approx"};
    return policy < GDP_POLICIES ? NAMES[policy] : "unknown";
}

const char *gdp_endpoint_name(gdp_endpoint e) {
    static const char *const NAMES[GDP_ENDPOINTS] = {"chat", "completions", "responses", "messages", "embeddings",
                                                     "tokenize", "other", "models", "status", "none"};
    return e < GDP_ENDPOINTS ? NAMES[e] : "none";
}

const char *gdp_phase_name(uint8_t phase) {
    static const char *const NAMES[] = {"body", "tokens", "queued", "sending", "waiting", "holding", "relaying", "done"};
    return phase < sizeof NAMES / sizeof *NAMES ? NAMES[phase] : "unknown";
}
