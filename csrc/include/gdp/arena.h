/* arena.h -- memory for what one thread writes and reads at random: pages of 2 MiB, and no locks.
 *
 * The index and the feeds touch a handful of lines per block, anywhere in tens of megabytes. With pages of 4 KiB nearly
 * each of them was a miss of the translation cache too, which costs a virtual machine two walks instead of one; and each
 * page was a fault when it was first touched. So their memory comes in regions that the kernel is asked to back by large
 * pages (madvise; where it does not do that, they are regions all the same).
 *
 *     region  [head|....used....][head|..free..|size][head|..used..] ... [end]      heads of 8 bytes, sizes in 16s
 *             free blocks: lists by size, 16 to each power of two, and a bitmap of those that are not empty
 *
 * A block is taken from the first list whose blocks are all large enough (so at most a sixteenth larger than the best), and
 * given back to its neighbours: both in constant time. Regions double from 64 KiB to 2 MiB, so a small index stays small;
 * then they grow by an eighth. One that is free altogether goes back to the system while a quarter of all is free.
 *
 * Small blocks and wide ones have regions of their own, because a page of a few hundred bytes in the gap that a table left
 * keeps its region from becoming whole: apart, what the system gave was 16 to 30 % above what was used; together, 35 to 80.
 *
 * Not safe for threads. Under AddressSanitizer what is free is poisoned. A NULL arena is the heap. */
#ifndef GDP_ARENA_H
#define GDP_ARENA_H

#include "gdp/base.h"

typedef struct gdp_arena gdp_arena;

gdp_arena *gdp_arena_new(void);         /* NULL: out of memory */
void gdp_arena_free(gdp_arena *arena);  /* all was given back */
void *gdp_arena_take(gdp_arena *arena, size_t bytes); /* not zeroed, aligned to 16; NULL: out of memory */
void gdp_arena_give(gdp_arena *arena, void *p);       /* NULL: nothing */
size_t gdp_arena_bytes(const gdp_arena *arena);       /* that the system gave */

/* What a taken block of so many bytes costs, its head included; the heap's are the same. */
static inline size_t gdp_arena_cost(size_t bytes) { return bytes < 24 ? 32 : (bytes + 8 + 15) & ~(size_t)15; }

#endif
