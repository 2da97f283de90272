/* test_openai.c -- bodies, splices, escapes, answers and forms, behind walls. */
#include "gdp/openai.h"
#include "test.h"

void gdp_test_openai(void);
void gdp_test_openai_faults(void);
void gdp_test_openai_splice(void);
void gdp_test_openai_strings(void);
void gdp_test_openai_depth(void);
void gdp_test_openai_unescape(void);
void gdp_test_openai_usage(void);
void gdp_test_openai_multipart(void);

static bool gdp_is(const char *base, gdp_span span, const char *text)
{
    return span.len == strlen(text) && memcmp(base + span.off, text, span.len) == 0;
}

/* Scan `text` at the back wall; *base is where it stands. */
static int gdp_scan_text_at(const char *text, const char **base, gdp_body *b)
{
    const size_t len = strlen(text);
    gdp_case(text);
    int front = gdp_openai_scan(gdp_walled(text, len, false), len, b);
    *base = gdp_walled(text, len, true);
    int back = gdp_openai_scan(*base, len, b);
    CHECK(front == back);
    return back;
}

void gdp_test_openai(void)
{
    const char *p;
    gdp_body b;
    CHECK(gdp_scan_text_at(" {\"model\":\"a\\/b\",\"stream\" : true,\"n\":3,\"messages\":[{\"content\":\"}]\\\"\"}],"
                           "\"stream_options\":{\"include_usage\": false ,\"continuous_usage_stats\":null},"
                           "\"kv_transfer_params\":{\"a\":[1]},\"cache_salt\":\"s\",\"tools\":[],\"priority\":-2} ",
                           &p, &b) == 0);
    CHECK(gdp_is(p, b.model, "a\\/b") && b.has_model && b.model_escaped && b.stream && b.n == 3 && b.many);
    CHECK(gdp_is(p, b.messages, "[{\"content\":\"}]\\\"\"}]") && gdp_is(p, b.include_value, "false"));
    CHECK(b.options == GDP_OPT_OBJECT && b.include_usage == GDP_TRI_FALSE && b.continuous_usage == GDP_TRI_FALSE);
    CHECK(gdp_is(p, b.kv_transfer, "{\"a\":[1]}") && gdp_is(p, b.cache_salt, "s") && gdp_is(p, b.tools, "[]"));
    CHECK(b.has_priority && b.priority == -2 && b.max_tokens == -1 && gdp_is(p, b.open, "{"));

    CHECK(gdp_scan_text_at("{}", &p, &b) == 0 && !b.has_model && b.n == 1 && b.max_tokens == -1 && !b.many);
    CHECK(gdp_scan_text_at("{\"model\":null,\"stream\":null}", &p, &b) == 0 && !b.has_model && !b.stream);
    CHECK(gdp_scan_text_at("{\"model\":\"\"}", &p, &b) == 0 && b.has_model && b.model.len == 0);
    CHECK(gdp_scan_text_at("{\"model\":\"a\",\"mod\\u0065l\":\"b\"}", &p, &b) == 0 && gdp_is(p, b.model, "b"));
    CHECK(gdp_scan_text_at("{\"model\":5,\"model\":\"b\"}", &p, &b) == 0 && gdp_is(p, b.model, "b"));
    CHECK(gdp_scan_text_at("{\"max_tokens\":5,\"max_completion_tokens\":7}", &p, &b) == 0 && b.max_tokens == 7);
    CHECK(gdp_scan_text_at("{\"max_tokens\":5,\"max_completion_tokens\":null}", &p, &b) == 0 && b.max_tokens == 5);
    CHECK(gdp_scan_text_at("{\"max_output_tokens\":0}", &p, &b) == 0 && b.max_tokens == 0);
    CHECK(gdp_scan_text_at("{\"max_tokens\":9223372036854775808}", &p, &b) == 0 && b.max_tokens == INT64_MAX);
    CHECK(gdp_scan_text_at("{\"max_tokens\":5.0,\"n\":2.0}", &p, &b) == 0 && b.max_tokens == -1 && b.many && b.n == 1);
    CHECK(gdp_scan_text_at("{\"n\":null,\"best_of\":1}", &p, &b) == 0 && !b.many);
    CHECK(gdp_scan_text_at("{\"best_of\":2}", &p, &b) == 0 && b.many && b.n == 1);
    CHECK(gdp_scan_text_at("{\"prompt\":\"x\"}", &p, &b) == 0 && !b.many);
    CHECK(gdp_scan_text_at("{\"prompt\":[1,2]}", &p, &b) == 0 && !b.many);
    CHECK(gdp_scan_text_at("{\"prompt\":[ \"x\"]}", &p, &b) == 0 && b.many);
    CHECK(gdp_scan_text_at("{\"prompt\":[[1]]}", &p, &b) == 0 && b.many);
    CHECK(gdp_scan_text_at("{\"prompt\":[ ]}", &p, &b) == 0 && !b.many);
    CHECK(gdp_scan_text_at("{\"x\":NaN,\"y\":-Infinity,\"z\":-0.5e+7}", &p, &b) == 0);
    CHECK(gdp_scan_text_at("{\"previous_response_id\":\"resp_1\"}", &p, &b) == 0 && gdp_is(p, b.previous_id, "resp_1"));
    CHECK(gdp_scan_text_at("{\"stream_options\":{},\"stream_options\":null}", &p, &b) == 0 && b.options == GDP_OPT_NULL);
    gdp_case(NULL);
}

