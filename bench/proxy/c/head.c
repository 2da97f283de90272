#define _GNU_SOURCE
#include "head.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

size_t gdp_head_length(const char *text, size_t n) {
    const char *end = memmem(text, n, "\r\n\r\n", 4);
    return end ? (size_t)(end - text) + 4 : 0;
}

static bool named(const char *line, size_t n, const char *name) {
    size_t k = strlen(name);
    return n > k && !strncasecmp(line, name, k);
}

static void read_field(const char *line, size_t n, gdp_head *h) {
    if (named(line, n, "content-length:")) h->content_length = atoll(line + strlen("content-length:"));
    else if (named(line, n, "transfer-encoding:")) h->chunked = memmem(line, n, "chunked", 7) != NULL;
    else if (named(line, n, "connection:")) h->close = memmem(line, n, "close", 5) != NULL;
}

static void read_fields(const char *text, size_t n, gdp_head *h) {
    const char *end = text + n, *line = memchr(text, '\n', n);
    while (line && ++line < end) {
        const char *next = memchr(line, '\n', (size_t)(end - line));
        if (!next) return;
        read_field(line, (size_t)(next - line), h);
        line = next;
    }
}

int gdp_head_read_request(const char *text, size_t n, gdp_head *h) {
    *h = (gdp_head){.content_length = -1};
    const char *space = memchr(text, ' ', n);
    if (!space) return -1;
    h->path = space + 1;
    const char *after = memchr(h->path, ' ', n - (size_t)(h->path - text));
    if (!after) return -1;
    h->path_len = (size_t)(after - h->path);
    h->close = !strncmp(after, " HTTP/1.0", 9);
    read_fields(text, n, h);
    return 0;
}

int gdp_head_read_response(const char *text, size_t n, gdp_head *h) {
    *h = (gdp_head){.content_length = -1};
    if (n < 12 || memcmp(text, "HTTP/1.", 7)) return -1;
    h->status = atoi(text + 9);
    h->close = text[7] == '0';
    read_fields(text, n, h);
    return 0;
}
