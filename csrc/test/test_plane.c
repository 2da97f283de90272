/* test_plane.c -- one exchange after another over real sockets: bytes, framing, what a request may not do to the next. */
#include <sys/socket.h>

#include "scene.h"

void gdp_test_plane_requests(void);
void gdp_test_plane_answers(void);
void gdp_test_plane_ends(void);

static bool has(const peer *p, const char *what) { return p->len && strstr(p->data, what) != NULL; }

/* The client's next request on this connection is answered: nothing of the last answer is left over. */
static void check_in_step(scene *s, peer *c) {
    peer_clear(c);
    scene_say(s, c, STR("GET /health HTTP/1.1\r\nhost: f\r\n\r\n"));
    scene_hear(s, c, "\r\n\r\n");
    CHECK(!memcmp(c->data, STR("HTTP/1.1 200 OK\r\n")));
}

static void end_all(scene *s, peer *c, peer *w) {
    peer_end(c);
    peer_end(w);
    scene_close(s);
}

/* ---- what the worker gets --------------------------------------------------------------------------------------- */

static void an_escaped_model_name_stays_out_of_the_head(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    peer c = scene_ask(&s, STR("POST /v1/completions HTTP/1.1\r\nhost: f\r\ncontent-length: 18\r\n\r\n{\"model\":\"\\u006d\"}"));
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "{\"model\":\"\\u006d\"}");
    CHECK(has(&w, "\r\ncontent-length: 18\r\n"));
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    end_all(&s, &c, &w);
}

static void a_chunked_body_goes_on_with_a_length_only(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    peer c = scene_ask(&s, STR("POST /v1/completions HTTP/1.1\r\nhost: f\r\nTransfer-Encoding: chunked\r\n\r\n"
                               "5\r\n{\"mod\r\n8;x=1\r\nel\":\"m\"}\r\n0\r\nt: 1\r\n\r\n"));
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "{\"model\":\"m\"}");
    CHECK(has(&w, "\r\ncontent-length: 13\r\n"));
    CHECK(!has(&w, "ransfer-"));
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    end_all(&s, &c, &w);
}

static void a_body_of_a_get_has_its_length(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    peer c = scene_ask(&s, STR("GET /v1/responses/resp_1 HTTP/1.1\r\nhost: f\r\ncontent-length: 13\r\n\r\n{\"model\":\"m\"}"));
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "{\"model\":\"m\"}");
    CHECK(has(&w, "\r\ncontent-length: 13\r\n"));
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    end_all(&s, &c, &w);
}

static void requests_may_be_cut_anywhere(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    static const char two[] = "POST /v1/completions HTTP/1.1\r\nhost: f\r\ncontent-length: 13\r\n\r\n{\"model\":\"m\"}"
                              "POST /v1/completions HTTP/1.1\r\nhost: f\r\ntransfer-encoding: chunked\r\n\r\n"
                              "d\r\n{\"model\":\"m\"}\r\n0\r\n\r\n";
    peer c = scene_client(&s), w = {.fd = -1};
    for (size_t cut = 0; cut <= sizeof two; cut++) { /* the last round: byte by byte */
        size_t n = sizeof two - 1;
        if (cut == n + 1) {
            for (size_t i = 0; i < n; i++) {
                scene_say(&s, &c, two + i, 1);
                scene_turn(&s);
            }
        } else {
            scene_say(&s, &c, two, cut);
            scene_turns(&s, 2);
            scene_say(&s, &c, two + cut, n - cut);
        }
        for (int k = 0; k < 2; k++) {
            if (w.fd < 0) w = scene_worker(&s, 0);
            scene_hear(&s, &w, "\r\n\r\n{\"model\":\"m\"}");
            peer_clear(&w);
            scene_say(&s, &w, OK_JSON);
            scene_hear(&s, &c, "done\"}");
            peer_clear(&c);
        }
    }
    CHECK(scene_counters(&s).upstream_connects == 1);
    end_all(&s, &c, &w);
}