void gdp_test_openai_faults(void)
{
    static const struct {
        uint8_t why;
        uint32_t where;
        const char *text;
    } cases[] = {
        {GDP_JSON_EMPTY, 0, ""},
        {GDP_JSON_EMPTY, 2, " \n"},
        {GDP_JSON_NOT_OBJECT, 0, "[]"},
        {GDP_JSON_NOT_OBJECT, 1, " x"},
        {GDP_JSON_NOT_OBJECT, 0, "\xef\xbb\xbf{}"},
        {GDP_JSON_SYNTAX, 1, "{"},
        {GDP_JSON_SYNTAX, 1, "{,}"},
        {GDP_JSON_SYNTAX, 1, "{a:1}"},
        {GDP_JSON_SYNTAX, 4, "{\"a\"}"},
        {GDP_JSON_SYNTAX, 5, "{\"a\" 1}"},
        {GDP_JSON_SYNTAX, 5, "{\"a\":}"},
        {GDP_JSON_SYNTAX, 5, "{\"a\":"},
        {GDP_JSON_SYNTAX, 7, "{\"a\":1,}"},
        {GDP_JSON_SYNTAX, 7, "{\"a\":1 \"b\":2}"},
        {GDP_JSON_SYNTAX, 6, "{\"a\":1"},
        {GDP_JSON_SYNTAX, 7, "{\"a\":1}x"},
        {GDP_JSON_SYNTAX, 7, "{\"a\":1}{}"},
        {GDP_JSON_SYNTAX, 5, "{\"a\":01}"},
        {GDP_JSON_SYNTAX, 6, "{\"a\":-}"},
        {GDP_JSON_SYNTAX, 7, "{\"a\":1.}"},
        {GDP_JSON_SYNTAX, 7, "{\"a\":1e}"},
        {GDP_JSON_SYNTAX, 5, "{\"a\":+1}"},
        {GDP_JSON_SYNTAX, 5, "{\"a\":True}"},
        {GDP_JSON_SYNTAX, 5, "{\"a\":nul}"},
        {GDP_JSON_SYNTAX, 9, "{\"a\":truex}"},
        {GDP_JSON_SYNTAX, 6, "{\"a\":[}"},
        {GDP_JSON_SYNTAX, 7, "{\"a\":[[}]"},
        {GDP_JSON_SYNTAX, 10, "{\"a\":[\"x]}"},
        {GDP_JSON_SYNTAX, 6, "{\"a\":\"\n\"}"},
        {GDP_JSON_SYNTAX, 7, "{\"a\":\"\\\n\"}"},
        {GDP_JSON_SYNTAX, 7, "{\"a\":\"x"},
        {GDP_JSON_SYNTAX, 22, "{\"stream_options\":{\"a\"}}"},
        {GDP_JSON_BAD_MODEL, 9, "{\"model\":5}"},
        {GDP_JSON_BAD_MODEL, 9, "{\"model\":[\"a\"]}"},
        {GDP_JSON_BAD_MODEL, 9, "{\"model\":true,\"stream\":1}"},
        {GDP_JSON_BAD_STREAM, 10, "{\"stream\":1}"},
        {GDP_JSON_BAD_STREAM, 10, "{\"stream\":\"true\"}"},
    };
    const char *p;
    gdp_body b;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(gdp_scan_text_at(cases[i].text, &p, &b) == GDP_BAD);
        CHECK(b.why == cases[i].why && b.where == cases[i].where);
    }
    gdp_case(NULL);
}

