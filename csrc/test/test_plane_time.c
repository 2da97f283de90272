/* test_plane_time.c -- deadlines of every phase, limits, half-closed clients, drain and cut. */
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "scene.h"

void gdp_test_plane_deadlines(void);
void gdp_test_plane_limits(void);
void gdp_test_plane_leaving(void);

static bool has(const peer *p, const char *what) { return p->len && strstr(p->data, what) != NULL; }

#define SOON (40 * MS)

/* ---- deadlines -------------------------------------------------------------------------------------------------- */

static void open_with(scene *s, uint64_t *deadline, unsigned workers) {
    size_t at = (size_t)((char *)deadline - (char *)s);
    scene_defaults(s);
    s->set.attempts = 1;
    memcpy((char *)s + at, &(uint64_t){SOON}, sizeof(uint64_t));
    scene_open(s, workers);
}

static void refused_in_time(void) {
    static const struct {
        const char *say, *reason;
        int status;
    } CASES[] = {{"GET /hea", "HeadTimeout", 408},
                 {"POST /v1/completions HTTP/1.1\r\nhost: f\r\ncontent-length: 9\r\n\r\n{", "BodyTimeout", 408}};
    for (unsigned i = 0; i < 2; i++) {
        gdp_case(CASES[i].reason);
        scene s = {0};
        open_with(&s, i ? &s.set.body_ns : &s.set.head_ns, 1);
        peer c = scene_ask(&s, CASES[i].say, strlen(CASES[i].say));
        scene_eof(&s, &c);
        CHECK(has(&c, CASES[i].reason) && atoi(c.data + 9) == CASES[i].status && !c.reset);
        peer_end(&c);
        scene_close(&s);
    }
}

static void worker_in_time(void) {
    scene s = {0};
    gdp_case("first token");
    open_with(&s, &s.set.first_token_ns, 1);
    peer c = scene_ask(&s, CHAT_STREAM), w = scene_worker(&s, 0);
    scene_say(&s, &w, STREAM_HEAD);
    scene_hear(&s, &c, "FirstTokenTimeout");
    CHECK(atoi(c.data + 9) == 504);
    peer_end(&c), peer_end(&w);
    scene_close(&s);

    gdp_case("answer");
    s = (scene){0};
    open_with(&s, &s.set.answer_ns, 1);
    c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    scene_hear(&s, &c, "AnswerTimeout");
    peer_end(&c), peer_end(&w);
    scene_close(&s);

    gdp_case("between tokens");
    s = (scene){0};
    open_with(&s, &s.set.between_tokens_ns, 1);
    c = scene_ask(&s, CHAT_STREAM), w = scene_worker(&s, 0);
    scene_say(&s, &w, STREAM_HEAD);
    scene_say(&s, &w, STR("11\r\ndata: {\"a\":\"b\"}\n\n\r\n"));
    scene_hear(&s, &c, "\r\n0\r\n\r\n");
    CHECK(has(&c, "TokenGapTimeout") && scene_book(&s, 0).failed == 1);
    peer_end(&c), peer_end(&w);
    scene_close(&s);

    gdp_case("total");
    s = (scene){0};
    open_with(&s, &s.set.total_ns, 1);
    c = scene_ask(&s, CHAT_STREAM), w = scene_worker(&s, 0);
    scene_say(&s, &w, STREAM_HEAD);
    scene_say(&s, &w, STR("11\r\ndata: {\"a\":\"b\"}\n\n\r\n"));
    scene_hear(&s, &c, "TotalTimeout");
    CHECK(scene_book(&s, 0).failed == 0);
    peer_end(&c), peer_end(&w);
    scene_close(&s);

    gdp_case("comments are held no longer than hold.max");
    s = (scene){0};
    scene_defaults(&s);
    s.set.hold_max_ns = 15000 * MS;
    scene_open(&s, 1);
    c = scene_ask(&s, CHAT_STREAM), w = scene_worker(&s, 0);
    scene_say(&s, &w, STREAM_HEAD);
    scene_say(&s, &w, STR("e\r\n: keep-alive\n\n\r\n"));
    scene_turns(&s, 10);
    CHECK(!scene_read(&c));
    scene_later(&s);
    scene_hear(&s, &c, ": keep-alive\n\n");
    scene_say(&s, &w, STREAM_DONE);
    scene_hear(&s, &c, "\r\n0\r\n\r\n");
    peer_end(&c), peer_end(&w);
    scene_close(&s);

    gdp_case("idle");
    s = (scene){0};
    open_with(&s, &s.set.upstream_idle_ns, 1);
    c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    scene_say(&s, &w, OK_JSON);
    scene_eof(&s, &w);
    CHECK(scene_counters(&s).upstreams == 0);
    peer_end(&c), peer_end(&w);
    scene_close(&s);
}

