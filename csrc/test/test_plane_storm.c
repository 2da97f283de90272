/* test_plane_storm.c -- the plane without memory, and the plane with threads while everything happens at once. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scene.h"

void gdp_test_plane_oom(void);
void gdp_test_plane_threads(void);

/* ---- out of memory ---------------------------------------------------------------------------------------------- */

static void die(scene *s, peer *w) {
    (void)s;
    peer_reset(w);
}

/* Worker 0 dies at the first request of each connection; worker 1 streams or answers. */
static void answer_most(scene *s, peer *w, unsigned worker) {
    if (!worker) {
        die(s, w);
        return;
    }
    if (!strstr(w->data, "\"stream\":true")) {
        scene_say(s, w, OK_JSON);
        return;
    }
    scene_say(s, w, STREAM_HEAD);
    scene_say(s, w, STR("11\r\ndata: {\"a\":\"b\"}\n\n\r\n5\r\ndata:\r\n"));
    scene_say(s, w, STR("c\r\n {\"a\":\"c\"}\n\n\r\n"));
    scene_say(s, w, STR("2a\r\ndata: {\"a\":1,\"finish_reason\":\"stop\",\"x\":1}\r\n2\r\n\n\n\r\n"));
    scene_say(s, w, STR("36\r\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":1},\"y\":1}\r\n2\r\n\n\n\r\n"));
    scene_say(s, w, STREAM_DONE);
}

/* Requests that meet every allocation of the plane: plain, streamed, chunked, escaped, pipelined, parked, retried. */
static void ask_all(scene *s, peer c[6]) {
    c[0] = scene_ask(s, CHAT);
    c[1] = scene_ask(s, CHAT_STREAM);
    c[2] = scene_ask(s, STR("POST /v1/completions HTTP/1.1\r\nhost: f\r\ntransfer-encoding: chunked\r\n\r\n"
                            "12\r\n{\"model\":\"\\u006d\"}\r\n0\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: f\r\n\r\nGET /hea"));
    c[3] = scene_ask(s, STR("GET /v1/models/m HTTP/1.1\r\nhost: f\r\n\r\n"));
    c[4] = scene_ask(s, CHAT_STREAM);
    c[5] = scene_ask(s, STR("POST /nowhere HTTP/1.1\r\nhost: f\r\ncontent-length: 9\r\n\r\n"));
}

/* The nth allocation fails, and all others until the turn in which it happened is over. False: there was none. */
static bool starve(long n) {
    scene s = {0};
    scene_defaults(&s);
    s.set.no_worker_ns = 20 * MS;
    s.set.queue_wait_ns = 20 * MS;
    s.set.circuit.failures_max = 3;
    s.set.circuit.open_ns = 5 * MS;
    s.answer = answer_most;
    s.exact = true;
    s.set.tokens_wait_ns = 5 * MS;
    bool hit = false;
    gdp_alloc_fail_after(n);
    if (!scene_try_open(&s, 2)) {
        gdp_alloc_fail_after(-1);
        scene_close(&s);
        return true;
    }
    s.worker[1].max_inflight = 1;
    peer c[6] = {0};
    if (scene_publish(&s)) ask_all(&s, c);
    for (int turn = 0; turn < 60; turn++) {
        scene_turn(&s);
        gdp_job *j = turn % 3 ? NULL : gdp_plane_take_job(s.plane, 0);
        if (j) gdp_plane_give_job(s.plane, j, (uint64_t[]){1, 2}, 2, 33, 16);
        if (!hit) {
            void *probe = gdp_alloc(1);
            hit = !probe;
            gdp_free(probe);
            if (hit) gdp_alloc_fail_after(-1);
        }
        if (c[0].fd)
            for (int i = 0; i < 6; i++) scene_read(&c[i]);
    }
    gdp_alloc_fail_after(-1);
    for (int i = 0; i < 6; i++) {
        if (c[i].len) CHECK(!memcmp(c[i].data, STR("HTTP/1.1 ")));
        if (c[i].fd) peer_end(&c[i]);
    }
    scene_close(&s);
    return hit;
}

void gdp_test_plane_oom(void)
{
    long n = 0;
    while (starve(n)) n++;
    CHECK(n > 60); /* it did meet the plane's allocations, not only those of the start */
}

/* ---- threads ---------------------------------------------------------------------------------------------------- */

#define LOOPS 3
#define ASKERS 4

typedef struct {
    scene *s;
    unsigned index;
    _Atomic bool stop;
    _Atomic uint64_t done;
} actor;

static int dial(uint16_t port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    close(fd);
    return -1;
}

static bool readable(int fd, int ms) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) > 0;
}

