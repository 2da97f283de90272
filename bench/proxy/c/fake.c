/* gdp-bench-fake --ports 9101-9104 [--model m] [--root FOLDER] [--tokenize FILE] [--period-us 10000]
 *
 * FILE holds what /tokenize knows: bodies and answers in turns, each after its length as a native 32-bit number. */
#define _GNU_SOURCE
#include "fake.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define UNSENT_MAX (256u * 1024) /* a reader that lags this far gets nothing until it has read */

typedef struct listener {
    int fd;
    unsigned port;
} listener;

/* ---- rings of streams ------------------------------------------------------------------------------------------ */

static void ring_leave(gdp_fake_conn *c) {
    if (!c->next) return;
    c->prev->next = c->next;
    c->next->prev = c->prev;
    c->prev = c->next = NULL;
}

static void ring_join(gdp_fake_conn *ring, gdp_fake_conn *c) {
    ring_leave(c);
    c->prev = ring->prev;
    c->next = ring;
    ring->prev->next = c;
    ring->prev = c;
}

/* ---- connections ----------------------------------------------------------------------------------------------- */

static void close_conn(gdp_fake *f, gdp_fake_conn *c) {
    if (c->fd < 0) return;
    if (c->left) f->seen.aborted++;
    ring_leave(c);
    close(c->fd);
    c->fd = -1;
    c->next = f->closed;
    f->closed = c;
}

static void free_closed(gdp_fake *f) {
    while (f->closed) {
        gdp_fake_conn *c = f->closed;
        f->closed = c->next;
        gdp_buf_free(&c->in);
        gdp_buf_free(&c->out);
        free(c);
    }
}

void gdp_fake_send(gdp_fake *f, gdp_fake_conn *c, const char *bytes, size_t n) {
    if (c->fd < 0) return;
    int out = gdp_send(c->fd, &c->out, bytes, n);
    if (out < 0) return close_conn(f, c);
    if (c->want_write != !out) {
        c->want_write = !out;
        gdp_watch(f->epoll, c->fd, c, !out, false);
    }
}

static void accept_all(gdp_fake *f, const listener *l) {
    for (int fd; (fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        gdp_fake_conn *c = gdp_take(NULL, sizeof *c);
        *c = (gdp_fake_conn){.fd = fd, .port = l->port};
        gdp_no_delay(fd);
        gdp_watch(f->epoll, fd, c, false, true);
        f->seen.accepted++;
    }
}

/* Answers what is complete, up to the first stream: the next request waits until the stream has ended. */
static void answer_waiting(gdp_fake *f, gdp_fake_conn *c) {
    while (c->fd >= 0 && !c->left && gdp_buf_live(&c->in)) {
        const char *text = c->in.data + c->in.pos;
        size_t n = gdp_buf_live(&c->in), head = gdp_head_length(text, n);
        gdp_head h;
        if (!head) return;
        if (gdp_head_read_request(text, head, &h) || h.chunked) return close_conn(f, c);
        size_t body = h.content_length > 0 ? (size_t)h.content_length : 0;
        if (n < head + body) return;
        gdp_fake_answer(f, c, &h, text + head, body);
        c->in.pos += head + body;
        if (h.close && !c->left) return close_conn(f, c);
    }
}

static void read_some(gdp_fake *f, gdp_fake_conn *c) {
    for (;;) {
        gdp_buf_reserve(&c->in, 16384);
        size_t room = c->in.cap - c->in.len;
        ssize_t n = recv(c->fd, c->in.data + c->in.len, room, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) return close_conn(f, c);
        if (n < 0) break;
        c->in.len += (size_t)n;
        if ((size_t)n < room) break;
    }
    answer_waiting(f, c);
}

/* ---- streams --------------------------------------------------------------------------------------------------- */

static uint64_t next_tick(const gdp_fake *f, unsigned port, uint64_t now) {
    uint64_t phase = f->period_ns * port / f->ports;
    return ((now - phase) / f->period_ns + 1) * f->period_ns + phase;
}

void gdp_fake_start_stream(gdp_fake *f, gdp_fake_conn *c) {
    gdp_fake_send(f, c, f->text.sse_head.bytes, f->text.sse_head.n);
    if (c->fd < 0) return;
    c->due_ns = next_tick(f, c->port, gdp_now_ns());
    ring_join(&f->streams[c->port], c);
}

static void send_end(gdp_fake *f, gdp_fake_conn *c) {
    if (c->usage) {
        char out[GDP_REPLY_MAX];
        gdp_fake_send(f, c, out, gdp_vllm_usage_chunk(&f->text, c->dialect->chat, c->total, out));
    }
    gdp_fake_send(f, c, f->text.done.bytes, f->text.done.n);
    if (c->fd < 0) return;
    ring_leave(c);
    answer_waiting(f, c);
}

static void send_token(gdp_fake *f, gdp_fake_conn *c) {
    const gdp_dialect *d = c->dialect;
    const gdp_text *t = c->left > 1 ? &d->token : c->usage ? &d->finish_before_usage : &d->finish;
    bool first = c->left == c->total;
    gdp_stamp_put(t->bytes + t->stamp, gdp_now_ns());
    c->left--;
    if (first && d->chat) { /* one write, as vLLM's two events come in one packet */
        char out[GDP_REPLY_MAX];
        memcpy(out, d->role.bytes, d->role.n);
        memcpy(out + d->role.n, t->bytes, t->n);
        gdp_fake_send(f, c, out, d->role.n + t->n);
    } else {
        gdp_fake_send(f, c, t->bytes, t->n);
    }
    if (!c->left) send_end(f, c);
}

static void run_ticks(gdp_fake *f, uint64_t now) {
    for (unsigned p = 0; p < f->ports; p++) {
        gdp_fake_conn *ring = &f->streams[p], *c;
        while ((c = ring->next) != ring && c->due_ns <= now) {
            uint64_t lag = now - c->due_ns;
            if (lag > f->period_ns) f->seen.late++;
            c->due_ns = lag > 4 * f->period_ns ? next_tick(f, p, now) : c->due_ns + f->period_ns;
            ring_join(ring, c); /* to the end; send_token takes it out again when it is over */
            if (gdp_buf_live(&c->out) <= UNSENT_MAX) send_token(f, c);
        }
    }
}

static uint64_t first_due(const gdp_fake *f) {
    uint64_t due = UINT64_MAX;
    for (unsigned p = 0; p < f->ports; p++) {
        const gdp_fake_conn *ring = &f->streams[p];
        if (ring->next != ring && ring->next->due_ns < due) due = ring->next->due_ns;
    }
    return due;
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

static int wait_events(const gdp_fake *f, struct epoll_event *events) {
    uint64_t due = first_due(f), now = gdp_now_ns(), wait = due > now ? due - now : 0;
    struct timespec limit = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
    return epoll_pwait2(f->epoll, events, GDP_EVENTS_AT_ONCE, due == UINT64_MAX ? NULL : &limit, NULL);
}

static void serve(gdp_fake *f, const listener *listeners) {
    struct epoll_event events[GDP_EVENTS_AT_ONCE];
    for (;;) {
        int n = wait_events(f, events);
        for (int i = 0; i < n; i++) {
            void *owner = events[i].data.ptr;
            if (owner >= (const void *)listeners && owner < (const void *)(listeners + f->ports)) {
                accept_all(f, owner);
                continue;
            }
            gdp_fake_conn *c = owner;
            if (events[i].events & EPOLLOUT) gdp_fake_send(f, c, NULL, 0);
            if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_some(f, c);
        }
        run_ticks(f, gdp_now_ns());
        free_closed(f);
    }
}

static int listen_on(unsigned port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (void *)&at, sizeof at) || listen(fd, 4096)) gdp_die("port %u: %s", port, strerror(errno));
    return fd;
}

