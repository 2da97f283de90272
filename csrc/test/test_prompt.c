/* test_prompt.c -- names of prompts: what enters them, and what has none; behind walls and cut at every byte. */
#include "gdp/prompt.h"

#include "test.h"

void gdp_test_prompt(void);
void gdp_bench_prompt(void);

static uint64_t key(const char *body)
{
    const uint64_t front = gdp_prompt_key(gdp_walled(body, strlen(body), false), strlen(body), 3);
    CHECK(gdp_prompt_key(gdp_walled(body, strlen(body), true), strlen(body), 3) == front);
    for (size_t cut = 0; cut < strlen(body); cut++) CHECK(gdp_prompt_key(gdp_walled(body, cut, true), cut, 3) == 0);
    return front;
}

void gdp_test_prompt(void)
{
    const uint64_t plain = key("{\"messages\":[1],\"seed\":1}");
    CHECK(plain && plain == key("{\"temperature\":0.5,\"messages\":[1],\"user\":\"\\u0041\"}"));
    const char *others[] = {
        "{\"messages\":[2]}", "{\"messages\":[1],\"tools\":[]}", "{\"tools\":[1],\"messages\":[]}", "{\"messages\":[1],\"cache_salt\":\"x\"}",
        "{\"prompt\":[1]}", "{\"input\":[1]}", "{\"messages\":[1],\"add_generation_prompt\":false}",
        "{\"messages\":[1],\"messages\":[2]}", "{\"seed\":1}", "{\"messages\":[1],\"documents\":[1]}",
        "{\"messages\":[1],\"chat_template_kwargs\":{}}", "{\"messages\":[1],\"reasoning_effort\":\"low\"}",
    };
    enum { OTHERS = sizeof others / sizeof *others };
    uint64_t seen[OTHERS];
    for (size_t i = 0; i < OTHERS; i++) {
        gdp_case(others[i]);
        seen[i] = key(others[i]);
        CHECK(seen[i] && seen[i] != plain);
        for (size_t j = 0; j < i; j++) CHECK(seen[i] != seen[j]);
    }
    const char *none[] = {
        "", "[]", "{", "{}", "{\"messages\":[1]", "{\"messages\":[1],\"suffix\":\"a\"}", "{\"chat_template\":\"\",\"messages\":[1]}",
        "{\"mess\\u0061ges\":[1]}", "{\"messages\":[1],\"kv_transfer_params\":{}}", "{\"messages\":[1],\"truncate_prompt_tokens\":1}",
        "{\"messages\":[1],\"mm_processor_kwargs\":{}}", "{\"prompt_embeds\":\"\"}",
    };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        gdp_case(none[i]);
        CHECK(gdp_prompt_key(none[i], strlen(none[i]), 3) == 0);
    }
    gdp_case(NULL);
    CHECK(gdp_prompt_key(STR("{\"messages\":[1]}"), 4) != plain);
    char many[2048] = "{\"messages\":[1]";
    for (int i = 0; i < 64; i++) strcat(many, ",\"x\":1");
    strcat(many, "}");
    CHECK(gdp_prompt_key(many, strlen(many), 3) == 0);
}

typedef struct {
    char *body;
    size_t len;
    uint64_t key;
} bench;

static void name(void *arg)
{
    bench *b = arg;
    b->key ^= gdp_prompt_key(b->body, b->len, b->key);
}

void gdp_bench_prompt(void)
{
    for (size_t size = 8 << 10; size <= 128 << 10; size <<= 4) {
        bench b = {malloc(size + 64), 0, 1};
        b.len = (size_t)sprintf(b.body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"");
        memset(b.body + b.len, 'a', size);
        b.len += size;
        b.len += (size_t)sprintf(b.body + b.len, "\"}]}");
        gdp_bench_row("name of a prompt", size, gdp_bench_ns(name, &b));
        free(b.body);
    }
}
