/* test_plane_ledger.c -- what a request's life leaves: counts when things happen, and one record. */
#include "scene.h"

void gdp_test_plane_ledger(void);

static double count(const scene *s, gdp_account_count what) { return gdp_series_value(s->series[what]); }

static double observed(const scene *s, gdp_account_time what) {
    return gdp_series_value(s->series[GDP_A_COUNTS + what]);
}

static double level(const scene *s, gdp_account_level what) {
    return gdp_series_value(s->series[GDP_A_COUNTS + GDP_A_TIMES + what]);
}

static void open_metered(scene *s) {
    scene_defaults(s);
    s->set.late.ttft_slo_s = s->set.late.itl_slo_s = 10;
    scene_open(s, 1);
    scene_meter(s);
}

#define EVENT(text) "data: {\"choices\":[{\"delta\":{\"content\":\"" text "\"}}]}\n\n"

static void a_stream_counts_as_it_goes(void) {
    gdp_case(__func__);
    scene s = {0};
    open_metered(&s);
    peer c = scene_ask(&s, CHAT_STREAM);
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "messages");
    CHECK(count(&s, GDP_A_ARRIVED) == 1 && count(&s, GDP_A_ENDED) == 0);
    CHECK(observed(&s, GDP_A_WAIT) == 1 && observed(&s, GDP_A_TTFT) == 0);
    scene_say(&s, &w, STR("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" EVENT("a")));
    scene_hear(&s, &c, "\"a\"");
    CHECK(observed(&s, GDP_A_TTFT) == 1 && observed(&s, GDP_A_GAP) == 0 && count(&s, GDP_A_OUTPUT) == 1);
    scene_say(&s, &w, STR(EVENT("b") EVENT("c")));
    scene_hear(&s, &c, "\"c\"");
    CHECK(observed(&s, GDP_A_GAP) == 2 && count(&s, GDP_A_OUTPUT) == 3 && count(&s, GDP_A_JUDGED) == 0);
    scene_say(&s, &w, STR("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":40,\"completion_tokens\":9,"
                          "\"prompt_tokens_details\":{\"cached_tokens\":32}}}\n\ndata: [DONE]\n\n"));
    scene_hear(&s, &c, "[DONE]");
    peer_end(&w);
    scene_turns(&s, 10);
    CHECK(count(&s, GDP_A_ENDED) == 1 && observed(&s, GDP_A_DURATION) == 1);
    CHECK(count(&s, GDP_A_PROMPT) == 40 && count(&s, GDP_A_CACHED) == 32 && count(&s, GDP_A_UNCACHED) == 8);
    CHECK(count(&s, GDP_A_OUTPUT) == 9); /* what the events did not show is added */
    CHECK(count(&s, GDP_A_JUDGED) == 1 && count(&s, GDP_A_KEPT) == 1);
    CHECK(count(&s, GDP_A_PREFILL) > 0 && count(&s, GDP_A_DECODE) > 0 && count(&s, GDP_A_QUEUE) >= 0);
    gdp_record r[2];
    CHECK(gdp_plane_records(s.plane, r, 2) == 1 && gdp_plane_records(s.plane, r + 1, 1) == 0);
    CHECK(r->kept == (GDP_JUDGED | GDP_KEPT_TTFT | GDP_KEPT_ITL) && r->prompt_tokens == 40 && r->output_tokens == 9);
    CHECK(r->arrival_ns <= r->placed_ns && r->placed_ns <= r->sent_ns && r->sent_ns < r->first_ns);
    CHECK(r->first_ns < r->last_ns && r->last_ns <= r->end_ns && r->prefill_slot == UINT32_MAX && !r->tokens_ns);
    peer_end(&c);
    scene_close(&s);
}

static void what_brings_no_output_counts_for_none(void) {
    gdp_case(__func__);
    scene s = {0};
    open_metered(&s);
    peer c = scene_ask(&s, CHAT_STREAM);
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "messages");
    scene_say(&s, &w, STR("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
                          "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"));
    scene_hear(&s, &c, "role");
    CHECK(observed(&s, GDP_A_TTFT) == 1 && count(&s, GDP_A_OUTPUT) == 0);
    scene_say(&s, &w, STR(EVENT("a") "event: content_block_delta\ndata: {\"delta\":{}}\n\n"
                          "event: message_delta\ndata: {\"delta\":{}}\n\nevent: ping\ndata: {}\n\n" EVENT("\\\"role\\\":")
                          "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n"));
    scene_hear(&s, &c, "[DONE]");
    peer_end(&w);
    scene_turns(&s, 10);
    CHECK(count(&s, GDP_A_OUTPUT) == 3 && observed(&s, GDP_A_GAP) == 2);
    gdp_record r;
    CHECK(gdp_plane_records(s.plane, &r, 1) == 1 && r.events == 8 && r.output_tokens == 3);
    peer_end(&c);
    scene_close(&s);
}