void gdp_test_openai_splice(void)
{
    static const struct {
        const char *before, *after; /* after NULL: stays */
    } cases[] = {
        {"{\"stream\":true}", "{\"stream_options\":{\"include_usage\":true},\"stream\":true}"},
        {" { \"stream\":true}", " {\"stream_options\":{\"include_usage\":true}, \"stream\":true}"},
        {"{\"stream\":true,\"stream_options\":null}", "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream\":true,\"stream_options\":{}}", "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream\":true,\"stream_options\":{ }}", "{\"stream\":true,\"stream_options\":{\"include_usage\":true }}"},
        {"{\"stream\":true,\"stream_options\":{\"a\":1}}",
         "{\"stream\":true,\"stream_options\":{\"include_usage\":true,\"a\":1}}"},
        {"{\"stream\":true,\"stream_options\":{\"include_usage\": false }}",
         "{\"stream\":true,\"stream_options\":{\"include_usage\": true }}"},
        {"{\"stream\":true,\"stream_options\":{\"include_usage\":null}}",
         "{\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {"{\"stream\":true,\"stream_options\":{\"include_usage\":true}}", NULL},
        {"{\"stream\":true,\"stream_options\":{\"include_usage\":1}}", NULL},
        {"{\"stream\":true,\"stream_options\":{\"continuous_usage_stats\":true}}", NULL},
        {"{\"stream\":true,\"stream_options\":5}", NULL},
        {"{\"stream\":false}", NULL},
        {"{}", NULL},
    };
    const char *p;
    gdp_body b;
    gdp_splice s;
    char joined[256];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK(gdp_scan_text_at(cases[i].before, &p, &b) == 0);
        CHECK(gdp_openai_splice_usage(&b, &s) == (cases[i].after != NULL));
        if (!cases[i].after) continue;
        snprintf(joined, sizeof joined, "%.*s%.*s%s", (int)s.at, cases[i].before, (int)s.text_len, s.text,
                 cases[i].before + s.at + s.cut);
        CHECK(strcmp(joined, cases[i].after) == 0);
    }
    gdp_case(NULL);
}

/* The closing quote at every distance, behind runs of 0 to 5 backslashes at every place: the masks of a 64-byte block
 * must agree with the obvious loop, across block ends. */
void gdp_test_openai_strings(void)
{
    char body[400];
    gdp_body b;
    for (size_t at = 0; at < 200; at++)
        for (size_t run = 0; run <= 5; run++) {
            char *p = body + sprintf(body, "{\"model\":\"");
            memset(p, 'x', at), p += at;
            memset(p, '\\', run), p += run;
            p += sprintf(p, "\"%s}", run % 2 ? "\"" : "");
            const size_t len = (size_t)(p - body);
            CHECK(gdp_openai_scan(gdp_walled(body, len, true), len, &b) == 0);
            CHECK(b.model.len == at + run + run % 2 && b.model_escaped == (run > 0));
            CHECK(gdp_openai_scan(gdp_walled(body, len - 1, true), len - 1, &b) == GDP_BAD);
            if (!at) continue;
            body[10 + at - 1] = '\x1f';
            CHECK(gdp_openai_scan(gdp_walled(body, len, true), len, &b) == GDP_BAD && b.where == 10 + at - 1);
        }
}

