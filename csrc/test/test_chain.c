/* test_chain.c -- vectors, the twin, every bit of the input, and ten million structured blocks without a collision. */
#include "gdp/chain.h"
#include "test.h"

void gdp_test_chain_vectors(void);
void gdp_test_chain_twin(void);
void gdp_test_chain_scope(void);
void gdp_test_chain_avalanche(void);
void gdp_test_chain_collisions(void);
void gdp_bench_chain(void);

static const char gdp_secret[] = "a secret of any length";

static gdp_chain_key gdp_test_key(void)
{
    gdp_chain_key key;
    gdp_chain_key_init(&key, STR(gdp_secret));
    return key;
}

static uint64_t gdp_plain_root(const gdp_chain_key *key, uint32_t block_size)
{
    const gdp_scope scope = {.model = "m", .model_len = 1, .block_size = block_size};
    return gdp_chain_root(key, &scope);
}

/* Tokens 0, 1, 2, ... in the scope of model "m". A change of these is a change of what frontends tell each other. */
void gdp_test_chain_vectors(void)
{
    static const struct {
        uint32_t block_size;
        uint64_t root, first, third;
    } vectors[] = {
        {1, 0x5c2d25c7003d1b1au, 0xbab669b9279fd368u, 0xeddf97754052d158u},
        {16, 0x418435eec30d9434u, 0xfbf0aa9e5724b5e7u, 0xdf5e8c4941b7ae20u},
        {24, 0x5b0178365a27b2a4u, 0x4c465c9f1e943e49u, 0x4367383d49d79059u},
        {32, 0x27688f2058a6c474u, 0xc9a9c592426b1d12u, 0x9f22656a61070700u},
        {64, 0x095b9e02c40f4af4u, 0x9247cd661473e3a9u, 0x8ef6f94ae1f6e16du},
    };
    const gdp_chain_key key = gdp_test_key();
    uint32_t tokens[192];
    uint64_t out[192];
    for (uint32_t i = 0; i < 192; i++) tokens[i] = i;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const uint64_t root = gdp_plain_root(&key, vectors[i].block_size);
        CHECK(gdp_chain(&key, root, tokens, 192, vectors[i].block_size, NULL, out) == 192 / vectors[i].block_size);
        CHECK(root == vectors[i].root && out[0] == vectors[i].first && out[2] == vectors[i].third);
    }
}

void gdp_test_chain_twin(void)
{
    const gdp_chain_key key = gdp_test_key();
    uint64_t seed = 7, fast[700], slow[700], extras[700], rest[700];
    uint32_t tokens[700];
    for (int round = 0; round < 3000; round++) {
        const size_t n = gdp_random(&seed) % 700;
        const uint32_t size = round % 4 ? 1 + gdp_random(&seed) % 70 : 16u << round / 4 % 3;
        for (size_t i = 0; i < n; i++) tokens[i] = gdp_random(&seed) >> (gdp_random(&seed) % 32);
        for (size_t i = 0; i < 700; i++) extras[i] = gdp_random(&seed) % 4 ? 0 : gdp_random(&seed);
        const uint32_t *walled = (const uint32_t *)(const void *)gdp_walled(tokens, n * 4, round % 2 == 0);
        const uint64_t *with = round % 3 ? extras : NULL;
        const size_t blocks = gdp_chain(&key, 5, walled, n, size, with, fast);
        CHECK(blocks == n / size && gdp_chain_scalar(&key, 5, walled, n, size, with, slow) == blocks);
        CHECK(memcmp(fast, slow, blocks * 8) == 0);
        if (blocks < 2) continue;
        const size_t cut = 1 + gdp_random(&seed) % (blocks - 1); /* a chain goes on from any of its names */
        CHECK(gdp_chain(&key, fast[cut - 1], walled + cut * size, n - cut * size, size, with ? with + cut : NULL, rest) ==
              blocks - cut);
        CHECK(memcmp(rest, fast + cut, (blocks - cut) * 8) == 0);
    }
}

