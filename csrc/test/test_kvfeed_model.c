/* test_kvfeed_model.c -- a feed against a model of it that keeps every hash in a plain table and every row that waits.
 *
 * The world is a forest of blocks in several scopes, whose chains are computed from the whole prompt. An engine stores,
 * copies, moves and removes them, clears, and loses messages; some blocks have two hashes. After every batch the feed
 * must hold what the model holds, with as many copies, and the sink what some hash of it means: no more and no less. */
#include "gdp/kvfeed.h"
#include "kvpack.h"
#include "kvsink.h"
#include "test.h"

void gdp_test_kvfeed_model(void);

enum { NODES = 160, HASHES = 2 * NODES, SIZE = 4, DEEP = 8, MEDIA = 3, ROWS = 4096 };

typedef struct {
    int parent, depth; /* parent: -1 for a first block */
    const char *lora, *salt;
    uint32_t tokens[SIZE];
    uint64_t hash[2], chain; /* the second hash is 0 for most */
} gdp_node;

typedef struct {
    uint8_t medium;
    int parent, n, hashes[DEEP]; /* numbers of hashes: 2 * node + which */
    bool gone[DEEP], over;
} gdp_model_row;

typedef struct {
    gdp_chain_key key;
    gdp_node nodes[NODES];
    uint32_t copies[MEDIA][HASHES];
    gdp_model_row waiting[ROWS];
    int n_waiting, ready[ROWS], n_ready;
    bool moves; /* blocks are announced on other media by hash alone, too */
    gdp_kvfeed_counts counts;
} gdp_model;

/* ---------------------------------------------------- the world ------------------------------------------------- */

static void gdp_node_chain(gdp_model *m, gdp_node *node)
{
    uint32_t tokens[DEEP * SIZE];
    uint64_t chain[DEEP];
    const gdp_node *at = node;
    for (int d = node->depth; d >= 0; d--, at = &m->nodes[at->parent < 0 ? 0 : at->parent])
        memcpy(tokens + d * SIZE, at->tokens, sizeof at->tokens);
    const gdp_scope scope = {"m", node->lora, node->salt, 1, strlen(node->lora), strlen(node->salt), SIZE};
    const size_t n = (size_t)node->depth + 1;
    CHECK(gdp_chain(&m->key, gdp_chain_root(&m->key, &scope), tokens, n * SIZE, SIZE, NULL, chain) == n);
    node->chain = chain[n - 1];
}

static void gdp_world(gdp_model *m, uint64_t *seed)
{
    static const char *const scopes[][2] = {{"", ""}, {"", ""}, {"ad", ""}, {"", "tenant"}, {"ad", "tenant"}};
    gdp_chain_key_init(&m->key, STR("key"));
    for (int i = 0; i < NODES; i++) {
        gdp_node *node = &m->nodes[i];
        const int parent = i < 10 ? -1 : (int)(gdp_random(seed) % (uint32_t)i);
        *node = (gdp_node){.parent = -1, .lora = scopes[i % 5][0], .salt = scopes[i % 5][1]};
        if (parent >= 0 && m->nodes[parent].depth + 1 < DEEP) {
            node->parent = parent;
            node->depth = m->nodes[parent].depth + 1;
            node->lora = m->nodes[parent].lora, node->salt = m->nodes[parent].salt;
        }
        for (int k = 0; k < SIZE; k++) node->tokens[k] = (uint32_t)i * 7 + gdp_random(seed) % 3;
        for (int k = 0; k < 1 + (i % 8 == 0); k++) node->hash[k] = (uint64_t)gdp_random(seed) << 32 | gdp_random(seed);
        gdp_node_chain(m, node);
    }
}

/* ---------------------------------------------------- the model ------------------------------------------------- */

static bool gdp_model_known(const gdp_model *m, int hash)
{
    return m->copies[0][hash] || m->copies[1][hash] || m->copies[2][hash];
}

static void gdp_model_hold(gdp_model *m, uint8_t medium, int hash, bool asked)
{
    uint32_t *copies = &m->copies[medium][hash];
    m->counts.stored++;
    m->counts.copies += *copies > 0;
    if (*copies == 0 || !asked) ++*copies;
}

static void gdp_model_release(gdp_model *m, uint8_t medium, int hash)
{
    uint32_t *copies = &m->copies[medium][hash];
    m->counts.removed += *copies > 0;
    if (*copies > 0) {
        --*copies;
        return;
    }
    for (int i = 0; i < m->n_waiting; i++) {
        gdp_model_row *row = &m->waiting[i];
        for (int k = 0; k < row->n && !row->over && row->medium == medium; k++)
            if (row->hashes[k] == hash && !row->gone[k]) {
                row->gone[k] = true;
                m->counts.dropped++;
                row->over = true;
                for (int j = 0; j < row->n; j++) row->over &= row->gone[j];
                return;
            }
    }
    m->counts.unknown_removed++;
}

