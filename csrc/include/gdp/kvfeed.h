/* kvfeed.h -- one worker's KV events applied to the prefix index.
 *
 * An engine names blocks by hashes of its own, which differ by release, algorithm and seed; the index by our chain
 * (chain.h), computed from the token ids that a store carries. A removal carries only the engine's hash, so somebody must
 * remember which block that was. That is the feed: per worker slot, engine hash -> chain, and how often.
 *
 *     BlockStored   parent's chain (the root of its scope, if it has none) -> chain of its blocks -> index
 *     BlockRemoved  one copy less; the last one leaves the index
 *     AllBlocksCleared  everything goes
 *
 * What makes it more than a map:
 *   - the same hash is stored twice when an engine computed a block twice, and is removed twice: copies are counted;
 *   - two hashes may mean one of our blocks (a hash may cover tokens behind its block): the block stays until both went;
 *   - a store whose parent is not known waits, within a cap, for the parent to be announced;
 *   - a store without tokens (offloading) says of known hashes that they are on another medium, too;
 *   - of several cache groups the first one of full attention is followed, the rest are counted and let go.
 *
 * Memory is the point of the layout. An entry is 12 bytes, a 32-bit tag and the chain, in one of many small pages that
 * the hash's other bits choose:
 *
 *     page 0 [tag tag ...][chain chain ...]      page 1 [tag ...][chain ...]      64 or so each, searched end to end
 *
 * Pages grow by an eighth, so 13 bytes per block held are what it takes (an open-addressing table would need the rest of
 * the hash to grow, and a third of its room). Two held hashes of the same page and tag (there is a pair in one of 1,000
 * tables of 100,000) are told apart exactly in a side table; another keeps the copies beyond the first. A hash that is
 * *not* held is taken for one that is with a chance of 2 in 10^8; only removals and parents after lost events ask for
 * such.
 *
 * What a block costs when prompts are told 128 blocks at a time (bench/routing, prefill: 16 workers, 455,000 blocks;
 * instructions): decode 93; mix and chain 70; its page 230, a third of it growth; the index 200, and 410 for the growth of
 * its tables. The misses are asked for ahead (kvfeed_ahead.c): the address of its page (16 bytes), two or three lines of
 * tags, one of chains, one or two of names. Alone in its event a block is as many misses and ten times the decoding.
 *
 * What engines do not say cannot be known: before 0.18 nothing tells that a prompt was salted or held an image, before
 * 0.14 an adapter has only a number (it is kept apart from all that a request can name). An engine that announced only
 * the removal of a block's last copy, without remaining_copy_counts, would leave blocks behind here until it clears:
 * compare gdp_kvfeed_held() with how many blocks it has. */
#ifndef GDP_KVFEED_H
#define GDP_KVFEED_H

#include "gdp/arena.h"
#include "gdp/chain.h"
#include "gdp/kvwire.h"

/* Where the blocks go: the prefix index, or a model of it in a test. */
typedef struct {
    void *self;
    /* `slot` holds chain[0..n) on `medium`, in a row after `parent` (the root when `first`). held[i] (all false at the
     * call) is set where it held that block there before. parent == chain[0], n == 1: a block that it holds on another
     * medium, whose place is known. < 0: nothing was stored; GDP_NOMEM is passed on, all else is the sink's own affair. */
    int (*store)(void *self, uint32_t slot, uint8_t medium, uint64_t parent, bool first, const uint64_t *chain,
                 uint32_t n, bool *held);
    void (*remove)(void *self, uint32_t slot, uint8_t medium, uint64_t chain);
    void (*clear)(void *self, uint32_t slot);
    /* It will be told of these: first that it will be (!near), then that it is about to. NULL: it does not care. */
    void (*ahead)(void *self, const uint64_t *chain, uint32_t n, bool near);
} gdp_kv_sink;

typedef struct {
    uint64_t stored, removed, cleared; /* blocks announced and taken back; clearings */
    uint64_t copies;                   /* stores of a block that was held */
    uint64_t waiting;                  /* blocks put aside for an unknown parent */
    uint64_t joined;                   /* ... whose parent came */
    uint64_t dropped;                  /* ... that never will be: the cap, memory, a clearing, removed while waiting */
    uint64_t unknown_removed;          /* removals of a hash that was not held */
    uint64_t unknown_hash;             /* stores without tokens of a hash that was not held */
    uint64_t other_groups;             /* events of groups that are not followed, or on a medium we do not know */
    uint64_t uneven;                   /* stores whose hashes and tokens do not fit, or of less than a block: ignored */
} gdp_kvfeed_counts;

typedef struct gdp_kvfeed gdp_kvfeed;

typedef struct {
    uint32_t slot;
    const gdp_chain_key *key; /* outlives the feed */
    const char *model;        /* enters every root; copied */
    size_t model_len;
    gdp_kv_sink sink;
    uint32_t blocks;       /* about how many it will hold; sets the number of pages. 0: 65,536 */
    uint32_t waiting_max;  /* bytes for stores without parents; 0: 64 KiB */
} gdp_kvfeed_options;

gdp_kvfeed *gdp_kvfeed_new(const gdp_kvfeed_options *options); /* NULL: out of memory */
/* ... whose entries lie in an arena that outlives it. */
gdp_kvfeed *gdp_kvfeed_new_in(const gdp_kvfeed_options *options, gdp_arena *arena);
void gdp_kvfeed_free(gdp_kvfeed *feed);                        /* the sink is not told: clear first */

#define GDP_KV_ASKED 1u /* a report that we asked for (kv_cache_report_mode): says what is there, adds no copies */

/* All events of a batch, in order. `payload` is what was decoded. GDP_NOMEM: an event could not be kept; what is applied
 * is consistent, but the worker holds blocks that the index does not know. Else 0. */
int gdp_kvfeed_apply(gdp_kvfeed *feed, const gdp_kv_batch *batch, const char *payload, uint32_t flags);

/* Everything this worker holds is gone: a restart, a reset we caused ourselves. */
void gdp_kvfeed_clear(gdp_kvfeed *feed);

/* Forget up to about `budget` blocks and tell the sink of each, and with the last one that the slot is clear; returns how
 * many are left. For a worker that leaves, so that one with a million blocks does not hold up the others' events. */
size_t gdp_kvfeed_drop(gdp_kvfeed *feed, size_t budget);

size_t gdp_kvfeed_held(const gdp_kvfeed *feed);  /* entries: hashes held, per medium */
size_t gdp_kvfeed_bytes(const gdp_kvfeed *feed); /* of memory, all of it */
const gdp_kvfeed_counts *gdp_kvfeed_counted(const gdp_kvfeed *feed);

/* The chain of a hash held on `medium`, and its copies; 0 when it is not held. For tests and debugging. */
uint32_t gdp_kvfeed_find(const gdp_kvfeed *feed, uint8_t medium, gdp_kv_hash hash, uint64_t *chain);

#endif
