#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void watch(gdp_load *l, gdp_load_conn *c, bool writable) {
    if (c->want_write == writable) return;
    c->want_write = writable;
    gdp_watch(l->epoll, c->fd, c, writable, false);
}

void gdp_load_connect(gdp_load *l, gdp_load_conn *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) gdp_die("socket: %s", strerror(errno));
    gdp_no_delay(c->fd);
    if (connect(c->fd, (void *)&l->at, sizeof l->at) && errno != EINPROGRESS) gdp_die("connect: %s", strerror(errno));
    c->state = GDP_CONNECTING;
    c->part = GDP_HEAD;
    c->want_write = true;
    c->in.len = c->in.pos = c->out.len = c->out.pos = c->line.len = 0;
    gdp_watch(l->epoll, c->fd, c, true, true);
}

static void leave_idle(gdp_load *l, gdp_load_conn *c) {
    for (gdp_load_conn **at = &l->idle; *at; at = &(*at)->next_idle)
        if (*at == c) {
            *at = c->next_idle;
            return;
        }
}

/* The connection is over: connect anew. A reply that was under way is lost. */
static void renew(gdp_load *l, gdp_load_conn *c) {
    if (c->state == GDP_IDLE) leave_idle(l, c);
    else if (l->measuring) l->seen.broken++;
    close(c->fd);
    gdp_load_connect(l, c);
}

/* ---- requests -------------------------------------------------------------------------------------------------- */

static void flush(gdp_load *l, gdp_load_conn *c) {
    int out = gdp_send(c->fd, &c->out, NULL, 0);
    if (out < 0) return renew(l, c);
    if (out) c->state = GDP_READING;
    watch(l, c, !out);
}

void gdp_load_start(gdp_load *l, gdp_load_conn *c, uint64_t planned_ns) {
    const gdp_body *body = &l->bodies[l->started % l->nbodies];
    char head[512];
    int n = snprintf(head, sizeof head,
                     "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept: */*\r\nContent-Type: application/json\r\n"
                     "User-Agent: gdp-bench\r\nContent-Length: %u\r\n\r\n",
                     l->path, (unsigned)ntohs(l->at.sin_port), body->n);
    gdp_buf_append(&c->out, head, (size_t)n);
    size_t at = c->out.len;
    gdp_buf_append(&c->out, body->bytes, body->n);
    l->started++;
    if (body->counter != UINT32_MAX) /* an odd multiplier: all different, and no common prefix by chance */
        gdp_stamp_put(c->out.data + at + body->counter, l->started * UINT64_C(0x9E3779B97F4A7C15));
    c->start_ns = planned_ns;
    c->first_event_seen = c->done_seen = false;
    c->part = GDP_HEAD;
    c->state = GDP_SENDING;
    flush(l, c);
}

static void rest(gdp_load *l, gdp_load_conn *c) {
    if (l->rate <= 0) return gdp_load_start(l, c, gdp_now_ns());
    if (l->waiting) return gdp_load_start(l, c, gdp_load_planned_ns(l, l->planned - l->waiting--));
    c->state = GDP_IDLE;
    c->next_idle = l->idle;
    l->idle = c;
}

/* ---- replies --------------------------------------------------------------------------------------------------- */

static void read_line(gdp_load *l, gdp_load_conn *c, const char *line, size_t n, uint64_t now) {
    uint64_t sent;
    if (n < 6 || memcmp(line, "data: ", 6)) return;
    if (n >= 12 && !memcmp(line + 6, "[DONE]", 6)) {
        c->done_seen = true;
        return;
    }
    if (l->measuring) l->seen.events++;
    const char *mark = memmem(line, n, "\":\" t", 5);
    if (!mark || (size_t)(line + n - mark) < 5 + GDP_STAMP_DIGITS || !gdp_stamp_get(mark + 5, &sent)) {
        if (l->measuring && memmem(line, n, "\"choices\":[]", 12)) l->seen.unasked_usage++;
        return;
    }
    if (l->measuring) {
        gdp_hist_add(&l->age, now > sent ? now - sent : 0);
        if (!c->first_event_seen) gdp_hist_add(&l->first_event, now - c->start_ns);
    }
    c->first_event_seen = true;
}

static void read_events(gdp_load *l, gdp_load_conn *c, const char *bytes, size_t n, uint64_t now) {
    for (const char *end; (end = memchr(bytes, '\n', n));) {
        size_t k = (size_t)(end - bytes);
        if (c->line.len) {
            gdp_buf_append(&c->line, bytes, k);
            read_line(l, c, c->line.data, c->line.len, now);
            c->line.len = 0;
        } else {
            read_line(l, c, bytes, k, now);
        }
        bytes += k + 1;
        n -= k + 1;
    }
    if (n) gdp_buf_append(&c->line, bytes, n);
}

