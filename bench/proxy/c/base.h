/* base.h -- what both bench programs stand on: a clock, bytes that grow, sockets, send-time stamps.
 *
 * The programs are measuring instruments, run by bench/proxy and by nothing else. Trouble of the instrument itself
 * (no memory, no port) ends the program with a sentence: a half-working instrument measures nothing. */
#ifndef GDP_BENCH_BASE_H
#define GDP_BENCH_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GDP_STAMP_DIGITS 16 /* a send time is this many hexadecimal digits inside the event's text */
#define GDP_EVENTS_AT_ONCE 512

uint64_t gdp_now_ns(void);

__attribute__((noreturn, format(printf, 1, 2))) void gdp_die(const char *format, ...);

/* Never NULL: ends the program when memory is out. */
void *gdp_take(void *old, size_t size);

/*  data:  [ done with | live bytes | room ]
 *         0          pos          len     cap   */
typedef struct gdp_buf {
    char *data;
    size_t cap, len, pos;
} gdp_buf;

static inline size_t gdp_buf_live(const gdp_buf *b) {
    return b->len - b->pos;
}
void gdp_buf_reserve(gdp_buf *b, size_t room); /* moves the live bytes to the front when that makes room */
void gdp_buf_append(gdp_buf *b, const char *bytes, size_t n);
void gdp_buf_free(gdp_buf *b);

/* Sends what the kernel takes, keeps the rest in `b`. Returns -1 when the peer is gone, 1 when all is out, 0 when
 * bytes remain. `bytes` may be NULL with n = 0 to flush only. */
int gdp_send(int fd, gdp_buf *b, const char *bytes, size_t n);

void gdp_watch(int epoll, int fd, void *owner, bool writable, bool first);
void gdp_no_delay(int fd);
void gdp_raise_file_limit(void);

void gdp_stamp_put(char *digits, uint64_t ns);
bool gdp_stamp_get(const char *digits, uint64_t *ns);

/* The value behind `--key` in argv, or `otherwise`. Ends the program on a number it cannot read. */
const char *gdp_option(int argc, char **argv, const char *key, const char *otherwise);
double gdp_option_number(int argc, char **argv, const char *key, double otherwise);

#endif
