/* loop.h -- one I/O thread as plane.c drives it. Private to csrc/plane. */
#ifndef GDP_LOOP_H
#define GDP_LOOP_H

#include "inner.h"

int loop_init(gdp_loop *l, gdp_plane *p, uint32_t index); /* 0 or -errno */
void loop_free(gdp_loop *l, const gdp_table *t); /* closes everything; `t` gives the rules for the last settling */
bool loop_turn(gdp_loop *l, bool block); /* false: it was asked to leave */
int loop_wait_ms(const gdp_loop *l);
void *loop_main(void *loop);

#endif
