/* indexer.h -- the index thread: the only writer of the prefix index, fed through one ring.
 *
 *     control   events, clearings (push) --+                       +--> kvwire -> kvfeed of the slot --+
 *                                          +--> ring (16 MiB) -----+                                   +--> index
 *     I/O       predictions (predict) -----+                       +-----------------------------------+
 *     control   who owns a slot (open, close): a table beside the ring, never refused
 *
 * Whoever pushes never waits. A message that does not fit is refused and counted: control then marks the worker cold and
 * fetches the events again from the worker's own memory; a prediction is just not made.
 *
 * A slot passes from worker to worker. Each owner has a generation; a message carries that of its sender's picture, and
 * the thread drops what is of an owner that has gone, and looks at the table first when a message is ahead of it. */
#ifndef GDP_INDEXER_H
#define GDP_INDEXER_H

#include "gdp/chain.h"
#include "gdp/index.h"
#include "gdp/kvfeed.h"

typedef struct gdp_indexer gdp_indexer;

typedef struct {
    uint64_t index_bytes;    /* cap of the index */
    uint32_t predicted_pct;  /* share of it for predictions */
    uint64_t ring_bytes;     /* 0: 16 MiB */
    const void *secret;      /* routing.hash_key */
    size_t secret_len;
} gdp_indexer_options;

typedef enum {
    GDP_FEED_EVENTS,  /* one batch as the worker sent it */
    GDP_FEED_CLEAR,   /* drop what is known of the slot */
    GDP_FEED_RESTART, /* the same: its process began anew */
    GDP_FEED_ASKED,   /* one batch that we asked for (kv_cache_report_mode) */
    GDP_FEED_PREDICT,
    GDP_FEED_PREDICT_AFTER
} gdp_feed_kind;

typedef struct {
    bool open;
    uint64_t held, bytes; /* entries of its feed, and their memory */
    uint64_t batches, malformed, unfit; /* unfit: payloads of which something could not be kept for want of memory */
    gdp_kvfeed_counts feed;
} gdp_indexer_slot;

typedef struct {
    gdp_index_stats index;
    uint64_t messages, predictions, stale; /* stale: of owners that had gone */
    uint64_t feed_bytes;
    uint64_t ring_lost, ring_used, ring_size;
} gdp_indexer_stats;

gdp_indexer *gdp_indexer_new(const gdp_indexer_options *options); /* NULL: out of memory */
int gdp_indexer_start(gdp_indexer *ix);                          /* 0 or -errno */
void gdp_indexer_free(gdp_indexer *ix);                          /* joins the thread; readers must have gone */

/* ---- control ---- */
/* The slot has a new owner that serves `model` (what enters the roots). GDP_NOMEM: it stays without. */
int gdp_indexer_open(gdp_indexer *ix, uint32_t slot, const char *model, size_t len);
void gdp_indexer_close(gdp_indexer *ix, uint32_t slot);
/* 0, GDP_MORE: no room now, GDP_BAD: too long, or the slot has no owner. */
int gdp_indexer_push(gdp_indexer *ix, uint32_t slot, gdp_feed_kind kind, const void *payload, size_t len);
void gdp_indexer_look(gdp_indexer *ix, gdp_indexer_stats *out);
void gdp_indexer_look_slot(gdp_indexer *ix, uint32_t slot, gdp_indexer_slot *out);
/* Wait until all that was pushed before is in the index; false: not within timeout_ms. */
bool gdp_indexer_settle(gdp_indexer *ix, int timeout_ms);

/* ---- any thread ---- */
/* `slot` holds chain[0..held) and was sent all n: what is behind is expected there until expires_s. */
void gdp_indexer_predict(gdp_indexer *ix, uint32_t slot, const uint64_t *chain, uint32_t n, uint32_t held,
                         uint32_t expires_s);
gdp_index *gdp_indexer_index(gdp_indexer *ix);
const gdp_chain_key *gdp_indexer_key(const gdp_indexer *ix);
bool gdp_indexer_tiers(const gdp_indexer *ix); /* somebody has told of another medium than the GPU */
uint32_t gdp_indexer_now_s(void);

#endif