static void gdp_model_row_stored(gdp_model *m, const gdp_model_row *row, bool asked)
{
    for (int i = 0; i < row->n; i++) gdp_model_hold(m, row->medium, row->hashes[i], asked);
    for (int i = 0; i < row->n; i++)
        for (int k = 0; k < m->n_waiting; k++) {
            if (m->waiting[k].over || m->waiting[k].parent != row->hashes[i]) continue;
            m->waiting[k].over = true;
            m->ready[m->n_ready++] = k;
        }
}

static void gdp_model_store(gdp_model *m, const gdp_model_row *row, bool asked)
{
    if (row->parent >= 0 && !gdp_model_known(m, row->parent)) {
        CHECK(m->n_waiting < ROWS);
        m->waiting[m->n_waiting++] = *row;
        m->counts.waiting += (uint64_t)row->n;
        return;
    }
    gdp_model_row_stored(m, row, asked);
    int done[ROWS], n_done = 0;
    while (m->n_ready > 0) gdp_model_row_stored(m, &m->waiting[done[n_done++] = m->ready[--m->n_ready]], false);
    while (n_done > 0) {
        const gdp_model_row *late = &m->waiting[done[--n_done]];
        for (int i = 0; i < late->n; i++) {
            m->counts.joined += !late->gone[i];
            if (late->gone[i]) gdp_model_release(m, late->medium, late->hashes[i]);
        }
    }
}

static void gdp_model_clear(gdp_model *m)
{
    for (int i = 0; i < m->n_waiting; i++)
        for (int k = 0; k < m->waiting[i].n && !m->waiting[i].over; k++) m->counts.dropped += !m->waiting[i].gone[k];
    memset(m->copies, 0, sizeof m->copies);
    m->n_waiting = 0;
    m->counts.cleared++;
}

/* ---------------------------------------------------- the play -------------------------------------------------- */

static const char *const gdp_media[MEDIA] = {"GPU", "CPU", "STORAGE"};

static uint64_t gdp_hash_of(const gdp_model *m, int hash) { return m->nodes[hash / 2].hash[hash % 2]; }

static int gdp_any_hash(const gdp_model *m, int node, uint64_t *seed)
{
    return 2 * node + (m->nodes[node].hash[1] && gdp_random(seed) % 2);
}

/* A row of blocks that ends at some block, told with the parent under one of its names. */
static void gdp_play_store(gdp_model *m, gdp_pack *p, uint64_t *seed, bool heard, bool asked)
{
    gdp_model_row row = {.medium = gdp_random(seed) % 8 ? 0 : (uint8_t)(gdp_random(seed) % MEDIA), .parent = -1};
    int node = (int)(gdp_random(seed) % NODES), path[DEEP];
    row.n = 1 + (int)(gdp_random(seed) % (uint32_t)(m->nodes[node].depth + 1));
    for (int i = row.n - 1; i >= 0; i--, node = m->nodes[node].parent) path[i] = node;
    if (node >= 0) row.parent = gdp_any_hash(m, node, seed);
    if (asked && row.parent >= 0 && !gdp_model_known(m, row.parent)) return; /* reports begin at the first block */
    uint64_t hashes[DEEP], parent = row.parent >= 0 ? gdp_hash_of(m, row.parent) : 0;
    uint32_t tokens[DEEP * SIZE];
    for (int i = 0; i < row.n; i++) {
        row.hashes[i] = gdp_any_hash(m, path[i], seed);
        hashes[i] = gdp_hash_of(m, row.hashes[i]);
        memcpy(tokens + i * SIZE, m->nodes[path[i]].tokens, sizeof m->nodes[0].tokens);
    }
    const gdp_node *first = &m->nodes[path[0]];
    if (!heard) return;
    gdp_pack_stored(p, &(gdp_pack_block){
        .hashes = hashes, .n = (size_t)row.n, .parent = row.parent >= 0 ? &parent : NULL, .tokens = tokens,
        .n_tokens = (size_t)row.n * SIZE, .block_size = SIZE, .medium = gdp_media[row.medium],
        .lora = first->lora[0] ? first->lora : NULL, .salt = first->salt[0] && row.parent < 0 ? first->salt : NULL,
        .group = -1});
    gdp_model_store(m, &row, asked);
}

static void gdp_play_also(gdp_model *m, gdp_pack *p, uint64_t *seed)
{
    const uint8_t medium = (uint8_t)(1 + gdp_random(seed) % 2);
    const int hash = gdp_any_hash(m, (int)(gdp_random(seed) % NODES), seed);
    const uint64_t name = gdp_hash_of(m, hash);
    gdp_pack_stored(p, &(gdp_pack_block){.hashes = &name, .n = 1, .medium = gdp_media[medium], .group = -1});
    if (gdp_model_known(m, hash))
        gdp_model_hold(m, medium, hash, false);
    else
        m->counts.unknown_hash++;
}

