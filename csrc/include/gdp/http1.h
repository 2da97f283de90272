/* http1.h -- HTTP/1.x heads and chunked bodies, strictly, without copying.
 *
 * A head is parsed in place into offsets. Nothing is unescaped, folded or repaired: what two servers might read
 * differently is refused (RFC 9112), because a proxy that forwards an ambiguous head is how requests get smuggled.
 *
 *     POST /v1/chat/completions?x=1 HTTP/1.1\r\n
 *     ^method ^-------target-------^        ^ minor = 1
 *                                  Content-Type: application/json\r\n
 *                                  ^name        ^value            -> header[i]
 *     \r\n                         <- the result is the offset after this
 *
 * Refused: bare CR or LF as a line end, obs-fold, space before the colon, control characters, NUL, a method that is
 * no token, a target that is neither "/..." nor "*" nor absolute "http://...", CL with TE, two CLs (even equal), a CL
 * list, a CL that is not 1 to 19 digits, TE other than exactly one "chunked", TE in HTTP/1.0, no Host in HTTP/1.1, two
 * Hosts, a Host or authority with anything but host characters (so no user name), more than 64 names in Connection.
 * Tolerated, as by all servers: empty lines (CRLF, at most 4) before the request line. */
#ifndef GDP_HTTP1_H
#define GDP_HTTP1_H

#include "gdp/base.h"

#define GDP_HEADERS_MAX 128 /* hard cap of the arrays below; a smaller limit may be asked for */

/* Headers whose meaning a proxy must know. Everything else is GDP_H_OTHER and passes through. */
typedef enum {
    GDP_H_OTHER = 0,
    GDP_H_HOST,
    GDP_H_CONTENT_LENGTH,
    GDP_H_TRANSFER_ENCODING,
    GDP_H_CONTENT_TYPE,
    GDP_H_CONTENT_ENCODING,
    GDP_H_EXPECT,
    GDP_H_X_REQUEST_ID,
    GDP_H_TRACEPARENT,
    GDP_H_X_FORWARDED_FOR,
    GDP_H_X_FORWARDED_PROTO,
    GDP_H_X_FORWARDED_HOST,
    GDP_H_RETRY_AFTER,
    GDP_H_DATE,
    GDP_H_SERVER,
    /* hop by hop: never forwarded (RFC 9110 7.6.1) */
    GDP_H_HOP_FIRST,
    GDP_H_CONNECTION = GDP_H_HOP_FIRST,
    GDP_H_KEEP_ALIVE,
    GDP_H_PROXY_CONNECTION,
    GDP_H_PROXY_AUTHENTICATE,
    GDP_H_PROXY_AUTHORIZATION,
    GDP_H_TE,
    GDP_H_TRAILER,
    GDP_H_UPGRADE,
    GDP_H_HOP_LAST = GDP_H_UPGRADE
} gdp_header_id;

typedef struct {
    gdp_span name;
    gdp_span value; /* without leading and trailing blanks */
    uint8_t id;     /* gdp_header_id */
    bool nominated; /* named by a Connection header: hop by hop for this message. Never Host, Content-Length,
                       Transfer-Encoding: framing cannot be nominated away */
} gdp_header;

typedef enum { GDP_GET, GDP_HEAD, GDP_POST, GDP_PUT, GDP_DELETE, GDP_OPTIONS, GDP_PATCH, GDP_METHOD_OTHER } gdp_method;

/* Why a head or a chunk was refused. The plane maps it to a status: most are 400, see gdp_http1_status(). */
typedef enum {
    GDP_HTTP_OK = 0,
    GDP_HTTP_BAD_REQUEST_LINE,
    GDP_HTTP_BAD_METHOD,
    GDP_HTTP_BAD_TARGET,
    GDP_HTTP_BAD_VERSION,        /* 505: HTTP/2.0 and the like; what is no version is a bad request line */
    GDP_HTTP_BAD_HEADER_NAME,
    GDP_HTTP_BAD_HEADER_VALUE,
    GDP_HTTP_BAD_LINE_END,
    GDP_HTTP_OBS_FOLD,
    GDP_HTTP_TOO_MANY_HEADERS,   /* 431 */
    GDP_HTTP_HEAD_TOO_LARGE,     /* 431 */
    GDP_HTTP_BAD_HOST,
    GDP_HTTP_BAD_CONTENT_LENGTH,
    GDP_HTTP_LENGTH_AND_CHUNKED,
    GDP_HTTP_BAD_TRANSFER_ENCODING,
    GDP_HTTP_UNKNOWN_CODING,     /* 501: codings that are well formed and not just chunked */
    GDP_HTTP_BAD_EXPECT,         /* 417 */
    GDP_HTTP_BAD_STATUS_LINE,
    GDP_HTTP_BAD_CHUNK
} gdp_http_why;

