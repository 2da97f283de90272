/* test_plane_descriptors.c -- when the process has no descriptor left for a connection to a worker. */
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "scene.h"

void gdp_test_plane_descriptors(void);

/* No new descriptor from now on; what is open stays. Returns the limit as it was. */
static struct rlimit close_the_door(void) {
    struct rlimit before, now;
    CHECK(getrlimit(RLIMIT_NOFILE, &before) == 0);
    int next = dup(0);
    CHECK(next >= 0 && close(next) == 0);
    now = before;
    now.rlim_cur = (rlim_t)next;
    CHECK(setrlimit(RLIMIT_NOFILE, &now) == 0);
    return before;
}

/* One worker is full, no connection can be made to the other: the request waits, and the thread does not turn round it. */
static void a_request_waits_for_a_descriptor(void) {
    gdp_case(__func__);
    scene s = {0};
    scene_defaults(&s);
    s.set.policy = GDP_LEAST_LOAD;
    scene_open(&s, 2);
    s.worker[0].max_inflight = s.worker[1].max_inflight = 1;
    CHECK(scene_publish(&s));
    peer first = scene_ask(&s, CHAT), w = {0};
    unsigned busy = 0;
    for (int i = 0; i < 500 && !scene_has_worker(&s, busy, &w); i++) {
        scene_turn(&s);
        busy = !busy;
    }
    scene_hear(&s, &w, "messages");
    peer second = scene_ask(&s, STR("POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\ncontent-length: 27\r\n\r\n"));
    scene_turns(&s, 10);
    struct rlimit before = close_the_door();
    scene_say(&s, &second, STR("{\"model\":\"m\",\"messages\":[]}"));
    for (int i = 0; i < 5; i++) {
        usleep(11000);
        scene_turns(&s, 5); /* comes back: each turn has its end */
    }
    CHECK(scene_counters(&s).waiting == 1 && scene_counters(&s).upstream_connects == 1);
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
    peer other = scene_worker(&s, !busy);
    scene_hear(&s, &other, "messages");
    scene_say(&s, &other, OK_JSON);
    scene_hear(&s, &second, "done");
    scene_say(&s, &w, OK_JSON);
    scene_hear(&s, &first, "done");
    peer_end(&first);
    peer_end(&second);
    peer_end(&w);
    peer_end(&other);
    scene_close(&s);
}

void gdp_test_plane_descriptors(void)
{
    a_request_waits_for_a_descriptor();
}
