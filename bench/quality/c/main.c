/* main.c -- gdp-quality WORKLOAD RESULT key=value...: one run in virtual time.
 *
 * WORKLOAD: u64 n, hashes, block_tokens, 0; f64 arrival[n]; u32 prompt[n], output[n]; u64 session[n]; u64 first[n + 1];
 * u64 hash[hashes]; all little-endian. RESULT: f64 [n][8]: TTFT, mean time between tokens, tokens found in the cache,
 * tokens predicted there, worker, seconds in the queue, preemptions, prompt. Standard output: one JSON line. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

static void fail(const char *reason, const char *what)
{
    fprintf(stderr, "%s: %s\n", reason, what);
    exit(2);
}

static void *must(void *p)
{
    if (!p) fail("NoMemory", "the workload does not fit");
    return p;
}

static void read_all(void *into, size_t each, size_t n, FILE *f)
{
    if (fread(into, each, n, f) != n) fail("BadWorkload", "the file is too short; write it again");
}

static void *column(size_t each, size_t n, FILE *f)
{
    void *p = must(malloc(each * n + 1));
    read_all(p, each, n, f);
    return p;
}

static void read_workload(world *w, const char *path)
{
    uint64_t head[4];
    FILE *f = fopen(path, "rb");
    if (!f) fail("NoWorkload", path);
    read_all(head, sizeof *head, 4, f);
    size_t n = head[0];
    w->n = (uint32_t)n;
    w->block_tokens = (uint32_t)head[2];
    double *arrival = column(sizeof *arrival, n, f);
    uint32_t *prompt = column(sizeof *prompt, n, f), *output = column(sizeof *output, n, f);
    uint64_t *session = column(sizeof *session, n, f), *first = column(sizeof *first, n + 1, f);
    uint64_t *hash = column(sizeof *hash, head[1], f);
    uint32_t *own = must(calloc(head[1] + 1, sizeof *own));
    w->requests = must(calloc(n, sizeof *w->requests));
    for (size_t i = 0; i < n; i++) {
        uint32_t full = prompt[i] / w->block_tokens, named = (uint32_t)(first[i + 1] - first[i]);
        w->requests[i] = (request){.arrival = arrival[i], .prompt = prompt[i], .output = output[i], .session = session[i],
                                   .blocks = full < named ? full : named, .chain = hash + first[i], .own = own + first[i]};
    }
    fclose(f);
    free(arrival), free(prompt), free(output), free(session), free(first);
}

typedef struct {
    const char *name;
    double *at;
} setting;

static bool set_number(world *w, const char *key, double value)
{
    profile *p = &w->engine_profile;
    const setting numbers[] = {
        {"weight_s", &p->weight_s},       {"kv_s", &p->kv_s},
        {"multiply_s", &p->multiply_s},   {"attend_s", &p->attend_s},
        {"cpu_s", &p->cpu_s},             {"fixed_s", &p->fixed_s},
        {"kv_tokens", &p->kv_tokens},     {"event_delay_s", &w->event_delay_s},
        {"belief_s", &w->belief_s},       {"approx_s", &w->approx_s},
        {"full_s", &w->rule.full_s},      {"demote_s", &w->rule.demote_s},
        {"ttft_slo_s", &w->rule.ttft_slo_s}, {"itl_slo_s", &w->rule.itl_slo_s},
        {"guard_s", &w->rule.guard_s},
        {"w_queue", &w->weights.queue},   {"w_prefill", &w->weights.prefill},
        {"w_stall", &w->weights.stall},   {"w_decode", &w->weights.decode},
        {"w_floor", &w->weights.floor},   {"tie_ratio", &w->weights.tie_ratio},
        {"tie_s", &w->weights.tie_s},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (!strcmp(key, numbers[i].name)) return *numbers[i].at = value, true;
    if (!strcmp(key, "workers") && value >= 1 && value <= WORKERS_MAX) return w->n_workers = (uint32_t)value, true;
    if (!strcmp(key, "seqs_max")) return p->seqs_max = (uint32_t)value, true;
    if (!strcmp(key, "budget")) return p->budget = (uint32_t)value, true;
    if (!strcmp(key, "fifo")) return w->rule.fifo = value > 0, true;
    if (!strcmp(key, "bind_full")) return w->bind_full = value > 0, true;
    if (!strcmp(key, "seed")) return w->seed = (uint64_t)value | 1, true;
    return false;
}

/* changes=SECONDS:WORKER:UP,... in order of time */
static void read_changes(world *w, const char *text)
{
    while (*text) {
        change c;
        int up, used = 0;
        if (sscanf(text, "%lf:%u:%d%n", &c.at, &c.worker, &up, &used) != 3) fail("BadChanges", text);
        c.up = up;
        w->changes = must(realloc(w->changes, (w->n_changes + 1) * sizeof *w->changes));
        w->changes[w->n_changes++] = c;
        text += used + (text[used] == ',');
    }
}