static void a_client_that_expects_is_told_to_go_on(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    peer c = scene_ask(&s, STR("POST /v1/completions HTTP/1.1\r\nhost: f\r\nexpect: 100-continue\r\ncontent-length: 13\r\n\r\n"));
    scene_hear(&s, &c, "HTTP/1.1 100 Continue\r\n\r\n");
    peer_clear(&c);
    scene_say(&s, &c, STR("{\"model\":\"m\"}"));
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "{\"model\":\"m\"}");
    CHECK(!has(&w, "xpect"));
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    CHECK(!memcmp(c.data, STR("HTTP/1.1 200")));
    /* Refused before the body: a final answer instead of 100, and the body never comes. */
    peer d = scene_ask(&s, STR("POST /nowhere HTTP/1.1\r\nhost: f\r\nexpect: 100-continue\r\ncontent-length: 13\r\n\r\n"));
    scene_eof(&s, &d);
    CHECK(!memcmp(d.data, STR("HTTP/1.1 404")) && !d.reset);
    peer_end(&d);
    end_all(&s, &c, &w);
}

void gdp_test_plane_requests(void)
{
    an_escaped_model_name_stays_out_of_the_head();
    a_chunked_body_goes_on_with_a_length_only();
    a_body_of_a_get_has_its_length();
    requests_may_be_cut_anywhere();
    a_client_that_expects_is_told_to_go_on();
}

/* ---- what the client gets --------------------------------------------------------------------------------------- */

static void a_stream_without_its_end_is_ended_once(void) {
    gdp_case(__func__);
    for (int together = 0; together < 2; together++) {
        scene s = {0};
        scene_open(&s, 1);
        peer c = scene_ask(&s, CHAT_STREAM), w = scene_worker(&s, 0);
        scene_hear(&s, &w, "true}");
        scene_say(&s, &w, STREAM_HEAD);
        scene_say(&s, &w, STR("11\r\ndata: {\"a\":\"b\"}\n\n\r\n"));
        scene_hear(&s, &c, "\"b\"");
        if (together)
            scene_say(&s, &w, STR("11\r\ndata: {\"a\":\"c\"}\n\n\r\n0\r\n\r\n"));
        else
            scene_say(&s, &w, STR("0\r\n\r\n"));
        scene_hear(&s, &c, "\r\n0\r\n\r\n");
        size_t n;
        scene_turns(&s, 3);
        scene_read(&c);
        char *payload = scene_payload(&c, &n);
        CHECK(payload && strstr(payload, "WorkerBrokeOff") && strstr(payload, "data: [DONE]\n\n"));
        free(payload);
        check_in_step(&s, &c);
        end_all(&s, &c, &w);
    }
}

static void a_held_error_without_a_length_is_framed(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    peer c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    scene_say(&s, &w, STR("HTTP/1.1 500 Oh\r\ncontent-type: text/plain\r\n\r\nbroken "));
    scene_turns(&s, 2);
    scene_say(&s, &w, STR("to pieces"));
    peer_end(&w);
    scene_hear(&s, &c, "\r\n0\r\n\r\n");
    size_t n;
    char *payload = scene_payload(&c, &n);
    CHECK(payload && !strcmp(payload, "broken to pieces"));
    free(payload);
    check_in_step(&s, &c);
    end_all(&s, &c, &w);
}

static void a_held_error_without_a_length_is_tried_elsewhere(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 2);
    peer c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    scene_say(&s, &w, STR("HTTP/1.1 503 Full\r\n\r\nfull"));
    peer_end(&w);
    w = scene_worker(&s, 1);
    scene_hear(&s, &w, "[]}");
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    CHECK(!memcmp(c.data, STR("HTTP/1.1 200")));
    end_all(&s, &c, &w);
}

