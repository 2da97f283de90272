/* walk.c -- which slots make up a window: see gdp/meter_window.h. */
#include "gdp/meter_window.h"

gdp_walk gdp_walk_begin(uint64_t open, uint64_t now_ns, uint32_t window_s)
{
    const uint64_t window_ns = window_s * GDP_SECOND_NS, open_ns = open * GDP_SECOND_NS;
    if (now_ns < open_ns) now_ns = open_ns; /* the reader's clock is behind the writer's */
    gdp_walk w = {.from_ns = now_ns > window_ns ? now_ns - window_ns : 0, .second = open, .open = open};
    return w; /* from the open second: behind it nothing was written */
}

/* Inside [begin, begin + length) from the window's begin on, as a share. */
static double inside(uint64_t begin_ns, uint64_t length_ns, uint64_t from_ns)
{
    return begin_ns >= from_ns ? 1 : (double)(begin_ns + length_ns - from_ns) / (double)length_ns;
}

bool gdp_walk_next(gdp_walk *w, gdp_step *step)
{
    if (w->over || (w->second + 1) * GDP_SECOND_NS <= w->from_ns) return false;
    const uint64_t decade = w->second / 10, first = decade * 10;
    const bool closed = w->second % 10 == 9 && decade < w->open / 10;
    if (closed && (first * GDP_SECOND_NS >= w->from_ns || w->open - first >= GDP_RING_SLOTS)) {
        *step = (gdp_step){decade, inside(first * GDP_SECOND_NS, 10 * GDP_SECOND_NS, w->from_ns), true};
        w->second = first;
    } else {
        *step = (gdp_step){w->second, inside(w->second * GDP_SECOND_NS, GDP_SECOND_NS, w->from_ns), false};
    }
    w->over = w->second == 0;
    w->second--;
    return true;
}
