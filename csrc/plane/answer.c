/* answer.c -- which route a path is, and the answers that the frontend gives itself.
 *
 * Errors have OpenAI's shape, with our `reason` word beside it:
 *     {"error":{"message":"...","type":"NotFoundError","param":null,"code":404,"reason":"ModelNotFound"}}
 * In a stream that has begun they take the dialect of the endpoint (reference: vLLM 0.32). */
#include <stdio.h>
#include <string.h>

#include "inner.h"

/* ---- routes --------------------------------------------------------------------------------------------------- */

static bool is(const char *path, size_t len, const char *what) {
    return strlen(what) == len && !memcmp(path, what, len);
}

static bool begins(const char *path, size_t len, const char *what) {
    size_t n = strlen(what);
    return len >= n && !memcmp(path, what, n);
}

/* Worker-side routers decode escapes and some fold dots and slashes: what could become another route there is none here. */
static bool is_plain(const char *path, size_t len) {
    if (memchr(path, '%', len)) return false;
    for (size_t i = 0; i + 1 < len; i++)
        if (path[i] == '/' && (path[i + 1] == '/' || path[i + 1] == '.')) return false;
    return true;
}

/* Routes of vLLM that change the worker or other people's requests. */
static bool is_private(const char *path, size_t len) {
    static const char *const PRIVATE[] = {"/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/v1/adapters",
                                          "/inference/v1/abort_requests"};
    for (size_t i = 0; i < sizeof PRIVATE / sizeof *PRIVATE; i++)
        if (begins(path, len, PRIVATE[i])) return true;
    return false;
}

/* /v1/responses, and what stands below it: POST render|derender, GET ID, POST ID/cancel. */
static route responses_route(const char *path, size_t len) {
    static const char PREFIX[] = "/v1/responses/";
    const route none = {.endpoint = GDP_E_NONE}, post = {.endpoint = GDP_E_OTHER, .methods = M_POST};
    if (is(path, len, "/v1/responses")) return (route){.endpoint = GDP_E_RESPONSES, .methods = M_POST};
    if (!begins(path, len, PREFIX) || len == sizeof PREFIX - 1) return none;
    const char *id = path + sizeof PREFIX - 1, *end = path + len;
    if (is(id, (size_t)(end - id), "render") || is(id, (size_t)(end - id), "derender")) return post;
    const char *slash = memchr(id, '/', (size_t)(end - id));
    if (slash && !is(slash, (size_t)(end - slash), "/cancel")) return none;
    route r = {.endpoint = GDP_E_OTHER, .methods = slash ? M_POST : M_GET, .bodiless = true};
    r.id = (gdp_span){sizeof PREFIX - 1, (uint32_t)((slash ? slash : end) - id)};
    return r;
}

route route_of(const char *path, size_t len) {
    static const struct {
        const char *path;
        route route;
    } FIXED[] = {
        {"/v1/chat/completions", {.endpoint = GDP_E_CHAT, .methods = M_POST}},
        {"/v1/completions", {.endpoint = GDP_E_COMPLETIONS, .methods = M_POST}},
        {"/v1/messages", {.endpoint = GDP_E_MESSAGES, .methods = M_POST}},
        {"/v1/embeddings", {.endpoint = GDP_E_EMBEDDINGS, .methods = M_POST}},
        {"/tokenize", {.endpoint = GDP_E_TOKENIZE, .methods = M_POST}},
        {"/detokenize", {.endpoint = GDP_E_TOKENIZE, .methods = M_POST}},
        {"/v1/models", {.endpoint = GDP_E_MODELS, .methods = M_GET, .local = true}},
        {"/health", {.endpoint = GDP_E_STATUS, .methods = M_GET, .local = true}},
        {"/ping", {.endpoint = GDP_E_STATUS, .methods = M_GET | M_POST, .local = true}},
        {"/version", {.endpoint = GDP_E_STATUS, .methods = M_GET, .local = true}},
    };
    for (size_t i = 0; i < sizeof FIXED / sizeof *FIXED; i++)
        if (is(path, len, FIXED[i].path)) return FIXED[i].route;
    route none = {.endpoint = GDP_E_NONE};
    if (begins(path, len, "/v1/models/")) return (route){.endpoint = GDP_E_MODELS, .methods = M_GET, .local = true};
    if (!is_plain(path, len) || is_private(path, len)) return none;
    if (is(path, len, "/v1/responses") || begins(path, len, "/v1/responses/")) return responses_route(path, len);
    if ((begins(path, len, "/v1/") && len > 4) || (begins(path, len, "/inference/v1/") && len > 14))
        return (route){.endpoint = GDP_E_OTHER, .methods = M_POST};
    return none;
}

