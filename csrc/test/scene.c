/* scene.c -- see scene.h. */
#include "scene.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../plane/loop.h"

#define WAIT_NS (60000 * MS) /* only a test that fails waits so long */
#define NEVER (3600000 * MS)

static int open_fds(void) {
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (d && readdir(d)) n++;
    if (d) closedir(d);
    return n;
}

/* ---- the scene -------------------------------------------------------------------------------------------------- */

void scene_defaults(scene *s) {
    *s = (scene){.n_models = 1};
    s->set = (gdp_settings){
        .head_ns = NEVER, .body_ns = NEVER, .connect_ns = NEVER, .first_token_ns = NEVER, .answer_ns = NEVER,
        .between_tokens_ns = NEVER, .idle_ns = NEVER, .hold_max_ns = NEVER, .upstream_idle_ns = NEVER,
        .queue_wait_ns = NEVER, .no_worker_ns = NEVER, .body_bytes = 32u << 20, .buffered_bytes = 256u << 20,
        .head_bytes = 65536, .headers = 100, .connections = 1000, .queue_length = 100, .tokens_wait_ns = NEVER, .tokens_jobs = 100, .attempts = 3,
        .budget_ratio = 0.2, .budget_burst = 10, .budget_per_s = 0, .policy = GDP_ROUND_ROBIN, .inject_usage = true,
        .circuit = {.failures_max = 1000, .open_ns = 50 * MS, .max_open_ns = 100 * MS}};
    gdp_weights_init(&s->set.weights);
    gdp_late_rule_init(&s->set.late);
    for (unsigned i = 0; i < SCENE_WORKERS; i++) s->worker[i].fd = -1;
}

static int listen_somewhere(uint16_t *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    CHECK(bind(fd, (struct sockaddr *)&a, size) == 0 && listen(fd, 64) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&a, &size) == 0);
    *port = ntohs(a.sin_port);
    return fd;
}

static gdp_series *series(gdp_meter *m, const char *kind, unsigned i, gdp_family_spec spec) {
    char name[32];
    const char *why = NULL;
    snprintf(name, sizeof name, "%s_%u_seconds", kind, i);
    spec.name = name;
    spec.help = "Of a test";
    gdp_family *f = gdp_meter_family(m, &spec, &why);
    CHECK(f && !why);
    return gdp_family_series(f, NULL, &why);
}

void scene_meter(scene *s) {
    unsigned n = 0;
    s->meter = gdp_meter_new(clock_ns());
    for (unsigned i = 0; i < GDP_A_COUNTS; i++)
        s->series[n++] = series(s->meter, "count", i, (gdp_family_spec){.kind = GDP_COUNTER, .window = i % 2});
    for (unsigned i = 0; i < GDP_A_TIMES; i++)
        s->series[n++] = series(s->meter, "time", i, (gdp_family_spec){.kind = GDP_HISTOGRAM, .window = true});
    for (unsigned i = 0; i < GDP_A_LEVELS; i++)
        s->series[n++] = series(s->meter, "level", i, (gdp_family_spec){.kind = GDP_GAUGE});
    for (uint32_t thread = 0; thread < gdp_plane_threads(s->plane); thread++) {
        gdp_account a;
        n = 0;
        for (unsigned i = 0; i < GDP_A_COUNTS; i++) a.count[i] = gdp_series_counter(s->series[n++]);
        for (unsigned i = 0; i < GDP_A_TIMES; i++) a.time[i] = gdp_series_histogram(s->series[n++]);
        for (unsigned i = 0; i < GDP_A_LEVELS; i++) a.level[i] = gdp_series_gauge(s->series[n++]);
        CHECK(gdp_plane_account(s->plane, 7, thread, &a) == 0);
        CHECK(gdp_plane_account(s->plane, 7, thread, &a) == GDP_BAD); /* told before */
    }
    CHECK(scene_publish(s));
}