static char *read_part(FILE *file, uint32_t *n) {
    if (fread(n, sizeof *n, 1, file) != 1) return NULL;
    char *bytes = gdp_take(NULL, *n + 1u);
    if (fread(bytes, 1, *n, file) != *n) gdp_die("--tokenize: the file is cut");
    return bytes;
}

static void read_asked(gdp_fake *f, const char *path) {
    FILE *file = *path ? fopen(path, "rb") : NULL;
    if (*path && !file) gdp_die("%s: %s", path, strerror(errno));
    gdp_fake_asked one;
    while (file && (one.body = read_part(file, &one.n))) {
        one.answer = read_part(file, &one.n_answer);
        if (!one.answer) gdp_die("--tokenize: a body without an answer");
        f->asked = gdp_take(f->asked, sizeof one * (f->n_asked + 1));
        f->asked[f->n_asked++] = one;
    }
    if (file) fclose(file);
}

int main(int argc, char **argv) {
    unsigned first = 0, last = 0;
    int read = sscanf(gdp_option(argc, argv, "--ports", ""), "%u-%u", &first, &last);
    if (read < 2) last = first;
    if (read < 1 || last < first || last - first >= GDP_PORTS_MAX) gdp_die("--ports FIRST-LAST, at most %d", GDP_PORTS_MAX);
    gdp_fake f = {.epoll = epoll_create1(EPOLL_CLOEXEC), .ports = last - first + 1};
    f.period_ns = (uint64_t)(gdp_option_number(argc, argv, "--period-us", 10000) * 1000);
    gdp_vllm_text_build(&f.text, gdp_option(argc, argv, "--model", "m"));
    f.root = gdp_option(argc, argv, "--root", f.text.model);
    read_asked(&f, gdp_option(argc, argv, "--tokenize", ""));
    signal(SIGPIPE, SIG_IGN);
    gdp_raise_file_limit();
    listener listeners[GDP_PORTS_MAX];
    for (unsigned p = 0; p < f.ports; p++) {
        f.streams[p].prev = f.streams[p].next = &f.streams[p];
        listeners[p] = (listener){.fd = listen_on(first + p), .port = p};
        gdp_watch(f.epoll, listeners[p].fd, &listeners[p], false, true);
    }
    puts("ready");
    fflush(stdout);
    serve(&f, listeners);
}
