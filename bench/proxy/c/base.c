#define _GNU_SOURCE
#include "base.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

uint64_t gdp_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void gdp_die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(2);
}

void *gdp_take(void *old, size_t size) {
    void *p = realloc(old, size);
    if (!p) gdp_die("out of memory (%zu bytes wanted)", size);
    return p;
}

void gdp_buf_reserve(gdp_buf *b, size_t room) {
    if (b->pos == b->len) b->pos = b->len = 0;
    if (b->cap - b->len >= room) return;
    if (b->pos) {
        memmove(b->data, b->data + b->pos, b->len - b->pos);
        b->len -= b->pos;
        b->pos = 0;
    }
    if (b->cap - b->len >= room) return;
    b->cap = (b->len + room) * 3 / 2;
    b->data = gdp_take(b->data, b->cap);
}

void gdp_buf_append(gdp_buf *b, const char *bytes, size_t n) {
    gdp_buf_reserve(b, n);
    memcpy(b->data + b->len, bytes, n);
    b->len += n;
}

void gdp_buf_free(gdp_buf *b) {
    free(b->data);
    *b = (gdp_buf){0};
}

/* Bytes taken by the kernel, 0 when it wants no more now, -1 when the peer is gone. */
static ssize_t offer(int fd, const char *bytes, size_t n) {
    for (;;) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) return sent;
        if (errno == EAGAIN) return 0;
        if (errno != EINTR) return -1;
    }
}

int gdp_send(int fd, gdp_buf *b, const char *bytes, size_t n) {
    while (gdp_buf_live(b)) {
        ssize_t sent = offer(fd, b->data + b->pos, gdp_buf_live(b));
        if (sent < 0) return -1;
        if (sent == 0) break;
        b->pos += (size_t)sent;
    }
    if (!gdp_buf_live(b) && n) {
        ssize_t sent = offer(fd, bytes, n);
        if (sent < 0) return -1;
        bytes += sent;
        n -= (size_t)sent;
    }
    if (n) gdp_buf_append(b, bytes, n);
    return gdp_buf_live(b) == 0;
}

void gdp_watch(int epoll, int fd, void *owner, bool writable, bool first) {
    struct epoll_event e = {.events = EPOLLIN | (writable ? EPOLLOUT : 0u), .data.ptr = owner};
    if (epoll_ctl(epoll, first ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e)) gdp_die("epoll_ctl: %s", strerror(errno));
}

void gdp_no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

void gdp_raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

void gdp_stamp_put(char *digits, uint64_t ns) {
    for (int i = GDP_STAMP_DIGITS - 1; i >= 0; i--, ns >>= 4) digits[i] = "0123456789abcdef"[ns & 15];
}

bool gdp_stamp_get(const char *digits, uint64_t *ns) {
    uint64_t value = 0;
    for (int i = 0; i < GDP_STAMP_DIGITS; i++) {
        char c = digits[i];
        unsigned digit;
        if (c >= '0' && c <= '9') digit = (unsigned)(c - '0');
        else if (c >= 'a' && c <= 'f') digit = (unsigned)(c - 'a') + 10;
        else return false;
        value = value << 4 | digit;
    }
    *ns = value;
    return true;
}

const char *gdp_option(int argc, char **argv, const char *key, const char *otherwise) {
    for (int i = 1; i + 1 < argc; i += 2)
        if (!strcmp(argv[i], key)) return argv[i + 1];
    return otherwise;
}

double gdp_option_number(int argc, char **argv, const char *key, double otherwise) {
    const char *text = gdp_option(argc, argv, key, NULL);
    if (!text) return otherwise;
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end) gdp_die("%s: \"%s\" is no number", key, text);
    return value;
}
