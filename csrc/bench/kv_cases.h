/* kv_cases.h -- the way of KV events into the index, a lookup and the names of a prompt, in loops: see cases.h. */
#ifndef GDP_BENCH_KV_CASES_H
#define GDP_BENCH_KV_CASES_H

#include <stdint.h>

/* One worker that holds 65,536 blocks, in rows of 128 as it told of them; its payloads are kept. */
typedef struct gdp_told_worker gdp_told_worker;
gdp_told_worker *gdp_told_worker_new(void); /* NULL: out of memory */
void gdp_told_worker_free(gdp_told_worker *w);

/* The oldest row goes, its last block first, and comes again: decode, hash, store; 128 blocks each. */
uint64_t gdp_case_kv_intake(gdp_told_worker *w, uint32_t rounds);

/* 64 workers that hold prompts of 2,048 blocks, of which a quarter is common to all. */
typedef struct gdp_known_prompts gdp_known_prompts;
gdp_known_prompts *gdp_known_prompts_new(void);
void gdp_known_prompts_free(gdp_known_prompts *k);
uint64_t gdp_case_kv_lookup(gdp_known_prompts *k, uint32_t rounds);

/* The names of 131,072 tokens in blocks of 16. */
uint64_t gdp_case_kv_names(gdp_known_prompts *k, uint32_t rounds);

#endif
