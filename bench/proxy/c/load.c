/* gdp-bench-load --port P --bodies FILE [--path /v1/chat/completions] [--conns 64] [--stream 0|1] [--rate R]
 *                [--warmup 0.5] [--seconds 2] [--proxy PID,PID] [--backend PID]
 *
 * FILE holds bodies, each after its length as a native 32-bit number; 16 '@' in a body become a counter.
 * CPU, memory and counts are taken over exactly the window after the warm-up; prints one JSON object. */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static void read_bodies(gdp_load *l, const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) gdp_die("%s: %s", path, strerror(errno));
    for (uint32_t n; fread(&n, sizeof n, 1, f) == 1;) {
        gdp_body body = {.bytes = gdp_take(NULL, n), .n = n, .counter = UINT32_MAX};
        if (fread(body.bytes, 1, n, f) != n) gdp_die("%s: the last body is cut", path);
        const char *mark = memmem(body.bytes, n, "@@@@@@@@@@@@@@@@", GDP_STAMP_DIGITS);
        if (mark) body.counter = (uint32_t)(mark - body.bytes);
        l->bodies = gdp_take(l->bodies, sizeof body * (l->nbodies + 1));
        l->bodies[l->nbodies++] = body;
    }
    fclose(f);
    if (!l->nbodies) gdp_die("%s: holds no body", path);
}

uint64_t gdp_load_planned_ns(const gdp_load *l, uint64_t index) {
    return l->plan_from_ns + (uint64_t)((double)index * 1e9 / l->rate);
}

/* Starts what is due by the plan; returns when the next one is. */
static uint64_t follow_plan(gdp_load *l, uint64_t now) {
    if (l->rate <= 0) return UINT64_MAX;
    uint64_t due;
    while ((due = gdp_load_planned_ns(l, l->planned)) <= now) {
        l->planned++;
        gdp_load_conn *c = l->idle;
        if (c) {
            l->idle = c->next_idle;
            gdp_load_start(l, c, due);
        } else if (++l->waiting > l->seen.waiting_max && l->measuring) {
            l->seen.waiting_max = l->waiting;
        }
    }
    return due;
}

static void wait_and_serve(gdp_load *l, uint64_t until) {
    struct epoll_event events[GDP_EVENTS_AT_ONCE];
    uint64_t now = gdp_now_ns(), wait = until > now ? until - now : 0;
    struct timespec limit = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
    int n = epoll_pwait2(l->epoll, events, GDP_EVENTS_AT_ONCE, &limit, NULL);
    for (int i = 0; i < n; i++) gdp_load_ready(l, events[i].data.ptr, events[i].events);
}

static void run_until(gdp_load *l, uint64_t end) {
    for (uint64_t now; (now = gdp_now_ns()) < end;) {
        uint64_t due = follow_plan(l, now);
        wait_and_serve(l, due < end ? due : end);
    }
}

static void configure(gdp_load *l, int argc, char **argv) {
    l->at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    l->at.sin_port = htons((uint16_t)gdp_option_number(argc, argv, "--port", 0));
    l->path = gdp_option(argc, argv, "--path", "/v1/chat/completions");
    l->stream = gdp_option_number(argc, argv, "--stream", 0) != 0;
    l->rate = gdp_option_number(argc, argv, "--rate", 0);
    l->warmup_s = gdp_option_number(argc, argv, "--warmup", 0.5);
    l->seconds = gdp_option_number(argc, argv, "--seconds", 2);
    l->conns = (int)gdp_option_number(argc, argv, "--conns", 64);
    if (l->conns < 1) gdp_die("--conns: at least 1");
    read_bodies(l, gdp_option(argc, argv, "--bodies", ""));
}

int main(int argc, char **argv) {
    gdp_load *l = calloc(1, sizeof *l);
    if (!l) gdp_die("out of memory");
    configure(l, argc, argv);
    gdp_watched watched = {
        .proxy = gdp_pids_read(gdp_option(argc, argv, "--proxy", "")),
        .backend = gdp_pids_read(gdp_option(argc, argv, "--backend", "")),
        .self = {.n = 1, .pid = {getpid()}},
    };
    signal(SIGPIPE, SIG_IGN);
    gdp_raise_file_limit();
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->conn = calloc((size_t)l->conns, sizeof *l->conn);
    if (!l->conn) gdp_die("out of memory");
    uint64_t begin = gdp_now_ns();
    for (int i = 0; i < l->conns; i++) gdp_load_connect(l, &l->conn[i]);
    l->plan_from_ns = gdp_now_ns() + 20000000u; /* connections are up by then */
    run_until(l, begin + (uint64_t)(l->warmup_s * 1e9));
    gdp_usage from = gdp_usage_now(&watched);
    l->measuring = true;
    run_until(l, from.at_ns + (uint64_t)(l->seconds * 1e9));
    gdp_load_report(l, &watched, from, gdp_usage_now(&watched));
    return 0;
}
