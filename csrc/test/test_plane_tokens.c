/* test_plane_tokens.c -- requests that wait for their token ids: answered, declined, too late, gone. */
#include "scene.h"

void gdp_test_plane_tokens(void);

static void open_exact(scene *s) {
    if (!s->set.attempts) scene_defaults(s);
    s->exact = true;
    s->set.policy = GDP_KV;
    scene_open(s, 1);
}

/* The job that a turn or two bring. */
static gdp_job *job(scene *s) {
    gdp_job *j = NULL;
    for (int i = 0; i < 200 && !j; i++) {
        scene_turn(s);
        j = gdp_plane_take_job(s->plane, 0);
    }
    CHECK(j);
    return j;
}

static void no_worker_yet(scene *s) {
    peer none;
    scene_turns(s, 20);
    CHECK(!scene_has_worker(s, 0, &none));
}

static void finish(scene *s, peer *c) {
    peer w = scene_worker(s, 0);
    scene_hear(s, &w, "\"messages\":[]");
    scene_say(s, &w, OK_JSON);
    scene_hear(s, c, "done");
    peer_end(c);
    peer_end(&w);
}

static void a_request_waits_for_its_tokens(void) {
    gdp_case(__func__);
    scene s = {0};
    open_exact(&s);
    peer c = scene_ask(&s, CHAT);
    gdp_job *j = job(&s);
    gdp_job_view seen = gdp_job_look(j);
    CHECK(seen.endpoint == GDP_E_CHAT && seen.model_len == 1 && seen.model[0] == 'm' && !seen.gone);
    CHECK(seen.body_len == 27 && !memcmp(seen.body, STR("{\"model\":\"m\",\"messages\":[]}")));
    no_worker_yet(&s);
    const uint64_t chain[3] = {11, 22, 33};
    gdp_plane_give_job(s.plane, j, chain, 3, 50, 16);
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "messages");
    const gdp_exchange *x = scene_loop(&s)->conns->x;
    CHECK(x && x->n_chain == 3 && x->prompt_tokens == 50 && !memcmp(x->chain, chain, sizeof chain));
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    CHECK(scene_counters(&s).tokens_exact == 1);
    peer_end(&c);
    peer_end(&w);
    scene_close(&s);
}

static void a_prompt_that_cannot_be_tokenized_goes_on(void) {
    gdp_case(__func__);
    scene s = {0};
    open_exact(&s);
    peer c = scene_ask(&s, CHAT);
    gdp_plane_give_job(s.plane, job(&s), NULL, 0, 0, 16);
    finish(&s, &c);
    CHECK(scene_counters(&s).tokens_declined == 1);
    scene_close(&s);
}

static void nobody_waits_longer_than_the_deadline(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.tokens_wait_ns = 5 * MS;
    open_exact(&s);
    uint64_t asked = clock_ns();
    peer c = scene_ask(&s, CHAT);
    gdp_job *j = job(&s);
    peer w = scene_worker(&s, 0);
    CHECK(clock_ns() - asked >= 5 * MS);
    CHECK(gdp_job_look(j).gone);
    scene_hear(&s, &w, "messages");
    gdp_plane_give_job(s.plane, j, (uint64_t[]){7}, 1, 20, 16); /* too late: nobody is disturbed */
    scene_turns(&s, 5);
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    gdp_counters n = scene_counters(&s);
    CHECK(n.tokens_late == 1 && n.tokens_exact == 0 && n.buffered_bytes == 0);
    peer_end(&c);
    peer_end(&w);
    scene_close(&s);
}

static void a_longer_body_has_longer(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.tokens_wait_ns = 1 * MS;
    s.set.tokens_wait_64k_ns = 20 * MS;
    open_exact(&s);
    enum { SIZE = 150000 };
    char *body = malloc(SIZE), head[128];
    memset(body, ' ', SIZE);
    memcpy(body, STR("{\"model\":\"m\",\"messages\":[]}"));
    int n = snprintf(head, sizeof head, "POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\ncontent-length: %d\r\n\r\n", SIZE);
    peer c = scene_ask(&s, head, (size_t)n);
    uint64_t asked = clock_ns();
    scene_say(&s, &c, body, SIZE);
    gdp_job *j = job(&s);
    peer w = scene_worker(&s, 0);
    CHECK(clock_ns() - asked >= 41 * MS);
    gdp_plane_give_job(s.plane, j, NULL, 0, 0, 16);
    free(body);
    peer_end(&c);
    peer_end(&w);
    scene_turns(&s, 5);
    scene_close(&s);
}

static void a_client_that_goes_leaves_nothing(void) {
    gdp_case(__func__);
    scene s = {0};
    open_exact(&s);
    peer c = scene_ask(&s, CHAT);
    gdp_job *j = job(&s);
    peer_reset(&c);
    scene_turns(&s, 5);
    CHECK(gdp_job_look(j).gone && scene_counters(&s).exchanges == 0);
    gdp_plane_give_job(s.plane, j, (uint64_t[]){7}, 1, 20, 16);
    scene_turns(&s, 5);
    CHECK(scene_counters(&s).buffered_bytes == 0);
    scene_close(&s);
}