void gdp_test_openai_depth(void)
{
    char body[700];
    gdp_body b;
    for (size_t depth = 254; depth <= 258; depth++) { /* the body is the first level */
        char *p = body + sprintf(body, "{\"a\":");
        for (size_t i = 1; i < depth; i++) *p++ = i % 3 ? '[' : '{';
        for (size_t i = depth - 1; i >= 1; i--) *p++ = i % 3 ? ']' : '}';
        *p++ = '}';
        int got = gdp_openai_scan(body, (size_t)(p - body), &b);
        CHECK(depth <= 256 ? got == 0 : got == GDP_BAD && b.why == GDP_JSON_TOO_DEEP);
    }
}

void gdp_test_openai_unescape(void)
{
    static const struct {
        int64_t want;
        const char *in, *out;
    } cases[] = {
        {0, "", ""},
        {3, "abc", "abc"},
        {8, "\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t"},
        {1, "\\u0041", "A"},
        {2, "\\u00e9", "\xc3\xa9"},
        {3, "\\u20AC", "\xe2\x82\xac"},
        {4, "\\ud83d\\uDE00", "\xf0\x9f\x98\x80"},
        {GDP_BAD, "\\u0000", NULL},
        {GDP_BAD, "\\ud83d", NULL},
        {GDP_BAD, "\\ud83dx", NULL},
        {GDP_BAD, "\\ud83d\\u0041", NULL},
        {GDP_BAD, "\\ude00", NULL},
        {GDP_BAD, "\\u12", NULL},
        {GDP_BAD, "\\u12g4", NULL},
        {GDP_BAD, "\\x", NULL},
        {GDP_BAD, "\\", NULL},
        {GDP_BAD, "a\"b", NULL},
        {GDP_BAD, "a\nb", NULL},
    };
    char out[32];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t len = strlen(cases[i].in);
        gdp_case(cases[i].in);
        const char *in = gdp_walled(cases[i].in, len, true);
        CHECK(gdp_openai_unescape(in, len, out, sizeof out) == cases[i].want);
        if (cases[i].want <= 0) continue;
        CHECK(memcmp(out, cases[i].out, (size_t)cases[i].want) == 0);
        CHECK(gdp_openai_unescape(in, len, gdp_walled("", 0, false), (size_t)cases[i].want - 1) == GDP_MORE);
    }
    gdp_case(NULL);
}

static void gdp_usage_check(const char *text, int want, int64_t prompt, int64_t output, int64_t cached)
{
    gdp_usage u = {-1, -1, -1};
    const size_t len = strlen(text);
    gdp_case(text);
    CHECK(gdp_openai_usage(gdp_walled(text, len, true), len, &u) == want);
    CHECK(u.prompt == prompt && u.output == output && u.cached == cached);
    gdp_case(NULL);
}

void gdp_test_openai_usage(void)
{
    gdp_usage_check("{\"usage\":{\"prompt_tokens\":5,\"total_tokens\":9,\"completion_tokens\":4,"
                    "\"prompt_tokens_details\":{\"cached_tokens\":3}}}", 0, 5, 4, 3);
    gdp_usage_check("{\"usage\" : { \"prompt_tokens\" : 5 , \"prompt_tokens_details\" : null }}", 0, 5, -1, -1);
    gdp_usage_check("{\"usage\":{\"input_tokens\":1,\"output_tokens\":2,\"input_tokens_details\":{\"cached_tokens\":0},"
                    "\"output_tokens_details\":{\"cached_tokens\":8,\"output_tokens\":9}}}", 0, 1, 2, 0);
    gdp_usage_check("{\"usage\":{\"input_tokens\":1,\"cache_read_input_tokens\":7}}", 0, 1, -1, 7);
    gdp_usage_check("{\"usage\":{\"input_tokens\":1}} {\"usage\":{\"output_tokens\":2}}", 0, -1, 2, -1);
    gdp_usage_check("{\"usage\":{\"input_tokens\":1}} {\"usage\":null}", 0, 1, -1, -1);
    gdp_usage_check("{\"t\":\"\\\"usage\\\":{\\\"input_tokens\\\":1}\"}", GDP_MORE, -1, -1, -1);
    gdp_usage_check("\"usage\":{\"input_tokens\":1", GDP_MORE, -1, -1, -1);
    gdp_usage_check("{\"usage\":null}", GDP_MORE, -1, -1, -1);
    gdp_usage_check("", GDP_MORE, -1, -1, -1);
    gdp_usage_check("\"usage\":{\"input_tokens\":1.5,\"output_tokens\":-2}", 0, -1, -1, -1);
    gdp_usage_check("\"usage\":{\"input_tokens\":9999999999999999999}", 0, -1, -1, -1);
    gdp_usage_check("\"usage\":{\"x\":\"input_tokens\",\"y\":{\"input_tokens\":3}}", 0, -1, -1, -1);

    static const char id[] = "{\"x\":\"\\\"id\\\":\\\"resp_0\\\"\",\"id\":\"msg_1\",\"response\":{\"id\": \"resp_9a\"}}";
    CHECK(gdp_is(id, gdp_openai_response_id(STR(id)), "resp_9a"));
    CHECK(gdp_openai_response_id(STR("{\"id\":\"resp_9")).len == 0);
    CHECK(gdp_openai_response_id(STR("{\"id\":\"chatcmpl-1\"}")).len == 0);
}