/* ---- what a reason means to a client ---------------------------------------------------------------------------- */

int reason_status(gdp_reason r) {
    switch (r) {
    case GDP_R_MODEL_NOT_FOUND:
    case GDP_R_NOT_FOUND: return 404;
    case GDP_R_METHOD_NOT_ALLOWED: return 405;
    case GDP_R_HEAD_TIMEOUT:
    case GDP_R_BODY_TIMEOUT: return 408;
    case GDP_R_BODY_TOO_LARGE: return 413;
    case GDP_R_EXPECTATION_FAILED: return 417;
    case GDP_R_QUEUE_FULL: return 429;
    case GDP_R_HEAD_TOO_LARGE: return 431;
    case GDP_R_NOT_IMPLEMENTED: return 501;
    case GDP_R_VERSION_NOT_SUPPORTED: return 505;
    case GDP_R_WORKER_UNREACHABLE:
    case GDP_R_WORKER_BROKE_OFF:
    case GDP_R_WORKER_BAD_ANSWER: return 502;
    case GDP_R_FIRST_TOKEN_TIMEOUT:
    case GDP_R_ANSWER_TIMEOUT:
    case GDP_R_TOKEN_GAP_TIMEOUT:
    case GDP_R_TOTAL_TIMEOUT:
    case GDP_R_CONNECT_TIMEOUT: return 504;
    case GDP_R_NO_READY_WORKER:
    case GDP_R_QUEUE_TIMEOUT:
    case GDP_R_BUFFERS_FULL:
    case GDP_R_TOO_MANY_CONNECTIONS:
    case GDP_R_SHUTTING_DOWN:
    case GDP_R_OUT_OF_MEMORY: return 503;
    default: return 400;
    }
}

const char *reason_text(gdp_reason r) {
    switch (r) {
    case GDP_R_BAD_REQUEST: return "The request is malformed.";
    case GDP_R_BAD_JSON: return "The request body is not a valid JSON object.";
    case GDP_R_MODEL_REQUIRED: return "The request names no model and more than one is served; set the field `model`.";
    case GDP_R_MODEL_NOT_FOUND: return "The model does not exist; GET /v1/models lists those that do.";
    case GDP_R_NOT_FOUND: return "There is no such route.";
    case GDP_R_METHOD_NOT_ALLOWED: return "The route does not take this method; see the header Allow.";
    case GDP_R_HEAD_TOO_LARGE: return "The request head is larger than limits.head_bytes or has more headers than limits.headers.";
    case GDP_R_BODY_TOO_LARGE: return "The request body is larger than limits.body_bytes.";
    case GDP_R_EXPECTATION_FAILED: return "The only known expectation is 100-continue.";
    case GDP_R_HEAD_TIMEOUT: return "The request head did not arrive within deadlines.head_s.";
    case GDP_R_BODY_TIMEOUT: return "The request body did not arrive within deadlines.body_s.";
    case GDP_R_NOT_IMPLEMENTED: return "The request uses something that is not implemented here.";
    case GDP_R_VERSION_NOT_SUPPORTED: return "The HTTP version is not supported; use HTTP/1.1.";
    case GDP_R_WORKER_UNREACHABLE: return "No worker could be reached.";
    case GDP_R_WORKER_BROKE_OFF: return "The worker broke off before its answer was complete.";
    case GDP_R_WORKER_BAD_ANSWER: return "The worker's answer is not valid HTTP.";
    case GDP_R_FIRST_TOKEN_TIMEOUT: return "The worker sent no token within deadlines.first_token_s.";
    case GDP_R_ANSWER_TIMEOUT: return "The worker sent no answer within deadlines.answer_s.";
    case GDP_R_TOKEN_GAP_TIMEOUT: return "The worker fell silent for longer than deadlines.between_tokens_s.";
    case GDP_R_TOTAL_TIMEOUT: return "The request took longer than deadlines.total_s.";
    case GDP_R_CONNECT_TIMEOUT: return "No worker accepted the connection within deadlines.connect_s.";
    case GDP_R_NO_READY_WORKER: return "No worker is ready for this model; try again later.";
    case GDP_R_QUEUE_FULL: return "All workers are busy and the queue is full; try again later.";
    case GDP_R_QUEUE_TIMEOUT: return "No worker became free within queue.wait_s; try again later.";
    case GDP_R_BUFFERS_FULL: return "Requests in flight hold limits.buffered_bytes already; try again later.";
    case GDP_R_TOO_MANY_CONNECTIONS: return "There are limits.connections connections already; try again later.";
    case GDP_R_SHUTTING_DOWN: return "The frontend is shutting down; try again.";
    case GDP_R_OUT_OF_MEMORY: return "The frontend is out of memory; try again later.";
    default: return "The request failed.";
    }
}

