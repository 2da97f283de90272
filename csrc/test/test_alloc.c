/* test_alloc.c -- the allocator's promises, and that starving it works. */
#include "test.h"

void gdp_test_alloc(void);
void gdp_oom_alloc(void);

void gdp_test_alloc(void)
{
    char *p = gdp_alloc(64);
    CHECK(p != NULL);
    for (int i = 0; i < 64; i++) CHECK(p[i] == 0);
    p[0] = 'x';
    gdp_alloc_fail_after(0);
    CHECK(gdp_alloc(1) == NULL);
    CHECK(gdp_resize(p, 128) == NULL);
    CHECK(p[0] == 'x');
    gdp_alloc_fail_after(1);
    char *q = gdp_resize(p, 128);
    CHECK(q != NULL && q[0] == 'x');
    CHECK(gdp_alloc(1) == NULL);
    gdp_alloc_fail_after(-1);
    gdp_free(q);
    gdp_free(NULL);
}

void gdp_oom_alloc(void)
{
    void *a = gdp_alloc(8), *b = gdp_resize(NULL, 8);
    CHECK(a != NULL || b == NULL); /* once out of memory, always out of memory */
    gdp_free(a);
    gdp_free(b);
}