static void a_reset_does_not_complete_an_answer(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    peer c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    scene_say(&s, &w, STR("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nhalf an ans"));
    scene_hear(&s, &c, "half an ans");
    peer_reset(&w);
    scene_eof(&s, &c);
    CHECK(!has(&c, "\r\n0\r\n\r\n"));
    CHECK(scene_ended(&s, GDP_R_WORKER_BROKE_OFF) == 1);
    end_all(&s, &c, &w);
}

static void an_empty_stream_is_ended(void) {
    gdp_case(__func__);
    scene s = {0};
    s.set.attempts = 0;
    scene_defaults(&s);
    s.set.attempts = 1;
    scene_open(&s, 1);
    peer c = scene_ask(&s, STR("POST /v1/other HTTP/1.1\r\nhost: f\r\ncontent-length: 13\r\n\r\n{\"model\":\"m\"}"));
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "}");
    scene_say(&s, &w, STR("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n"));
    scene_hear(&s, &c, "\r\n0\r\n\r\n");
    check_in_step(&s, &c);
    end_all(&s, &c, &w);
}

static void bytes_behind_an_answer_end_the_connection(void) {
    gdp_case(__func__);
    static const char *const HEADS[] = {"HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                                        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
                                        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\naHTTP/1.1 200 OK\r\n\r\n",
                                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"};
    for (unsigned i = 0; i < sizeof HEADS / sizeof *HEADS; i++) {
        scene s = {0};
        scene_open(&s, 1);
        peer c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
        scene_hear(&s, &w, "[]}");
        scene_say(&s, &w, HEADS[i], strlen(HEADS[i]));
        scene_hear(&s, &c, "\r\n\r\n");
        scene_turns(&s, 2);
        CHECK(scene_counters(&s).upstreams == 0);
        end_all(&s, &c, &w);
    }
}

static void interim_answers_are_skipped(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    peer c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    static const char all[] = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
                              "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";
    for (size_t i = 0; i < sizeof all - 1; i++) {
        scene_say(&s, &w, all + i, 1);
        scene_turn(&s);
    }
    scene_hear(&s, &c, "done");
    CHECK(!memcmp(c.data, STR("HTTP/1.1 200")) && !has(&c, "link"));
    end_all(&s, &c, &w);
}

void gdp_test_plane_answers(void)
{
    a_stream_without_its_end_is_ended_once();
    a_held_error_without_a_length_is_framed();
    a_held_error_without_a_length_is_tried_elsewhere();
    a_reset_does_not_complete_an_answer();
    an_empty_stream_is_ended();
    bytes_behind_an_answer_end_the_connection();
    interim_answers_are_skipped();
}

/* ---- ends: queue, deadlines, workers and clients that go -------------------------------------------------------- */

static void nothing_spins_when_a_parked_client_leaves(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    s.worker[0].state = GDP_UNHEALTHY;
    CHECK(scene_publish(&s));
    peer c = scene_ask(&s, CHAT);
    while (!scene_counters(&s).waiting) scene_turn(&s);
    peer_end(&c);
    while (scene_counters(&s).waiting) scene_turn(&s);
    scene_ms(&s, 150);
    CHECK(gdp_plane_wait_ms(s.plane) > 50);
    scene_close(&s);
}

static void nothing_spins_for_a_circuit_that_nobody_may_close(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    gdp_circuit_rule once = {.failures_max = 1, .open_ns = 20 * MS, .max_open_ns = 20 * MS};
    gdp_blame(gdp_plane_books(s.plane), 0, &once, clock_ns());
    s.worker[0].state = GDP_UNHEALTHY;
    CHECK(scene_publish(&s));
    peer c = scene_ask(&s, CHAT);
    scene_ms(&s, 60);
    CHECK(scene_counters(&s).waiting == 1);
    unsigned idle = 0;
    for (int i = 0; i < 20; i++) {
        idle += gdp_plane_wait_ms(s.plane) > 0;
        scene_turn(&s);
    }
    CHECK(idle > 10);
    s.worker[0].state = GDP_READY;
    CHECK(scene_publish(&s));
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    end_all(&s, &c, &w);
}

static void parked_requests_go_in_order(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    s.worker[0].max_inflight = 1;
    CHECK(scene_publish(&s));
    static const char ask[] = "POST /v1/completions HTTP/1.1\r\nhost: f\r\nx-request-id: %u\r\ncontent-length: 13\r\n\r\n{\"model\":\"m\"}";
    peer c[4], w = {.fd = -1};
    char text[256];
    for (unsigned i = 0; i < 3; i++) {
        c[i] = scene_ask(&s, text, (size_t)snprintf(text, sizeof text, ask, i));
        while (i && scene_counters(&s).waiting < i) scene_turn(&s);
        if (!i) w = scene_worker(&s, 0), scene_hear(&s, &w, "\"m\"}");
    }
    /* In one turn: the worker is done, and a newcomer asks. Those that wait go first. */
    scene_say(&s, &w, OK_JSON);
    c[3] = scene_ask(&s, text, (size_t)snprintf(text, sizeof text, ask, 3));
    for (unsigned i = 0; i < 4; i++) {
        char id[32];
        snprintf(id, sizeof id, "x-request-id: %u\r\n", i);
        scene_hear(&s, &w, "\"m\"}");
        CHECK(has(&w, id));
        peer_clear(&w);
        if (i) scene_say(&s, &w, OK_JSON);
        scene_hear(&s, &c[i], "done");
        peer_end(&c[i]);
    }
    peer_end(&w);
    scene_close(&s);
}

static void many_parked_requests_are_looked_at_together(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    s.worker[0].state = GDP_UNHEALTHY;
    CHECK(scene_publish(&s));
    peer c[40];
    for (unsigned i = 0; i < 40; i++) c[i] = scene_ask(&s, CHAT);
    while (scene_counters(&s).waiting < 40) scene_turn(&s);
    scene_ms(&s, 110);
    uint64_t first = scene_loop(&s)->q_head->try_at;
    for (gdp_exchange *x = scene_loop(&s)->q_head; x; x = x->q_next) CHECK(x->try_at >= first);
    for (unsigned i = 0; i < 40; i++) peer_end(&c[i]);
    scene_close(&s);
}

static void a_full_queue_and_a_late_one_are_refused(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.queue_length = 1;
    s.set.queue_wait_ns = 15000 * MS;
    scene_open(&s, 1);
    s.worker[0].max_inflight = 1;
    CHECK(scene_publish(&s));
    peer a = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    peer b = scene_ask(&s, CHAT);
    while (!scene_counters(&s).waiting) scene_turn(&s);
    peer c = scene_ask(&s, CHAT);
    scene_hear(&s, &c, "QueueFull");
    CHECK(has(&c, "HTTP/1.1 429") && has(&c, "retry-after"));
    scene_later(&s);
    scene_hear(&s, &b, "QueueTimeout");
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &a, "done");
    peer_end(&a);
    peer_end(&b);
    end_all(&s, &c, &w);
}

