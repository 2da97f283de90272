/* upstream.c -- connections to workers: a pool per slot, connect, send.
 *
 *   CONNECTING -> BUSY <-> IDLE (newest first: the one least likely to have been closed by the worker)
 *
 * vLLM closes idle connections after 5 s, so ours go after 4 (workers.connections_idle_s). Should a kept connection die
 * under a request before a byte of an answer, the request goes again over a new one to the same worker: that is the
 * race of two idle timers, nobody's failure.
 *
 * The request is sent as  head | Content-Length, Host | body[..at] | insert | body[at+cut..]  in one sendmsg. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inner.h"

/* ---- pool ------------------------------------------------------------------------------------------------------- */

static void pool_leave(gdp_loop *l, gdp_upstream *u) {
    *(u->prev ? &u->prev->next : &l->pool[u->slot]) = u->next;
    if (u->next) u->next->prev = u->prev;
    u->next = u->prev = NULL;
}

static void upstream_close(gdp_loop *l, gdp_upstream *u) {
    if (u->io.fd < 0) return;
    if (u->state == UP_IDLE) pool_leave(l, u);
    timer_stop(l, &u->timer);
    buf_drop(l, &u->in);
    COUNT(l, upstreams, -1);
    loop_bury(l, &u->io);
}

void upstream_release(gdp_loop *l, gdp_upstream *u, bool keep) {
    if (!keep || u->state != UP_BUSY || u->in.len || l->closing) {
        upstream_close(l, u);
        return;
    }
    u->state = UP_IDLE;
    u->reused = true;
    u->headed = false;
    u->seen = 0;
    u->prev = NULL;
    u->next = l->pool[u->slot];
    if (u->next) u->next->prev = u;
    l->pool[u->slot] = u;
    upstream_pause(l, u, false);
    loop_watch(l, &u->io, EPOLLIN | EPOLLRDHUP);
    u->timer.kind = IO_UPSTREAM;
    timer_set(l, &u->timer, l->now + l->set->upstream_idle_ns);
}

static gdp_upstream *pool_take(gdp_loop *l, const gdp_worker *w) {
    gdp_upstream *u = l->pool[w->slot];
    while (u && u->key != w->key) { /* the slot has a new owner */
        upstream_close(l, u);
        u = l->pool[w->slot];
    }
    if (!u) return NULL;
    pool_leave(l, u);
    u->state = UP_BUSY;
    return u;
}

void upstream_timeout(gdp_loop *l, gdp_upstream *u) {
    if (u->state == UP_IDLE) upstream_close(l, u);
}

void upstream_sweep(gdp_loop *l) {
    for (uint32_t slot = 0; slot < GDP_SLOTS_MAX; slot++) {
        if (!l->pool[slot]) continue;
        const gdp_worker *w = table_slot(l->table, slot);
        while (l->pool[slot] && (!w || l->pool[slot]->key != w->key)) upstream_close(l, l->pool[slot]);
    }
}

void upstream_pause(gdp_loop *l, gdp_upstream *u, bool pause) {
    if (u->paused == pause) return;
    u->paused = pause;
    uint32_t out = u->io.events == UINT32_MAX ? 0 : u->io.events & EPOLLOUT; /* UINT32_MAX: muted */
    loop_watch(l, &u->io, pause ? out : out | EPOLLIN | EPOLLRDHUP);
}

/* ---- send ------------------------------------------------------------------------------------------------------- */

static const char HEAL[] = "\"vllm_xargs\":{\"kv_cache_report_mode\":\"full\"},";

/* Into a body that has no such field of its own; behind the opening brace, where it is in nobody's way. */
static bool asks_for_reports(const gdp_exchange *x, const gdp_worker *w) {
    if (!w->heals || x->multipart || (x->endpoint != GDP_E_CHAT && x->endpoint != GDP_E_COMPLETIONS)) return false;
    return x->body.len > 2 && !memmem(x->body.data, x->body.len, "\"vllm_xargs\"", 12);
}

/* The lines that depend on worker and splice. Rewritten for each attempt. */
static int finish_head(gdp_loop *l, gdp_exchange *x, const gdp_worker *w) {
    char tail[UPSTREAM_TAIL_ROOM];
    int n = 0;
    x->heals = asks_for_reports(x, w);
    uint64_t length = (uint64_t)x->body.len - (x->inject ? x->splice.cut : 0) + (x->inject ? x->splice.text_len : 0);
    if (x->heals) length += sizeof HEAL - 1;
    if (x->method == GDP_POST || length) n = snprintf(tail, sizeof tail, "content-length: %llu\r\n", (unsigned long long)length);
    if (w->rank >= 0) n += snprintf(tail + n, sizeof tail - (size_t)n, "x-data-parallel-rank: %d\r\n", w->rank);
    n += snprintf(tail + n, sizeof tail - (size_t)n, "host: %.*s\r\n\r\n", w->authority_len, w->authority);
    x->head.len = x->head_len;
    return buf_add(l, &x->head, tail, (size_t)n);
}

#define PARTS 6