/* A worker of its own thread: one connection at a time per poll; sometimes it dies in the middle. */
static void *work(void *arg) {
    actor *me = arg;
    peer p[64];
    uint64_t random = 7 + me->index;
    unsigned n = 0;
    while (!atomic_load(&me->stop)) {
        struct pollfd all[65] = {{.fd = me->s->worker[me->index].fd, .events = POLLIN}};
        for (unsigned i = 0; i < n; i++) all[i + 1] = (struct pollfd){.fd = p[i].fd, .events = POLLIN};
        poll(all, n + 1, 20);
        for (unsigned i = 0; i < n; i++) {
            if (!all[i + 1].revents) continue;
            while (scene_read(&p[i])) {
            }
            uint32_t dice = gdp_random(&random) % 16;
            if (p[i].len && strchr(p[i].data, '}')) {
                bool stream = strstr(p[i].data, "true}") != NULL;
                peer_clear(&p[i]);
                if (stream) {
                    send(p[i].fd, STREAM_HEAD, MSG_NOSIGNAL);
                    send(p[i].fd, STR("11\r\ndata: {\"a\":\"b\"}\n\n\r\n"), MSG_NOSIGNAL);
                    if (dice > 1) send(p[i].fd, STREAM_DONE, MSG_NOSIGNAL);
                } else if (dice > 1) {
                    send(p[i].fd, OK_JSON, MSG_NOSIGNAL);
                }
                if (dice < 2) shutdown(p[i].fd, SHUT_RDWR);
            }
        }
        for (unsigned i = 0; i < n;) {
            if (p[i].eof) {
                peer_end(&p[i]);
                p[i] = p[--n];
            } else {
                i++;
            }
        }
        if (n < 64 && scene_has_worker(me->s, me->index, &p[n])) n++;
    }
    while (n) peer_end(&p[--n]);
    return NULL;
}

/* A client: asks, reads a little or all, and sometimes vanishes. */
static void *ask(void *arg) {
    actor *me = arg;
    uint64_t random = 99 + me->index;
    while (!atomic_load(&me->stop)) {
        int fd = dial(me->s->port);
        if (fd < 0) continue;
        fcntl(fd, F_SETFL, O_NONBLOCK);
        peer p = {.fd = fd};
        uint32_t dice = gdp_random(&random) % 8;
        if (dice & 1)
            send(fd, CHAT_STREAM, MSG_NOSIGNAL);
        else
            send(fd, CHAT, MSG_NOSIGNAL);
        if (dice < 2) {
            peer_reset(&p);
            continue;
        }
        for (int i = 0; i < 200 && !p.eof; i++) {
            if (readable(fd, 5)) scene_read(&p);
            if (p.len && (strstr(p.data, "}\r\n\r\n") || strstr(p.data, "\r\n0\r\n\r\n") || strstr(p.data, "done\"}"))) break;
        }
        if (p.len) atomic_fetch_add(&me->done, 1);
        peer_end(&p);
    }
    return NULL;
}

/* Who has a tokenizer: answers most jobs, some of them late. */
static void *tokenize(void *arg) {
    actor *me = arg;
    uint64_t random = 3 + me->index;
    for (gdp_job *j; !atomic_load(&me->stop);) {
        if (!(j = gdp_plane_take_job(me->s->plane, 50))) continue;
        uint32_t dice = gdp_random(&random) % 8;
        gdp_job_view seen = gdp_job_look(j);
        bool whole = seen.body_len >= 27 && seen.body[0] == '{' && seen.model[0] == 'm';
        if (!whole) gdp_check_failed(__FILE__, __LINE__, "a job has its body and model"); /* CHECK counts: main thread only */
        if (!dice) poll(NULL, 0, 4);
        gdp_plane_give_job(me->s->plane, j, dice == 1 ? NULL : (uint64_t[]){dice}, 1, 20, 16);
        atomic_fetch_add(&me->done, 1);
    }
    return NULL;
}

/* Everything that control does, at once. For so long, and until there was enough of it: a machine that is slow, or
 * slowed by a sanitizer, gets its time. */
static void storm(scene *s, unsigned ms, bool (*enough)(scene *)) {
    static gdp_sight sights[64];
    static gdp_record records[256];
    static gdp_decision decisions[64];
    gdp_page page = {0};
    const uint64_t began = clock_ns();
    for (unsigned i = 0; clock_ns() < began + ms * MS || !enough(s); i++) {
        CHECK(clock_ns() < began + 120000 * MS);
        s->worker[i % 2].state = i % 5 ? GDP_READY : GDP_UNHEALTHY;
        s->worker[0].max_inflight = s->worker[1].max_inflight = 1 + i % 2;
        CHECK(scene_publish(s));
        gdp_counters c = scene_counters(s);
        CHECK(c.connections < 100);
        CHECK(gdp_page_render(&page, s->meter, (gdp_form)(i % GDP_FORMS), true) > 0);
        gdp_view seen = {0};
        CHECK(gdp_series_view(s->series[GDP_A_COUNTS + GDP_A_DURATION], clock_ns(), 10, &seen) >= 0);
        gdp_plane_records(s->plane, records, 256);
        size_t told = gdp_plane_decisions(s->plane, decisions, 64);
        for (size_t k = 0; k < told; k++) CHECK(decisions[k].n_shown >= 1 && decisions[k].shown[0].slot < 2);
        if (i % 4) continue;
        size_t total;
        unsigned missed;
        gdp_plane_look(s->plane, sights, 64, 50, &total, &missed);
        CHECK(missed == 0 || total < 100);
    }
    gdp_page_free(&page);
}