static void a_worker_that_answers_early_is_heard(void) {
    gdp_case(__func__);
    for (int reused = 0; reused < 2; reused++) {
        gdp_case(reused ? "early answer, reused" : "early answer, new");
        scene s = {0};
        scene_open(&s, 1);
        peer w = {.fd = -1};
        if (reused) {
            peer c = scene_ask(&s, CHAT);
            w = scene_worker(&s, 0);
            scene_hear(&s, &w, "[]}");
            peer_clear(&w);
            scene_say(&s, &w, OK_JSON);
            scene_hear(&s, &c, "done");
            peer_end(&c);
        }
        const size_t big = 16u << 20;
        char head[160], *body = malloc(big);
        memset(body, ' ', big);
        memcpy(body, STR("{\"model\":\"m\"}"));
        peer c = scene_ask(&s, head, (size_t)snprintf(head, sizeof head, "POST /v1/completions HTTP/1.1\r\nhost: f\r\n"
                                                                         "content-length: %zu\r\n\r\n", big));
        scene_say(&s, &c, body, big);
        if (!reused) w = scene_worker(&s, 0);
        scene_hear(&s, &w, "{\"model\":\"m\"}"); /* the rest of the 16 MiB is stuck behind this */
        scene_say(&s, &w, STR("HTTP/1.1 413 Too Large\r\ncontent-length: 8\r\n\r\n"));
        scene_turns(&s, 3);
        scene_say(&s, &w, STR("too "));
        peer kept = w; /* as a worker does: says its piece, and closes with our bytes unread */
        scene_turns(&s, 3);
        scene_say(&s, &w, STR("long"));
        peer_end(&kept);
        scene_hear(&s, &c, "too long");
        CHECK(!memcmp(c.data, STR("HTTP/1.1 413")));
        CHECK(scene_counters(&s).upstreams == 0);
        CHECK(scene_counters(&s).upstream_connects == 1);
        free(body);
        peer_end(&c);
        scene_close(&s);
    }
}