static void far_deadlines_come_neither_early_nor_never(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.answer_ns = 60000 * MS; /* three rounds of the wheel and a bit, that the test itself may take */
    s.set.attempts = 1;
    scene_open(&s, 1);
    peer c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    for (int round = 0; round < 3; round++) {
        scene_turns(&s, 3);
        CHECK(!scene_read(&c) && scene_counters(&s).exchanges == 1);
        scene_later(&s);
    }
    scene_turns(&s, 3);
    CHECK(!scene_read(&c));
    scene_later(&s);
    scene_hear(&s, &c, "AnswerTimeout");
    peer_end(&c), peer_end(&w);
    scene_close(&s);

    s = (scene){0};
    scene_defaults(&s);
    s.set.answer_ns = 20000 * MS;
    s.set.attempts = 1;
    scene_open(&s, 1);
    c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    for (int round = 0; round < 4; round++) scene_later(&s); /* a sleep of more than a minute */
    scene_hear(&s, &c, "AnswerTimeout");
    peer_end(&c), peer_end(&w);
    scene_close(&s);
}

void gdp_test_plane_deadlines(void)
{
    refused_in_time();
    worker_in_time();
    far_deadlines_come_neither_early_nor_never();
}

/* ---- limits ----------------------------------------------------------------------------------------------------- */

static void connections_beyond_the_limit_are_told(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.connections = 2;
    scene_open(&s, 1);
    peer c[3];
    for (int i = 0; i < 3; i++) c[i] = scene_client(&s);
    scene_eof(&s, &c[2]);
    CHECK(has(&c[2], "503") && has(&c[2], "TooManyConnections"));
    for (int i = 0; i < 3; i++) peer_end(&c[i]);
    scene_close(&s);
}

static void without_descriptors_it_waits_and_blames_nobody(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    struct rlimit before, none;
    peer c[3];
    for (int i = 0; i < 3; i++) c[i] = scene_client(&s);
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    int lowest = dup(c[2].fd);
    close(lowest);
    none.rlim_cur = (rlim_t)lowest + 1; /* one more descriptor, for a client; none for its worker */
    setrlimit(RLIMIT_NOFILE, &none);
    scene_say(&s, &c[0], CHAT);
    scene_ms(&s, 30);
    CHECK(scene_counters(&s).connections == 1 && scene_counters(&s).waiting == 1);
    CHECK(scene_book(&s, 0).failed == 0);
    setrlimit(RLIMIT_NOFILE, &before);
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c[0], "done");
    for (int i = 1; i < 3; i++) {
        scene_say(&s, &c[i], STR("GET /health HTTP/1.1\r\nhost: f\r\n\r\n"));
        scene_hear(&s, &c[i], "200 OK");
    }
    for (int i = 0; i < 3; i++) peer_end(&c[i]);
    peer_end(&w);
    scene_close(&s);
}

static void retries_end_with_their_budget(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.budget_burst = 1;
    s.set.budget_ratio = 0;
    s.set.no_worker_ns = 0;
    scene_open(&s, 2);
    peer c = scene_ask(&s, CHAT), w[2];
    for (int i = 0; i < 2; i++) {
        w[i] = scene_worker(&s, (unsigned)i);
        scene_hear(&s, &w[i], "[]}");
        peer_reset(&w[i]);
    }
    scene_hear(&s, &c, "WorkerBrokeOff");
    gdp_counters n = scene_counters(&s);
    CHECK(n.retries == 1 && n.retries_denied == 1);
    peer_end(&c);
    scene_close(&s);
}

static void a_body_that_nobody_wants_has_an_end_too(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.body_bytes = 100;
    scene_open(&s, 1);
    peer c = scene_ask(&s, STR("POST /nowhere HTTP/1.1\r\nhost: f\r\ntransfer-encoding: chunked\r\n\r\n"));
    for (int i = 0; i < 40; i++) scene_say(&s, &c, STR("4\r\nabcd\r\n"));
    scene_eof(&s, &c);
    CHECK(has(&c, "413") && has(&c, "BodyTooLarge"));
    peer_end(&c);
    scene_close(&s);
}

/* Says more, and tells whether that gave its connection another second, from an end that is an hour away. */
static bool is_put_off(scene *s, peer *c, const char *bytes, size_t n) {
    gdp_loop *l = scene_loop(s);
    CHECK(l->conns);
    timer_set(l, &l->conns->timer, l->now + 3600000 * MS);
    const uint64_t due = l->conns->timer.due;
    scene_say(s, c, bytes, n);
    for (int turn = 0; turn < 100 && l->conns->timer.due == due; turn++) scene_turn(s);
    const bool changed = l->conns->timer.due != due;
    timer_set(l, &l->conns->timer, due);
    return changed;
}

