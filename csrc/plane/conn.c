/* conn.c -- the client's side of a connection: bytes in, requests out of them, bytes back.
 *
 *   READING --head and body complete--> BUSY --answered--> READING (kept) | FLUSHING (kernel is full) | closed
 *      \--refused--> FLUSHING --> LINGER (our FIN is sent, what still comes is thrown away) --> closed
 *
 * While BUSY nothing is read: a pipelined request waits in the kernel, which is the bound. Only EPOLLRDHUP is listened
 * to, so that a client that goes away is noticed in every silence. A connection that idles owns this struct and nothing
 * else. All reads go to the loop's one scratch buffer; what is not a whole request is copied to `in`. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "inner.h"

#define LINGER_NS (1000 * MS)
#define LINGER_STEP (16u * 1024) /* it starts anew with each of these that comes: a minimum rate */
#define LINGER_MOST_NS (30000 * MS)
#define BODY_STEP (256u * 1024) /* the body deadline starts anew with each of these: a minimum rate */

static void consume(gdp_loop *l, gdp_conn *c, const char *bytes, size_t n);

/* ---- life ----------------------------------------------------------------------------------------------------- */

static void note_peer(gdp_conn *c, const struct sockaddr_storage *peer) {
    if (peer->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)peer;
        c->family6 = true;
        memcpy(c->peer, &v6->sin6_addr, 16);
        c->peer_port = ntohs(v6->sin6_port);
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)peer;
        memcpy(c->peer, &v4->sin_addr, 4);
        c->peer_port = ntohs(v4->sin_port);
    }
}

void conn_accept(gdp_loop *l, int fd, const struct sockaddr_storage *peer) {
    gdp_conn *c = gdp_alloc(sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->io = (io){.fd = fd, .events = UINT32_MAX, .kind = IO_CLIENT};
    c->timer.kind = IO_CLIENT;
    c->since = l->now;
    note_peer(c, peer);
    c->next = l->conns;
    if (c->next) c->next->prev = c;
    l->conns = c;
    int64_t open = atomic_fetch_add(&l->plane->connections, 1);
    loop_watch(l, &c->io, EPOLLIN | EPOLLRDHUP);
    timer_set(l, &c->timer, l->now + l->set->head_ns);
    if (open >= l->set->connections) answer_refuse(l, c, 503, GDP_R_TOO_MANY_CONNECTIONS, NULL);
}

void conn_close(gdp_loop *l, gdp_conn *c) {
    if (c->io.fd < 0) return;
    timer_stop(l, &c->timer);
    buf_drop(l, &c->in);
    buf_drop(l, &c->out);
    if (c->next) c->next->prev = c->prev;
    if (c->prev)
        c->prev->next = c->next;
    else
        l->conns = c->next;
    atomic_fetch_sub(&l->plane->connections, 1);
    loop_bury(l, &c->io);
    if (l->listener_paused_until) l->listener_paused_until = l->now;
}

void conn_abort(gdp_loop *l, gdp_conn *c) {
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    conn_close(l, c);
}

static void conn_gone(gdp_loop *l, gdp_conn *c, gdp_reason why) {
    if (c->x) exchange_gone(l, c->x, why);
    conn_close(l, c);
}

static void close_politely(gdp_loop *l, gdp_conn *c) {
    if (!c->linger && !l->closing) {
        conn_close(l, c);
        return;
    }
    /* Bytes that we never read would turn our close into a reset that takes the answer with it. */
    shutdown(c->io.fd, SHUT_WR);
    c->state = CL_LINGER;
    c->since = l->now;
    c->spilt = 0;
    loop_watch(l, &c->io, EPOLLIN);
    timer_set(l, &c->timer, l->now + LINGER_NS);
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static uint32_t pending(const gdp_conn *c) { return c->out.len - c->out_off; }

static int keep_rest(gdp_loop *l, gdp_conn *c, const struct iovec *iov, int n, size_t skip) {
    if (c->out_off && c->out_off == c->out.len) c->out_off = c->out.len = 0;
    for (int i = 0; i < n; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        if (buf_add(l, &c->out, (const char *)iov[i].iov_base + skip, iov[i].iov_len - skip) < 0) return -1;
        skip = 0;
    }
    return 0;
}

int conn_write(gdp_loop *l, gdp_conn *c, struct iovec *iov, int n) {
    size_t total = 0, sent = 0;
    for (int i = 0; i < n; i++) total += iov[i].iov_len;
    if (!total) return 0;
    if (!pending(c)) {
        struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)n};
        ssize_t r = n == 1 ? send(c->io.fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL)
                           : sendmsg(c->io.fd, &m, MSG_NOSIGNAL);
        if (r < 0 && errno != EAGAIN && errno != EINTR) return -1;
        if (r > 0) sent = (size_t)r;
        COUNT(l, client_bytes_out, sent);
        if (sent == total) return 0;
    }
    if (keep_rest(l, c, iov, n, sent) < 0) return -1;
    loop_watch(l, &c->io, (c->io.events & ~(uint32_t)EPOLLIN) | EPOLLOUT);
    return 0;
}