/* The worker is reset in the middle of its early answer, on a kept connection: its half answer is not mixed with another. */
static void half_an_early_answer_is_not_mixed_with_another(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.attempts = 1;
    scene_open(&s, 1);
    peer a = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    peer_clear(&w);
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &a, "done");
    const size_t big = 16u << 20;
    char head[160], *body = malloc(big);
    memset(body, ' ', big);
    memcpy(body, STR("{\"model\":\"m\"}"));
    peer c = scene_ask(&s, head, (size_t)snprintf(head, sizeof head, "POST /v1/completions HTTP/1.1\r\nhost: f\r\n"
                                                                     "content-length: %zu\r\n\r\n", big));
    scene_say(&s, &c, body, big);
    scene_hear(&s, &w, "{\"model\":\"m\"}");
    scene_say(&s, &w, STR("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"));
    scene_hear(&s, &c, "first");
    peer_reset(&w);
    scene_eof(&s, &c);
    CHECK(scene_ended(&s, GDP_R_WORKER_BROKE_OFF) == 1);
    CHECK(scene_counters(&s).upstream_connects == 1);
    free(body);
    peer_end(&a);
    end_all(&s, &c, &w);
}

static void a_stale_connection_is_made_anew(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    peer c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    /* In one turn: the worker's FIN and the next request, the request first. */
    scene_say(&s, &c, CHAT);
    for (int i = 0; i < 100 && w.len < 400; i++) scene_turn(&s), scene_read(&w);
    peer_end(&w); /* read and closed without a word */
    w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    peer_clear(&c);
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    gdp_counters n = scene_counters(&s);
    CHECK(n.upstream_stale == 1 && n.retries == 0 && scene_book(&s, 0).failed == 0);
    end_all(&s, &c, &w);
}