typedef struct {
    gdp_span method, target; /* target as sent */
    gdp_span path, query;    /* of the target, absolute form resolved; query without '?' ; query.len 0 when none.
                                path is never empty: that of "http://host" is the '/' before the host */
    uint8_t method_id;       /* gdp_method */
    uint8_t minor;           /* HTTP/1.minor: 0 or 1 (1.2 .. 1.9 count as 1) */
    bool keep_alive;         /* after Connection and the version */
    bool chunked;
    bool expect_continue;
    bool has_length;
    uint8_t why;             /* gdp_http_why when the result is GDP_BAD */
    uint16_t n_headers;
    uint64_t length;         /* Content-Length when has_length, else 0 */
    gdp_header headers[GDP_HEADERS_MAX];
} gdp_request;

typedef struct {
    uint16_t status;
    uint8_t minor;
    bool keep_alive;
    bool chunked;
    bool has_length;
    bool event_stream;       /* Content-Type is text/event-stream */
    bool json;               /* Content-Type is application/json */
    uint8_t why;
    uint16_t n_headers;
    gdp_span reason;
    uint64_t length;
    gdp_header headers[GDP_HEADERS_MAX];
} gdp_response;

/* Parse one head at the start of buf[0..len). Returns its length in bytes (offset of the body), GDP_MORE or GDP_BAD
 * (then out->why). `seen` is the length that an earlier call on the same growing buffer answered GDP_MORE for (0 at
 * first): the search for the end resumes there, so a head that comes one byte at a time stays linear. With GDP_MORE
 * only a bare LF or a first byte that starts no head is reported early; the size limit is the caller's. max_headers <= GDP_HEADERS_MAX. */
int gdp_http1_request(const char *buf, size_t len, size_t seen, unsigned max_headers, gdp_request *out);
int gdp_http1_response(const char *buf, size_t len, size_t seen, gdp_response *out);

/* HTTP status and a short text for a `why` of a request. */
int gdp_http1_status(gdp_http_why why);
const char *gdp_http1_text(gdp_http_why why);

/* Case-insensitive token search in a comma list, e.g. "close" in a Connection value. */
bool gdp_http1_list_has(const char *value, size_t len, const char *token);

/* Chunked body decoder. State only, never the bytes.
 *
 *     1a;ext\r\n <26 bytes> \r\n  0\r\n  [trailer: x\r\n] \r\n
 *
 * Each call consumes framing up to and including the next run of payload that is in the buffer; that run is `data`
 * (offset from buf, may be empty). The CRLF after a payload run is taken with it when it is there. Call again with the
 * rest until done or the buffer is used up.
 * Strict: size is 1..15 hex digits, extensions are skipped (<= 256 bytes a line with the size, no control characters),
 * CRLF only, trailers skipped (<= 8 KiB in all, checked like headers' characters). */
typedef struct {
    uint64_t left;     /* payload bytes of the current chunk still to come */
    uint32_t line;     /* bytes seen of the current size line, or trailer bytes so far */
    uint8_t state;     /* private */
    bool done;         /* the final empty line was consumed */
    bool boundary;     /* the last call ended exactly after a complete chunk (its CRLF consumed), or done */
} gdp_chunked;

/* Returns bytes consumed of buf (framing and payload), >= 0, or GDP_BAD. *data is the payload run inside them.
 * Consumes nothing after done. Never returns 0 with len > 0 unless done. */
int64_t gdp_chunked_next(gdp_chunked *c, const char *buf, size_t len, gdp_span *data);

#endif
