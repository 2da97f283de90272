/* prompt.c -- see gdp/prompt.h. */
#include "gdp/prompt.h"

#include <string.h>

#include "gdp/spans.h"

enum { FIELDS = 64 };

typedef enum { FIELD_OTHER, FIELD_PROMPT, FIELD_REFUSED } field_kind;

/* What grove_dp/tokens/requests.py reads, and what it refuses. */
static const struct {
    char name[24];
    uint8_t len, kind;
} NAMES[] = {
#define NAME(text, kind) {text, sizeof text - 1, kind}
    NAME("messages", FIELD_PROMPT),
    NAME("prompt", FIELD_PROMPT),
    NAME("tools", FIELD_PROMPT),
    NAME("tool_choice", FIELD_PROMPT),
    NAME("cache_salt", FIELD_PROMPT),
    NAME("system", FIELD_PROMPT),
    NAME("input", FIELD_PROMPT),
    NAME("instructions", FIELD_PROMPT),
    NAME("add_generation_prompt", FIELD_PROMPT),
    NAME("add_special_tokens", FIELD_PROMPT),
    NAME("chat_template_kwargs", FIELD_PROMPT),
    NAME("continue_final_message", FIELD_PROMPT),
    NAME("documents", FIELD_PROMPT),
    NAME("output_config", FIELD_PROMPT),
    NAME("reasoning", FIELD_PROMPT),
    NAME("reasoning_effort", FIELD_PROMPT),
    NAME("thinking", FIELD_PROMPT),
    NAME("chat_template", FIELD_REFUSED),
    NAME("kv_transfer_params", FIELD_REFUSED),
    NAME("mm_processor_kwargs", FIELD_REFUSED),
    NAME("prompt_embeds", FIELD_REFUSED),
    NAME("suffix", FIELD_REFUSED),
    NAME("truncate_prompt_tokens", FIELD_REFUSED),
#undef NAME
};

static field_kind kind_of(const char *name, size_t len)
{
    if (memchr(name, '\\', len)) return FIELD_REFUSED;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (NAMES[i].len == len && memcmp(NAMES[i].name, name, len) == 0) return (field_kind)NAMES[i].kind;
    return FIELD_OTHER;
}

uint64_t gdp_prompt_key(const char *body, size_t len, uint64_t seed)
{
    gdp_field field[FIELDS];
    const int64_t n = gdp_json_fields(body, len, field, FIELDS);
    if (n <= 0) return 0;
    uint64_t key = seed;
    for (int64_t i = 0; i < n; i++) {
        const gdp_span name = field[i].key, value = field[i].value;
        const field_kind kind = kind_of(body + name.off, name.len);
        if (kind == FIELD_REFUSED) return 0;
        if (kind == FIELD_OTHER) continue;
        key = gdp_text_key(body + name.off, name.len, key);
        key = gdp_text_key(body + value.off, value.len, key);
    }
    return key;
}
