/* events.c -- the intake of KV events measured: `gdp-bench-events FILE` prints one line of JSON.
 *
 * FILE holds payloads as engines publish them, each after its slot and its length as native 32-bit numbers. They go the
 * way of the index thread: decode (kvwire), hash the token ids and remember the engine's name (kvfeed), store (index).
 * Time is the CPU of this thread for all three; reading the file is not counted, nor are payloads whose slot has
 * UNTIMED, which only set the scene. Memory is what the index and the feeds hold at the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gdp/index.h"
#include "gdp/kvfeed.h"

#define SLOTS 64u
#define UNTIMED 0x80000000u

typedef struct {
    uint32_t slot, len;
    bool timed;
    const uint8_t *bytes;
} payload;

static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void die(const char *why)
{
    fprintf(stderr, "gdp-bench-events: %s\n", why);
    exit(1);
}

static uint8_t *whole_file(const char *path, size_t *len)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) die(path);
    *len = (size_t)ftell(file);
    uint8_t *bytes = malloc(*len + 1);
    rewind(file);
    if (!bytes || fread(bytes, 1, *len, file) != *len) die(path);
    fclose(file);
    return bytes;
}

static payload *payloads_of(const uint8_t *bytes, size_t len, size_t *count)
{
    payload *all = malloc(sizeof *all * (len / 8 + 1));
    if (!all) die("out of memory");
    *count = 0;
    for (size_t at = 0; at + 8 <= len;) {
        payload *p = &all[(*count)++];
        memcpy(&p->slot, bytes + at, 4);
        memcpy(&p->len, bytes + at + 4, 4);
        p->bytes = bytes + at + 8;
        p->timed = !(p->slot & UNTIMED);
        p->slot &= ~UNTIMED;
        if (p->slot >= SLOTS || p->len > len - at - 8) die("the file is cut");
        at += 8 + p->len;
    }
    return all;
}

/* ------------------------------------------------ the sink: an index ------------------------------------------------ */

static int store(void *self, uint32_t slot, uint8_t medium, uint64_t parent, bool first, const uint64_t *chain, uint32_t n,
                 bool *held)
{
    return gdp_index_store(self, slot, medium, parent, first, chain, n, held, 1) < 0 ? -1 : 0;
}

static void take_back(void *self, uint32_t slot, uint8_t medium, uint64_t chain)
{
    gdp_index_remove(self, slot, medium, chain);
}

static void clear(void *self, uint32_t slot) { gdp_index_clear(self, slot); }

static void ahead(void *self, const uint64_t *chain, uint32_t n, bool near) { gdp_index_ahead(self, chain, n, near); }

/* ---------------------------------------------------- intake ------------------------------------------------------ */

typedef struct {
    double decode_ns, apply_ns;
    uint64_t blocks, payloads; /* that were timed */
} timing;

static uint64_t told(const gdp_kvfeed *feed)
{
    const gdp_kvfeed_counts *c = gdp_kvfeed_counted(feed);
    return c->stored + c->removed;
}

static void take_in(gdp_kvfeed *feed, gdp_kv_batch *batch, const payload *p, timing *t)
{
    const uint64_t before = told(feed);
    const double from = cpu_ns();
    if (gdp_kv_decode(batch, p->bytes, p->len) < 0) die("a payload was not understood");
    const double between = cpu_ns();
    if (gdp_kvfeed_apply(feed, batch, (const char *)p->bytes, 0)) die("out of memory");
    const double to = cpu_ns();
    if (!p->timed) return;
    t->decode_ns += between - from, t->apply_ns += to - between;
    t->blocks += told(feed) - before, t->payloads++;
}

static void report(const timing *t, gdp_index *index, gdp_kvfeed **feed)
{
    uint64_t held = 0, feed_bytes = 0, lost = 0;
    for (uint32_t s = 0; s < SLOTS; s++) {
        const gdp_kvfeed_counts *c = gdp_kvfeed_counted(feed[s]);
        if (!c->stored) continue;
        held += gdp_kvfeed_held(feed[s]), feed_bytes += gdp_kvfeed_bytes(feed[s]);
        lost += c->waiting + c->dropped + c->unknown_removed + c->uneven;
    }
    gdp_index_stats now;
    gdp_index_count(index, &now);
    if (lost || !t->blocks || now.orphans || now.misfits || now.refused) die("events were lost: the figures mean nothing");
    const double blocks = (double)t->blocks, all_ns = t->decode_ns + t->apply_ns;
    printf("{\"decode_ns\": %.2f, \"apply_ns\": %.2f, \"block_ns\": %.2f, \"payload_ns\": %.1f, ", t->decode_ns / blocks,
           t->apply_ns / blocks, all_ns / blocks, all_ns / (double)t->payloads);
    printf("\"blocks\": %.0f, \"index_bytes\": %.2f, \"map_bytes\": %.2f, \"held\": %.0f, \"distinct\": %.0f}\n", blocks,
           (double)now.bytes / (double)now.blocks, (double)feed_bytes / (double)held, (double)held, (double)now.blocks);
}

int main(int argc, char **argv)
{
    if (argc != 2) die("one FILE of payloads");
    size_t len, count;
    uint8_t *bytes = whole_file(argv[1], &len);
    payload *all = payloads_of(bytes, len, &count);
    gdp_chain_key key;
    gdp_chain_key_init(&key, "bench", 5);
    gdp_index *index = gdp_index_new(&(gdp_index_options){.bytes_max = (uint64_t)2 << 30});
    gdp_kvfeed *feed[SLOTS];
    for (uint32_t s = 0; s < SLOTS; s++)
        feed[s] = gdp_kvfeed_new_in(&(gdp_kvfeed_options){.slot = s, .key = &key, .model = "bench", .model_len = 5,
                                                          .sink = {index, store, take_back, clear, ahead}},
                                    gdp_index_arena(index));
    gdp_kv_batch batch = {0};
    timing t = {0};
    for (size_t i = 0; i < count; i++) take_in(feed[all[i].slot], &batch, &all[i], &t);
    report(&t, index, feed);
    for (uint32_t s = 0; s < SLOTS; s++) gdp_kvfeed_free(feed[s]);
    gdp_index_free(index);
    gdp_kv_batch_free(&batch);
    free(all), free(bytes);
    return 0;
}