static const char *status_phrase(int status) {
    switch (status) {
    case 200: return "OK";
    case 204: return "No Content";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 417: return "Expectation Failed";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 501: return "Not Implemented";
    case 502: return "Bad Gateway";
    case 503: return "Service Unavailable";
    case 504: return "Gateway Timeout";
    case 505: return "HTTP Version Not Supported";
    default: return "Error";
    }
}

static const char *error_type(int status) {
    switch (status) {
    case 404: return "NotFoundError";
    case 405: return "MethodNotAllowedError";
    case 408:
    case 504: return "TimeoutError";
    case 429: return "RateLimitError";
    case 502: return "BadGatewayError";
    case 503: return "ServiceUnavailableError";
    default: return status < 500 ? "BadRequestError" : "InternalServerError";
    }
}

/* ---- writing an answer ------------------------------------------------------------------------------------------ */

typedef struct {
    const char *type;  /* content type, NULL: no body */
    const char *allow; /* value of Allow, or NULL */
    bool retry_after, head_only, old /* HTTP/1.0 */;
} answer_shape;

static int write_answer(gdp_loop *l, gdp_conn *c, int status, const answer_shape *shape, const char *id, size_t id_len,
                        const char *body, size_t len) {
    char head[512];
    int n = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\n", status, status_phrase(status));
    size_t at = (size_t)n;
#define LINE(...) at += (size_t)snprintf(head + at, sizeof head - at, __VA_ARGS__)
    if (shape->type) LINE("content-type: %s\r\n", shape->type);
    if (status != 204) LINE("content-length: %zu\r\n", len);
    if (shape->allow) LINE("allow: %s\r\n", shape->allow);
    if (shape->retry_after) LINE("retry-after: 1\r\n");
    if (id_len) LINE("x-request-id: %.*s\r\n", (int)id_len, id);
    if (c->close_after)
        LINE("connection: close\r\n");
    else if (shape->old)
        LINE("connection: keep-alive\r\n");
    LINE("\r\n");
#undef LINE
    struct iovec iov[2] = {{head, at}, {(void *)(uintptr_t)body, shape->head_only ? 0 : len}};
    return conn_write(l, c, iov, 2);
}

/* JSON text of an error. `detail` is more about it, or NULL. */
static size_t error_json(char *out, size_t size, int status, gdp_reason why, const char *detail) {
    const char *param = why == GDP_R_MODEL_NOT_FOUND || why == GDP_R_MODEL_REQUIRED ? "\"model\"" : "null";
    int n = snprintf(out, size, "{\"error\":{\"message\":\"%s%s%s\",\"type\":\"%s\",\"param\":%s,\"code\":%d,\"reason\":\"%s\"}}",
                     reason_text(why), detail ? " " : "", detail ? detail : "", error_type(status), param, status,
                     gdp_reason_name(why));
    return n < (int)size ? (size_t)n : size - 1;
}

/* Everything that ends an exchange with a whole answer of our own passes here. */
static void answer(gdp_loop *l, gdp_exchange *x, int status, gdp_reason why, const answer_shape *shape, const char *body,
                   size_t len) {
    gdp_conn *c = x->client;
    if (l->closing) c->close_after = true;
    answer_shape full = *shape;
    full.old = !x->minor;
    int written = write_answer(l, c, status, &full, x->id, x->id_len, body, len);
    x->sent_status = (uint16_t)status;
    x->answer_bytes += len;
    exchange_settle(l, x, why);
    if (written < 0)
        conn_close(l, c);
    else
        conn_answered(l, c);
}

static const char *allow_text(const gdp_exchange *x) {
    switch (x->methods) {
    case M_GET: return "GET, HEAD, OPTIONS";
    case M_POST: return "POST, OPTIONS";
    case M_GET | M_POST: return "GET, HEAD, POST, OPTIONS";
    default: return NULL;
    }
}

void answer_http_error(gdp_loop *l, gdp_exchange *x, int status, gdp_reason why, const char *detail) {
    char body[1024];
    size_t len = error_json(body, sizeof body, status, why, detail);
    answer_shape shape = {.type = "application/json",
                          .allow = status == 405 ? allow_text(x) : NULL,
                          .retry_after = status == 429 || status == 503,
                          .head_only = x->method == GDP_HEAD};
    if (x->phase == PH_BODY && !x->body_read) { /* the rest of the body is still to come, or never will */
        x->client->close_after = true;
        x->client->linger = true;
    }
    answer(l, x, status, why, &shape, body, len);
}

void answer_error(gdp_loop *l, gdp_exchange *x, gdp_reason why, const char *detail) {
    answer_http_error(l, x, reason_status(why), why, detail);
}