static void next_request(gdp_loop *l, gdp_conn *c) {
    c->state = CL_READING;
    c->since = l->now;
    c->seen = 0;
    loop_watch(l, &c->io, EPOLLIN | EPOLLRDHUP);
    timer_set(l, &c->timer, l->now + (c->in.len ? l->set->head_ns : l->set->idle_ns));
    if (!c->in.len || c->consuming) return;
    buf waiting = c->in;
    c->in = (buf){0};
    consume(l, c, waiting.data, waiting.len);
    buf_drop(l, &waiting);
}

static void after_flush(gdp_loop *l, gdp_conn *c) {
    if (c->close_after || l->closing)
        close_politely(l, c);
    else
        next_request(l, c);
}

static bool wants_bytes(const gdp_conn *c) {
    return (c->state == CL_READING && !c->x) || (c->x && c->x->phase == PH_BODY);
}

static void flush(gdp_loop *l, gdp_conn *c) {
    ssize_t r = send(c->io.fd, c->out.data + c->out_off, pending(c), MSG_NOSIGNAL);
    if (r < 0) {
        if (errno != EAGAIN && errno != EINTR) conn_gone(l, c, GDP_R_CLIENT_GONE);
        return;
    }
    COUNT(l, client_bytes_out, r);
    c->out_off += (uint32_t)r;
    c->since = l->now;
    gdp_exchange *x = c->x;
    if (pending(c)) {
        if (x)
            exchange_deadline(l, x);
        else
            timer_set(l, &c->timer, l->now + l->set->idle_ns);
        if (c->paused_upstream && pending(c) < OUT_HIGH / 4 && x && x->leg[x->at].up) {
            c->paused_upstream = false;
            x->last_at = l->now;
            upstream_pause(l, x->leg[x->at].up, false);
        }
        return;
    }
    buf_drop(l, &c->out);
    c->out_off = 0;
    loop_watch(l, &c->io, (c->io.events & ~(uint32_t)EPOLLOUT) | (wants_bytes(c) ? EPOLLIN : 0)); /* after a 100 */
    if (c->state == CL_FLUSHING) {
        after_flush(l, c);
        return;
    }
    if (c->paused_upstream && x) {
        c->paused_upstream = false;
        x->last_at = l->now; /* the silence so far was ours */
        if (x->leg[x->at].up) upstream_pause(l, x->leg[x->at].up, false);
        exchange_deadline(l, x);
    }
}

void conn_throttle(gdp_loop *l, gdp_conn *c) {
    gdp_exchange *x = c->x;
    if (c->paused_upstream || pending(c) <= OUT_HIGH || !x->leg[x->at].up) return;
    c->paused_upstream = true;
    c->since = l->now;
    upstream_pause(l, x->leg[x->at].up, true);
    exchange_deadline(l, x);
}

