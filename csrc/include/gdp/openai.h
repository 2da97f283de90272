/* openai.h -- what a router must know of an OpenAI-style JSON body, in one pass, without a DOM.
 *
 * The scanner walks the top-level object once. Strings are skipped by wide compares (SSE2 on x86-64, scalar elsewhere),
 * nested values by counting brackets outside strings; nothing is unescaped except keys that are written with escapes
 * ("mod\u0065l" is `model` to the worker, so it must be to us). It validates enough to promise: balanced brackets, keys
 * are strings, commas and colons where they belong at the top level and inside stream_options, no control characters in
 * strings, no bytes but blanks after the end. Deeper nonsense is the worker's to refuse: it sees the bytes unchanged.
 * Duplicate keys: the last one counts, as in Python's json and in vLLM. Depth is limited to 256 (then GDP_BAD). */
#ifndef GDP_OPENAI_H
#define GDP_OPENAI_H

#include "gdp/base.h"

typedef enum {
    GDP_JSON_OK = 0,
    GDP_JSON_EMPTY,       /* no bytes, or blanks only */
    GDP_JSON_NOT_OBJECT,
    GDP_JSON_SYNTAX,
    GDP_JSON_TOO_DEEP,
    GDP_JSON_BAD_MODEL,   /* "model" is there and is neither a string nor null */
    GDP_JSON_BAD_STREAM   /* "stream" is there and is neither true, false nor null */
} gdp_json_why;

typedef enum { GDP_OPT_ABSENT, GDP_OPT_NULL, GDP_OPT_OBJECT, GDP_OPT_OTHER } gdp_opt_kind;
typedef enum { GDP_TRI_ABSENT, GDP_TRI_FALSE, GDP_TRI_TRUE, GDP_TRI_OTHER } gdp_tri; /* null counts as false */

typedef struct {
    uint8_t why;             /* gdp_json_why with GDP_BAD */
    uint32_t where;          /* offset of the fault with GDP_BAD */
    bool has_model;          /* a string, maybe empty */
    bool model_escaped;      /* the model span holds escapes; use gdp_openai_unescape */
    bool stream;             /* "stream": true */
    uint8_t options;         /* gdp_opt_kind of stream_options */
    bool options_empty;      /* stream_options is an object without keys */
    uint8_t include_usage;   /* gdp_tri, inside stream_options */
    uint8_t continuous_usage;/* gdp_tri of continuous_usage_stats */
    bool many;               /* more than one choice may come: n > 1, best_of > 1, or a prompt that is a list of
                                strings or of lists. What is no integer (2.0, "2") may be many to the worker, so it is here */
    bool has_priority;
    int32_t n;               /* 1 when absent */
    int64_t max_tokens;      /* max_completion_tokens, else max_tokens, else max_output_tokens; -1 when absent */
    int64_t priority;
    gdp_span model;          /* between the quotes */
    gdp_span open;           /* the '{' of the object: off is its offset, len 1 */
    gdp_span options_value;  /* value of stream_options */
    gdp_span include_value;  /* value of include_usage */
    gdp_span cache_salt;     /* between the quotes */
    gdp_span previous_id;    /* previous_response_id, between the quotes */
    gdp_span kv_transfer;    /* values, as written: */
    gdp_span messages, prompt, tools;
} gdp_body;

/* Scan a whole body. 0, or GDP_BAD with why and where. len < 2^32. */
int gdp_openai_scan(const char *body, size_t len, gdp_body *out);

/* One cut-and-insert: replace body[at .. at+cut) by text (text_len bytes, static storage). */
typedef struct {
    uint32_t at, cut;
    const char *text;
    uint32_t text_len;
} gdp_splice;

/* How to turn include_usage on in a scanned body. Returns 1 and fills *out, or 0 when it must stay as it is: already
 * true, not a stream, stream_options is neither absent, null nor an object, or the client asked for continuous usage. */
int gdp_openai_splice_usage(const gdp_body *body, gdp_splice *out);

/* Copy a JSON string's inside (no quotes) to out, unescaped to UTF-8 (\uXXXX with surrogate pairs). Returns the
 * length, GDP_BAD (bad escape, NUL), or GDP_MORE when out_size is too small. */
int64_t gdp_openai_unescape(const char *in, size_t len, char *out, size_t out_size);

/* Token counts of a usage object in either dialect (chat: prompt_tokens, completion_tokens,
 * prompt_tokens_details.cached_tokens; responses and messages: input_tokens, output_tokens, input_tokens_details.cached_tokens,
 * cache_read_input_tokens). -1 = not there. */
typedef struct {
    int64_t prompt, output, cached;
} gdp_usage;

/* Read the LAST usage object in some JSON text (a whole answer, one event, or the tail of an answer). 0 when found,
 * GDP_MORE when there is none or it is cut off. Fields found are stored, the others are left alone (start with -1). */
int gdp_openai_usage(const char *json, size_t len, gdp_usage *out);

/* The value of the first top-level-looking `"id":"..."` in an answer or first event of /v1/responses: the first
 * occurrence of `"id":"resp_`. len 0 when it is not there. Span is between the quotes. */
gdp_span gdp_openai_response_id(const char *json, size_t len);

/* multipart/form-data: the value of the field `model`. `type` is the Content-Type header's value (holds the boundary).
 * 0 and *out (offset into body; trimmed of nothing), GDP_MORE when no such field, GDP_BAD when malformed. Also whether
 * a field `stream` holds "true". */
int gdp_multipart_scan(const char *type, size_t type_len, const char *body, size_t len, gdp_span *model, bool *stream);

#endif
