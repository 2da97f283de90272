/* index.h -- which worker holds which prefix: one table for all workers, models and adapters.
 *
 * A block's name is a chained hash (chain.h): chain[i] names the tokens of all blocks up to i, and its root names model,
 * adapter and salt. So equality at depth i proves equality at every depth before it, and three things follow:
 *
 *   - one table serves all models; nothing else needs to tell them apart;
 *   - a lookup may jump: "is chain[1800] known?" is one probe, and a dozen of them overlap their cache misses;
 *   - who holds a block need not be written on the block. Blocks that were stored in a row form a segment, and the
 *     holders stand on the segment, once.
 *
 *     shards (by the name's top byte)            segments, 64 B                     covers, interned
 *     +-----------------------------+            +------------------------+         +--------------------+
 *     | name | segment | depth      | 16 B  -->  | parent, start | end    |  -->    | GPU   1101...      |
 *     | name | segment | depth      |            | cover, last touch      |         | CPU   0001...      |
 *     | ... by lines of 4, <= 13/16 |            +------------------------+         | (slot, cutoff) ... |
 *     +-----------------------------+                | parent                       +--------------------+
 *                                                    v  ... towards the root
 *
 * A cover says who holds a segment: one bit per worker slot for the whole of it, and entries (slot, cutoff) for who holds
 * only its first blocks. It is immutable. Segments with the same holders share one cover (copy on write), so the bits of
 * 1,024 workers are kept once for a system prompt and not per branch. Holding is always a prefix of a segment: a hole
 * splits the segment, and a block that is stored again closes the hole, because what is behind it was never forgotten.
 *
 * A block is *known* while somebody holds it or a block behind it. When the last holder at a segment's end goes, the
 * segment shrinks; when none is left and nothing hangs on it, it dies, and its parent may be next.
 *
 * A lookup: (1) search the deepest known depth, eight probes per round, helped by the end of the segment that was hit;
 * (2) climb to the root, 3 to 6 segments, asking for their covers on the way; (3) AND the covers from the root down. Who
 * drops out has matched up to there: a worker's match ends at its first hole. Results go to the caller's arrays.
 *
 * One thread writes; readers take no lock, never wait, never retry:
 *   - a name in a shard is never overwritten or moved. Growth copies a shard (1/256 of the table) and swaps one pointer;
 *   - (parent, start) of a segment is one word. A split puts a new segment above the old one and swaps that word: names
 *     that still point at the lower part are right all the same, since a climb goes on until start <= depth. They are
 *     set right in passing, by stores and copies;
 *   - holders change by swapping a cover's pointer. A reader that reads (end, cover, end, start) in this order knows what
 *     the cover was right for, since starts only rise, and an end that fell never rises again;
 *   - what was swapped out is freed when every reader that might see it has gone (epochs, epoch.h).
 * So names of segments that died need not be searched for: they point at a dead segment, whose parents are still right,
 * until the next copy of their shard drops them; only when all shards were copied is the segment used again. That is why
 * no segment keeps a list of its names, which would cost 8 bytes per block.
 *
 * What a lookup returns was true of each block at some moment during the call. It never counts a block that was not.
 *
 * Memory is bounded. At the cap, leaf segments that were not touched for long are forgotten (second chance: lookups stamp
 * what they pass, a relaxed store), two blocks for each one stored until tables are at 5/8, so that no store pays for
 * many. Predictions (approximate entries) are entries with an expiry in the same segments; what only they hold may take
 * a share of the cap. If an allocation fails, less is known, never more: a store returns how far it came, a removal that
 * cannot split forgets what is behind the hole.
 *
 * Numbers (2 cores, 2.4 GHz, `make bench-routing`): a lookup among 64 workers x 2,048 blocks 0.2 to 0.4 us,
 * 5 to 7 us when 64 MiB were written before it; 1,024 workers x 8,192 blocks 0.7 to 1.2 us; 22 to 25 bytes per distinct
 * block, all included, 28 where as many blocks go as come, and a fifth more resident (arena.h); 90 to 150 ns to store a new
 * block, growth included, 300 to 600 at the cap, where the longest store took 3 ms.
 *
 * Tried and dropped: holders inline in the segment (two words to read where one pointer is exact), a list of names per
 * segment (8 B per block), backward-shift deletes (readers would have to retry), one table instead of shards (growth
 * would stop the writer for its whole size), forgetting an eighth at once when a shard is full (stores of 100 ms),
 * taking a segment up again after it shrank (a reader could see the new block's holders at the old block's place). */
#ifndef GDP_INDEX_H
#define GDP_INDEX_H

#include "gdp/arena.h"

#define GDP_INDEX_SLOTS 4096u  /* worker slots: pod x DP rank */
#define GDP_INDEX_READERS 64u  /* threads that may look up at once */

enum { GDP_ORPHAN = -4 }; /* the parent is not known (never was, or was forgotten at the cap): nothing was stored */

typedef enum {
    GDP_ON_GPU = 0,
    GDP_ON_CPU = 1,
    GDP_ON_STORAGE = 2,
    GDP_PREDICTED = 3, /* approximate: we sent it there, nobody told us */
    GDP_INDEX_MEDIA = 4,
} gdp_index_medium;

