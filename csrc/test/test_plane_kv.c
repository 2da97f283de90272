/* test_plane_kv.c -- placing by what workers hold: by events and tokens, by text, by predictions; and the queue. */
#include "kvpack.h"
#include "scene.h"

void gdp_test_plane_kv(void);

#define BLOCK 16u
#define BLOCKS 128u

static void open_kv(scene *s, uint8_t policy, bool exact) {
    if (!s->set.attempts) scene_defaults(s);
    s->set.policy = policy;
    s->set.predict_text_s = 60;
    s->exact = exact;
    s->indexed = true;
    scene_open(s, 2);
}

/* Worker `slot` tells that it holds the first n blocks of tokens 0, 1, 2, ... */
static void tell_stored(scene *s, uint32_t slot, uint32_t n) {
    uint32_t tokens[BLOCKS * BLOCK];
    uint64_t hashes[BLOCKS];
    for (uint32_t i = 0; i < n * BLOCK; i++) tokens[i] = i;
    for (uint32_t i = 0; i < n; i++) hashes[i] = 1000 + i;
    gdp_pack p = {0};
    gdp_pack_batch(&p, 1);
    gdp_pack_stored(&p, &(gdp_pack_block){.hashes = hashes, .n = n, .tokens = tokens, .n_tokens = n * BLOCK, .block_size = BLOCK, .group = -1});
    CHECK(gdp_indexer_push(s->indexer, slot, GDP_FEED_EVENTS, p.bytes, p.n) == 0);
    CHECK(gdp_indexer_settle(s->indexer, 60000));
    free(p.bytes);
}

static void chain_of(scene *s, uint64_t *chain, uint32_t n) {
    uint32_t tokens[BLOCKS * BLOCK];
    for (uint32_t i = 0; i < n * BLOCK; i++) tokens[i] = i;
    const gdp_chain_key *key = gdp_indexer_key(s->indexer);
    gdp_scope scope = {.model = "m", .model_len = 1, .block_size = BLOCK};
    gdp_chain(key, gdp_chain_root(key, &scope), tokens, n * BLOCK, BLOCK, NULL, chain);
}

static void answer_tokens(scene *s) {
    uint64_t chain[BLOCKS];
    gdp_job *j = NULL;
    chain_of(s, chain, BLOCKS);
    for (int i = 0; i < 200 && !j; i++) {
        scene_turn(s);
        j = gdp_plane_take_job(s->plane, 0);
    }
    CHECK(j);
    gdp_plane_give_job(s->plane, j, chain, BLOCKS, BLOCKS * BLOCK + 1, BLOCK);
}

/* Which worker a request reaches. It is answered, and gone. */
static uint32_t reached(scene *s, peer *c) {
    for (int i = 0; i < 2000; i++) {
        scene_turn(s);
        for (uint32_t w = 0; w < s->n_workers; w++) {
            peer p;
            if (!scene_has_worker(s, w, &p)) continue;
            scene_hear(s, &p, "messages");
            scene_say(s, &p, OK_JSON);
            scene_hear(s, c, "done");
            peer_end(c);
            peer_end(&p);
            return w;
        }
    }
    CHECK(!"it reached a worker");
    return 0;
}

static void the_worker_that_holds_the_prefix_is_chosen(void) {
    for (uint32_t holder = 0; holder < 2; holder++) {
        gdp_case(holder ? "worker 1 holds it" : "worker 0 holds it");
        scene s = {0};
        open_kv(&s, GDP_KV, true);
        tell_stored(&s, holder, BLOCKS);
        for (int i = 0; i < 3; i++) {
            peer c = scene_ask(&s, CHAT);
            answer_tokens(&s);
            CHECK(reached(&s, &c) == holder);
        }
        gdp_decision d[4];
        CHECK(gdp_plane_decisions(s.plane, d, 4) == 3);
        CHECK(d[0].basis == GDP_BY_TOKENS && d[0].policy == GDP_KV && d[0].n_candidates == 2 && d[0].known == BLOCKS);
        CHECK(d[0].n_shown == 2 && d[0].shown[0].slot == holder && d[0].shown[0].cached_tokens == BLOCKS * BLOCK);
        CHECK(d[0].shown[1].slot == !holder && d[0].shown[1].cached_tokens == 0 && d[0].shown[1].total > d[0].shown[0].total);
        CHECK(scene_counters(&s).placed_by[GDP_BY_TOKENS] == 3);
        scene_close(&s);
    }
}

static void a_cleared_worker_holds_nothing(void) {
    gdp_case(__func__);
    scene s = {0};
    open_kv(&s, GDP_KV, true);
    tell_stored(&s, 0, BLOCKS);
    CHECK(gdp_indexer_push(s.indexer, 0, GDP_FEED_CLEAR, NULL, 0) == 0 && gdp_indexer_settle(s.indexer, 60000));
    peer c = scene_ask(&s, CHAT);
    answer_tokens(&s);
    reached(&s, &c);
    gdp_decision d;
    CHECK(gdp_plane_decisions(s.plane, &d, 1) == 1 && d.known == 0 && d.shown[0].cached_tokens == 0);
    scene_close(&s);
}