static int parts_of(const gdp_exchange *x, struct iovec iov[PARTS]) {
    int n = 0;
    uint32_t upto = x->inject ? x->splice.at : x->body.len, done = 0;
    iov[n++] = (struct iovec){x->head.data, x->head.len};
    if (x->heals) { /* the splice is never before what follows the brace */
        done = x->open_at + 1;
        iov[n++] = (struct iovec){x->body.data, done};
        iov[n++] = (struct iovec){(void *)(uintptr_t)HEAL, sizeof HEAL - 1};
    }
    iov[n++] = (struct iovec){x->body.data + done, upto - done};
    if (x->inject) {
        uint32_t from = x->splice.at + x->splice.cut;
        iov[n++] = (struct iovec){(void *)(uintptr_t)x->splice.text, x->splice.text_len};
        iov[n++] = (struct iovec){x->body.data + from, x->body.len - from};
    }
    return n;
}

bool upstream_all_sent(const gdp_exchange *x) {
    struct iovec iov[PARTS];
    uint64_t all = 0;
    if (!x->head.len) return true; /* dropped once all was sent */
    int n = parts_of(x, iov);
    for (int i = 0; i < n; i++) all += iov[i].iov_len;
    return x->sent >= all;
}

/* 1 all sent, 0 the kernel is full, -1 the connection is broken. */
static int send_more(gdp_upstream *u) {
    gdp_exchange *x = u->x;
    struct iovec iov[PARTS], *at = iov;
    int n = parts_of(x, iov);
    uint64_t skip = x->sent, left = 0;
    for (int i = 0; i < n; i++) left += iov[i].iov_len;
    left -= skip;
    while (left) {
        while (n && skip >= at->iov_len) {
            skip -= at->iov_len;
            at++;
            n--;
        }
        at->iov_base = (char *)at->iov_base + skip;
        at->iov_len -= skip;
        skip = 0;
        struct msghdr m = {.msg_iov = at, .msg_iovlen = (size_t)n};
        ssize_t r = sendmsg(u->io.fd, &m, MSG_NOSIGNAL);
        if (r < 0) return errno == EAGAIN || errno == EINTR ? 0 : -1;
        x->sent += (uint64_t)r;
        left -= (uint64_t)r;
        skip = (uint64_t)r;
        if (left) return 0; /* a short write: the kernel is full */
    }
    return 1;
}

static void connect_new(gdp_loop *l, gdp_exchange *x, const gdp_worker *w);

/* A kept connection was closed before we used it. */
static bool reconnect(gdp_loop *l, gdp_upstream *u) {
    gdp_exchange *x = u->x;
    const gdp_worker *w = table_slot(l->table, u->slot);
    if (!u->reused || u->headed || u->in.len || x->reconnected || !w || w->key != u->key) return false;
    x->reconnected = true;
    COUNT(l, upstream_stale, 1);
    x->leg[x->at].up = NULL;
    u->x = NULL;
    upstream_close(l, u);
    while (l->pool[w->slot]) upstream_close(l, l->pool[w->slot]); /* its siblings are as old */
    connect_new(l, x, w);
    return true;
}

static void broken(gdp_loop *l, gdp_upstream *u) {
    if (!reconnect(l, u)) exchange_failed(l, u->x, GDP_END_FAILED, GDP_R_WORKER_BROKE_OFF);
}

static void go_on_sending(gdp_loop *l, gdp_upstream *u) {
    int r = send_more(u);
    /* The worker has closed, maybe after an early answer. What it said is still to be read, and its end after that. */
    if (r < 0 && (errno == EPIPE || errno == ECONNRESET)) r = 1;
    if (r < 0) {
        exchange_failed(l, u->x, GDP_END_FAILED, GDP_R_WORKER_BROKE_OFF);
        return;
    }
    uint32_t in = u->paused ? 0 : EPOLLIN | EPOLLRDHUP;
    loop_watch(l, &u->io, r ? in : in | EPOLLOUT);
}

static void start_sending(gdp_loop *l, gdp_upstream *u) {
    gdp_exchange *x = u->x;
    u->state = UP_BUSY;
    x->sent = 0;
    if (!x->reconnected) x->attempts++;
    /* A worker may take its time to read a large body: what counts from here is the wait for its answer. */
    exchange_phase(l, x, PH_WAITING);
    go_on_sending(l, u);
}

/* ---- connect ---------------------------------------------------------------------------------------------------- */

