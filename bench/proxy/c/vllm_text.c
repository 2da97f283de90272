#define _GNU_SOURCE
#include "vllm_text.h"

#include "base.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HEAD "date: Thu, 01 Jan 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
#define FINGERPRINT ",\"system_fingerprint\":\"vllm-0.32.0-07a17c73\""
#define STAMPED "t0123456789abcdef" /* 't' and the digits that gdp_stamp_put overwrites */
#define CHAT_ID "chatcmpl-8582d825798685bd"
#define COMPLETION_ID "cmpl-bbb9d4455e1811af"

/* One server-sent event as one HTTP chunk. */
__attribute__((format(printf, 2, 3))) static size_t chunk(char *out, const char *format, ...) {
    char event[GDP_REPLY_MAX / 2];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(event, sizeof event, format, args);
    va_end(args);
    return (size_t)snprintf(out, GDP_REPLY_MAX, "%x\r\n%s\r\n", (unsigned)n, event);
}

static gdp_text keep(const char *bytes, size_t n) {
    gdp_text t = {.bytes = gdp_take(NULL, n), .n = n};
    memcpy(t.bytes, bytes, n);
    const char *mark = memmem(bytes, n, STAMPED, strlen(STAMPED));
    if (mark) t.stamp = (size_t)(mark - bytes) + 1;
    return t;
}

static gdp_text chat_event(const char *model, const char *delta, const char *finish, const char *tail) {
    char out[GDP_REPLY_MAX];
    size_t n = chunk(out,
                     "data: {\"id\":\"" CHAT_ID "\",\"object\":\"chat.completion.chunk\",\"created\":1795224942,"
                     "\"model\":\"%s\",\"choices\":[{\"index\":0,\"delta\":{%s},\"logprobs\":null,\"finish_reason\":%s}]"
                     "%s}\n\n",
                     model, delta, finish, tail);
    return keep(out, n);
}

static gdp_text completion_event(const char *model, const char *finish, const char *tail) {
    char out[GDP_REPLY_MAX];
    size_t n = chunk(out,
                     "data: {\"id\":\"" COMPLETION_ID "\",\"object\":\"text_completion\",\"created\":1795224964,"
                     "\"model\":\"%s\",\"choices\":[{\"index\":0,\"text\":\" " STAMPED "\",\"logprobs\":null,"
                     "\"finish_reason\":%s,\"stop_reason\":null,\"prompt_token_ids\":null,\"token_ids\":null}]%s}\n\n",
                     model, finish, tail);
    return keep(out, n);
}

void gdp_vllm_text_build(gdp_vllm_text *t, const char *model) {
    static const char sse[] = "HTTP/1.1 200 OK\r\n" HEAD "content-type: text/event-stream; charset=utf-8\r\n"
                              "vary: Origin\r\ntransfer-encoding: chunked\r\n\r\n";
    static const char done[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    static const char content[] = "\"content\":\" " STAMPED "\"";
    static const char none[] = "null,\"token_ids\":null", length[] = "\"length\",\"stop_reason\":null,\"token_ids\":null";
    t->model = model;
    t->sse_head = keep(sse, sizeof sse - 1);
    t->done = keep(done, sizeof done - 1);
    t->chat = (gdp_dialect){
        .chat = true,
        .role = chat_event(model, "\"role\":\"assistant\",\"content\":\"\"", "null",
                           ",\"prompt_token_ids\":null,\"prompt_text\":null"),
        .token = chat_event(model, content, none, ""),
        .finish = chat_event(model, content, length, FINGERPRINT),
        .finish_before_usage = chat_event(model, content, length, ""),
    };
    t->completion = (gdp_dialect){
        .token = completion_event(model, "null", ""),
        .finish = completion_event(model, "\"length\"", FINGERPRINT),
        .finish_before_usage = completion_event(model, "\"length\"", ""),
    };
}

size_t gdp_vllm_usage_chunk(const gdp_vllm_text *t, bool chat, unsigned tokens, char *out) {
    return chunk(out,
                 "data: {\"id\":\"%s\",\"object\":\"%s\",\"created\":1795224942,\"model\":\"%s\",\"choices\":[],\"usage\":{"
                 "\"prompt_tokens\":64,\"total_tokens\":%u,\"completion_tokens\":%u}" FINGERPRINT "}\n\n",
                 chat ? CHAT_ID : COMPLETION_ID, chat ? "chat.completion.chunk" : "text_completion", t->model, 64 + tokens,
                 tokens);
}

static const char canned[] = "This is a canned answer of a handful of words, as long as a short reply of a model would be.";

static void write_choice(bool chat, char *out, size_t room) {
    if (chat)
        snprintf(out, room,
                 "\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null,\"annotations\":null,"
                 "\"audio\":null,\"function_call\":null,\"reasoning\":null},\"logprobs\":null,\"finish_reason\":\"stop\","
                 "\"stop_reason\":null,\"token_ids\":null,\"routed_experts\":null",
                 canned);
    else
        snprintf(out, room,
                 "\"text\":\"%s\",\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null,\"token_ids\":null,"
                 "\"prompt_logprobs\":null,\"prompt_token_ids\":null,\"routed_experts\":null",
                 canned);
}

size_t gdp_vllm_answer(const gdp_vllm_text *t, bool chat, unsigned tokens, char *out) {
    char choice[GDP_REPLY_MAX / 4], body[GDP_REPLY_MAX / 2];
    write_choice(chat, choice, sizeof choice);
    snprintf(body, sizeof body,
             "{\"id\":\"%s\",\"object\":\"%s\",\"created\":1795224940,\"model\":\"%s\",\"choices\":[{\"index\":0,%s}],"
             "\"service_tier\":null" FINGERPRINT ",\"usage\":{\"prompt_tokens\":64,\"total_tokens\":%u,"
             "\"completion_tokens\":%u,\"prompt_tokens_details\":null,\"completion_tokens_details\":null},%s"
             "\"kv_transfer_params\":null,\"ec_transfer_params\":null,\"metrics\":null}",
             chat ? CHAT_ID : COMPLETION_ID, chat ? "chat.completion" : "text_completion", t->model, choice, 64 + tokens,
             tokens, chat ? "\"prompt_logprobs\":null,\"prompt_token_ids\":null,\"prompt_text\":null," : "");
    return gdp_vllm_reply(200, "application/json", body, out);
}

size_t gdp_vllm_head(int status, const char *type, size_t length, char *out) {
    return (size_t)snprintf(out, GDP_REPLY_MAX,
                            "HTTP/1.1 %d %s\r\n" HEAD "content-length: %zu\r\ncontent-type: %s\r\nvary: Origin\r\n\r\n",
                            status, status == 200 ? "OK" : "Not Found", length, type);
}

size_t gdp_vllm_reply(int status, const char *type, const char *body, char *out) {
    size_t head = gdp_vllm_head(status, type, strlen(body), out);
    return head + (size_t)snprintf(out + head, GDP_REPLY_MAX - head, "%s", body);
}
