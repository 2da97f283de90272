/* fuzz_chunked.c -- chunked bodies: a body cut anywhere gives the same payload and ends at the same byte. */
#include "fuzz.h"
#include "gdp/http1.h"

int gdp_fuzz_chunked(const uint8_t *data, size_t size);

typedef struct {
    uint64_t hash, payload, read;
    bool bad, done;
} gdp_walk;

static gdp_walk gdp_walk_chunks(const char *p, size_t size, size_t step)
{
    gdp_chunked c = {0};
    gdp_walk w = {14695981039346656037u, 0, 0, false, false};
    while (w.read < size && !c.done) {
        const size_t n = size - w.read < step ? size - w.read : step;
        gdp_span run;
        int64_t got = gdp_chunked_next(&c, p + w.read, n, &run);
        if (got < 0) {
            w.bad = true;
            break;
        }
        FUZZ_CHECK(got > 0 && (size_t)got <= n);
        FUZZ_INSIDE(run, (size_t)got);
        for (uint32_t i = 0; i < run.len; i++)
            w.hash = (w.hash ^ (uint8_t)p[w.read + run.off + i]) * 1099511628211u;
        w.payload += run.len;
        w.read += (uint64_t)got;
    }
    w.done = c.done;
    FUZZ_CHECK(!c.done || c.boundary);
    return w;
}

int gdp_fuzz_chunked(const uint8_t *data, size_t size)
{
    const gdp_walk whole = gdp_walk_chunks((const char *)data, size, size + 1);
    for (size_t step = 1; step <= 64; step = step * 3 + 1) {
        const gdp_walk part = gdp_walk_chunks((const char *)data, size, step);
        FUZZ_CHECK(part.bad == whole.bad && part.done == whole.done);
        FUZZ_CHECK(part.bad || (part.read == whole.read && part.payload == whole.payload && part.hash == whole.hash));
    }
    return 0;
}