static void too_many_go_on_without(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.tokens_jobs = 1;
    open_exact(&s);
    peer first = scene_ask(&s, CHAT), second = scene_ask(&s, CHAT);
    finish(&s, &second);
    CHECK(scene_counters(&s).tokens_skipped == 1);
    gdp_plane_give_job(s.plane, job(&s), (uint64_t[]){7}, 1, 20, 16);
    finish(&s, &first);
    scene_close(&s);
}

static void what_has_no_prompt_does_not_wait(void) {
    gdp_case(__func__);
    scene s = {0};
    open_exact(&s);
    peer c = scene_ask(&s, STR("POST /v1/embeddings HTTP/1.1\r\nhost: f\r\ncontent-length: 27\r\n\r\n{\"model\":\"m\",\"messages\":[]}"));
    finish(&s, &c);
    CHECK(!gdp_plane_take_job(s.plane, 0));
    scene_close(&s);
}

static void requests_at_the_end_are_freed(void) {
    gdp_case(__func__);
    scene s = {0};
    open_exact(&s);
    peer one = scene_ask(&s, CHAT), two = scene_ask(&s, CHAT), three = scene_ask(&s, CHAT);
    gdp_job *j = job(&s); /* one comes back unread, one was taken in order, one waits */
    scene_turns(&s, 20);
    gdp_plane_give_job(s.plane, j, (uint64_t[]){7}, 1, 20, 16);
    gdp_plane_close_jobs(s.plane);
    CHECK(!gdp_plane_take_job(s.plane, 1000));
    gdp_plane_ask(s.plane, GDP_ASK_CUT);
    scene_hear(&s, &two, "\r\n\r\n");
    scene_hear(&s, &three, "\r\n\r\n");
    CHECK(!memcmp(two.data, STR("HTTP/1.1 503 ")));
    peer_end(&one);
    peer_end(&two);
    peer_end(&three);
    scene_turns(&s, 5);
    gdp_plane_free(s.plane); /* with two jobs that nobody took; the leak checker counts them */
    s.plane = NULL;
    scene_close(&s);
}

/* A request that goes through, and whether somebody was asked for its tokens. */
static bool asked_for(scene *s, const char *body) {
    char text[256];
    int n = snprintf(text, sizeof text, "POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\ncontent-length: %zu\r\n\r\n%s",
                     strlen(body), body);
    peer c = scene_ask(s, text, (size_t)n), w = {0};
    gdp_job *j = NULL;
    for (int i = 0; i < 200 && !j && !scene_has_worker(s, 0, &w); i++) {
        scene_turn(s);
        j = gdp_plane_take_job(s->plane, 0);
    }
    const uint64_t chain[3] = {11, 22, 33};
    if (j) {
        gdp_plane_give_job(s->plane, j, chain, 3, 50, 16);
        w = scene_worker(s, 0);
    }
    scene_hear(s, &w, "messages");
    const gdp_exchange *x = scene_loop(s)->conns->x;
    CHECK(x && x->n_chain == 3 && x->prompt_tokens == 50 && x->block_tokens == 16 && !memcmp(x->chain, chain, sizeof chain));
    scene_say(s, &w, OK_JSON);
    scene_hear(s, &c, "done");
    peer_end(&c);
    peer_end(&w);
    scene_turns(s, 5);
    return j != NULL;
}

static void a_prompt_that_was_read_before_does_not_wait(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.recall_seed = 9;
    s.set.recall_bytes = 1 << 20;
    open_exact(&s);
    CHECK(asked_for(&s, "{\"model\":\"m\",\"messages\":[1],\"seed\":1}"));
    CHECK(!asked_for(&s, "{\"model\":\"m\",\"messages\":[1],\"seed\":2,\"stream\":false}"));
    CHECK(asked_for(&s, "{\"model\":\"m\",\"messages\":[2],\"seed\":1}"));
    CHECK(asked_for(&s, "{\"model\":\"m\",\"messages\":[1],\"suffix\":\"x\"}"));
    CHECK(asked_for(&s, "{\"model\":\"m\",\"messages\":[1],\"suffix\":\"x\"}"));
    CHECK(scene_counters(&s).tokens_recalled == 1 && scene_counters(&s).tokens_exact == 4);
    s.recall_seed = 10; /* another tokenizer */
    CHECK(scene_publish(&s));
    CHECK(asked_for(&s, "{\"model\":\"m\",\"messages\":[1],\"seed\":1}"));
    s.recall_seed = 0; /* its template tells the time */
    CHECK(scene_publish(&s));
    CHECK(asked_for(&s, "{\"model\":\"m\",\"messages\":[1],\"seed\":1}"));
    CHECK(asked_for(&s, "{\"model\":\"m\",\"messages\":[1],\"seed\":1}"));
    scene_close(&s);
}

void gdp_test_plane_tokens(void)
{
    a_prompt_that_was_read_before_does_not_wait();
    a_request_waits_for_its_tokens();
    a_prompt_that_cannot_be_tokenized_goes_on();
    nobody_waits_longer_than_the_deadline();
    a_longer_body_has_longer();
    a_client_that_goes_leaves_nothing();
    too_many_go_on_without();
    what_has_no_prompt_does_not_wait();
    requests_at_the_end_are_freed();
}
