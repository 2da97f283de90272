/* chunked.c -- the chunked body decoder of gdp/http1.h, as a state machine over bytes that are not kept.
 *
 *     SIZE --hex--> SIZE --CR--> SIZE_LF --LF--> DATA --left=0--> DATA_CR --CR--> DATA_LF --LF--> SIZE
 *       |             '--;--> EXT --CR--> SIZE_LF                                                   (a boundary)
 *       '                                     '--LF, size 0--> TRAILER --CR--> END_LF --LF--> DONE
 *                                                                |  ^
 *                                                            NAME -':'-> VALUE -CR-> VALUE_LF -LF-'
 *
 * Only payload runs are long, and those are stepped over; the rest is a few bytes a chunk, so there is no fast path. */
#include "gdp/http1.h"

#include "chars.h"
#include "scan.h"

#define GDP_SIZE_DIGITS_MAX 15
#define GDP_SIZE_LINE_MAX 256   /* size and extensions */
#define GDP_TRAILER_MAX 8192    /* all trailer lines */

enum {
    GDP_C_SIZE, /* `line` counts digits, then extension bytes */
    GDP_C_EXT,
    GDP_C_SIZE_LF,
    GDP_C_DATA,
    GDP_C_DATA_CR,
    GDP_C_DATA_LF,
    GDP_C_TRAILER, /* at the start of a trailer line; `line` counts all trailer bytes from here on */
    GDP_C_NAME,
    GDP_C_VALUE,
    GDP_C_VALUE_LF,
    GDP_C_END_LF,
    GDP_C_DONE
};

static int gdp_hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool gdp_field_byte(char c)
{
    return c == '\t' || !gdp_is_control((unsigned char)c);
}

/* One byte of the line that holds the size. False: refused. */
static bool gdp_chunk_size(gdp_chunked *c, char byte)
{
    int digit = gdp_hex_digit(byte);
    if (digit >= 0) {
        if (++c->line > GDP_SIZE_DIGITS_MAX) return false;
        c->left = c->left << 4 | (uint64_t)digit;
        return true;
    }
    if (c->line == 0) return false;
    c->state = byte == ';' ? GDP_C_EXT : GDP_C_SIZE_LF;
    return byte == ';' || byte == '\r';
}

/* One byte of a trailer line. False: refused. */
static bool gdp_chunk_trailer(gdp_chunked *c, char byte)
{
    bool token = gdp_char_in(byte, GDP_CHAR_TOKEN);
    if (++c->line > GDP_TRAILER_MAX) return false;
    switch (c->state) {
    case GDP_C_TRAILER:
        c->state = byte == '\r' ? GDP_C_END_LF : GDP_C_NAME;
        return byte == '\r' || token;
    case GDP_C_NAME:
        if (byte == ':') c->state = GDP_C_VALUE;
        return byte == ':' || token;
    case GDP_C_VALUE:
        if (byte == '\r') c->state = GDP_C_VALUE_LF;
        return byte == '\r' || gdp_field_byte(byte);
    case GDP_C_VALUE_LF:
        c->state = GDP_C_TRAILER;
        return byte == '\n';
    default: /* GDP_C_END_LF */
        c->state = GDP_C_DONE;
        return c->done = byte == '\n';
    }
}

/* One byte of framing. False: refused. */
static bool gdp_chunk_framing(gdp_chunked *c, char byte)
{
    switch (c->state) {
    case GDP_C_SIZE: return gdp_chunk_size(c, byte);
    case GDP_C_EXT:
        if (byte == '\r') c->state = GDP_C_SIZE_LF;
        return byte == '\r' || (gdp_field_byte(byte) && ++c->line < GDP_SIZE_LINE_MAX);
    case GDP_C_SIZE_LF:
        c->line = 0;
        c->state = c->left ? GDP_C_DATA : GDP_C_TRAILER;
        return byte == '\n';
    case GDP_C_DATA_CR:
        c->state = GDP_C_DATA_LF;
        return byte == '\r';
    case GDP_C_DATA_LF:
        c->state = GDP_C_SIZE;
        return byte == '\n';
    default: return gdp_chunk_trailer(c, byte);
    }
}

int64_t gdp_chunked_next(gdp_chunked *c, const char *buf, size_t len, gdp_span *data)
{
    const char *p = buf, *end = buf + (len < UINT32_MAX ? len : UINT32_MAX);
    *data = (gdp_span){0, 0};
    c->boundary = c->done;
    while (p < end && !c->done) {
        if (c->state == GDP_C_DATA) { /* the run; its CR LF too when it is here, then stop */
            uint64_t room = (uint64_t)(end - p), run = c->left < room ? c->left : room;
            *data = gdp_span_of(buf, p, p + run);
            p += run;
            c->left -= run;
            if (c->left == 0) c->state = GDP_C_DATA_CR;
            if (c->state == GDP_C_DATA) break;
            continue;
        }
        bool closes = c->state == GDP_C_DATA_LF;
        if (!gdp_chunk_framing(c, *p++)) return GDP_BAD;
        c->boundary = closes || c->done;
        if (closes && data->len) break;
    }
    return p - buf;
}