bool scene_publish(scene *s) {
    uint32_t all[SCENE_WORKERS] = {0, 1, 2, 3};
    gdp_table *t = gdp_table_new(&s->set, s->n_workers, s->n_models);
    if (!t) return false;
    for (unsigned i = 0; i < s->n_workers; i++) {
        gdp_worker w = {.slot = i, .max_inflight = s->worker[i].max_inflight, .key = s->worker[i].key,
                        .state = s->worker[i].state, .heals = s->worker[i].heals, .rank = -1, .family = AF_INET, .port = s->worker[i].port, .ip = {127, 0, 0, 1}};
        w.id_len = w.authority_len = (uint8_t)snprintf(w.id, sizeof w.id, "worker-%u", i);
        memcpy(w.authority, w.id, sizeof w.id);
        CHECK(gdp_table_worker(t, i, &w) == 0);
    }
    /* Model i is served by all workers; names are m, n, o, ... */
    for (unsigned i = 0; i < s->n_models; i++) {
        const char name = (char)('m' + i);
        if (gdp_table_model(t, i, &name, 1, all, s->n_workers, STR("{}")) < 0 ||
            (s->exact && gdp_table_model_exact(t, i, s->recall_seed) < 0) ||
            (s->meter && !i && gdp_table_model_accounts(t, i, (uint16_t[]){7}, 1) < 0)) {
            gdp_table_free(t);
            return false;
        }
    }
    if (gdp_table_list(t, STR("{\"object\":\"list\",\"data\":[]}")) < 0) {
        gdp_table_free(t);
        return false;
    }
    gdp_plane_publish(s->plane, t);
    return true;
}

bool scene_index(scene *s) {
    s->indexer = gdp_indexer_new(&(gdp_indexer_options){.index_bytes = 1u << 20, .ring_bytes = 64u << 10, .secret = "s", .secret_len = 1});
    if (!s->indexer) return false;
    for (unsigned i = 0; i < s->n_workers; i++)
        if (gdp_indexer_open(s->indexer, i, STR("m"))) return false;
    return gdp_plane_attach(s->plane, s->indexer) == 0 && gdp_indexer_start(s->indexer) == 0;
}

bool scene_try_open(scene *s, unsigned workers) {
    if (!s->set.attempts) scene_defaults(s);
    s->fds_before = open_fds();
    s->n_workers = workers;
    s->plane = gdp_plane_new(0, 1);
    if (!s->plane) return false;
    if (s->indexed && !scene_index(s)) return false;
    for (unsigned i = 0; i < workers; i++) {
        s->worker[i].fd = listen_somewhere(&s->worker[i].port);
        s->worker[i].state = GDP_READY;
        s->worker[i].key = 100 + i;
    }
    for (unsigned i = 0; i < 64; i++) s->busy[i].fd = -1;
    CHECK(gdp_plane_listen(s->plane, "127.0.0.1", 0, &s->port) == 0);
    return scene_publish(s);
}

void scene_open(scene *s, unsigned workers) { CHECK(scene_try_open(s, workers)); }

gdp_loop *scene_loop(scene *s) { return &s->plane->loops[0]; }

gdp_book scene_book(scene *s, unsigned i) {
    gdp_book b;
    gdp_book_copy(gdp_plane_books(s->plane), i, 1, &b);
    return b;
}

gdp_counters scene_counters(scene *s) {
    gdp_counters c;
    gdp_plane_counters(s->plane, &c);
    return c;
}

uint64_t scene_ended(scene *s, gdp_reason why) {
    gdp_counters c = scene_counters(s);
    uint64_t n = 0;
    for (unsigned e = 0; e < GDP_ENDPOINTS; e++) n += c.ended[e][why];
    return n;
}

static bool is_quiet(scene *s) {
    gdp_counters c = scene_counters(s);
    return !c.exchanges && !c.connections;
}

static void check_books(scene *s) {
    gdp_loop *l = scene_loop(s);
    gdp_counters c = scene_counters(s);
    uint64_t idle = 0;
    for (unsigned i = 0; i < s->n_workers; i++) {
        CHECK(scene_book(s, i).inflight == 0);
        for (gdp_upstream *u = l->pool[i]; u; u = u->next) idle++;
    }
    CHECK(c.exchanges == 0);
    CHECK(c.connections == 0);
    CHECK(c.waiting == 0 && !l->q_head && !l->q_tail && l->q_len == 0);
    CHECK(c.buffered_bytes == l->emit.cap); /* the loop's own room is all that is left */
    CHECK(c.upstreams == idle);
}