#define PART(head, value) "--b1\r\nContent-Disposition: form-data; " head "\r\n\r\n" value "\r\n"

void gdp_test_openai_multipart(void)
{
    static const struct {
        int want;
        const char *model;
        bool stream;
        const char *type, *body;
    } cases[] = {
        {0, "m", false, "multipart/form-data; boundary=b1", PART("name=\"model\"", "m") "--b1--\r\n"},
        {0, "m", true, "Multipart/Form-Data;boundary=\"b1\"", PART("name=model", "m") PART("name=stream", "True") "--b1--"},
        {0, "b", false, "multipart/form-data; boundary=b1", PART("name=model", "a") PART("name=model", "b") "--b1--"},
        {0, "", false, "multipart/form-data; boundary=b1", PART("name=model", "") "--b1--"},
        {0, "a\r\n--b", false, "multipart/form-data; boundary=b1", "\r\n" PART("name=model", "a\r\n--b") "--b1--"},
        {GDP_MORE, "", false, "multipart/form-data; boundary=b1", PART("name=Model", "m") "--b1--"},
        {GDP_MORE, "", false, "multipart/form-data; boundary=b1", PART("name=model; filename=x", "m") "--b1--"},
        {GDP_MORE, "", false, "multipart/form-data; boundary=b1", "--b1--"},
        {GDP_BAD, "", false, "multipart/form-data; boundary=b1", PART("name=model", "m")},
        {GDP_BAD, "", false, "multipart/form-data; boundary=b2", PART("name=model", "m") "--b1--"},
        {GDP_BAD, "", false, "multipart/form-data", PART("name=model", "m") "--b1--"},
        {GDP_BAD, "", false, "multipart/form-data; boundary=", PART("name=model", "m") "--b1--"},
        {GDP_BAD, "", false, "multipart/mixed; boundary=b1", PART("name=model", "m") "--b1--"},
        {GDP_BAD, "", false, "multipart/form-data; boundary=b1", PART("name=\"model", "m") "--b1--"},
        {GDP_BAD, "", false, "multipart/form-data; boundary=b1", "--b1\r\nno colon\r\n\r\nx\r\n--b1--"},
        {GDP_BAD, "", false, "multipart/form-data; boundary=b1", "--b1x\r\n\r\nx\r\n--b1--"},
        {GDP_BAD, "", false, "multipart/form-data; boundary=b1", "--b1\r\n--b1--"},
        {GDP_BAD, "", false, "multipart/form-data; boundary=b1", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t type_len = strlen(cases[i].type), len = strlen(cases[i].body);
        gdp_span model;
        bool stream;
        gdp_case(cases[i].body);
        const char *body = gdp_walled(cases[i].body, len, true);
        CHECK(gdp_multipart_scan(gdp_walled(cases[i].type, type_len, false), type_len, body, len, &model, &stream) ==
              cases[i].want);
        if (cases[i].want != GDP_BAD) CHECK(gdp_is(body, model, cases[i].model) && stream == cases[i].stream);
    }
    gdp_case(NULL);
}