static actor actors[2 + ASKERS], tokenizer[2];

static bool every_part_had_its_share(scene *s) {
    const gdp_counters c = scene_counters(s);
    uint64_t done = 0;
    for (unsigned i = 2; i < 2 + ASKERS; i++) done += atomic_load(&actors[i].done);
    for (unsigned i = 0; i < 2; i++)
        if (atomic_load(&tokenizer[i].done) <= 10) return false;
    return done > 50 && c.tokens_exact > 10 && c.tokens_declined > 0 && c.placed_by[GDP_BY_TOKENS] > 10 &&
           gdp_series_value(s->series[GDP_A_ENDED]) > 50;
}

void gdp_test_plane_threads(void)
{
    pthread_t thread[2 + ASKERS], token_thread[2];
    scene s = {0};
    scene_defaults(&s);
    s.set.queue_wait_ns = s.set.no_worker_ns = 300 * MS;
    s.set.first_token_ns = s.set.answer_ns = s.set.between_tokens_ns = 500 * MS;
    s.set.queue_length = 3;
    s.set.tokens_wait_ns = 2 * MS;
    s.exact = true;
    s.set.policy = GDP_KV;
    s.set.predict_s = s.set.predict_text_s = 1;
    scene_open(&s, 2);
    gdp_plane_free(s.plane); /* the same scene with threads of its own */
    s.plane = gdp_plane_new(LOOPS, 1);
    CHECK(s.plane && scene_index(&s));
    CHECK(s.plane && gdp_plane_listen(s.plane, "127.0.0.1", 0, &s.port) == 0);
    scene_meter(&s);
    CHECK(gdp_plane_start(s.plane) == 0);
    for (unsigned i = 0; i < 2 + ASKERS; i++) {
        actors[i].s = &s;
        actors[i].index = i < 2 ? i : i - 2;
        atomic_store(&actors[i].stop, false);
        CHECK(pthread_create(&thread[i], NULL, i < 2 ? work : ask, &actors[i]) == 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        tokenizer[i] = (actor){.s = &s, .index = i};
        CHECK(pthread_create(&token_thread[i], NULL, tokenize, &tokenizer[i]) == 0);
    }
    storm(&s, 1500, every_part_had_its_share);
    gdp_plane_ask(s.plane, GDP_ASK_CLOSE_LISTENERS);
    for (unsigned i = 2; i < 2 + ASKERS; i++) {
        atomic_store(&actors[i].stop, true);
        pthread_join(thread[i], NULL);
    }
    gdp_plane_ask(s.plane, GDP_ASK_CUT);
    uint64_t until = clock_ns() + 60000 * MS;
    for (;;) {
        gdp_counters c = scene_counters(&s);
        if (!c.exchanges && !c.connections && !c.waiting) break;
        CHECK(clock_ns() < until);
        poll(NULL, 0, 5);
    }
    for (unsigned i = 0; i < 2; i++) {
        CHECK(scene_book(&s, i).inflight == 0);
        atomic_store(&actors[i].stop, true);
        pthread_join(thread[i], NULL);
    }
    gdp_plane_close_jobs(s.plane);
    for (unsigned i = 0; i < 2; i++) {
        atomic_store(&tokenizer[i].stop, true);
        pthread_join(token_thread[i], NULL);
    }
    CHECK(gdp_series_value(s.series[GDP_A_ARRIVED]) == gdp_series_value(s.series[GDP_A_ENDED]));
    CHECK(gdp_series_value(s.series[GDP_A_COUNTS + GDP_A_TIMES + GDP_A_WAITING]) == 0);
    CHECK(gdp_indexer_settle(s.indexer, 60000));
    gdp_indexer_stats index;
    gdp_indexer_look(s.indexer, &index);
    CHECK(index.predictions > 10);
    CHECK(index.index.blocks + index.index.expired > 0); /* a prediction lasts 1 s, and a slow machine takes longer to end */
    gdp_plane_free(s.plane);
    s.plane = NULL;
    scene_close(&s);
}