void gdp_test_chain_scope(void)
{
    static const gdp_scope scopes[] = {
        {"m", "", "", 1, 0, 0, 16},  {"m", "", "", 1, 0, 0, 32},   {"n", "", "", 1, 0, 0, 16},   {"", "m", "", 0, 1, 0, 16},
        {"m", "a", "", 1, 1, 0, 16}, {"m", "", "a", 1, 0, 1, 16},  {"ma", "", "", 2, 0, 0, 16},  {"m", "ab", "", 1, 2, 0, 16},
        {"m", "a", "b", 1, 1, 1, 16}, {"", "", "", 0, 0, 0, 16},
    };
    enum { N = sizeof scopes / sizeof scopes[0] };
    const gdp_chain_key key = gdp_test_key();
    gdp_chain_key other;
    gdp_chain_key_init(&other, NULL, 0);
    for (int i = 0; i < N; i++)
        for (int k = 0; k < i; k++) CHECK(gdp_chain_root(&key, &scopes[i]) != gdp_chain_root(&key, &scopes[k]));
    CHECK(gdp_chain_root(&key, &scopes[0]) != gdp_chain_root(&other, &scopes[0]));
    const uint32_t zeros[32] = {0};
    uint64_t names[40], *at = names;
    gdp_chain(&key, 1, zeros, 16, 16, NULL, at++);
    for (size_t n = 0; n < 32; n++) *at++ = gdp_chain_partial(&key, 1, zeros, n, 0);
    const uint64_t mm = gdp_chain_extra(&key, 0, GDP_EXTRA_MM, "id", 2, 3);
    const uint64_t extras[] = {mm, gdp_chain_extra(&key, 0, GDP_EXTRA_MM, "id", 2, 4),
                               gdp_chain_extra(&key, 0, GDP_EXTRA_EMBEDS, "id", 2, 3),
                               gdp_chain_extra(&key, mm, GDP_EXTRA_MM, "id", 2, 3)};
    for (int i = 0; i < 4; i++) gdp_chain(&key, 1, zeros, 16, 16, &extras[i], at++);
    for (int i = 0; i < at - names; i++)
        for (int k = 0; k < i; k++) CHECK(names[i] != names[k]);
}

/* Flip each bit of a stripe, of its parent and of its extra key: every bit of the name must flip about half the time. */
void gdp_test_chain_avalanche(void)
{
    enum { TRIALS = 2000, BITS = 16 * 32 + 64 };
    const gdp_chain_key key = gdp_test_key();
    uint64_t seed = 11;
    static uint32_t flips[BITS][64];
    memset(flips, 0, sizeof flips);
    for (int trial = 0; trial < TRIALS; trial++) {
        uint32_t tokens[16];
        uint64_t before, after, parent = (uint64_t)gdp_random(&seed) << 32 | gdp_random(&seed);
        for (int i = 0; i < 16; i++) tokens[i] = gdp_random(&seed) % 200000; /* as token ids are */
        gdp_chain(&key, parent, tokens, 16, 16, NULL, &before);
        for (uint32_t bit = 0; bit < BITS; bit++) {
            if (bit < 512) tokens[bit / 32] ^= 1u << bit % 32;
            gdp_chain(&key, bit < 512 ? parent : parent ^ 1ull << (bit - 512), tokens, 16, 16, NULL, &after);
            if (bit < 512) tokens[bit / 32] ^= 1u << bit % 32;
            for (uint64_t changed = before ^ after; changed; changed &= changed - 1)
                flips[bit][__builtin_ctzll(changed)]++;
        }
    }
    double least = 1, most = 0;
    for (int bit = 0; bit < BITS; bit++)
        for (int out = 0; out < 64; out++) {
            const double share = (double)flips[bit][out] / TRIALS;
            if (share < least) least = share;
            if (share > most) most = share;
        }
    if (getenv("GDP_SHOW")) printf("    flips %.3f .. %.3f\n", least, most);
    CHECK(least > 0.40 && most < 0.60); /* 6 sigma of 2,000 throws is 0.067 */
}

/* --------------------------------------------------- collisions -------------------------------------------------- */

/* Ten million names; sorted by their upper bits into cells by counting, equal ones lie in the same cell. */
enum { NAMES = 10 << 20, CELLS = 1 << 20 };