void conn_answered(gdp_loop *l, gdp_conn *c) {
    c->x = NULL;
    c->paused_upstream = false;
    if (c->io.fd < 0) return;
    if (pending(c)) {
        c->state = CL_FLUSHING;
        timer_set(l, &c->timer, l->now + l->set->idle_ns);
        return;
    }
    after_flush(l, c);
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

/* Room for `more` body bytes, within the limit over all requests. */
static bool body_room(gdp_loop *l, gdp_exchange *x, size_t more) {
    if (x->body.len + more <= x->body.cap) return true;
    uint64_t held = (uint64_t)atomic_load_explicit(&l->plane->buffered, memory_order_relaxed);
    if (held + more > l->set->buffered_bytes) {
        exchange_end(l, x, GDP_R_BUFFERS_FULL);
        return false;
    }
    if (buf_reserve(l, &x->body, more) == 0) return true;
    exchange_end(l, x, GDP_R_OUT_OF_MEMORY);
    return false;
}

static void body_progress(gdp_loop *l, gdp_exchange *x, size_t n) {
    x->request_bytes += n;
    if (x->request_bytes / BODY_STEP != (x->request_bytes - n) / BODY_STEP) {
        x->phase_at = l->now;
        exchange_deadline(l, x);
    }
}

/* Chunked request body: payload to x->body. Returns bytes used; the exchange may have ended (x->phase == PH_DONE). */
static size_t take_chunked(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n) {
    size_t used = 0;
    while (used < n && !x->chunks.done) {
        gdp_span data = {0};
        int64_t r = gdp_chunked_next(&x->chunks, bytes + used, n - used, &data);
        if (r < 0) {
            answer_http_error(l, x, 400, GDP_R_BAD_REQUEST, "the chunked body is malformed; send size lines as hex digits with CRLF");
            return used;
        }
        if (data.len && !x->discard) {
            if (x->body.len + (uint64_t)data.len > l->set->body_bytes) {
                exchange_end(l, x, GDP_R_BODY_TOO_LARGE);
                return used;
            }
            if (!body_room(l, x, data.len)) return used;
            memcpy(x->body.data + x->body.len, bytes + used + data.off, data.len);
            x->body.len += data.len;
        }
        used += (size_t)r;
        body_progress(l, x, (size_t)r);
        if (x->discard && x->request_bytes > l->set->body_bytes) { /* thrown away, but not for ever */
            exchange_end(l, x, GDP_R_BODY_TOO_LARGE);
            return used;
        }
    }
    if (x->chunks.done) exchange_ready(l, x);
    return used;
}

static size_t take_length(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n) {
    size_t take = n < x->body_left ? n : (size_t)x->body_left;
    if (take && !x->discard) {
        if (!body_room(l, x, take)) return take;
        memcpy(x->body.data + x->body.len, bytes, take);
        x->body.len += (uint32_t)take;
    }
    x->body_left -= take;
    body_progress(l, x, take);
    if (!x->body_left) exchange_ready(l, x);
    return take;
}

static size_t take_body(gdp_loop *l, gdp_exchange *x, const char *bytes, size_t n) {
    return x->chunked_in ? take_chunked(l, x, bytes, n) : take_length(l, x, bytes, n);
}

/* Returns bytes used, 0 when the head is not complete (or was refused: then the state is no longer READING). */
static size_t take_head(gdp_loop *l, gdp_conn *c, const char *bytes, size_t n) {
    gdp_request *r = &l->request;
    uint32_t limit = l->set->head_bytes;
    int used = gdp_http1_request(bytes, n < limit ? n : limit, c->seen, l->set->headers, r);
    if (used == GDP_MORE) {
        if (n >= limit) {
            answer_refuse(l, c, 431, GDP_R_HEAD_TOO_LARGE, NULL);
            return 0;
        }
        c->seen = (uint32_t)n;
        return 0;
    }
    c->seen = 0;
    if (used < 0) {
        int status = gdp_http1_status((gdp_http_why)r->why);
        gdp_reason why = status == 431   ? GDP_R_HEAD_TOO_LARGE
                         : status == 501 ? GDP_R_NOT_IMPLEMENTED
                         : status == 505 ? GDP_R_VERSION_NOT_SUPPORTED
                         : status == 417 ? GDP_R_EXPECTATION_FAILED
                                         : GDP_R_BAD_REQUEST;
        answer_refuse(l, c, status, why, gdp_http1_text((gdp_http_why)r->why));
        return 0;
    }
    gdp_exchange *x = exchange_new(l, c);
    if (!x) {
        answer_refuse(l, c, 503, GDP_R_OUT_OF_MEMORY, NULL);
        return 0;
    }
    c->state = CL_BUSY; /* until the head says that a body follows */
    exchange_head(l, x, bytes, r);
    return (size_t)used;
}

static void go_on_waiting(gdp_loop *l, gdp_conn *c) {
    static char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
    struct iovec iov = {go_on, sizeof go_on - 1};
    c->x->expects_continue = false;
    if (conn_write(l, c, &iov, 1) < 0) conn_gone(l, c, GDP_R_CLIENT_GONE);
}

/* Takes as many requests as there are in the bytes; what is left is kept for later. */
static void consume(gdp_loop *l, gdp_conn *c, const char *bytes, size_t n) {
    size_t at = 0;
    c->consuming = true;
    while (c->io.fd >= 0) {
        if (c->x && c->x->phase == PH_BODY) {
            if (at == n) break;
            at += take_body(l, c->x, bytes + at, n - at);
        } else if (c->state == CL_READING && at < n) {
            size_t used = take_head(l, c, bytes + at, n - at);
            if (!used) break;
            at += used;
        } else {
            break;
        }
    }
    c->consuming = false;
    if (c->io.fd < 0) return;
    if (c->x && c->x->phase == PH_BODY && c->x->expects_continue) go_on_waiting(l, c);
    if (c->io.fd < 0 || at == n || c->state == CL_LINGER || c->close_after) return;
    if (c->state == CL_READING && !c->in.len) timer_set(l, &c->timer, c->since + l->set->head_ns);
    if (buf_add(l, &c->in, bytes + at, n - at) < 0) conn_gone(l, c, GDP_R_OUT_OF_MEMORY);
}

/* A Content-Length body goes straight to its place. */
static ssize_t read_into_body(gdp_loop *l, gdp_conn *c, gdp_exchange *x) {
    size_t want = x->body_left < BODY_STEP ? (size_t)x->body_left : BODY_STEP;
    if (!body_room(l, x, want)) return -2;
    size_t room = x->body.cap - x->body.len;
    if (room > x->body_left) room = (size_t)x->body_left;
    ssize_t r = recv(c->io.fd, x->body.data + x->body.len, room, 0);
    if (r <= 0) return r;
    x->body.len += (uint32_t)r;
    x->body_left -= (uint64_t)r;
    body_progress(l, x, (size_t)r);
    if (!x->body_left) exchange_ready(l, x);
    return r;
}

static ssize_t read_into_scratch(gdp_loop *l, gdp_conn *c) {
    uint32_t before = c->in.len;
    if (before >= SCRATCH) { /* cannot be: a head is at most head_bytes */
        answer_refuse(l, c, 431, GDP_R_HEAD_TOO_LARGE, NULL);
        return -2;
    }
    ssize_t r = recv(c->io.fd, l->scratch + before, SCRATCH - before, 0);
    if (r <= 0) return r;
    if (before) {
        memcpy(l->scratch, c->in.data, before);
        buf_drop(l, &c->in);
    } else if (!c->x) {
        c->since = l->now;
    }
    consume(l, c, l->scratch, before + (size_t)r);
    return r;
}

static void on_readable(gdp_loop *l, gdp_conn *c) {
    gdp_exchange *x = c->x;
    bool direct = x && !x->chunked_in && !x->discard && !c->in.len;
    ssize_t r = direct ? read_into_body(l, c, x) : read_into_scratch(l, c);
    if (r > 0) COUNT(l, client_bytes_in, r);
    if (r > 0 || r == -2 || c->io.fd < 0) return;
    if (r < 0 && (errno == EAGAIN || errno == EINTR)) return;
    conn_gone(l, c, GDP_R_CLIENT_GONE);
}

static void on_linger(gdp_loop *l, gdp_conn *c) {
    ssize_t r = recv(c->io.fd, l->scratch, SCRATCH, 0);
    if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR)) {
        conn_close(l, c);
        return;
    }
    /* Whoever sends a large body reads our refusal late: it must not become a reset. Who drips is not waited for. */
    if (r > 0) c->spilt += (uint32_t)r;
    if (c->spilt < LINGER_STEP || l->closing || l->now >= c->since + LINGER_MOST_NS) return;
    c->spilt = 0;
    timer_set(l, &c->timer, l->now + LINGER_NS);
}

