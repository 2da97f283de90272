/* chain.c -- see chain.h. The sums are written twice, plainly and with AVX2; the step and all that is rare, once.
 *
 * AVX2: a stripe is two registers of 8 tokens. Key words are added to all tokens at once, the upper token of each pair
 * is shifted down, and one multiply gives four products; a sums with the key as it is, b with the key two words on.
 * The eight partial sums are folded to (a, b) by one unpack-add and one add of the halves. The step's multiply runs in
 * the scalar unit meanwhile. */
#include "gdp/chain.h"

#include <string.h>

#include "gdp/load.h"

#if defined(__x86_64__) && !defined(GDP_SCALAR)
#define GDP_AVX2 1
#include <immintrin.h>
#endif

typedef struct {
    uint64_t a, b;
} gdp_sums;

static inline uint64_t gdp_fold(uint64_t x, uint64_t y)
{
    __extension__ typedef unsigned __int128 wide;
    const wide product = (wide)x * y;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The upper bits of a sum hardly move while token ids are small; the odd factor brings the lower ones up, or the step
 * would multiply by nearly the same number each time. */
#define GDP_SPREAD 0x9e3779b97f4a7c15u

static inline uint64_t gdp_step(uint64_t h, gdp_sums s, uint64_t step)
{
    return gdp_fold(h ^ s.a, s.b * GDP_SPREAD ^ step);
}

/* ----------------------------------------------------- keys ----------------------------------------------------- */

void gdp_chain_key_init(gdp_chain_key *key, const void *secret, size_t len)
{
    uint64_t words[GDP_STRIPE / 2 + 1];
    _Static_assert(sizeof words == sizeof key->words, "every word of the key is derived");
    for (uint32_t i = 0; i < GDP_STRIPE / 2 + 1; i++) words[i] = gdp_hash(secret, len, 0x6364702d63686169u + i);
    for (uint32_t i = 0; i < GDP_STRIPE / 2 + 1; i++) {
        key->words[2 * i] = (uint32_t)words[i];
        key->words[2 * i + 1] = (uint32_t)(words[i] >> 32);
    }
    key->step = gdp_hash(secret, len, 0x73746570u);
    key->root = gdp_hash(secret, len, 0x726f6f74u);
    key->extra = gdp_hash(secret, len, 0x6578747261u) | 1;
}

uint64_t gdp_chain_root(const gdp_chain_key *key, const gdp_scope *scope)
{
    uint64_t h = gdp_hash(scope->model, scope->model_len, key->root);
    h = gdp_hash(scope->lora, scope->lora_len, h);
    h = gdp_hash(scope->salt, scope->salt_len, h);
    return gdp_fold(h ^ scope->block_size, key->extra);
}

uint64_t gdp_chain_extra(const gdp_chain_key *key, uint64_t extra, gdp_extra_kind kind, const void *id, size_t len,
                         int64_t offset)
{
    const uint64_t word[3] = {(uint64_t)kind, (uint64_t)offset, extra};
    const uint64_t mixed = gdp_hash(id, len, gdp_hash(word, sizeof word, key->extra));
    return mixed ? mixed : 1;
}

static inline uint64_t gdp_with_extra(const gdp_chain_key *key, uint64_t h, uint64_t extra)
{
    return extra ? gdp_fold(h ^ extra, key->extra) : h;
}

/* ---------------------------------------------------- stripes --------------------------------------------------- */

static inline gdp_sums gdp_sums_scalar(const gdp_chain_key *key, const uint32_t *t)
{
    const uint32_t *k = key->words;
    gdp_sums s = {0, 0};
    for (uint32_t i = 0; i < GDP_STRIPE; i += 2) {
        s.a += (uint64_t)(t[i] + k[i]) * (uint32_t)(t[i + 1] + k[i + 1]);
        s.b += (uint64_t)(t[i] + k[i + 2]) * (uint32_t)(t[i + 1] + k[i + 3]);
    }
    return s;
}

/* A stripe of n < 16 tokens. Its length makes it differ from the same tokens followed by zeros. */
static uint64_t gdp_short(const gdp_chain_key *key, uint64_t h, const uint32_t *tokens, size_t n)
{
    uint32_t padded[GDP_STRIPE] = {0};
    memcpy(padded, tokens, n * sizeof *tokens);
    return gdp_step(h, gdp_sums_scalar(key, padded), key->step + GDP_STRIPE - n);
}

/* ----------------------------------------------------- chains --------------------------------------------------- */

/* The loop over blocks, for any way to compute the sums: the compiler makes one of each, and one of each for blocks of
 * one, two and four stripes, in which nothing but sums and steps is left. */
#define GDP_CHAIN_ROW(SUMS, STRIPES)                                             \
    for (size_t i = 0; i < blocks; i++) {                                        \
        for (size_t s = 0; s < (STRIPES); s++, tokens += GDP_STRIPE) {           \
            const gdp_sums sums = SUMS;                                          \
            h = gdp_step(h, sums, step);                                         \
        }                                                                        \
        out[i] = h;                                                              \
    }

#define GDP_CHAIN_LOOP(SUMS)                                                     \
    const size_t blocks = n / block_size, whole = block_size / GDP_STRIPE;       \
    const size_t rest = block_size % GDP_STRIPE;                                 \
    const uint64_t step = key->step;                                             \
    uint64_t h = parent;                                                         \
    if (!extras && block_size == 16) {                                           \
        GDP_CHAIN_ROW(SUMS, 1)                                                   \
    } else if (!extras && block_size == 32) {                                    \
        GDP_CHAIN_ROW(SUMS, 2)                                                   \
    } else if (!extras && block_size == 64) {                                    \
        GDP_CHAIN_ROW(SUMS, 4)                                                   \
    } else {                                                                     \
        for (size_t i = 0; i < blocks; i++) {                                    \
            if (extras) h = gdp_with_extra(key, h, extras[i]);                   \
            for (size_t s = 0; s < whole; s++, tokens += GDP_STRIPE) {           \
                const gdp_sums sums = SUMS;                                      \
                h = gdp_step(h, sums, step);                                     \
            }                                                                    \
            if (rest) h = gdp_short(key, h, tokens, rest), tokens += rest;       \
            out[i] = h;                                                          \
        }                                                                        \
    }                                                                            \
    return blocks

size_t gdp_chain_scalar(const gdp_chain_key *key, uint64_t parent, const uint32_t *tokens, size_t n,
                        uint32_t block_size, const uint64_t *extras, uint64_t *out)
{
    GDP_CHAIN_LOOP(gdp_sums_scalar(key, tokens));
}

#ifdef GDP_AVX2
#define GDP_WIDE static inline __attribute__((target("avx2"), always_inline))

GDP_WIDE __m256i gdp_load8(const uint32_t *words)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)words);
}

