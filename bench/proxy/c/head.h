/* head.h -- the few facts that the bench programs need of an HTTP/1.1 message head.
 *
 * Both sides of a bench speak a known dialect, so this reads and does not judge; the strict parser is the product's. */
#ifndef GDP_BENCH_HEAD_H
#define GDP_BENCH_HEAD_H

#include <stdbool.h>
#include <stddef.h>

typedef struct gdp_head {
    long long content_length; /* -1: not told */
    bool chunked, close;
    int status;       /* of a response */
    const char *path; /* of a request; points into the text */
    size_t path_len;
} gdp_head;

/* The length of the head at the start of [text, text + n), its blank line included; 0 when it is not complete. */
size_t gdp_head_length(const char *text, size_t n);

/* Reads a complete head. Returns -1 when it is no HTTP/1.x message. */
int gdp_head_read_request(const char *text, size_t n, gdp_head *h);
int gdp_head_read_response(const char *text, size_t n, gdp_head *h);

#endif