static void a_slow_client_gets_all_though_its_worker_has_died(void) {
    gdp_case(__func__);
    for (int reset = 0; reset < 2; reset++) {
        scene s = {0};
        scene_open(&s, 1);
        peer c = scene_ask(&s, CHAT_STREAM), w = scene_worker(&s, 0);
        scene_hear(&s, &w, "true}");
        scene_say(&s, &w, STREAM_HEAD);
        char event[1100];
        int n = snprintf(event, sizeof event, "400\r\ndata: %01016d\n\n\r\n", 1); /* 1024 bytes of payload */
        const int many = 12000;
        int sent = 0;
        while (sent < many && !scene_loop(&s)->conns->paused_upstream) {
            ssize_t r = send(w.fd, event, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (r == n) sent++;
            CHECK(r == n || r < 0);
            scene_turn(&s);
        }
        CHECK(scene_loop(&s)->conns->paused_upstream);
        CHECK(scene_loop(&s)->conns->out.len <= OUT_HIGH + SCRATCH + 1024);
        scene_turns(&s, 5);
        if (!reset) scene_say(&s, &w, STREAM_DONE);
        peer gone = w;
        if (reset)
            peer_reset(&gone);
        else
            peer_end(&gone);
        scene_turns(&s, 20);
        CHECK(gdp_plane_wait_ms(s.plane) > 0); /* it does not spin on the hang-up */
        scene_hear(&s, &c, "\r\n0\r\n\r\n");
        size_t got;
        char *payload = scene_payload(&c, &got);
        CHECK(payload != NULL);
        if (!reset) {
            CHECK(got == (size_t)sent * 1024 + strlen("data: [DONE]\n\n"));
            CHECK(scene_ended(&s, GDP_R_OK) == 1);
        } else {
            CHECK(strstr(payload, "WorkerBrokeOff") && scene_ended(&s, GDP_R_WORKER_BROKE_OFF) == 1);
        }
        free(payload);
        check_in_step(&s, &c);
        peer_end(&c);
        scene_close(&s);
    }
}

static void a_client_that_was_slow_does_not_cost_its_worker_the_deadline(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.between_tokens_ns = 10000 * MS;
    scene_open(&s, 1);
    peer c = scene_ask(&s, CHAT_STREAM), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "true}");
    scene_say(&s, &w, STREAM_HEAD);
    char *event = malloc(65536 + 16);
    int n = snprintf(event, 65536 + 16, "10000\r\ndata: %065528d\n\n\r\n", 1);
    while (!scene_loop(&s)->conns || !scene_loop(&s)->conns->paused_upstream) {
        ssize_t r = send(w.fd, event, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
        CHECK(r == n);
        scene_turns(&s, 3);
    }
    /* It has read a little now and then, for twice the deadline; then the rest at once. */
    scene_loop(&s)->conns->x->last_at -= 20000 * MS;
    scene_turns(&s, 20);
    CHECK(scene_loop(&s)->conns && scene_loop(&s)->conns->paused_upstream);
    while (scene_loop(&s)->conns && scene_loop(&s)->conns->out.len) {
        scene_read(&c);
        scene_turn(&s);
    }
    scene_ms(&s, 60); /* the worker is silent for less than its deadline */
    CHECK(scene_ended(&s, GDP_R_TOKEN_GAP_TIMEOUT) == 0);
    scene_say(&s, &w, STREAM_DONE);
    scene_hear(&s, &c, "\r\n0\r\n\r\n");
    CHECK(scene_ended(&s, GDP_R_OK) == 1);
    free(event);
    end_all(&s, &c, &w);
}

/* A table that lies where the one before it lay is a new one all the same. */
static void a_table_in_the_place_of_another_is_seen(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_open(&s, 1);
    s.worker[0].state = GDP_UNHEALTHY;
    CHECK(scene_publish(&s));
    peer c = scene_ask(&s, CHAT);
    while (!scene_counters(&s).waiting) scene_turn(&s);
    gdp_loop *l = scene_loop(&s);
    s.worker[0].state = GDP_READY;
    CHECK(scene_publish(&s));
    l->table = atomic_load(&s.plane->table); /* as if the allocator had given the same place again */
    scene_turn(&s);
    CHECK(scene_counters(&s).waiting == 0);
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "[]}");
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    end_all(&s, &c, &w);
}

void gdp_test_plane_ends(void)
{
    a_table_in_the_place_of_another_is_seen();
    nothing_spins_when_a_parked_client_leaves();
    nothing_spins_for_a_circuit_that_nobody_may_close();
    parked_requests_go_in_order();
    many_parked_requests_are_looked_at_together();
    a_full_queue_and_a_late_one_are_refused();
    a_worker_that_answers_early_is_heard();
    half_an_early_answer_is_not_mixed_with_another();
    a_stale_connection_is_made_anew();
    a_slow_client_gets_all_though_its_worker_has_died();
    a_client_that_was_slow_does_not_cost_its_worker_the_deadline();
}