/* The client half-closed while we work for it: gone, unless it may. */
static void on_half_close(gdp_loop *l, gdp_conn *c) {
    if (!l->set->half_close_allow && c->x) {
        conn_gone(l, c, GDP_R_CLIENT_GONE);
        return;
    }
    loop_watch(l, &c->io, c->io.events & ~(uint32_t)(EPOLLRDHUP | EPOLLIN));
}

void conn_event(gdp_loop *l, gdp_conn *c, uint32_t events) {
    if (events & (EPOLLERR | EPOLLHUP)) {
        conn_gone(l, c, GDP_R_CLIENT_GONE);
        return;
    }
    if (events & EPOLLOUT) flush(l, c);
    if (c->io.fd < 0) return;
    if (c->state == CL_LINGER) {
        if (events & EPOLLIN) on_linger(l, c);
        return;
    }
    if (events & EPOLLIN && wants_bytes(c)) {
        on_readable(l, c);
        /* Its FIN may have come with the request: then nobody waits for the answer. */
        if (c->io.fd >= 0 && events & EPOLLRDHUP && !wants_bytes(c)) on_half_close(l, c);
        return;
    }
    if (events & EPOLLRDHUP) {
        on_half_close(l, c);
    } else if (events & EPOLLIN) {
        loop_watch(l, &c->io, c->io.events & ~(uint32_t)EPOLLIN);
    }
}

void conn_timeout(gdp_loop *l, gdp_conn *c) {
    if (c->x) {
        exchange_timeout(l, c->x);
        return;
    }
    switch ((client_state)c->state) {
    case CL_READING:
        if (c->in.len)
            answer_refuse(l, c, 408, GDP_R_HEAD_TIMEOUT, NULL);
        else
            conn_close(l, c);
        break;
    case CL_FLUSHING: conn_abort(l, c); break;
    default: conn_close(l, c); break;
    }
}
