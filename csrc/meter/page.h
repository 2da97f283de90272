/* page.h -- bytes behind bytes: what the writers of pages share. */
#ifndef GDP_METER_PAGE_H
#define GDP_METER_PAGE_H

#include "cells.h"
#include "gdp/meter_expose.h"

/* Room for so many bytes more; false: out of memory. */
bool gdp_page_fit(gdp_page *p, size_t more);
/* One family as a length-delimited message. */
bool gdp_page_message(gdp_page *p, const gdp_family *f);

/* Where there is room already. */
static inline void gdp_page_put(gdp_page *p, const char *s, size_t n)
{
    memcpy(p->bytes + p->len, s, n);
    p->len += n;
}

static inline void gdp_page_byte(gdp_page *p, char c)
{
    p->bytes[p->len++] = c;
}

#endif