static void a_promise_that_is_broken_is_judged(void) {
    gdp_case(__func__);
    scene s = {0};
    open_metered(&s);
    s.set.late.ttft_slo_s = s.set.late.itl_slo_s = 1e-9;
    s.set.n_classes = 1;
    s.set.classes[0] = (gdp_slo){.name = gdp_hash("x", 1, 0), .ttft_s = 1, .itl_s = 1, .id = 3};
    CHECK(scene_publish(&s));
    peer c = scene_ask(&s, CHAT_STREAM);
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "messages");
    scene_say(&s, &w, STR("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" EVENT("a")));
    scene_hear(&s, &c, "\"a\"");
    scene_say(&s, &w, STR(EVENT("b") "data: [DONE]\n\n"));
    scene_hear(&s, &c, "[DONE]");
    peer_end(&w);
    scene_turns(&s, 10);
    CHECK(count(&s, GDP_A_JUDGED) == 1 && count(&s, GDP_A_KEPT_ITL) == 0 && count(&s, GDP_A_KEPT) == 0);
    gdp_record r;
    CHECK(gdp_plane_records(s.plane, &r, 1) == 1 && r.class_id == 0 && (r.kept & GDP_JUDGED) && !(r.kept & GDP_KEPT_ITL));
    peer_end(&c);
    scene_close(&s);
}

static void what_waits_is_there_while_it_waits(void) {
    gdp_case(__func__);
    scene s = {0};
    open_metered(&s);
    s.worker[0].max_inflight = 1;
    CHECK(scene_publish(&s));
    peer one = scene_ask(&s, CHAT);
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "messages");
    peer two = scene_ask(&s, CHAT), three = scene_ask(&s, CHAT);
    scene_turns(&s, 10);
    CHECK(level(&s, GDP_A_WAITING) == 2);
    peer_reset(&three);
    scene_turns(&s, 10);
    CHECK(level(&s, GDP_A_WAITING) == 1 && level(&s, GDP_A_WAITING_TOKENS) >= 0);
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &one, "done");
    peer_end(&w);
    peer_end(&one);
    w = scene_worker(&s, 0);
    CHECK(level(&s, GDP_A_WAITING) == 0 && level(&s, GDP_A_WAITING_TOKENS) == 0);
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &two, "done");
    peer_end(&w);
    peer_end(&two);
    scene_turns(&s, 10);
    CHECK(count(&s, GDP_A_ARRIVED) == 3 && count(&s, GDP_A_ENDED) == 3);
    scene_close(&s);
}

static void who_came_before_its_model_was_known_is_counted_too(void) {
    gdp_case(__func__);
    scene s = {0};
    open_metered(&s);
    s.n_models = 0;
    CHECK(scene_publish(&s));
    peer c = scene_ask(&s, CHAT);
    scene_turns(&s, 10);
    CHECK(count(&s, GDP_A_ARRIVED) == 0 && level(&s, GDP_A_WAITING) == 0);
    s.n_models = 1;
    CHECK(scene_publish(&s));
    peer w = scene_worker(&s, 0);
    CHECK(count(&s, GDP_A_ARRIVED) == 1 && level(&s, GDP_A_WAITING) == 0 && level(&s, GDP_A_WAITING_TOKENS) == 0);
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    peer_end(&c);
    peer_end(&w);
    scene_turns(&s, 10);
    CHECK(count(&s, GDP_A_ENDED) == 1);
    scene_close(&s);
}

static void records_that_nobody_takes_are_counted_as_lost(void) {
    gdp_case(__func__);
    scene s = {0};
    open_metered(&s);
    gdp_loop *l = scene_loop(&s);
    atomic_store(&l->rec_head, GDP_RECORDS); /* as after so many requests */
    peer c = scene_ask(&s, CHAT);
    peer w = scene_worker(&s, 0);
    scene_hear(&s, &w, "messages");
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &c, "done");
    peer_end(&c);
    peer_end(&w);
    scene_turns(&s, 10);
    CHECK(scene_counters(&s).records_lost == 1);
    atomic_store(&l->rec_tail, GDP_RECORDS);
    scene_close(&s);
}

void gdp_test_plane_ledger(void)
{
    a_stream_counts_as_it_goes();
    what_brings_no_output_counts_for_none();
    a_promise_that_is_broken_is_judged();
    what_waits_is_there_while_it_waits();
    who_came_before_its_model_was_known_is_counted_too();
    records_that_nobody_takes_are_counted_as_lost();
}
