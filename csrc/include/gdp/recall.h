/* recall.h -- prompts that were turned into tokens before: what came out of it, by their names (gdp/prompt.h).
 *
 *     bucket[key % BUCKETS] -> entry -> entry           entry: key | tokens | block size | name of each block
 *     newest <-> ... <-> oldest                         looked up: moves to the front; too many bytes: the oldest go
 *
 * A prompt comes again when a client samples it several times, tries again, or replays it; then it is placed without
 * waiting for anybody. One table for all threads behind one lock: a look-up holds it for a hash step and one copy of
 * eight bytes per block, 0.2 us for 1,024 tokens, 2 us for 128 KiB of text, against 100 to 1,500 us for the tokenizer. */
#ifndef GDP_RECALL_H
#define GDP_RECALL_H

#include "gdp/base.h"

typedef struct gdp_recall gdp_recall;

typedef struct {
    uint64_t *chain; /* name of each whole block */
    uint32_t n, prompt_tokens, block_tokens;
} gdp_recalled;

gdp_recall *gdp_recall_new(void); /* NULL: out of memory */
void gdp_recall_free(gdp_recall *r);

/* True: *out is what was put, its chain a copy that is the caller's (gdp_free). False too when memory for it fails. */
bool gdp_recall_find(gdp_recall *r, uint64_t key, gdp_recalled *out);
/* Copies. What does not fit into bytes_max, or into memory, is not kept. A key that is here already stays as it is. */
void gdp_recall_put(gdp_recall *r, uint64_t key, const gdp_recalled *told, size_t bytes_max);
size_t gdp_recall_bytes(gdp_recall *r); /* held now */

#endif
