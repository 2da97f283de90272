/* cases.h -- the core's hot calls in loops, for bench/micro to time.
 *
 * Each case runs one call `rounds` times in C, so a Python caller's few hundred nanoseconds vanish in a millisecond of
 * work. The result is a sum that depends on every round (the compiler may not drop one), or 0 when a call did not do
 * what it should: a bench that measures refusals measures nothing.
 *
 * gdp_case_calibration is the yardstick: four table walks over bytes at once. One walk alone waits for its loads and so
 * hardly notices a busy sibling thread of the same core, which slows real parsers to half; four fill the core as they
 * do, and suffer alike. Budgets are multiples of it, so they hold on a slow and on a busy machine. */
#ifndef GDP_BENCH_CASES_H
#define GDP_BENCH_CASES_H

#include <stddef.h>
#include <stdint.h>

uint64_t gdp_case_calibration(const char *bytes, size_t len, uint32_t rounds); /* len: a multiple of 4 */

uint64_t gdp_case_http1_request(const char *head, size_t len, uint32_t rounds);
uint64_t gdp_case_http1_response(const char *head, size_t len, uint32_t rounds);
uint64_t gdp_case_chunked(const char *body, size_t len, uint32_t rounds); /* one whole body */
uint64_t gdp_case_openai_scan(const char *body, size_t len, uint32_t rounds);
uint64_t gdp_case_openai_splice(const char *body, size_t len, uint32_t rounds); /* of a streamed request */
uint64_t gdp_case_openai_usage(const char *json, size_t len, uint32_t rounds);
uint64_t gdp_case_sse_next(const char *event, size_t len, uint32_t rounds);

/* Choose, book and settle among `workers` ready ones; KV and APPROX with what each of them holds of the prompt, the rules
 * of the queue, and the first token on the way. policy: a gdp_policy. */
typedef struct gdp_fleet gdp_fleet;
gdp_fleet *gdp_fleet_new(uint32_t policy, uint32_t workers); /* NULL: out of memory, or there is no such fleet */
void gdp_fleet_free(gdp_fleet *f);
uint64_t gdp_case_place_settle(gdp_fleet *f, uint32_t rounds);

#endif