#define LONG_BODY 16384

static size_t long_chat(char *out, size_t size, char fill, const char *more) {
    char text[LONG_BODY];
    memset(text, fill, sizeof text - 1);
    text[sizeof text - 1] = 0;
    char body[LONG_BODY + 256];
    int n = snprintf(body, sizeof body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}%s]}", text, more);
    return (size_t)snprintf(out, size, "POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s", n, body);
}

static uint32_t send_long(scene *s, char fill, const char *more) {
    char request[LONG_BODY + 512];
    size_t n = long_chat(request, sizeof request, fill, more);
    peer c = scene_ask(s, request, n);
    uint32_t w = reached(s, &c);
    CHECK(gdp_indexer_settle(s->indexer, 60000));
    return w;
}

static void a_conversation_stays_by_its_text(uint8_t policy) {
    gdp_case(gdp_policy_name(policy));
    scene s = {0};
    open_kv(&s, policy, false);
    for (char fill = 'a'; fill < 'i'; fill++) {
        uint32_t first = send_long(&s, fill, "");
        for (int turn = 0; turn < 3; turn++) CHECK(send_long(&s, fill, ",{\"role\":\"assistant\",\"content\":\"ok\"}") == first);
    }
    gdp_decision d;
    CHECK(gdp_plane_decisions(s.plane, &d, 1) == 1 && d.basis == GDP_BY_TEXT && d.known == LONG_BODY / GDP_TEXT_BLOCK);
    CHECK(d.shown[0].cached_tokens > 500);
    scene_close(&s);
}

static void a_request_without_tokens_in_time_goes_by_its_text(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.tokens_wait_ns = 5 * MS;
    open_kv(&s, GDP_KV, true);
    uint32_t first = send_long(&s, 'x', "");
    CHECK(send_long(&s, 'x', "") == first);
    gdp_counters c = scene_counters(&s);
    CHECK(c.tokens_late == 2 && c.placed_by[GDP_BY_TEXT] == 2);
    for (gdp_job *j; (j = gdp_plane_take_job(s.plane, 0));) gdp_plane_give_job(s.plane, j, NULL, 0, 0, 0);
    scene_turns(&s, 5);
    scene_close(&s);
}

static void a_request_may_choose_its_policy_when_it_is_trusted(void) {
    gdp_case(__func__);
    static const char ASK[] = "POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\nx-policy: Round_Robin\r\ncontent-type: application/json\r\n"
                              "content-length: 27\r\n\r\n{\"model\":\"m\",\"messages\":[]}";
    for (int trusted = 0; trusted < 2; trusted++) {
        scene s = {0};
        scene_defaults(&s);
        if (trusted) strcpy(s.set.policy_header, "x-policy");
        open_kv(&s, GDP_KV, false);
        peer c = scene_ask(&s, STR(ASK));
        reached(&s, &c);
        gdp_decision d;
        CHECK(gdp_plane_decisions(s.plane, &d, 1) == 1 && d.policy == (trusted ? GDP_ROUND_ROBIN : GDP_KV));
        scene_close(&s);
    }
}

static void what_was_decided_is_told_when_asked(void) {
    gdp_case(__func__);
    static const char ASK[] = "POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\nX-Grove-Expose: 1\r\ncontent-type: application/json\r\n"
                              "content-length: 27\r\n\r\n{\"model\":\"m\",\"messages\":[]}";
    scene s = {0};
    open_kv(&s, GDP_KV, true);
    tell_stored(&s, 1, BLOCKS);
    peer c = scene_ask(&s, STR(ASK));
    answer_tokens(&s);
    peer w = scene_worker(&s, 1);
    scene_hear(&s, &w, "messages");
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    CHECK(strstr(c.data, "x-grove-worker: worker-1\r\n") && strstr(c.data, "x-grove-cached-tokens: 2048\r\n"));
    peer_end(&c), peer_end(&w);
    scene_close(&s);
}

static void what_was_predicted_is_compared_with_what_came_true(void) {
    gdp_case(__func__);
    static const char ANSWER[] = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 112\r\n\r\n"
                                 "{\"x\":\"done\",\"usage\":{\"prompt_tokens\":2049,\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":1024}}}";
    scene s = {0};
    open_kv(&s, GDP_KV, true);
    tell_stored(&s, 0, BLOCKS);
    peer c = scene_ask(&s, CHAT);
    answer_tokens(&s);
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "messages");
    scene_say(&s, &w, STR(ANSWER));
    scene_hear(&s, &c, "done");
    peer_end(&c), peer_end(&w);
    scene_turns(&s, 5);
    gdp_audit a = scene_book(&s, 0).audit[0];
    CHECK(a.judged == 1 && a.agreed == 0 && a.predicted == 2048 && a.realised == 1024 && a.bin[6] == 1);
    scene_close(&s);
}