static int open_socket(const gdp_worker *w) {
    int fd = socket(w->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_storage a = {.ss_family = w->family};
    socklen_t size;
    if (w->family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&a;
        memcpy(&v4->sin_addr, w->ip, 4);
        v4->sin_port = htons(w->port);
        size = sizeof *v4;
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&a;
        memcpy(&v6->sin6_addr, w->ip, 16);
        v6->sin6_port = htons(w->port);
        size = sizeof *v6;
    }
    if (connect(fd, (struct sockaddr *)&a, size) < 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static void connect_new(gdp_loop *l, gdp_exchange *x, const gdp_worker *w) {
    gdp_upstream *u = gdp_alloc(sizeof *u);
    int fd = u ? open_socket(w) : -1;
    if (fd < 0) {
        bool ours = !u || errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS || errno == EADDRNOTAVAIL;
        gdp_free(u);
        exchange_failed(l, x, ours ? GDP_END_NEUTRAL : GDP_END_FAILED, GDP_R_WORKER_UNREACHABLE);
        return;
    }
    COUNT(l, upstream_connects, 1);
    COUNT(l, upstreams, 1);
    u->io = (io){.fd = fd, .events = UINT32_MAX, .kind = IO_UPSTREAM};
    u->timer.kind = IO_UPSTREAM;
    u->state = UP_CONNECTING;
    u->slot = w->slot;
    u->key = w->key;
    u->began = l->now;
    u->x = x;
    x->leg[x->at].up = u;
    loop_watch(l, &u->io, EPOLLIN | EPOLLRDHUP | EPOLLOUT);
    exchange_phase(l, x, PH_SENDING);
}

void upstream_open(gdp_loop *l, gdp_exchange *x, const gdp_worker *w) {
    if (finish_head(l, x, w) < 0) {
        exchange_end(l, x, GDP_R_OUT_OF_MEMORY);
        return;
    }
    gdp_upstream *u = pool_take(l, w);
    if (!u) {
        connect_new(l, x, w);
        return;
    }
    COUNT(l, upstream_reuses, 1);
    u->x = x;
    x->leg[x->at].up = u;
    start_sending(l, u);
}

static void on_connected(gdp_loop *l, gdp_upstream *u) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(u->io.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        exchange_failed(l, u->x, GDP_END_FAILED, GDP_R_WORKER_UNREACHABLE);
        return;
    }
    gdp_account_observe(u->x->account, GDP_A_CONNECT, l->now - u->began, l->now);
    start_sending(l, u);
}

/* ---- the answer arrives ------------------------------------------------------------------------------------------- */

/* Heads until one that is final (1xx are skipped). Returns bytes used, or -1: the exchange went elsewhere. */
static int64_t take_head(gdp_loop *l, gdp_upstream *u, const char *bytes, size_t n) {
    size_t at = 0;
    for (;;) {
        gdp_response *r = &l->response;
        int used = gdp_http1_response(bytes + at, n - at, at ? 0 : u->seen, r);
        if (used == GDP_MORE && n - at < HOLD_WHOLE_MAX) {
            u->seen = (uint32_t)(n - at);
            return (int64_t)at;
        }
        if (used < 0 || r->status == 101) { /* nobody asked to switch */
            exchange_failed(l, u->x, GDP_END_FAILED, GDP_R_WORKER_BAD_ANSWER);
            return -1;
        }
        const char *head = bytes + at;
        at += (size_t)used;
        u->seen = 0;
        if (r->status < 200) continue;
        gdp_exchange *x = u->x;
        u->headed = true;
        bool empty = r->status == 204 || r->status == 304 || (r->has_length && !r->length);
        if (empty && at < n) r->keep_alive = false; /* bytes that nobody asked for */
        return relay_head(l, x, head, r) && u->x == x ? (int64_t)at : -1;
    }
}

static void take_bytes(gdp_loop *l, gdp_upstream *u, const char *bytes, size_t n) {
    gdp_exchange *x = u->x;
    if (!u->headed) {
        int64_t used = take_head(l, u, bytes, n);
        if (used < 0) return;
        if (!u->headed) {
            if (buf_add(l, &u->in, bytes + used, n - (size_t)used) < 0)
                exchange_failed(l, x, GDP_END_NEUTRAL, GDP_R_OUT_OF_MEMORY);
            return;
        }
        bytes += used;
        n -= (size_t)used;
    }
    relay_bytes(l, x, bytes, n);
}

static void on_readable(gdp_loop *l, gdp_upstream *u) {
    uint32_t before = u->in.len;
    ssize_t r = recv(u->io.fd, l->scratch + before, SCRATCH - before, 0);
    if (r < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (r > 0) {
        if (before) {
            memcpy(l->scratch, u->in.data, before);
            buf_drop(l, &u->in);
        }
        take_bytes(l, u, l->scratch, before + (size_t)r);
        return;
    }
    if (!u->headed)
        broken(l, u);
    else
        relay_eof(l, u->x, r < 0);
}

void upstream_event(gdp_loop *l, gdp_upstream *u, uint32_t events) {
    if (u->state == UP_IDLE) { /* closed by the worker, or bytes that nobody asked for */
        upstream_close(l, u);
        return;
    }
    if (u->state == UP_CONNECTING) {
        if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) on_connected(l, u);
        return;
    }
    if (events & EPOLLIN || (events & (EPOLLERR | EPOLLHUP) && !u->paused)) on_readable(l, u);
    if (u->io.fd < 0 || !u->x) return;
    if (events & EPOLLOUT) {
        go_on_sending(l, u);
    } else if (u->paused && events & (EPOLLERR | EPOLLHUP)) {
        /* The worker is gone while its client is slow: what the kernel holds is read once the client caught up. */
        loop_mute(l, &u->io);
    }
}