void scene_close(scene *s) {
    if (s->plane) {
        uint64_t until = clock_ns() + WAIT_NS;
        while (!is_quiet(s) && clock_ns() < until) scene_turn(s);
        check_books(s);
        gdp_plane_free(s->plane);
    }
    gdp_indexer_free(s->indexer);
    gdp_meter_free(s->meter);
    for (unsigned i = 0; i < 64; i++)
        if (s->plane) peer_end(&s->busy[i]);
    for (unsigned i = 0; i < SCENE_WORKERS; i++)
        if (s->worker[i].fd >= 0) close(s->worker[i].fd);
    CHECK(open_fds() == s->fds_before);
}

/* ---- turning ---------------------------------------------------------------------------------------------------- */

static const char *head_end(const char *data, size_t len) {
    const char *at = memmem(data, len, "\r\n\r\n", 4);
    return at ? at + 4 : NULL;
}

/* A whole request with a Content-Length body, or none. */
static size_t whole_request(const peer *p) {
    const char *body = p->len ? head_end(p->data, p->len) : NULL;
    if (!body) return 0;
    const char *length = memmem(p->data, (size_t)(body - p->data), "content-length: ", 16);
    size_t need = (size_t)(body - p->data) + (length ? (size_t)atol(length + 16) : 0);
    return p->len >= need ? need : 0;
}

static void answer_all(scene *s) {
    for (unsigned k = 0, w = 0; k < 64 && w < s->n_workers; k++) {
        if (s->busy[k].fd >= 0) continue;
        while (w < s->n_workers && !scene_has_worker(s, w, &s->busy[k])) w++;
        if (w < s->n_workers) s->busy_of[k] = (uint8_t)w;
    }
    for (unsigned k = 0; k < 64; k++) {
        peer *p = &s->busy[k];
        if (p->fd < 0) continue;
        scene_read(p);
        size_t n = whole_request(p);
        if (n) {
            s->answer(s, p, s->busy_of[k]);
            if (p->fd < 0) continue;
            memmove(p->data, p->data + n, p->len - n + 1);
            p->len -= n;
        }
        if (p->eof) peer_end(p);
    }
}

void scene_turn(scene *s) {
    struct pollfd p = {.fd = gdp_plane_fd(s->plane), .events = POLLIN};
    int ms = gdp_plane_wait_ms(s->plane);
    poll(&p, 1, ms < 1 ? ms : 1);
    gdp_plane_step(s->plane);
    if (s->answer) answer_all(s);
}

void scene_turns(scene *s, unsigned n) {
    while (n--) scene_turn(s);
}

void scene_ms(scene *s, unsigned ms) {
    uint64_t until = clock_ns() + ms * MS;
    for (unsigned turns = 0; turns < ms || clock_ns() < until; turns++) scene_turn(s);
}

static void age(timer *t) {
    if (!t->next) return;
    t->due -= WHEEL * TICK;
    t->tick -= WHEEL; /* the same cell */
}

static void age_time(uint64_t *at) {
    if (*at) *at -= WHEEL * TICK; /* 0: did not happen */
}

static void age_exchange(gdp_exchange *x) {
    uint64_t *const times[] = {&x->arrival, &x->phase_at, &x->wait_at, &x->last_at, &x->comment_at, &x->park_until,
                               &x->parked_at, &x->no_worker_since, &x->try_at, &x->queued_at};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) age_time(times[i]);
}

void scene_later(scene *s) {
    gdp_loop *l = scene_loop(s);
    for (gdp_conn *c = l->conns; c; c = c->next) {
        age(&c->timer);
        age_time(&c->since);
        if (c->x) age_exchange(c->x);
    }
    for (unsigned i = 0; i < s->n_workers; i++)
        for (gdp_upstream *u = l->pool[i]; u; u = u->next) age(&u->timer);
    l->tick -= WHEEL;
}

/* ---- peers ------------------------------------------------------------------------------------------------------ */

peer scene_client(scene *s) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    peer p = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    CHECK(connect(p.fd, (struct sockaddr *)&a, sizeof a) == 0); /* the backlog takes it: no turn is needed */
    fcntl(p.fd, F_SETFL, O_NONBLOCK);
    setsockopt(p.fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return p;
}

peer scene_ask(scene *s, const char *bytes, size_t n) {
    peer p = scene_client(s);
    scene_say(s, &p, bytes, n);
    return p;
}