GDP_WIDE __m256i gdp_products(__m256i tokens, __m256i words)
{
    const __m256i keyed = _mm256_add_epi32(tokens, words);
    return _mm256_mul_epu32(keyed, _mm256_srli_epi64(keyed, 32));
}

GDP_WIDE gdp_sums gdp_sums_avx2(const uint32_t *t, __m256i k0, __m256i k1, __m256i k2, __m256i k3)
{
    const __m256i low = gdp_load8(t), high = gdp_load8(t + 8);
    const __m256i a = _mm256_add_epi64(gdp_products(low, k0), gdp_products(high, k1));
    const __m256i b = _mm256_add_epi64(gdp_products(low, k2), gdp_products(high, k3));
    const __m256i ab = _mm256_add_epi64(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    const __m128i sum = _mm_add_epi64(_mm256_castsi256_si128(ab), _mm256_extracti128_si256(ab, 1));
    return (gdp_sums){(uint64_t)_mm_cvtsi128_si64(sum), (uint64_t)_mm_extract_epi64(sum, 1)};
}

__attribute__((target("avx2"))) static size_t gdp_chain_avx2(const gdp_chain_key *key, uint64_t parent,
                                                             const uint32_t *tokens, size_t n, uint32_t block_size,
                                                             const uint64_t *extras, uint64_t *out)
{
    const __m256i k0 = gdp_load8(key->words), k1 = gdp_load8(key->words + 8);
    const __m256i k2 = gdp_load8(key->words + 2), k3 = gdp_load8(key->words + 10);
    GDP_CHAIN_LOOP(gdp_sums_avx2(tokens, k0, k1, k2, k3));
}
#endif

size_t gdp_chain(const gdp_chain_key *key, uint64_t parent, const uint32_t *tokens, size_t n, uint32_t block_size,
                 const uint64_t *extras, uint64_t *out)
{
#ifdef GDP_AVX2
    if (__builtin_cpu_supports("avx2")) return gdp_chain_avx2(key, parent, tokens, n, block_size, extras, out);
#endif
    return gdp_chain_scalar(key, parent, tokens, n, block_size, extras, out);
}

uint64_t gdp_chain_partial(const gdp_chain_key *key, uint64_t parent, const uint32_t *tokens, size_t n, uint64_t extra)
{
    uint64_t h = gdp_with_extra(key, parent, extra);
    for (; n >= GDP_STRIPE; n -= GDP_STRIPE, tokens += GDP_STRIPE) h = gdp_step(h, gdp_sums_scalar(key, tokens), key->step);
    h = gdp_short(key, h, tokens, n);
    return gdp_fold(h ^ key->root, key->extra); /* a step more than any whole block takes */
}
