/* vllm_text.h -- the bytes that a vLLM 0.32 server sends, built once.
 *
 * A stream, one HTTP chunk per event (role comes in the same write as the first token):
 *
 *     role | token | token | ... | finish            | data: [DONE]     usage not asked: the finish event carries
 *     role | token | token | ... | finish | usage    | data: [DONE]     the fingerprint; asked: the usage event does
 *
 * `role` exists in the chat dialect only. The text of a token is its send time, so the reader knows its age. */
#ifndef GDP_BENCH_VLLM_TEXT_H
#define GDP_BENCH_VLLM_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct gdp_text {
    char *bytes;
    size_t n, stamp; /* stamp: offset of the send time's digits; 0 when there is none */
} gdp_text;

typedef struct gdp_dialect {
    bool chat;
    gdp_text role, token, finish, finish_before_usage;
} gdp_dialect;

typedef struct gdp_vllm_text {
    const char *model;
    gdp_text sse_head, done;
    gdp_dialect chat, completion;
} gdp_vllm_text;

void gdp_vllm_text_build(gdp_vllm_text *t, const char *model);

/* These write a whole reply or chunk into `out` (at least GDP_REPLY_MAX bytes) and return its length. */
#define GDP_REPLY_MAX 4096
size_t gdp_vllm_usage_chunk(const gdp_vllm_text *t, bool chat, unsigned tokens, char *out);
size_t gdp_vllm_answer(const gdp_vllm_text *t, bool chat, unsigned tokens, char *out);
size_t gdp_vllm_head(int status, const char *type, size_t length, char *out);
size_t gdp_vllm_reply(int status, const char *type, const char *body, char *out);

#endif