static void read_setting(world *w, const char *text)
{
    char key[32] = "";
    const char *value = strchr(text, '=');
    if (!value || (size_t)(value - text) >= sizeof key) fail("BadSetting", text);
    memcpy(key, text, (size_t)(value++ - text));
    if (!strcmp(key, "changes")) {
        read_changes(w, value);
        return;
    }
    if (!strcmp(key, "policy")) {
        for (int i = 0; i < POLICIES; i++)
            if (!strcmp(value, POLICY_NAMES[i])) {
                w->by = (policy)i;
                return;
            }
        fail("UnknownPolicy", value);
    }
    char *end;
    double number = strtod(value, &end);
    if (end == value || *end || !set_number(w, key, number)) fail("BadSetting", text);
}

static void write_result(const world *w, const char *path)
{
    FILE *f = fopen(path, "wb");
    if (!f) fail("NoResult", path);
    for (uint32_t i = 0; i < w->n; i++) {
        const request *r = &w->requests[i];
        double between = r->made > 1 ? (r->end_s - r->first_s) / (r->made - 1) : 0;
        double row[8] = {r->first_s - r->arrival, between, r->cached, r->matched, r->worker, r->placed_s - r->arrival,
                         r->preempted, r->prompt};
        fwrite(row, sizeof row, 1, f);
    }
    if (fclose(f)) fail("NoResult", strerror(errno));
}

static double gap_s(const gdp_hist *h, double q)
{
    uint64_t below = 0;
    for (unsigned i = 0; i < GDP_HIST_BUCKETS; i++)
        if ((double)(below += h->bucket[i]) >= q * (double)h->count) return gdp_hist_bound(i);
    return 0;
}

static void report(const world *w)
{
    const double *f = w->rates.prefill.theta, *s = w->rates.step.theta;
    printf("{\"end_s\": %.3f, \"itl_p50_s\": %.6f, \"itl_p95_s\": %.6f, \"itl_p99_s\": %.6f, ", w->now,
           gap_s(&w->gaps, .5), gap_s(&w->gaps, .95), gap_s(&w->gaps, .99));
    printf("\"prefill\": [%g, %g, %g, %g], \"step\": [%g, %g, %g, %g], \"busy_s\": [", f[0], f[1], f[2],
           w->rates.prefill.error, s[0], s[1], s[2], w->rates.step.error);
    for (uint32_t i = 0; i < w->n_workers; i++) printf("%s%.3f", i ? ", " : "", w->engines[i].busy_s);
    printf("]}\n");
}

int main(int argc, char **argv)
{
    world *w = must(calloc(1, sizeof *w));
    if (argc < 3) fail("Usage", "gdp-quality WORKLOAD RESULT key=value...");
    w->seed = 88172645463325252u;
    gdp_late_rule_init(&w->rule);
    gdp_weights_init(&w->weights);
    for (int i = 3; i < argc; i++) read_setting(w, argv[i]);
    read_workload(w, argv[1]);
    world_run(w);
    write_result(w, argv[2]);
    report(w);
    return 0;
}
