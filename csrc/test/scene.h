/* scene.h -- a plane, scripted workers and raw clients in one thread: the stage for tests of csrc/plane.
 *
 *     client peer ---> plane (nested, stepped by scene_turn) ---> worker peer
 *
 * A peer is one end of a socket together with all that was read from it. Nothing blocks: every call that waits turns the
 * plane until what it waits for is there, or fails the test after WAIT_S. What a worker says, and when, is written down
 * in the test, byte for byte; a test that does not care installs `answer`.
 *
 *     scene s;
 *     scene_open(&s, 1);                       one worker, model "m"
 *     peer c = scene_ask(&s, CHAT), w = scene_worker(&s, 0);
 *     scene_hear(&s, &w, "\"m\"");             the request arrived
 *     scene_say(&s, &w, OK_JSON);
 *     scene_hear(&s, &c, "}");
 *     peer_end(&c), peer_end(&w);
 *     scene_close(&s);                         books zero, gauges zero, as many descriptors as before */
#ifndef GDP_SCENE_H
#define GDP_SCENE_H

#include "../plane/inner.h"
#include "gdp/meter_expose.h"
#include "test.h"

#define SCENE_WORKERS 4

typedef struct {
    int fd; /* -1: none */
    bool eof, reset;
    char *data; /* always ends with a NUL that is not counted */
    size_t len, cap;
} peer;

typedef struct scene scene;
/* What a worker that answers by itself does with a whole request: says and ends what it likes. */
typedef void scene_answer(scene *s, peer *w, unsigned worker);

struct scene {
    gdp_plane *plane;
    gdp_settings set;
    uint16_t port;
    unsigned n_workers, n_models;
    bool exact; /* its models' prompts are turned into tokens: the test takes the jobs */
    uint64_t recall_seed;
    gdp_meter *meter; /* scene_meter: what its first model's requests add up to */
    gdp_series *series[GDP_A_COUNTS + GDP_A_TIMES + GDP_A_LEVELS];
    bool indexed; /* the plane asks and tells an index; its workers tell it through scene->indexer */
    gdp_indexer *indexer;
    struct {
        int fd;
        uint16_t port;
        uint8_t state;
        uint32_t max_inflight;
        uint64_t key;
        bool heals;
    } worker[SCENE_WORKERS];
    scene_answer *answer;
    peer busy[64]; /* worker ends that answer by themselves */
    uint8_t busy_of[64];
    int fds_before;
};

void scene_defaults(scene *s); /* settings with long deadlines; scene_open keeps them when they are set already */
void scene_open(scene *s, unsigned workers);
bool scene_try_open(scene *s, unsigned workers); /* the same, false when out of memory */
bool scene_index(scene *s);   /* an index thread for its plane; false: out of memory */
void scene_meter(scene *s); /* once, after scene_open */
bool scene_publish(scene *s); /* a table of what the scene says now; false: out of memory */
void scene_close(scene *s);   /* checks that nothing is left */
void scene_turn(scene *s);    /* one step of the plane, after at most a millisecond of waiting */
void scene_turns(scene *s, unsigned n);
void scene_ms(scene *s, unsigned ms); /* turns for that long, and that many of them on a machine that pauses */
void scene_later(scene *s); /* 16.384 s pass for every timer: one round of the wheel */

peer scene_client(scene *s);
peer scene_ask(scene *s, const char *bytes, size_t n); /* a client that has sent this */
peer scene_worker(scene *s, unsigned i); /* waits for a connection to worker i */
bool scene_has_worker(scene *s, unsigned i, peer *out); /* one that is there already */
void scene_say(scene *s, peer *p, const char *bytes, size_t n);
void scene_hear(scene *s, peer *p, const char *what); /* until it occurs */
void scene_hear_bytes(scene *s, peer *p, size_t n);
void scene_eof(scene *s, peer *p); /* until the other side closed or reset */
bool scene_read(peer *p);          /* what is there now; false when nothing came */

void peer_end(peer *p);   /* close, drop */
void peer_reset(peer *p); /* close by reset, drop */
void peer_clear(peer *p); /* forget what was read */

gdp_loop *scene_loop(scene *s);
gdp_book scene_book(scene *s, unsigned i);
gdp_counters scene_counters(scene *s);
uint64_t scene_ended(scene *s, gdp_reason why); /* over all endpoints */

/* The payload of a chunked answer (NULL, 0 when the framing is broken or not complete); the caller frees it. */
char *scene_payload(const peer *p, size_t *len);

char *scene_file(const char *path, size_t *len); /* the caller frees it; NULL when it is not there */

#define CHAT                                                                                        \
    STR("POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\ncontent-type: application/json\r\n"       \
        "content-length: 27\r\n\r\n{\"model\":\"m\",\"messages\":[]}")
#define CHAT_STREAM                                                                                 \
    STR("POST /v1/chat/completions HTTP/1.1\r\nhost: f\r\ncontent-type: application/json\r\n"       \
        "content-length: 41\r\n\r\n{\"model\":\"m\",\"messages\":[],\"stream\":true}")
#define OK_JSON STR("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 12\r\n\r\n{\"a\":\"done\"}")
#define STREAM_HEAD STR("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
#define STREAM_DONE STR("e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

#endif
