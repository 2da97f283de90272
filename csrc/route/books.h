/* books.h -- what load.c keeps and choose.c chooses by. Private to csrc/route. */
#ifndef GDP_BOOKS_H
#define GDP_BOOKS_H

#include <pthread.h>

#include "gdp/load.h"

#define GDP_PLACES_MAX (GDP_SLOTS_MAX + GDP_CLASSES * (GDP_ROW - 1))

struct gdp_books {
    pthread_mutex_t lock;
    uint64_t random;  /* xorshift state */
    uint64_t turn;    /* round robin */
    uint32_t n_open;  /* circuits not closed: lets gdp_next_probe answer at once */
    gdp_tally *tally;
    gdp_weights usual;
    gdp_rates rates[GDP_CLASSES];
    double bytes_per_token[GDP_CLASSES]; /* of prompts as they stand in requests, running mean */
    gdp_book book[GDP_SLOTS_MAX]; /* without what stands in columns: copied out of those when one is asked for */
    double trust[GDP_SLOTS_MAX];
    uint32_t trusted[GDP_SLOTS_MAX]; /* scratch: reach of text as far as it is believed */
    double limits[GDP_PLACES_MAX];   /* scratch: those of a roster, 0 where a circuit or an earlier failure forbids */
    uint32_t fit[GDP_PLACES_MAX];    /* scratch: places that may be chosen */
};

static inline double seconds_of(uint64_t ns) { return (double)ns * 1e-9; }

/* May this worker get a request now, as far as its circuit goes? One whose pause is over becomes half open here. */
static inline bool circuit_lets_through(gdp_book *k, uint64_t now_ns) {
    if (GDP_LIKELY(k->circuit == GDP_CLOSED)) return true;
    if (k->circuit == GDP_OPEN) {
        if (now_ns < k->open_until_ns) return false;
        k->circuit = GDP_HALF_OPEN;
    }
    return !k->probing;
}

#endif
