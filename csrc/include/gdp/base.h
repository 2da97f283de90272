/* base.h -- words that every module of the core uses.
 *
 * Results are the same everywhere: >= 0 done (often a count of bytes), and the three below.
 * Nothing in the core prints, exits, or keeps global state. */
#ifndef GDP_BASE_H
#define GDP_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    GDP_BAD = -1,  /* the input is wrong; what was wrong is in the result's `why` where there is one */
    GDP_MORE = -2, /* the input is right so far and not complete */
    GDP_NOMEM = -3 /* an allocation failed; the object is as it was before the call */
};

/* A stretch of somebody else's bytes, as an offset, so that it survives a realloc of the buffer. */
typedef struct {
    uint32_t off;
    uint32_t len;
} gdp_span;

/* Allocation goes through these three, so that tests can make the Nth one fail (csrc/test/oom.c). */
void *gdp_alloc(size_t size);            /* zeroed */
void *gdp_resize(void *old, size_t size); /* old may be NULL; NULL on failure, old stays valid */
void gdp_free(void *p);

/* Test hook: fail every allocation after the next `n` succeeded; n < 0 switches it off. Per thread. */
void gdp_alloc_fail_after(long n);
bool gdp_alloc_refused(void); /* counts as one, for who has memory of his own: is it to fail? */

#define GDP_LIKELY(x) __builtin_expect(!!(x), 1)
#define GDP_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
