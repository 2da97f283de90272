/* shared.h -- words that one thread writes and others read.
 *
 * The writer is alone, so it needs no read-modify-write: load, add, store. Counts may be read a few observations apart
 * from each other (relaxed). What must be read as a whole stands under a sequence number: odd while it is being
 * changed, another afterwards. Its words are stored with release and loaded with acquire, which on x86 costs nothing
 * and, unlike a fence, is understood by ThreadSanitizer. */
#ifndef GDP_METER_SHARED_H
#define GDP_METER_SHARED_H

#include <stdint.h>

#define GDP_LOOK(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define GDP_NOTE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define GDP_ACQUIRE(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define GDP_RELEASE(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

typedef uint64_t gdp_word __attribute__((may_alias)); /* of structs that are copied word by word */

static inline double gdp_look_f64(const double *p)
{
    double v;
    __atomic_load(p, &v, __ATOMIC_ACQUIRE);
    return v;
}

static inline void gdp_note_f64(double *p, double v)
{
    __atomic_store(p, &v, __ATOMIC_RELEASE);
}

/* Stays at its end. */
static inline uint32_t gdp_plus(uint32_t a, uint32_t b)
{
    return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

#endif