static void gdp_play_remove(gdp_model *m, gdp_pack *p, uint64_t *seed)
{
    uint64_t names[4];
    const uint32_t n = 1 + gdp_random(seed) % 4;
    const uint8_t medium = gdp_random(seed) % 4 ? 0 : (uint8_t)(gdp_random(seed) % MEDIA);
    for (uint32_t i = 0; i < n; i++) {
        int hash = gdp_any_hash(m, (int)(gdp_random(seed) % NODES), seed);
        for (int tries = 0; tries < 8 && !m->copies[medium][hash]; tries++) /* mostly of what is there */
            hash = gdp_any_hash(m, (int)(gdp_random(seed) % NODES), seed);
        names[i] = gdp_hash_of(m, hash);
        gdp_model_release(m, medium, hash);
    }
    gdp_pack_removed(p, names, n, gdp_media[medium], -1);
}

/* One event; false when nothing was told. */
static size_t gdp_play(gdp_model *m, gdp_pack *p, uint64_t *seed, bool asked)
{
    const uint32_t dice = gdp_random(seed) % 1000;
    const size_t before = p->n;
    if (asked || dice < 480)
        gdp_play_store(m, p, seed, dice % 8 != 0, asked);
    else if (dice < 560 && m->moves)
        gdp_play_also(m, p, seed);
    else if (dice < 996)
        gdp_play_remove(m, p, seed);
    else
        gdp_pack_cleared(p), gdp_model_clear(m);
    return p->n > before;
}

static void gdp_compare(const gdp_model *m, const gdp_kvfeed *feed, const gdp_kvsink *sink)
{
    size_t entries = 0, blocks = 0;
    for (uint8_t medium = 0; medium < MEDIA; medium++)
        for (int i = 0; i < NODES; i++) {
            bool held = false;
            for (int k = 0; k < 2; k++) {
                uint64_t chain = 0;
                const uint32_t copies = m->nodes[i].hash[k] ? m->copies[medium][2 * i + k] : 0;
                if (!m->nodes[i].hash[k]) continue;
                CHECK(gdp_kvfeed_find(feed, medium, (gdp_kv_hash){m->nodes[i].hash[k], 0}, &chain) == copies);
                CHECK(copies == 0 || chain == m->nodes[i].chain);
                entries += copies > 0;
                held |= copies > 0;
            }
            CHECK(gdp_kvsink_has(sink, medium, m->nodes[i].chain) == held);
            CHECK(!sink->index || gdp_index_holds(sink->index, 7, medium, m->nodes[i].chain) == held);
            blocks += held;
        }
    CHECK(entries == gdp_kvfeed_held(feed) && blocks == sink->n);
    CHECK(memcmp(&m->counts, gdp_kvfeed_counted(feed), sizeof m->counts) == 0);
}

void gdp_test_kvfeed_model(void)
{
    uint64_t seed = 21;
    gdp_pack p = {0}, events = {0};
    gdp_kv_batch batch = {0};
    gdp_model *m = malloc(sizeof *m);
    CHECK(m != NULL);
    for (int world = 0; world < 12; world++) {
        gdp_kvsink sink = {0}; /* every second time the real index stands beside it */
        *m = (gdp_model){.moves = world % 2};
        if (!m->moves) CHECK((sink.index = gdp_index_new(&(gdp_index_options){.bytes_max = 16u << 20})) != NULL);
        gdp_world(m, &seed);
        gdp_kvfeed *feed = gdp_kvfeed_new_in(&(gdp_kvfeed_options){7, &m->key, "m", 1, gdp_kvsink_of(&sink), 1, 1u << 26},
                                            sink.index ? gdp_index_arena(sink.index) : NULL);
        for (int round = 0; round < 700; round++) {
            const bool asked = gdp_random(&seed) % 16 == 0;
            size_t n = 0;
            events.n = 0;
            for (uint32_t more = gdp_random(&seed) % 5; more > 0; more--) n += gdp_play(m, &events, &seed, asked);
            gdp_pack_batch(&p, n);
            if (events.n) gdp_pack_bytes(&p, events.bytes, events.n);
            CHECK(gdp_kv_decode(&batch, p.bytes, p.n) == (int64_t)n);
            CHECK(gdp_kvfeed_apply(feed, &batch, (const char *)p.bytes, asked ? GDP_KV_ASKED : 0) == 0);
            gdp_compare(m, feed, &sink);
        }
        if (getenv("GDP_SHOW"))
            printf("    %u stored, %u copies, %u waited, %u joined\n", (unsigned)m->counts.stored,
                   (unsigned)m->counts.copies, (unsigned)m->counts.waiting, (unsigned)m->counts.joined);
        while (gdp_kvfeed_drop(feed, 1 + gdp_random(&seed) % 40) > 0) CHECK(sink.n <= gdp_kvfeed_held(feed));
        CHECK(sink.n == 0);
        gdp_kvfeed_free(feed);
        if (sink.index) gdp_index_free(sink.index);
        gdp_kvsink_free(&sink);
    }
    gdp_kv_batch_free(&batch);
    free(events.bytes);
    free(p.bytes);
    free(m);
}
