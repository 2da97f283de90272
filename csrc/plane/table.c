/* table.c -- what control publishes: built once, then read by all I/O threads without a lock. */
#include <string.h>

#include "inner.h"

static char *copy(const char *bytes, size_t len) {
    char *c = gdp_alloc(len + 1);
    if (c && len) memcpy(c, bytes, len);
    return c;
}

gdp_table *gdp_table_new(const gdp_settings *s, uint32_t n_workers, uint32_t n_models) {
    gdp_table *t = gdp_alloc(sizeof *t);
    if (!t) return NULL;
    t->set = *s;
    t->n_workers = n_workers;
    t->n_models = n_models;
    t->n_chains = n_models * 2 + 1;
    t->workers = gdp_alloc((n_workers + 1) * sizeof *t->workers);
    t->models = gdp_alloc((n_models + 1) * sizeof *t->models);
    t->chains = gdp_alloc(t->n_chains * sizeof *t->chains);
    if (!t->workers || !t->models || !t->chains) {
        gdp_table_free(t);
        return NULL;
    }
    return t;
}

int gdp_table_worker(gdp_table *t, uint32_t i, const gdp_worker *w) {
    if (i >= t->n_workers || w->slot >= GDP_SLOTS_MAX) return GDP_BAD;
    t->workers[i] = *w;
    if (w->slot >= t->n_slots) t->n_slots = w->slot + 1;
    if (w->state == GDP_READY) t->any_ready = true;
    if (w->rank >= 0) t->ranked = true;
    return 0;
}

int gdp_table_model(gdp_table *t, uint32_t i, const char *name, size_t len, const uint32_t *workers, uint32_t n,
                    const char *body, size_t body_len) {
    if (i >= t->n_models || t->models[i].name) return GDP_BAD;
    for (uint32_t k = 0; k < n; k++)
        if (workers[k] >= t->n_workers) return GDP_BAD;
    model *m = &t->models[i];
    m->name = copy(name, len);
    m->body = copy(body, body_len);
    m->workers = gdp_alloc((n + 1) * sizeof *workers);
    m->roster = gdp_roster_new(t->workers, workers, n);
    if (!m->name || !m->body || !m->workers || !m->roster) return GDP_NOMEM;
    if (n) memcpy(m->workers, workers, n * sizeof *workers);
    m->name_len = (uint32_t)len;
    m->body_len = (uint32_t)body_len;
    m->n_workers = n;
    m->hash = gdp_hash(name, len, 0);
    uint32_t *chain = &t->chains[m->hash % t->n_chains];
    m->next = *chain;
    *chain = i + 1;
    return 0;
}

int gdp_table_model_exact(gdp_table *t, uint32_t i, uint64_t recall_seed) {
    if (i >= t->n_models || !t->models[i].name) return GDP_BAD;
    t->models[i].exact = true;
    t->models[i].recall_seed = recall_seed;
    return 0;
}

int gdp_table_model_accounts(gdp_table *t, uint32_t i, const uint16_t *numbers, uint32_t n) {
    if (i >= t->n_models || !t->models[i].name || n > GDP_SLO_CLASSES + 1) return GDP_BAD;
    for (uint32_t k = 0; k < n; k++)
        if (numbers[k] >= GDP_ACCOUNTS) return GDP_BAD;
    memcpy(t->models[i].accounts, numbers, n * sizeof *numbers);
    t->models[i].n_accounts = n;
    return 0;
}

static int put(char **where, uint32_t *where_len, const char *body, size_t len) {
    char *c = copy(body, len);
    if (!c) return GDP_NOMEM;
    gdp_free(*where);
    *where = c;
    *where_len = (uint32_t)len;
    return 0;
}

int gdp_table_list(gdp_table *t, const char *body, size_t len) { return put(&t->list, &t->list_len, body, len); }

int gdp_table_version(gdp_table *t, const char *body, size_t len) {
    return put(&t->version, &t->version_len, body, len);
}

void gdp_table_free(gdp_table *t) {
    if (!t) return;
    for (uint32_t i = 0; t->models && i < t->n_models; i++) {
        gdp_free(t->models[i].name);
        gdp_free(t->models[i].body);
        gdp_free(t->models[i].workers);
        gdp_roster_free(t->models[i].roster);
    }
    gdp_free(t->models);
    gdp_free(t->workers);
    gdp_free(t->chains);
    gdp_free(t->list);
    gdp_free(t->version);
    gdp_free(t);
}

const model *table_model(const gdp_table *t, const char *name, size_t len) {
    uint64_t hash = gdp_hash(name, len, 0);
    for (uint32_t i = t->chains[hash % t->n_chains]; i; i = t->models[i - 1].next) {
        const model *m = &t->models[i - 1];
        if (m->hash == hash && m->name_len == len && !memcmp(m->name, name, len)) return m;
    }
    return NULL;
}

const gdp_worker *table_slot(const gdp_table *t, uint32_t slot) {
    for (uint32_t i = 0; i < t->n_workers; i++)
        if (t->workers[i].slot == slot) return &t->workers[i];
    return NULL;
}
