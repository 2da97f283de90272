/* meter_slot.h -- the counts of one second, or of ten, packed into 224 bytes.
 *
 * A window of 900 s needs some 100 slots and keeps 256. With 16 bits for each of 482 buckets that is 247 KB a series;
 * the budget is 64 KiB. But few buckets hold anything, and a count need not be exact to weigh its bucket:
 *
 *     groups   0000 0000 1110 0000 ...      one bit for each 16 buckets in a row (nearly an octave)
 *     bytes    [mask 16 bits][count][count]..  [mask][count]..  [mask][count]..     one per bit in `groups`
 *
 * A count is one byte, a float of 4 + 4 bits: exact to 31, then within 3.1 % (1 in 32). 199 bytes hold every bucket of
 * 11 octaves in a row: whatever lies within a factor of 2,000, at full resolution. Where more is occupied, the groups
 * in which the least lies, the far tails, become `coarse`, four neighbours as one, until the rest fits: a quantile
 * there may be off by 17 %. Of 60,000 values of a log-normal (sigma 1), which occupy 182 buckets of 13 groups, less
 * than one in 1,000 lies in a coarse group. All coarse always fits. `shift` scales counts above 507,904. `count` and
 * `sum` are exact.
 *
 * Dropped: 16-bit counts (199 bytes hold 86 of those 182 buckets), and one resolution for a whole slot, where a few
 * far values made all others coarse. */
#ifndef GDP_METER_SLOT_H
#define GDP_METER_SLOT_H

#include "gdp/meter_scale.h"

#define GDP_SLOT_BYTES 199u
#define GDP_SLOT_ROOM 512u /* doubles that unpacking may write to, whatever the bytes are */

typedef struct {
    uint32_t stamp; /* which second, or which ten: the low 32 bits of its number */
    uint32_t count; /* stays at UINT32_MAX */
    double sum;
    uint32_t groups, coarse;
    uint8_t shift;
    uint8_t bytes[GDP_SLOT_BYTES];
} gdp_slot;

/* Pack n <= GDP_BUCKETS_MAX counts; stamp and sum are the caller's to fill in. */
void gdp_slot_pack(gdp_slot *slot, const uint32_t *counts, uint32_t n);
/* Add weight * count to each bucket's place. Never reads or writes outside, whatever the slot holds. */
void gdp_slot_unpack(const gdp_slot *slot, double weight, double into[GDP_SLOT_ROOM]);

#endif
