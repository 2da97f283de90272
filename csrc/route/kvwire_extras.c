/* kvwire_extras.c -- extra keys: what distinguishes blocks apart from their tokens, in both ways of spelling them. */
#include "kvwire_inner.h"

/* ("lora", name, path) ("mm", id, offset) ("cache_salt", salt) ("prompt_embeds", digest), or (id, offset) untagged. The
 * reader stands behind the array's head; whatever else it holds is passed over. */
static bool gdp_tuple(gdp_reader *r, uint64_t n, gdp_kv_extra *key)
{
    gdp_span texts[2] = {{0, 0}, {0, 0}};
    unsigned n_texts = 0;
    bool number = false;
    for (uint64_t i = 0; i < n; i++) {
        gdp_head h;
        if (!gdp_mp_next(r, &h)) return false;
        if (h.type == MP_STR || h.type == MP_BIN) {
            const gdp_span s = gdp_mp_take(r, &h);
            if (n_texts == i && n_texts < 2) texts[n_texts++] = s;
            continue;
        }
        if ((h.type == MP_UINT || h.type == MP_NEGATIVE) && !number && i == n_texts && i + 1 == n) {
            number = true;
            key->offset = (int64_t)h.n;
        } else if (!gdp_mp_skip_rest(r, h)) {
            return false;
        }
    }
    if (n == 2 && number && n_texts == 1) {
        key->kind = GDP_KEY_MM;
        key->id = texts[0];
    } else if (n_texts == 2) {
        const gdp_kv_key_kind kind = gdp_kv_spells(r, texts[0], "lora")            ? GDP_KEY_LORA
                                     : gdp_kv_spells(r, texts[0], "mm")            ? GDP_KEY_MM
                                     : gdp_kv_spells(r, texts[0], "cache_salt")    ? GDP_KEY_SALT
                                     : gdp_kv_spells(r, texts[0], "prompt_embeds") ? GDP_KEY_EMBEDS
                                                                                : GDP_KEY_OTHER;
        if (kind == GDP_KEY_OTHER) return true;
        key->kind = (uint8_t)kind;
        key->id = texts[1];
    }
    return true;
}

static bool gdp_extra_key(gdp_reader *r, uint32_t block)
{
    gdp_kv_batch *b = r->batch;
    const uint8_t *from = r->p;
    gdp_head h;
    if (!gdp_mp_next(r, &h) || !GDP_ROOM(r, extras, 1)) return false;
    gdp_kv_extra key = {.block = block, .kind = GDP_KEY_OTHER, .offset = -1};
    if (h.type == MP_STR || h.type == MP_BIN) {
        key.kind = h.type == MP_STR ? GDP_KEY_BARE : GDP_KEY_EMBEDS;
        key.id = gdp_mp_take(r, &h);
    } else if (h.type == MP_ARRAY ? !gdp_tuple(r, h.n, &key) : !gdp_mp_skip_rest(r, h)) {
        return false;
    }
    if (key.kind == GDP_KEY_OTHER) { /* its bytes as they stand: two of them are equal when they are */
        key.id = (gdp_span){(uint32_t)(from - r->base), (uint32_t)(r->p - from)};
        key.offset = -1;
    }
    b->extras[b->n_extras++] = key;
    return true;
}

bool gdp_kv_extra_keys(gdp_reader *r, gdp_kv_event *e)
{
    gdp_head h;
    e->extra_at = r->batch->n_extras;
    e->n_extras = 0;
    if (!gdp_mp_next(r, &h)) return false;
    if (h.type == MP_NIL) return true;
    if (h.type != MP_ARRAY) return gdp_mp_wrong(r, "ExtraKeysNotAnArray");
    const uint64_t n = h.n;
    for (uint32_t block = 0; block < n; block++) {
        const uint8_t *from = r->p;
        if (!gdp_mp_next(r, &h)) return false;
        if (h.type == MP_NIL) continue;
        uint64_t keys = h.n;
        if (h.type != MP_ARRAY) r->p = from, keys = 1; /* a key that is not in an array of keys */
        while (keys-- > 0)
            if (!gdp_extra_key(r, block)) return false;
    }
    e->n_extras = r->batch->n_extras - e->extra_at;
    return true;
}
