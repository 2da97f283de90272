/* sse.h -- find and read server-sent events in a payload, without copying.
 *
 * An event ends with an empty line; line ends are LF, CRLF or CR. vLLM writes one event per HTTP chunk:
 *
 *     data: {"id":"chatcmpl-...","choices":[{"index":0,"delta":{"content":"x"},...}]}\n\n
 *     ^--------------------------- one event, what gdp_sse_next returns --------------^
 *
 * The relay sends bytes as they came; this only tells it where events end, and what it must know of each. The common
 * event costs two searches over its ~220 bytes (end, and "usage"/"error"/finish) and nothing else.
 * Within JSON a quote inside a string is always written \", so the byte string `"usage":` (unescaped quotes) can only
 * be a key: no JSON parser is needed to know that an event carries usage, only to read its numbers. */
#ifndef GDP_SSE_H
#define GDP_SSE_H

#include "gdp/base.h"

typedef enum {
    GDP_EV_COMMENT, /* no data line: comments (": keep-alive"), empty lines, a lone id or retry */
    GDP_EV_DATA,    /* has a data line that is none of the others */
    GDP_EV_DONE,    /* data: [DONE] */
    GDP_EV_ERROR    /* data begins {"error": with a value other than null (any spacing), or the event line is `error`, or
                       `response.failed` */
} gdp_event_kind;

typedef struct {
    uint8_t kind;      /* gdp_event_kind */
    bool finish;       /* "finish_reason" with a value other than null occurs (chat and text completions) */
    bool usage;        /* a "usage" key with an object value occurs */
    bool usage_only;   /* usage, and "choices":[] (any spacing): the extra event of include_usage */
    gdp_span data;     /* of the first data line's value (offset from buf) */
    gdp_span name;     /* of the event line's value, len 0 when none */
} gdp_event;

/* The next complete event at buf[0..len): returns its bytes including the blank line, or GDP_MORE. A CR as the last
 * byte of the buffer is not yet a line end (an LF may follow): GDP_MORE. `seen` as in gdp_http1_request: bytes for which
 * an earlier call on the same, longer getting, buffer answered GDP_MORE. Blank lines alone are GDP_EV_COMMENT. */
int64_t gdp_sse_next(const char *buf, size_t len, size_t seen, gdp_event *out);

/* Position of `"system_fingerprint":"..."` (key, colon, value; both spacings) in an event's bytes; len 0 when it is not there or null. */
gdp_span gdp_sse_fingerprint(const char *event, size_t len);

#endif
