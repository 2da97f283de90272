/* fake.h -- several fake vLLM servers in one epoll thread.
 *
 * fake.c owns connections and the clock: all streams of a port emit on the same tick, like the sequences of one
 * engine step, and the ports' ticks are spread evenly over the period.
 *
 *      period  |--------------------|--------------------|
 *      port 0  |                    |
 *      port 1       |                    |
 *      port 2            |                    |
 *      port 3                 |                    |
 *
 * fake_routes.c decides what is answered. */
#ifndef GDP_BENCH_FAKE_H
#define GDP_BENCH_FAKE_H

#include "base.h"
#include "head.h"
#include "vllm_text.h"

#define GDP_PORTS_MAX 16

typedef struct gdp_fake_conn {
    int fd; /* -1: closed, waits for its memory to be freed at the end of the turn */
    unsigned port;
    bool want_write;
    gdp_buf in, out;
    /* the stream that is being sent; left = 0 when there is none */
    const gdp_dialect *dialect;
    unsigned left, total;
    bool usage;
    uint64_t due_ns;
    struct gdp_fake_conn *prev, *next;
} gdp_fake_conn;

/* A question to /tokenize and its answer: a fake has no tokenizer, so somebody who has one was asked before. */
typedef struct gdp_fake_asked {
    char *body, *answer;
    uint32_t n, n_answer;
} gdp_fake_asked;

typedef struct gdp_fake {
    int epoll;
    unsigned ports;
    uint64_t period_ns;
    gdp_vllm_text text;
    const char *root; /* the model's folder, as /v1/models tells it */
    gdp_fake_asked *asked;
    size_t n_asked;
    struct {
        uint64_t requests[GDP_PORTS_MAX], accepted, aborted, unknown, late;
        char unknown_path[128]; /* the last one: says what a proxy probed for in vain */
    } seen;
    gdp_fake_conn streams[GDP_PORTS_MAX]; /* ring heads, ordered by due_ns */
    gdp_fake_conn *closed;
} gdp_fake;

/* Answers one complete request. */
void gdp_fake_answer(gdp_fake *f, gdp_fake_conn *c, const gdp_head *h, const char *body, size_t n);

void gdp_fake_send(gdp_fake *f, gdp_fake_conn *c, const char *bytes, size_t n);
void gdp_fake_start_stream(gdp_fake *f, gdp_fake_conn *c);

#endif
