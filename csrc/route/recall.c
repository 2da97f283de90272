/* recall.c -- see gdp/recall.h. */
#include "gdp/recall.h"

#include <pthread.h>
#include <string.h>

enum { BUCKETS = 1 << 16 };

typedef struct entry entry;
struct entry {
    entry *next;           /* in its bucket */
    entry *newer, *older;
    uint64_t key;
    uint32_t n, prompt_tokens, block_tokens;
    uint64_t chain[];
};

struct gdp_recall {
    pthread_mutex_t lock;
    entry *newest, *oldest;
    size_t bytes;
    entry *bucket[BUCKETS];
};

static size_t size_of(uint32_t n) { return sizeof(entry) + n * sizeof(uint64_t); }

static entry **place_of(gdp_recall *r, uint64_t key)
{
    entry **at = &r->bucket[key % BUCKETS];
    while (*at && (*at)->key != key) at = &(*at)->next;
    return at;
}

static void unlink_age(gdp_recall *r, entry *e)
{
    *(e->newer ? &e->newer->older : &r->newest) = e->older;
    *(e->older ? &e->older->newer : &r->oldest) = e->newer;
}

static void make_newest(gdp_recall *r, entry *e)
{
    e->newer = NULL;
    e->older = r->newest;
    *(r->newest ? &r->newest->newer : &r->oldest) = e;
    r->newest = e;
}

static void drop_oldest(gdp_recall *r)
{
    entry *e = r->oldest;
    *place_of(r, e->key) = e->next;
    unlink_age(r, e);
    r->bytes -= size_of(e->n);
    gdp_free(e);
}

gdp_recall *gdp_recall_new(void)
{
    gdp_recall *r = gdp_alloc(sizeof *r);
    if (r) pthread_mutex_init(&r->lock, NULL);
    return r;
}

void gdp_recall_free(gdp_recall *r)
{
    if (!r) return;
    while (r->oldest) drop_oldest(r);
    pthread_mutex_destroy(&r->lock);
    gdp_free(r);
}

bool gdp_recall_find(gdp_recall *r, uint64_t key, gdp_recalled *out)
{
    pthread_mutex_lock(&r->lock);
    entry *e = *place_of(r, key);
    uint64_t *chain = e ? gdp_resize(NULL, (e->n + 1) * sizeof *chain) : NULL;
    if (chain) {
        memcpy(chain, e->chain, e->n * sizeof *chain);
        *out = (gdp_recalled){chain, e->n, e->prompt_tokens, e->block_tokens};
        unlink_age(r, e);
        make_newest(r, e);
    }
    pthread_mutex_unlock(&r->lock);
    return chain != NULL;
}

void gdp_recall_put(gdp_recall *r, uint64_t key, const gdp_recalled *told, size_t bytes_max)
{
    const size_t size = size_of(told->n);
    entry *e = size <= bytes_max ? gdp_resize(NULL, size) : NULL;
    if (e) {
        *e = (entry){.key = key, .n = told->n, .prompt_tokens = told->prompt_tokens, .block_tokens = told->block_tokens};
        if (told->n) memcpy(e->chain, told->chain, told->n * sizeof *e->chain);
    }
    pthread_mutex_lock(&r->lock);
    entry **at = place_of(r, key);
    if (e && !*at) {
        *at = e;
        make_newest(r, e);
        r->bytes += size;
        e = NULL;
    }
    while (r->bytes > bytes_max) drop_oldest(r);
    pthread_mutex_unlock(&r->lock);
    gdp_free(e);
}

size_t gdp_recall_bytes(gdp_recall *r)
{
    pthread_mutex_lock(&r->lock);
    const size_t bytes = r->bytes;
    pthread_mutex_unlock(&r->lock);
    return bytes;
}
