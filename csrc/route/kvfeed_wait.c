/* kvfeed_wait.c -- rows whose parent is not known, within so many bytes; the oldest one goes first.
 *
 * After a message was lost, running requests go on to announce blocks behind those that nobody heard of. A replay
 * brings the parents, and then all is known at once; without it the rows would lie here for ever. */
#include <string.h>

#include "kvfeed_inner.h"

static gdp_waiter *gdp_waiter_new(const gdp_row *row, uint64_t parent)
{
    const size_t n = row->n, extras = row->extras ? n * sizeof *row->extras : 0;
    const size_t hashes = n * sizeof *row->hashes, tokens = n * row->block_size * sizeof *row->tokens;
    const size_t bytes = sizeof(gdp_waiter) + hashes + extras + tokens + (n + 7) / 8;
    gdp_waiter *w = gdp_resize(NULL, bytes);
    if (!w) return NULL;
    *w = (gdp_waiter){.parent = parent, .bytes = bytes, .row = *row};
    char *at = (char *)(w + 1);
    w->row.hashes = memcpy(at, row->hashes, hashes);
    at += hashes;
    if (extras) w->row.extras = memcpy(at, row->extras, extras);
    at += extras;
    w->row.tokens = memcpy(at, row->tokens, tokens);
    w->gone = memset(at + tokens, 0, (n + 7) / 8);
    return w;
}

static void gdp_wait_unlink(gdp_wait *wait, gdp_waiter *w)
{
    *(w->older ? &w->older->newer : &wait->oldest) = w->newer;
    *(w->newer ? &w->newer->older : &wait->newest) = w->older;
    wait->bytes -= w->bytes;
}

static inline gdp_waiter *gdp_waiter_at(uint64_t address) { return (gdp_waiter *)(uintptr_t)address; }

/* Out of the list of its parent, too. The list's cell was there, so this takes no memory. */
static void gdp_wait_forget(gdp_wait *wait, gdp_waiter *w)
{
    gdp_waiter *first = gdp_waiter_at(gdp_side_get(&wait->parents, w->parent)), **at = &first;
    while (*at != w) at = &(*at)->next;
    *at = w->next;
    gdp_side_set(&wait->parents, w->parent, (uint64_t)(uintptr_t)first);
    gdp_wait_unlink(wait, w);
    gdp_free(w);
}

gdp_wait_result gdp_wait_put(gdp_wait *wait, const gdp_row *row, uint64_t parent)
{
    gdp_wait_result result = {.rc = 0};
    const uint64_t least = (uint64_t)row->n * (sizeof *row->hashes + row->block_size * sizeof *row->tokens);
    if (least > wait->bytes_max) return result;
    gdp_waiter *w = gdp_waiter_new(row, parent);
    result.rc = GDP_NOMEM;
    if (!w) return result;
    while (wait->oldest && wait->bytes + w->bytes > wait->bytes_max) {
        result.dropped += wait->oldest->row.n - wait->oldest->n_gone;
        gdp_wait_forget(wait, wait->oldest);
    }
    result.rc = w->bytes <= wait->bytes_max;
    if (result.rc) {
        w->next = gdp_waiter_at(gdp_side_get(&wait->parents, parent));
        if (!gdp_side_set(&wait->parents, parent, (uint64_t)(uintptr_t)w)) result.rc = GDP_NOMEM;
    }
    if (result.rc != 1) {
        gdp_free(w);
        return result;
    }
    w->older = wait->newest;
    *(wait->newest ? &wait->newest->newer : &wait->oldest) = w;
    wait->newest = w;
    wait->bytes += w->bytes;
    return result;
}

gdp_waiter *gdp_wait_join(gdp_wait *wait, uint64_t parent)
{
    gdp_waiter *joined = NULL, *w = gdp_waiter_at(gdp_side_get(&wait->parents, parent));
    if (!w) return NULL;
    gdp_side_set(&wait->parents, parent, 0);
    for (gdp_waiter *next; w; w = next) { /* newest first; turned round */
        next = w->next;
        gdp_wait_unlink(wait, w);
        w->next = joined;
        joined = w;
    }
    return joined;
}

bool gdp_wait_remove(gdp_wait *wait, uint8_t medium, gdp_kv_hash hash)
{
    for (gdp_waiter *w = wait->oldest; w; w = w->newer) {
        if (w->row.medium != medium) continue;
        for (uint32_t i = 0; i < w->row.n; i++) {
            if (!gdp_kv_equal(w->row.hashes[i], hash) || w->gone[i / 8] >> i % 8 & 1) continue;
            w->gone[i / 8] |= (uint8_t)(1u << i % 8);
            if (++w->n_gone == w->row.n) gdp_wait_forget(wait, w);
            return true;
        }
    }
    return false;
}

uint32_t gdp_wait_clear(gdp_wait *wait)
{
    uint32_t blocks = 0;
    for (gdp_waiter *w = wait->oldest, *next; w; w = next) {
        next = w->newer;
        blocks += w->row.n - w->n_gone;
        gdp_free(w);
    }
    gdp_side_free(&wait->parents);
    *wait = (gdp_wait){.bytes_max = wait->bytes_max};
    return blocks;
}

size_t gdp_wait_bytes(const gdp_wait *wait) { return wait->bytes + gdp_side_bytes(&wait->parents); }
