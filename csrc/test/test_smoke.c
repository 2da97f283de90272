/* test_smoke.c -- one ordinary exchange through every module. */
#include "gdp/http1.h"
#include "gdp/openai.h"
#include "gdp/sse.h"
#include "test.h"

void gdp_test_smoke(void);

void gdp_test_smoke(void)
{
    static const char head[] = "POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: a:8000\r\nContent-Length: 12\r\n\r\n";
    gdp_request q;
    CHECK(gdp_http1_request(head, sizeof head - 1, 0, 64, &q) == (int)sizeof head - 1);
    CHECK(q.method_id == GDP_POST && q.length == 12 && q.keep_alive && q.path.len == 20 && q.query.len == 3);

    static const char body[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"stream\":true}";
    gdp_body b;
    gdp_splice s;
    CHECK(gdp_openai_scan(body, sizeof body - 1, &b) == 0 && b.stream && b.model.len == 1);
    CHECK(gdp_openai_splice_usage(&b, &s) == 1 && s.at == 1 && s.cut == 0);

    static const char event[] = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n";
    gdp_event e;
    gdp_usage u = {-1, -1, -1};
    CHECK(gdp_sse_next(event, sizeof event - 1, 0, &e) == (int64_t)sizeof event - 1);
    CHECK(e.kind == GDP_EV_DATA && e.usage && e.usage_only && !e.finish);
    CHECK(gdp_openai_usage(event, sizeof event - 1, &u) == 0 && u.prompt == 7 && u.output == 3 && u.cached == -1);

    static const char chunks[] = "5\r\nhello\r\n0\r\n\r\n";
    gdp_chunked c = {0};
    gdp_span data;
    CHECK(gdp_chunked_next(&c, chunks, sizeof chunks - 1, &data) == 10 && data.off == 3 && data.len == 5 && c.boundary);
    CHECK(gdp_chunked_next(&c, chunks + 10, sizeof chunks - 11, &data) == 5 && c.done && data.len == 0);
}
