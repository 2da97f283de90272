/* kvwire.h -- read what an engine says about its KV cache: a msgpack payload into events, in C, in one pass.
 *
 * vLLM publishes one batch per engine step, and changed its form in every second release:
 *
 *     [ts, [event, ...], data_parallel_rank]           the batch: 2, 3 or more items; a map with those names is read too
 *     ["BlockStored", hashes, parent, tokens, ...]     <= 0.23: an array that got longer with the releases
 *     {"type": "BlockStored", "block_hashes": ...}     >= 0.24: a map, keys in any order, new ones every few releases
 *
 * So: items beyond those we know are skipped, missing ones have their default, unknown keys and unknown event types
 * pass (counted). A hash is an integer of either sign or a digest of bytes.
 *
 * The whole payload is read before anything is handed on: a malformed one leaves nothing behind but the reason. Nothing
 * is allocated per event; hashes, tokens and keys of all events lie in arrays of the batch, which is used again for the
 * next payload. They grow with what was really read, never with what a length claims, and are given back when a payload
 * of another order of magnitude follows. Strings are spans of the payload. Nothing recurses. */
#ifndef GDP_KVWIRE_H
#define GDP_KVWIRE_H

#include "gdp/base.h"

/* An engine's name for a block: an integer is {value, 0}, a digest of up to 16 bytes itself (big-endian, hi first), a
 * longer one folded to 128 bits. Only ever compared. */
typedef struct {
    uint64_t lo, hi;
} gdp_kv_hash;

typedef enum { GDP_KV_STORED, GDP_KV_REMOVED, GDP_KV_CLEARED } gdp_kv_kind;
typedef enum { GDP_KV_GPU, GDP_KV_CPU, GDP_KV_STORAGE, GDP_KV_ELSEWHERE } gdp_kv_medium;

#define GDP_KV_NO_GROUP (-1)

typedef struct {
    uint8_t kind;     /* gdp_kv_kind */
    uint8_t medium;   /* gdp_kv_medium; GPU when the event does not say */
    bool full;        /* of a full-attention group, or of a release that does not say */
    bool told;        /* ... it did say */
    bool has_parent;
    int32_t group;    /* GDP_KV_NO_GROUP when it does not say */
    int32_t lora_id;  /* -1 when it does not say; means something only without a name (before 0.14) */
    uint32_t block_size;
    uint32_t hash_at, n_hashes;   /* in batch->hashes */
    uint32_t token_at, n_tokens;  /* in batch->tokens */
    uint32_t extra_at, n_extras;  /* in batch->extras */
    uint32_t copy_at, n_copies;   /* in batch->copies: what remains of each hash after a removal; 0 when not told */
    uint32_t n_lookahead;         /* tokens behind the last block that its hash covers too; not ours to hash */
    gdp_kv_hash parent;
    gdp_span lora;
} gdp_kv_event;

typedef enum { GDP_KEY_BARE, GDP_KEY_LORA, GDP_KEY_MM, GDP_KEY_SALT, GDP_KEY_EMBEDS, GDP_KEY_OTHER } gdp_kv_key_kind;

/* One extra key of one block. */
typedef struct {
    uint32_t block;  /* which of the event's blocks */
    uint8_t kind;    /* gdp_kv_key_kind; BARE: an untagged string, whose meaning the reader must guess */
    gdp_span id;
    int64_t offset;  /* of MM; -1 when not told */
} gdp_kv_extra;

typedef struct {
    double ts;
    int32_t rank;  /* data-parallel; -1 when it does not say */
    uint32_t n_events, n_hashes, n_tokens, n_extras, n_copies;
    uint32_t n_unknown; /* events of unknown type, skipped */
    gdp_kv_event *events;
    gdp_kv_hash *hashes;
    uint32_t *tokens;
    gdp_kv_extra *extras;
    uint32_t *copies;
    uint32_t events_cap, hashes_cap, tokens_cap, extras_cap, copies_cap;
    const char *why; /* after GDP_BAD: one CamelCase word */
    uint32_t at;     /* ... and the offset near which it was wrong */
} gdp_kv_batch;

#define GDP_KV_PAYLOAD_MAX (64u << 20) /* bytes; longer is GDP_BAD, PayloadTooLong */

/* Begin with a zeroed batch. Returns the number of events, GDP_BAD (why), or GDP_NOMEM; after both of these n_events is
 * 0. The payload must live as long as its spans are used. */
int64_t gdp_kv_decode(gdp_kv_batch *batch, const void *payload, size_t len);

size_t gdp_kv_batch_bytes(const gdp_kv_batch *batch); /* of memory held */
void gdp_kv_batch_free(gdp_kv_batch *batch);          /* its arrays; the batch is zeroed */

#endif