static void finish_reply(gdp_load *l, gdp_load_conn *c) {
    bool ok = c->reply.status == 200;
    if (!ok && !l->seen.status) l->seen.status = c->reply.status;
    if (l->measuring && ok) {
        l->seen.ok++;
        gdp_hist_add(&l->latency, gdp_now_ns() - c->start_ns);
        if (l->stream && !c->done_seen) l->seen.no_done++;
    } else if (l->measuring) {
        l->seen.refused++;
    }
    bool close_it = c->reply.close;
    c->state = GDP_IDLE;
    if (!close_it) return rest(l, c);
    close(c->fd);
    gdp_load_connect(l, c);
}

typedef enum step { MORE, ON, COMPLETE, BAD } step; /* more bytes wanted; go on; reply complete; nonsense */

static step read_head(gdp_load_conn *c) {
    const char *text = c->in.data + c->in.pos;
    size_t n = gdp_head_length(text, gdp_buf_live(&c->in));
    if (!n) return MORE;
    if (gdp_head_read_response(text, n, &c->reply)) return BAD;
    c->in.pos += n;
    if (c->reply.chunked) c->part = GDP_CHUNK_SIZE;
    else if (c->reply.content_length < 0) return BAD; /* a body that ends with the connection: nobody here sends that */
    else {
        c->left = (size_t)c->reply.content_length;
        c->part = GDP_SIZED;
        if (!c->left) return COMPLETE;
    }
    return ON;
}

static step read_body(gdp_load *l, gdp_load_conn *c, uint64_t now) {
    size_t n = gdp_buf_live(&c->in);
    if (!n) return MORE;
    if (n > c->left) n = c->left;
    if (l->stream) read_events(l, c, c->in.data + c->in.pos, n, now);
    c->in.pos += n;
    c->left -= n;
    if (c->left) return MORE;
    if (c->part == GDP_SIZED) return COMPLETE;
    c->part = GDP_CHUNK_END;
    return ON;
}

/* A chunk's size line, the line end after its bytes, or a trailer line. */
static step read_frame_line(gdp_load_conn *c) {
    const char *text = c->in.data + c->in.pos;
    const char *end = memchr(text, '\n', gdp_buf_live(&c->in));
    if (!end) return MORE;
    size_t n = (size_t)(end - text) + 1;
    if (c->part == GDP_CHUNK_SIZE) {
        c->left = strtoul(text, NULL, 16);
        c->part = c->left ? GDP_CHUNK : GDP_TRAILER;
    } else if (c->part == GDP_CHUNK_END) {
        c->part = GDP_CHUNK_SIZE;
    } else if (n <= 2) {
        c->in.pos += n;
        return COMPLETE;
    }
    c->in.pos += n;
    return ON;
}

static step read_part(gdp_load *l, gdp_load_conn *c, uint64_t now) {
    if (!gdp_buf_live(&c->in)) return MORE;
    if (c->part == GDP_HEAD) return read_head(c);
    if (c->part == GDP_SIZED || c->part == GDP_CHUNK) return read_body(l, c, now);
    return read_frame_line(c);
}

static void read_reply(gdp_load *l, gdp_load_conn *c, uint64_t now) {
    step s = ON;
    while (s == ON) s = read_part(l, c, now);
    if (s == BAD) renew(l, c);
    if (s == COMPLETE) finish_reply(l, c);
}

static void receive(gdp_load *l, gdp_load_conn *c) {
    for (;;) {
        gdp_buf_reserve(&c->in, 4096);
        size_t room = c->in.cap - c->in.len;
        ssize_t n = recv(c->fd, c->in.data + c->in.len, room, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (n <= 0) return renew(l, c);
        c->in.len += (size_t)n;
        read_reply(l, c, gdp_now_ns());
        if ((size_t)n < room || c->state == GDP_CONNECTING) return;
    }
}

static void connected(gdp_load *l, gdp_load_conn *c) {
    int error = 0;
    socklen_t n = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
    if (error) gdp_die("connect: %s", strerror(error));
    watch(l, c, false);
    rest(l, c);
}

void gdp_load_ready(gdp_load *l, gdp_load_conn *c, unsigned events) {
    if (c->state == GDP_CONNECTING) {
        if (events & (EPOLLOUT | EPOLLERR)) connected(l, c);
        return;
    }
    if (events & EPOLLOUT && c->state == GDP_SENDING) flush(l, c);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->state != GDP_CONNECTING) receive(l, c);
}
