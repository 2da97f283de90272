/* test_wirebench.c -- what the wire layer costs on the shapes that it meets all day.
 *
 * Aims (one core of 2.6 GHz or so): head of ~300 B <= 250 ns, body of 300 B <= 150 ns, of 128 KiB <= 10 us,
 * event of 220 B <= 60 ns. */
#include "gdp/http1.h"
#include "gdp/openai.h"
#include "gdp/sse.h"
#include "test.h"

void gdp_bench_wire(void);

typedef struct {
    const char *p;
    size_t len;
    volatile int64_t sink;
} gdp_input;

static const char gdp_head[] =
    "POST /v1/chat/completions HTTP/1.1\r\n"
    "Host: 127.0.0.1:8000\r\n"
    "Accept: application/json\r\n"
    "Content-Type: application/json\r\n"
    "User-Agent: OpenAI/Python 1.99.0\r\n"
    "Accept-Encoding: gzip, deflate\r\n"
    "Connection: keep-alive\r\n"
    "Authorization: Bearer sk-0123456789abcdef0123456789abcdef\r\n"
    "Content-Length: 300\r\n\r\n";

static const char gdp_answer[] =
    "HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 01:35:42 GMT\r\nserver: uvicorn\r\n"
    "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";

static const char gdp_chat_event[] =
    "data: {\"id\":\"chatcmpl-8582d825798685bd\",\"object\":\"chat.completion.chunk\",\"created\":1795224942,"
    "\"model\":\"tiny-llama\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"stant\"},\"logprobs\":null,"
    "\"finish_reason\":null,\"token_ids\":null}]}\n\n";

static const char gdp_usage_event[] =
    "data: {\"id\":\"chatcmpl-8582d825798685bd\",\"object\":\"chat.completion.chunk\",\"created\":1795224942,"
    "\"model\":\"tiny-llama\",\"choices\":[],\"usage\":{\"prompt_tokens\":18,\"total_tokens\":24,"
    "\"completion_tokens\":6,\"prompt_tokens_details\":{\"cached_tokens\":16}}}\n\n";

static void gdp_run_request(void *arg)
{
    gdp_input *in = arg;
    gdp_request q;
    in->sink = gdp_http1_request(in->p, in->len, 0, 64, &q);
}

static void gdp_run_response(void *arg)
{
    gdp_input *in = arg;
    gdp_response q;
    in->sink = gdp_http1_response(in->p, in->len, 0, &q);
}

static void gdp_run_event(void *arg)
{
    gdp_input *in = arg;
    gdp_event e;
    in->sink = gdp_sse_next(in->p, in->len, 0, &e);
}

static void gdp_run_scan(void *arg)
{
    gdp_input *in = arg;
    gdp_body b;
    in->sink = gdp_openai_scan(in->p, in->len, &b);
}

static void gdp_run_usage(void *arg)
{
    gdp_input *in = arg;
    gdp_usage u = {-1, -1, -1};
    in->sink = gdp_openai_usage(in->p, in->len, &u);
}

static void gdp_run_chunk(void *arg)
{
    gdp_input *in = arg;
    gdp_chunked c = {0};
    gdp_span data;
    in->sink = gdp_chunked_next(&c, in->p, in->len, &data);
}

static void gdp_row(const char *name, gdp_bench_fn *fn, const char *p, size_t len)
{
    gdp_input in = {p, len, 0};
    double ns = gdp_bench_ns(fn, &in);
    CHECK(in.sink >= 0);
    gdp_bench_row(name, len, ns);
}

/* A chat body whose messages hold `bytes` of text: words of `plain` characters, then an escape. */
static char *gdp_chat_body(size_t bytes, size_t plain, size_t message, size_t *len)
{
    char *body = malloc(bytes * 2 + 400), *p = body;
    p += sprintf(p, "{\"model\":\"meta-llama/Llama-3.1-8B-Instruct\",\"temperature\":0.7,\"max_tokens\":256,"
                    "\"stream\":true,\"messages\":[");
    for (size_t done = 0; done < bytes; done += message) {
        p += sprintf(p, "%s{\"role\":\"user\",\"content\":\"", done ? "," : "");
        for (size_t i = 0; i < message && done + i < bytes; i++) {
            if (plain && i % plain == plain - 1) *p++ = '\\', *p++ = 'n';
            else *p++ = (char)('a' + i % 26);
        }
        p += sprintf(p, "\"}");
    }
    p += sprintf(p, "]}");
    *len = (size_t)(p - body);
    return body;
}

static void gdp_body_row(const char *name, size_t bytes, size_t plain, size_t message)
{
    size_t len;
    char *body = gdp_chat_body(bytes, plain, message, &len);
    gdp_row(name, gdp_run_scan, body, len);
    free(body);
}

static void gdp_ids_row(void)
{
    char *body = malloc(200000), *p = body;
    p += sprintf(p, "{\"model\":\"m\",\"prompt\":[1");
    while (p < body + 128 * 1024) p += sprintf(p, ",%d", 10000 + (int)((p - body) % 89999));
    p += sprintf(p, "]}");
    gdp_row("scan: 128 KiB of token ids", gdp_run_scan, body, (size_t)(p - body));
    free(body);
}

void gdp_bench_wire(void)
{
    gdp_row("request head, 8 headers", gdp_run_request, STR(gdp_head));
    gdp_row("response head", gdp_run_response, STR(gdp_answer));
    gdp_row("event of a chat", gdp_run_event, STR(gdp_chat_event));
    gdp_row("event with usage", gdp_run_event, STR(gdp_usage_event));
    gdp_row("usage of that event", gdp_run_usage, STR(gdp_usage_event));
    gdp_row("chunk of 0xdf bytes", gdp_run_chunk, STR("4\r\nabcd\r\n"));
    gdp_body_row("scan: 300 B", 170, 0, 170);
    gdp_body_row("scan: 8 KiB, one string", 8 << 10, 0, 8 << 10);
    gdp_body_row("scan: 128 KiB, one string", 128 << 10, 0, 128 << 10);
    gdp_body_row("scan: 128 KiB, \\n every 80", 128 << 10, 80, 128 << 10);
    gdp_body_row("scan: 128 KiB, \\n every 20", 128 << 10, 20, 128 << 10);
    gdp_body_row("scan: 128 KiB, messages of 500 B", 128 << 10, 80, 500);
    gdp_ids_row();
}