typedef struct {
    uint64_t bytes_max;        /* hard cap on all memory of the index; at least 1 MiB is taken */
    uint32_t predicted_pct;    /* of it for what only predictions hold; 0: 10 */
} gdp_index_options;

typedef struct {
    uint64_t bytes, bytes_max;       /* memory now, everything included */
    uint64_t table_bytes, segment_bytes, cover_bytes;
    uint64_t blocks;                 /* distinct blocks known */
    uint64_t predicted_blocks;       /* ... in segments that only predictions hold */
    uint64_t segments, covers;       /* alive */
    uint64_t stored, removed;        /* block memberships that came and went by store and remove */
    uint64_t orphans;                /* stores under an unknown parent */
    uint64_t misfits;                /* chains that contradict what is known: a block under another parent */
    uint64_t evicted;                /* distinct blocks forgotten at the cap */
    uint64_t expired;                /* predictions that ran out */
    uint64_t refused;                /* blocks not stored for want of memory */
    uint64_t forgotten;              /* holders forgotten because a removal found no memory */
    uint64_t copies;                 /* of shards */
} gdp_index_stats;

typedef struct gdp_index gdp_index;
typedef struct gdp_index_reader gdp_index_reader;

gdp_index *gdp_index_new(const gdp_index_options *options); /* NULL: out of memory */
void gdp_index_free(gdp_index *index);                      /* no reader may be left */
gdp_arena *gdp_index_arena(gdp_index *index);               /* the writer's, for what else he keeps */

/* ------------------------------- the writer: one thread, or calls one after another --------------------------------
 * `now_s` is a clock in seconds that does not go back; it orders evictions and ends predictions. Names may be any value
 * (0 and 1 are one name). */

/* `slot` holds chain[0..n) on `medium` (not GDP_PREDICTED), in a row after `parent`, or from the root when `first`.
 * held[i], if wanted, becomes whether it held that block there before. Returns how many of the n it holds now (fewer
 * where memory ends), GDP_ORPHAN, or GDP_BAD (slot, medium, or a misfit: what came before it is stored). */
int64_t gdp_index_store(gdp_index *index, uint32_t slot, unsigned medium, uint64_t parent, bool first,
                        const uint64_t *chain, size_t n, bool *held, uint32_t now_s);

/* `slot` probably holds chain[0..n) from the root until `expires_s`. Returns as gdp_index_store(). */
int64_t gdp_index_predict(gdp_index *index, uint32_t slot, const uint64_t *chain, size_t n, uint32_t now_s,
                          uint32_t expires_s);
/* ... behind `parent`, which it holds or is predicted to. GDP_ORPHAN: the parent is not known (any more). */
int64_t gdp_index_predict_after(gdp_index *index, uint32_t slot, uint64_t parent, const uint64_t *chain, size_t n,
                                uint32_t now_s, uint32_t expires_s);

/* What a store or a removal of these will look at is asked for: where they stand, then (near) what stands there. */
void gdp_index_ahead(const gdp_index *index, const uint64_t *chain, size_t n, bool near);

/* `slot` does not hold `block` on `medium` any more. 1: it did, 0: it did not. From the GPU: nor is it predicted there. */
int gdp_index_remove(gdp_index *index, uint32_t slot, unsigned medium, uint64_t block);

/* `slot` holds nothing any more, on any medium. Lookups see it at once and the slot may be used again at once, for the
 * same worker or another; what is left of the old entries goes in steps. */
void gdp_index_clear(gdp_index *index, uint32_t slot);

/* Work put off: leftovers of cleared slots, expired predictions, dead names. Looks at up to `budget` segments (and copies
 * at most one shard); returns how many are left to look at, 0: nothing to do. Call it when idle and once a second. */
size_t gdp_index_step(gdp_index *index, uint32_t now_s, size_t budget);

/* What the writer may ask: is it held; at which depth does the block stand (-1: not known). */
bool gdp_index_holds(gdp_index *index, uint32_t slot, unsigned medium, uint64_t block);
int64_t gdp_index_depth(gdp_index *index, uint64_t block);
void gdp_index_count(gdp_index *index, gdp_index_stats *out);

/* ------------------------------------------ readers: any number, any thread ---------------------------------------- */

/* One per thread; NULL when GDP_INDEX_READERS are taken. No allocation. */
gdp_index_reader *gdp_index_reader_new(gdp_index *index);
void gdp_index_reader_free(gdp_index_reader *reader);

/* Blocks of chain[0..n) that each slot has matched, from the root to its first hole. reach[medium], where not NULL, has
 * room for `slots` numbers, all of which are written:
 *
 *     reach[GDP_ON_GPU][w]       blocks in a row on its GPU
 *     reach[GDP_ON_CPU][w]       ... each on its GPU or in its host memory (>= the GPU's)
 *     reach[GDP_ON_STORAGE][w]   ... each on any of the three
 *     reach[GDP_PREDICTED][w]    ... each on its GPU or predicted to be
 *
 * Returns how many leading blocks are known at all: chain[that] is the first new one. `now_s` stamps what is passed, and
 * ends predictions. */
size_t gdp_index_match(gdp_index_reader *reader, const uint64_t *chain, size_t n, uint32_t now_s, uint32_t slots,
                       uint32_t *const reach[GDP_INDEX_MEDIA]);

#endif
