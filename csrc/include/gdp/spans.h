/* spans.h -- where the parts of a JSON object or array stand, without looking into them; and the turns of a text.
 *
 *     {"model":"m","messages":[{"role":"user","content":"..."},{...}],"tools":[...]}
 *      ^^^^^^^ ^^^ ^^^^^^^^^^ ^-- value -------------------- ... --^      fields: key and value of each
 *                             ^-- item ----------------------^^---^       items of an array
 *
 * A conversation comes again and again, each time a message longer. Who has seen its messages before knows them by the
 * bytes they were sent as, and need not parse them (tokens/memo.py). So this splits, and promises little: strings end,
 * brackets balance (by number, kinds are not compared), commas and colons are where they belong at this level. What
 * stands inside is checked by who parses it. Depth does not matter: nothing recurses.
 *
 * Speed is that of gdp_scan_string: 128 KiB of messages in about 12 us. */
#ifndef GDP_SPANS_H
#define GDP_SPANS_H

#include "gdp/base.h"

typedef struct {
    gdp_span key;   /* between the quotes, as written: may hold escapes */
    gdp_span value; /* as written */
} gdp_field;

/* Fields of the object that `json` is (blanks around it are allowed), in their order, duplicates too. The number of
 * fields, GDP_BAD, or GDP_NOMEM when there are more than max. len < 2^32. */
int64_t gdp_json_fields(const char *json, size_t len, gdp_field *out, size_t max);

/* Items of the array that `json` is, likewise. */
int64_t gdp_json_items(const char *json, size_t len, gdp_span *out, size_t max);

/* Where a rendered conversation may be cut: before a `mark` (what begins a turn), at least `least` bytes behind the cut
 * before. Characters are `unit` bytes each (1, 2 or 4; lengths are multiples of it), cuts stand between characters.
 * They depend only on what stands before them, so a text that goes on has the cuts of its beginning. Byte offsets to
 * `out`, at most max (further marks are not looked for). Their number. mark_len >= 1, least >= 1, len < 2^32. */
size_t gdp_text_cuts(const char *text, size_t len, const char *mark, size_t mark_len, size_t unit, size_t least,
                     uint32_t *out, size_t max);

/* 64 bits that name some bytes behind what `seed` names. Four lanes of 64x64->128 multiplies: 128 KiB in about 10 us,
 * where gdp_hash takes 35. Nobody who does not know the seed can make two texts collide: all factors depend on it. */
uint64_t gdp_text_key(const void *bytes, size_t len, uint64_t seed);

#endif
