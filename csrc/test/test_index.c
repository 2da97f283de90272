/* test_index.c -- the prefix index against a model of it, over a million random operations. */
#include "index_model.h"

#include "test.h"

void gdp_test_index(void);

static const uint32_t low_slots[WORLD_SLOTS] = {0, 1, 5, 63, 64, 65, 127, 128, 130, 190, 191, 192};

static void it_agrees_with_the_truth(uint64_t seed, uint32_t operations, uint32_t blocks)
{
    gdp_world w;
    CHECK(gdp_world_init(&w, (gdp_source){.state = seed}, blocks, low_slots, 64u << 20));
    for (uint32_t i = 0; i < operations; i++) gdp_world_do(&w);
    CHECK(w.hits > operations / 8);
    gdp_world_free(&w);
}

void gdp_test_index(void)
{
    it_agrees_with_the_truth(1, 1000, 10);
    it_agrees_with_the_truth(1, 500000, 60);
    it_agrees_with_the_truth(2, 500000, 2000);
}
