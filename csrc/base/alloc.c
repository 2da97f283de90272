/* alloc.c -- the one door to the heap, with a trapdoor for tests.
 *
 * Every allocation of the core comes through here, so a test can ask "what if the third one fails?" for every third
 * one there is. The countdown is per thread: a plane under test may run beside a harness that must not starve. */
#include <stdlib.h>

#include "gdp/base.h"

static _Thread_local long gdp_alloc_left = -1; /* -1: never fail; n: fail after n more */

/* True when this allocation is the one to fail. Once failing it stays failing, as a full machine does. */
bool gdp_alloc_refused(void)
{
    if (GDP_LIKELY(gdp_alloc_left < 0)) return false;
    if (gdp_alloc_left == 0) return true;
    gdp_alloc_left--;
    return false;
}

void *gdp_alloc(size_t size)
{
    return gdp_alloc_refused() ? NULL : calloc(1, size ? size : 1);
}

void *gdp_resize(void *old, size_t size)
{
    return gdp_alloc_refused() ? NULL : realloc(old, size ? size : 1);
}

void gdp_free(void *p)
{
    free(p);
}

void gdp_alloc_fail_after(long n)
{
    gdp_alloc_left = n < 0 ? -1 : n;
}