/* Two workers, one request each at most; what waits is placed in order when there is room, whatever waits longer. */
static void requests_wait_for_room_and_all_are_served(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.late_on = true;
    open_kv(&s, GDP_KV, false);
    s.worker[0].max_inflight = s.worker[1].max_inflight = 1;
    CHECK(scene_publish(&s));
    scene_turns(&s, 3);
    peer c[70];
    for (int i = 0; i < 70; i++) {
        c[i] = scene_ask(&s, CHAT);
        scene_turns(&s, 2);
    }
    scene_turns(&s, 10);
    CHECK(scene_counters(&s).waiting == 68);
    for (int i = 0; i < 70; i++) {
        peer w = {.fd = -1};
        for (int k = 0; k < 2000 && w.fd < 0; k++) {
            scene_turn(&s);
            if (!scene_has_worker(&s, 0, &w)) scene_has_worker(&s, 1, &w);
        }
        CHECK(w.fd >= 0);
        scene_hear(&s, &w, "messages");
        scene_say(&s, &w, STR("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 12\r\n\r\n{\"a\":\"done\"}"));
        scene_turns(&s, 3);
        peer_end(&w);
    }
    for (int i = 0; i < 70; i++) {
        scene_hear(&s, &c[i], "done");
        peer_end(&c[i]);
    }
    scene_close(&s);
}

/* Its class says by when: one of `batch` is not late where one of no class is. */
static void a_class_has_promises_of_its_own(void) {
    gdp_case(__func__);
    static const char ASK[] = "POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\nx-class: %s\r\ncontent-type: application/json\r\n"
                              "content-length: 27\r\n\r\n{\"model\":\"m\",\"messages\":[]}";
    scene s = {0};
    scene_defaults(&s);
    s.set.late_on = true;
    strcpy(s.set.class_header, "x-class");
    s.set.n_classes = 1;
    s.set.classes[0] = (gdp_slo){gdp_hash("batch", 5, 0), 30, 0.5, 1};
    open_kv(&s, GDP_KV, false);
    static const char *const CLASSES[] = {"batch", "other"};
    for (int i = 0; i < 2; i++) {
        char request[256];
        int n = snprintf(request, sizeof request, ASK, CLASSES[i]);
        peer c = scene_ask(&s, request, (size_t)n), w = {.fd = -1};
        for (int k = 0; k < 2000 && w.fd < 0; k++) {
            scene_turn(&s);
            if (!scene_has_worker(&s, 0, &w)) scene_has_worker(&s, 1, &w);
        }
        const gdp_exchange *x = scene_loop(&s)->conns->x;
        CHECK(x && x->ttft_s == (i ? 2 : 30) && x->itl_s == (i ? 0.060 : 0.5));
        scene_hear(&s, &w, "messages");
        scene_say(&s, &w, OK_JSON);
        scene_hear(&s, &c, "done");
        peer_end(&c), peer_end(&w);
    }
    scene_close(&s);
}

/* Beside the usage that we ask for, in front, and not where the client has such a field of its own. */
static void a_worker_with_a_hole_in_its_events_is_asked_to_tell_again(void) {
    gdp_case(__func__);
    static const char WANTED[] = "content-length: 126\r\nhost: worker-0\r\n\r\n{\"vllm_xargs\":{\"kv_cache_report_mode\":\"full\"},"
                                 "\"stream_options\":{\"include_usage\":true},\"model\":\"m\",\"messages\":[],\"stream\":true}";
    static const char OWN[] = "POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\ncontent-type: application/json\r\n"
                              "content-length: 43\r\n\r\n{\"model\":\"m\",\"messages\":[],\"vllm_xargs\":{}}";
    scene s = {0};
    scene_defaults(&s);
    s.worker[0].heals = true;
    scene_open(&s, 1);
    peer c = scene_ask(&s, CHAT_STREAM), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "\"stream\":true}");
    CHECK(strstr(w.data, WANTED));
    scene_say(&s, &w, STREAM_HEAD);
    scene_say(&s, &w, STREAM_DONE);
    scene_hear(&s, &c, "0\r\n\r\n");
    peer_end(&c), peer_end(&w);
    c = scene_ask(&s, STR(OWN)), w = scene_worker(&s, 0);
    scene_hear(&s, &w, "\r\n\r\n{\"model\":\"m\",\"messages\":[],\"vllm_xargs\":{}}");
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    peer_end(&c), peer_end(&w);
    scene_close(&s);
}

void gdp_test_plane_kv(void)
{
    the_worker_that_holds_the_prefix_is_chosen();
    a_cleared_worker_holds_nothing();
    a_conversation_stays_by_its_text(GDP_KV);
    a_conversation_stays_by_its_text(GDP_APPROX);
    a_request_without_tokens_in_time_goes_by_its_text();
    a_request_may_choose_its_policy_when_it_is_trusted();
    what_was_decided_is_told_when_asked();
    what_was_predicted_is_compared_with_what_came_true();
    requests_wait_for_room_and_all_are_served();
    a_class_has_promises_of_its_own();
    a_worker_with_a_hole_in_its_events_is_asked_to_tell_again();
    gdp_case(NULL);
}