bool scene_has_worker(scene *s, unsigned i, peer *out) {
    int fd = accept4(s->worker[i].fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return false;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* a last word before a reset must not wait */
    *out = (peer){.fd = fd};
    return true;
}

peer scene_worker(scene *s, unsigned i) {
    peer p = {.fd = -1};
    uint64_t until = clock_ns() + WAIT_NS;
    while (!scene_has_worker(s, i, &p)) {
        CHECK(clock_ns() < until);
        scene_turn(s);
    }
    return p;
}

void scene_say(scene *s, peer *p, const char *bytes, size_t n) {
    uint64_t until = clock_ns() + WAIT_NS;
    while (n) {
        ssize_t r = send(p->fd, bytes, n, MSG_NOSIGNAL);
        if (r < 0 && errno != EAGAIN) return; /* the other side has gone: what it said is there to be read */
        if (r > 0) bytes += r, n -= (size_t)r;
        CHECK(clock_ns() < until);
        if (n) scene_turn(s);
    }
}

bool scene_read(peer *p) {
    if (p->fd < 0 || p->eof) return false;
    if (p->cap - p->len < 65536 + 1) {
        p->cap += p->cap / 2 + 2 * 65536;
        p->data = realloc(p->data, p->cap);
        if (!p->data) abort(); /* no CHECK: threads of a test read too */
    }
    ssize_t r = recv(p->fd, p->data + p->len, 65536, 0);
    if (r > 0) p->len += (size_t)r;
    p->data[p->len] = 0;
    if (r == 0) p->eof = true;
    if (r < 0 && errno != EAGAIN) p->eof = p->reset = true;
    return r > 0;
}

static bool heard(const peer *p, const char *what) { return p->len && memmem(p->data, p->len, what, strlen(what)); }

void scene_hear(scene *s, peer *p, const char *what) {
    uint64_t until = clock_ns() + WAIT_NS;
    for (;;) {
        while (scene_read(p)) {
        }
        if (heard(p, what)) return;
        if (p->eof || clock_ns() >= until) {
            fprintf(stderr, "waited for `%s`, eof %d, got %zu bytes:\n%.*s\n", what, p->eof, p->len,
                    (int)(p->len < 4000 ? p->len : 4000), p->data ? p->data : "");
            CHECK(!"heard");
        }
        scene_turn(s);
    }
}

void scene_hear_bytes(scene *s, peer *p, size_t n) {
    uint64_t until = clock_ns() + WAIT_NS;
    while (p->len < n) {
        if (scene_read(p)) continue;
        CHECK(!p->eof && clock_ns() < until);
        scene_turn(s);
    }
}

void scene_eof(scene *s, peer *p) {
    uint64_t until = clock_ns() + WAIT_NS;
    while (!p->eof) {
        if (scene_read(p)) continue;
        CHECK(clock_ns() < until);
        scene_turn(s);
    }
}

void peer_clear(peer *p) { p->len = 0; }

void peer_end(peer *p) {
    if (p->fd >= 0) close(p->fd);
    free(p->data);
    *p = (peer){.fd = -1};
}

void peer_reset(peer *p) {
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    peer_end(p);
}

/* ---- reading answers -------------------------------------------------------------------------------------------- */

char *scene_payload(const peer *p, size_t *len) {
    const char *at = p->len ? head_end(p->data, p->len) : NULL, *end = p->data + p->len;
    char *out = malloc(p->len + 1);
    gdp_chunked chunks = {0};
    *len = 0;
    CHECK(out != NULL);
    while (at && at < end && !chunks.done) {
        gdp_span run;
        int64_t n = gdp_chunked_next(&chunks, at, (size_t)(end - at), &run);
        if (n < 0) break;
        memcpy(out + *len, at + run.off, run.len);
        *len += run.len;
        at += n;
    }
    if (chunks.done && at == end) {
        out[*len] = 0;
        return out;
    }
    free(out);
    *len = 0;
    return NULL;
}

char *scene_file(const char *path, size_t *len) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    CHECK(fseek(f, 0, SEEK_END) == 0);
    long size = ftell(f);
    CHECK(size >= 0 && fseek(f, 0, SEEK_SET) == 0);
    char *data = malloc((size_t)size + 1);
    CHECK(data && fread(data, 1, (size_t)size, f) == (size_t)size);
    data[size] = 0;
    *len = (size_t)size;
    fclose(f);
    return data;
}