static bool gdp_all_differ(uint64_t *names, uint64_t *sorted, uint32_t *cells)
{
    memset(cells, 0, (CELLS + 1) * sizeof *cells);
    for (uint32_t i = 0; i < NAMES; i++) cells[(names[i] >> 44) + 1]++;
    for (uint32_t i = 0; i < CELLS; i++) {
        if (cells[i + 1] > 100) return false; /* 10 on average: the upper bits are even, too */
        cells[i + 1] += cells[i];
    }
    for (uint32_t i = 0; i < NAMES; i++) sorted[cells[names[i] >> 44]++] = names[i];
    for (uint32_t i = 0, from = 0; i < CELLS; from = cells[i++])
        for (uint32_t a = from; a < cells[i]; a++)
            for (uint32_t b = from; b < a; b++)
                if (sorted[a] == sorted[b]) return false;
    return true;
}

/* Block i of a family: what real prompts and their worst cases look like. All differ, within families and between. */
static void gdp_structured(uint32_t family, uint32_t i, uint32_t *t)
{
    for (uint32_t k = 0; k < 16; k++) t[k] = family * 10000;
    switch (family) {
    case 0: t[i % 16] = i / 16 + 1; break;                                  /* one token among equal ones */
    case 1: t[0] += i % 1024, t[1] += i / 1024; break;                      /* counters side by side */
    case 2: t[0] += i % 1024, t[15] += i / 1024; break;                     /* ... and far apart */
    case 3: for (uint32_t k = 0; k < 16; k++) t[k] += i >> 2 * k & 3; break; /* four words in any order */
    default:                                                                /* permutations */
        for (uint32_t k = 0; k < 16; k++) t[k] += k;
        for (uint32_t k = 0; k < 10; i /= 16 - k, k++) {
            const uint32_t other = k + i % (16 - k), was = t[k];
            t[k] = t[other], t[other] = was;
        }
    }
}

void gdp_test_chain_collisions(void)
{
    const gdp_chain_key key = gdp_test_key();
    uint64_t *names = malloc(NAMES * sizeof *names), *sorted = malloc(NAMES * sizeof *sorted);
    uint32_t *cells = malloc((CELLS + 1) * sizeof *cells), tokens[16];
    CHECK(names && sorted && cells);
    const uint64_t root = gdp_plain_root(&key, 16);
    for (uint32_t i = 0; i < NAMES; i++) {
        const uint32_t family = i % 6;
        if (family < 5) {
            gdp_structured(family, i / 6, tokens);
            gdp_chain(&key, root, tokens, 16, 16, NULL, &names[i]);
        } else { /* the same block again and again: only the depth differs */
            for (uint32_t k = 0; k < 16; k++) tokens[k] = 7;
            gdp_chain(&key, i < 6 ? root : names[i - 6], tokens, 16, 16, NULL, &names[i]);
        }
    }
    CHECK(gdp_all_differ(names, sorted, cells));
    free(names);
    free(sorted);
    free(cells);
}

/* ----------------------------------------------------- timing ---------------------------------------------------- */

typedef struct {
    gdp_chain_key key;
    uint32_t *tokens, block_size;
    uint64_t out[8192];
    bool scalar;
} gdp_chain_bench;

static void gdp_chain_run(void *arg)
{
    gdp_chain_bench *b = arg;
    (b->scalar ? gdp_chain_scalar : gdp_chain)(&b->key, 1, b->tokens, 131072, b->block_size, NULL, b->out);
}

void gdp_bench_chain(void)
{
    static gdp_chain_bench b;
    uint64_t seed = 3;
    b.tokens = malloc(131072 * sizeof *b.tokens);
    if (!b.tokens) abort();
    for (uint32_t i = 0; i < 131072; i++) b.tokens[i] = gdp_random(&seed) % 128000;
    b.key = gdp_test_key();
    for (b.block_size = 16; b.block_size <= 64; b.block_size *= 2)
        for (int scalar = 0; scalar < 2; scalar++) {
            char name[64];
            b.scalar = scalar;
            snprintf(name, sizeof name, "chain 131072 tokens, blocks of %u%s", b.block_size, scalar ? ", scalar" : "");
            gdp_bench_row(name, 131072 * 4, gdp_bench_ns(gdp_chain_run, &b));
        }
    free(b.tokens);
}
