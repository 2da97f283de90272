/* load.h -- one thread of HTTP/1.1 load shaped like LLM traffic, closed loop or at a fixed rate.
 *
 * A connection's life:
 *
 *     CONNECTING --> IDLE --> SENDING --> READING --+
 *                     ^                             |  reply complete
 *                     +-----------------------------+
 *
 * Closed loop: IDLE starts the next request at once. Fixed rate: requests start at planned instants, and latency counts
 * from the plan, so a slow proxy cannot hide behind a generator that waits for it (no coordinated omission).
 *
 * load_conn.c reads and writes, load.c keeps the plan and the window, load_report.c prints. */
#ifndef GDP_BENCH_LOAD_H
#define GDP_BENCH_LOAD_H

#include "base.h"
#include "head.h"
#include "hist.h"
#include "proc.h"

#include <netinet/in.h>

typedef enum gdp_load_state { GDP_CONNECTING, GDP_IDLE, GDP_SENDING, GDP_READING } gdp_load_state;
typedef enum gdp_load_part { GDP_HEAD, GDP_SIZED, GDP_CHUNK_SIZE, GDP_CHUNK, GDP_CHUNK_END, GDP_TRAILER } gdp_load_part;

typedef struct gdp_load_conn {
    int fd;
    gdp_load_state state;
    gdp_load_part part; /* of the reply, where reading stands */
    bool want_write, first_event_seen, done_seen;
    gdp_buf out, in, line; /* line: an SSE line cut by a read */
    gdp_head reply;
    size_t left; /* bytes of the body or chunk still to come */
    uint64_t start_ns;
    struct gdp_load_conn *next_idle;
} gdp_load_conn;

typedef struct gdp_body {
    char *bytes;
    uint32_t n, counter; /* counter: offset of the digits that make each request distinct; UINT32_MAX: none */
} gdp_body;

typedef struct gdp_load {
    struct sockaddr_in at;
    const char *path;
    bool stream;
    double rate, warmup_s, seconds;
    int conns;
    gdp_body *bodies;
    size_t nbodies;
    uint64_t started; /* requests so far: chooses the body and makes it distinct */

    int epoll;
    gdp_load_conn *conn, *idle;
    uint64_t plan_from_ns, planned, waiting; /* waiting: planned requests that found no idle connection */

    bool measuring; /* what follows counts only while this is set */
    gdp_hist latency, first_event, age;
    struct {
        uint64_t ok, refused, broken, events, unasked_usage, no_done, waiting_max;
        int status; /* of the first refused reply */
    } seen;
} gdp_load;

void gdp_load_connect(gdp_load *l, gdp_load_conn *c);
void gdp_load_ready(gdp_load *l, gdp_load_conn *c, unsigned epoll_events);
void gdp_load_start(gdp_load *l, gdp_load_conn *c, uint64_t planned_ns);
uint64_t gdp_load_planned_ns(const gdp_load *l, uint64_t index);

/* What was used between two moments. */
typedef struct gdp_usage {
    uint64_t at_ns, proxy_ns, self_ns, backend_ns;
    double busy_s;
} gdp_usage;

typedef struct gdp_watched {
    gdp_pids proxy, backend, self;
} gdp_watched;

gdp_usage gdp_usage_now(const gdp_watched *w);
void gdp_load_report(const gdp_load *l, const gdp_watched *w, gdp_usage from, gdp_usage to);

#endif