static void who_is_refused_and_still_sends_is_not_reset(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.body_bytes = 100;
    scene_open(&s, 1);
    peer c = scene_ask(&s, STR("POST /v1/completions HTTP/1.1\r\nhost: f\r\ncontent-length: 1000000\r\n\r\n"));
    scene_hear(&s, &c, "BodyTooLarge");
    static char much[20000];
    CHECK(is_put_off(&s, &c, much, sizeof much) && is_put_off(&s, &c, much, sizeof much));
    CHECK(!is_put_off(&s, &c, STR("drip")));
    scene_loop(&s)->conns->since -= 31000 * MS; /* but not for ever */
    CHECK(!is_put_off(&s, &c, much, sizeof much));
    scene_eof(&s, &c);
    peer_end(&c);
    scene_close(&s);
}

void gdp_test_plane_limits(void)
{
    a_body_that_nobody_wants_has_an_end_too();
    who_is_refused_and_still_sends_is_not_reset();
    connections_beyond_the_limit_are_told();
    without_descriptors_it_waits_and_blames_nobody();
    retries_end_with_their_budget();
}

/* ---- clients that half-close, drain, cut ------------------------------------------------------------------------ */

static void a_half_closed_client_is_gone_unless_it_may(void) {
    gdp_case(__func__);
    for (int may = 0; may < 2; may++) {
        scene s = {0};
        scene_defaults(&s);
        s.set.half_close_allow = may;
        scene_open(&s, 1);
        peer c = scene_ask(&s, CHAT), w = {.fd = -1};
        shutdown(c.fd, SHUT_WR);
        if (may) {
            w = scene_worker(&s, 0);
            scene_hear(&s, &w, "[]}");
            scene_say(&s, &w, OK_JSON);
        }
        scene_eof(&s, &c);
        CHECK(may ? has(&c, "done") : !c.len);
        CHECK(scene_ended(&s, GDP_R_CLIENT_GONE) == !may);
        peer_end(&c), peer_end(&w);
        scene_close(&s);
    }
}

static void a_client_that_leaves_takes_its_request_along(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    peer c = scene_ask(&s, CHAT_STREAM), w = scene_worker(&s, 0);
    scene_say(&s, &w, STREAM_HEAD);
    scene_say(&s, &w, STR("11\r\ndata: {\"a\":\"b\"}\n\n\r\n"));
    scene_hear(&s, &c, "\"b\"");
    peer_end(&c);
    scene_eof(&s, &w);
    CHECK(scene_ended(&s, GDP_R_CLIENT_GONE) == 1 && scene_book(&s, 0).failed == 0);
    peer_end(&w);
    scene_close(&s);
}

static void a_drain_finishes_what_runs_and_a_cut_ends_it(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    peer idle = scene_client(&s), a = scene_ask(&s, CHAT), wa = scene_worker(&s, 0);
    peer b = scene_ask(&s, CHAT_STREAM), wb = scene_worker(&s, 0);
    peer d = scene_ask(&s, CHAT), wd = scene_worker(&s, 0);
    scene_say(&s, &wb, STREAM_HEAD);
    scene_say(&s, &wb, STR("11\r\ndata: {\"a\":\"b\"}\n\n\r\n"));
    scene_hear(&s, &b, "\"b\"");
    gdp_plane_ask(s.plane, GDP_ASK_CLOSE_LISTENERS);
    scene_eof(&s, &idle);
    scene_say(&s, &wa, OK_JSON);
    scene_eof(&s, &a);
    CHECK(has(&a, "connection: close") && has(&a, "done"));
    gdp_plane_ask(s.plane, GDP_ASK_CLOSE_LISTENERS | GDP_ASK_CUT);
    scene_eof(&s, &b);
    size_t n;
    char *payload = scene_payload(&b, &n);
    CHECK(payload && strstr(payload, "ShuttingDown") && strstr(payload, "[DONE]"));
    free(payload);
    scene_eof(&s, &d);
    CHECK(has(&d, "503") && has(&d, "ShuttingDown"));
    peer *all[] = {&idle, &a, &b, &d, &wa, &wb, &wd};
    for (unsigned i = 0; i < 7; i++) peer_end(all[i]);
    scene_close(&s);
}

void gdp_test_plane_leaving(void)
{
    a_half_closed_client_is_gone_unless_it_may();
    a_client_that_leaves_takes_its_request_along();
    a_drain_finishes_what_runs_and_a_cut_ends_it();
}
