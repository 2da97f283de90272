/* chain.h -- names for prefixes: one 64-bit hash per block of token ids, each covering all blocks before it.
 *
 *     root --[block 0]--> chain[0] --[block 1]--> chain[1] -- ...        equal at depth i => equal at every depth < i
 *
 * A stripe is 16 tokens. Two sums of 32 x 32 products (NH, as in UMAC) turn its 64 bytes into a pair (a, b):
 *
 *     a = sum over pairs of (t[2i] + k[2i]) * (t[2i+1] + k[2i+1])       b = the same with the key two words on
 *
 * For two different stripes both sums agree with a chance of 2^-64 over the key, whatever the tokens are; that is a
 * theorem, and NH is what 8 lanes of a vector unit do best. One 64 x 64 -> 128 multiply, folded, takes the pair in:
 *
 *     h = fold((h ^ a) * (b ^ (step + tokens in the stripe)))
 *
 * so a prefix of 131,072 tokens is 8,192 such steps in a row, 5-6 cycles each, and the sums hide behind them. A block is
 * as many stripes as it needs; the last may be short (zeros, and its length enters the step). The state after a block
 * is its name and all that is needed to go on from it: an event that names a parent costs only its own blocks.
 *
 * What else distinguishes blocks goes in front: the scope into the root, per-block keys (images, embeddings) into the
 * state before the block's first stripe.
 *
 * Names depend on the secret, so they mean nothing to who does not have it, and nobody can make two prompts collide.
 * Frontends that share an index or compare names must share the secret. Values are the same on every machine (the tests
 * hold vectors), with and without AVX2. */
#ifndef GDP_CHAIN_H
#define GDP_CHAIN_H

#include "gdp/base.h"

#define GDP_STRIPE 16u /* tokens */

typedef struct {
    uint32_t words[GDP_STRIPE + 2];
    uint64_t step;  /* of a full stripe */
    uint64_t root;
    uint64_t extra;
} gdp_chain_key;

/* What a prefix belongs to. Two prompts of the same tokens in different scopes share nothing. */
typedef struct {
    const char *model, *lora, *salt; /* model: name or revision; lora, salt: NULL or empty when none */
    size_t model_len, lora_len, salt_len;
    uint32_t block_size; /* tokens */
} gdp_scope;

/* Any secret of any length, the empty one too. */
void gdp_chain_key_init(gdp_chain_key *key, const void *secret, size_t len);

/* The state before the first block. */
uint64_t gdp_chain_root(const gdp_chain_key *key, const gdp_scope *scope);

typedef enum {
    GDP_EXTRA_MM = 1,     /* an image or the like: its identifier, and where in the block it begins (-1: not told) */
    GDP_EXTRA_EMBEDS = 2, /* digest of prompt embeddings */
    GDP_EXTRA_OTHER = 3,  /* a key of a kind that we do not know: kept apart all the same */
    GDP_EXTRA_SALT = 4,   /* a salt or an adapter that stands on a block (elsewhere it is in the root) */
} gdp_extra_kind;

/* Mixes one more key of a block into `extra`, which begins as 0 (a block without keys). Order matters. Never 0. */
uint64_t gdp_chain_extra(const gdp_chain_key *key, uint64_t extra, gdp_extra_kind kind, const void *id, size_t len,
                         int64_t offset);

/* Names of the n / block_size whole blocks of `tokens`, going on from `parent` (a root or a block's name). `extras`: one
 * value per block, or NULL when no block has any. Returns how many names were written. block_size >= 1. */
size_t gdp_chain(const gdp_chain_key *key, uint64_t parent, const uint32_t *tokens, size_t n, uint32_t block_size,
                 const uint64_t *extras, uint64_t *out);

/* The same without vector instructions: the twin, and the way on machines without AVX2. */
size_t gdp_chain_scalar(const gdp_chain_key *key, uint64_t parent, const uint32_t *tokens, size_t n,
                        uint32_t block_size, const uint64_t *extras, uint64_t *out);

/* Name of a block that holds n < block_size tokens. Differs from the name of any whole block. n may be 0. */
uint64_t gdp_chain_partial(const gdp_chain_key *key, uint64_t parent, const uint32_t *tokens, size_t n, uint64_t extra);

#endif
