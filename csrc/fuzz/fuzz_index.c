/* fuzz_index.c -- the prefix index: the input's bytes are operations on a small world, done to the index and to a model. */
#include "fuzz.h"
#include "index_model.h"

int gdp_fuzz_index(const uint8_t *data, size_t size);

int gdp_fuzz_index(const uint8_t *data, size_t size)
{
    static const uint32_t slots[WORLD_SLOTS] = {0, 1, 2, 62, 63, 64, 65, 128, 191, 192, 255, 256};
    gdp_world w;
    if (gdp_world_init(&w, (gdp_source){.bytes = data, .left = size}, 48, slots, false)) {
        while (w.from.left) gdp_world_do(&w);
        gdp_world_settle(&w);
    }
    gdp_world_free(&w);
    return 0;
}