void answer_json(gdp_loop *l, gdp_exchange *x, int status, const char *body, size_t len) {
    answer_shape shape = {.type = "application/json", .retry_after = status == 429 || status == 503};
    answer(l, x, status, status < 500 ? GDP_R_RELAYED_4XX : GDP_R_RELAYED_5XX, &shape, body, len);
}

void answer_refuse(gdp_loop *l, gdp_conn *c, int status, gdp_reason why, const char *detail) {
    char body[1024], text[GDP_ID_TEXT];
    size_t len = error_json(body, sizeof body, status, why, detail);
    answer_shape shape = {.type = "application/json", .retry_after = status == 503};
    COUNT(l, ended[GDP_E_NONE][why], 1);
    COUNT(l, status[status % 600], 1);
    c->close_after = true;
    c->linger = true;
    c->state = CL_BUSY;
    buf_drop(l, &c->in);
    size_t id_len = mint_id(l, text);
    if (write_answer(l, c, status, &shape, text, id_len, body, len) < 0)
        conn_close(l, c);
    else
        conn_answered(l, c);
}

/* ---- local routes ----------------------------------------------------------------------------------------------- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Model names hold slashes, which some clients send as %2F. Length, or GDP_BAD. */
static int64_t percent_decode(const char *in, size_t len, char *out, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (n == size) return GDP_BAD;
        if (in[i] != '%') {
            out[n++] = in[i];
            continue;
        }
        if (len - i < 3) return GDP_BAD;
        int high = hex_digit(in[i + 1]), low = hex_digit(in[i + 2]);
        if (high < 0 || low < 0) return GDP_BAD;
        out[n++] = (char)(high * 16 + low);
        i += 2;
    }
    return (int64_t)n;
}

static void answer_models(gdp_loop *l, gdp_exchange *x, const char *path, size_t len, answer_shape shape) {
    const gdp_table *t = l->table;
    size_t prefix = strlen("/v1/models");
    if (len == prefix) {
        if (t->list)
            answer(l, x, 200, GDP_R_LOCAL, &shape, t->list, t->list_len);
        else
            answer_error(l, x, GDP_R_NO_READY_WORKER, NULL);
        return;
    }
    char name[256];
    int64_t n = percent_decode(path + prefix + 1, len - prefix - 1, name, sizeof name);
    const model *m = n < 0 ? NULL : table_model(t, name, (size_t)n);
    if (m)
        answer(l, x, 200, GDP_R_LOCAL, &shape, m->body, m->body_len);
    else
        answer_error(l, x, GDP_R_MODEL_NOT_FOUND, NULL);
}

void answer_local(gdp_loop *l, gdp_exchange *x) {
    const char *path = x->head.data;
    size_t len = x->head_len;
    answer_shape shape = {.type = "application/json", .head_only = x->method == GDP_HEAD};
    answer_shape bare = {.head_only = shape.head_only};
    if (x->method == GDP_OPTIONS) {
        bare.allow = allow_text(x);
        answer(l, x, 204, GDP_R_LOCAL, &bare, NULL, 0);
    } else if (x->endpoint == GDP_E_MODELS) {
        answer_models(l, x, path, len, shape);
    } else if (is(path, len, "/version")) {
        answer(l, x, 200, GDP_R_LOCAL, &shape, l->table->version ? l->table->version : "{}",
               l->table->version ? l->table->version_len : 2);
    } else if (!l->table->any_ready || l->closing) {
        answer_error(l, x, l->closing ? GDP_R_SHUTTING_DOWN : GDP_R_NO_READY_WORKER, NULL);
    } else {
        answer(l, x, 200, GDP_R_LOCAL, &bare, NULL, 0);
    }
}

/* ---- an error inside a stream ----------------------------------------------------------------------------------- */

size_t answer_stream_error(const gdp_exchange *x, gdp_reason why, char *out, size_t size) {
    int status = reason_status(why), n;
    const char *text = reason_text(why), *name = gdp_reason_name(why);
    switch (x->endpoint) {
    case GDP_E_RESPONSES:
        n = snprintf(out, size,
                     "event: error\ndata: {\"type\":\"error\",\"code\":\"%s\",\"message\":\"%s\",\"param\":null,"
                     "\"sequence_number\":%u}\n\n",
                     name, text, x->events);
        break;
    case GDP_E_MESSAGES:
        n = snprintf(out, size, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"%s\","
                                "\"reason\":\"%s\"}}\n\n",
                     text, name);
        break;
    default:
        n = snprintf(out, size,
                     "data: {\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":%d,\"reason\":\"%s\"}}\n\n"
                     "data: [DONE]\n\n",
                     text, error_type(status), status, name);
    }
    return n < (int)size ? (size_t)n : size - 1;
}
