/* meter_expose.h -- the page that scrapers read, in four forms.
 *
 *     GDP_TEXT      Prometheus text 0.0.4        classic buckets
 *     GDP_OPEN_1    OpenMetrics 1.0 text         classic buckets, # UNIT, # EOF
 *     GDP_OPEN_2    OpenMetrics 2.0 text         native histograms: {count:..,sum:..,schema:4,..positive_deltas:[..]}
 *     GDP_PROTOBUF  io.prometheus.client         length-delimited messages; native histograms and classic buckets
 *
 * All in a buffer that the caller keeps between scrapes: after the first one nothing is allocated. No lock, no clock:
 * writers go on meanwhile. A histogram's labels and bounds are text already, so a line is a few copies and one number:
 * 1,000 series of 19 buckets, 2 MB, take about 4 ms. */
#ifndef GDP_METER_EXPOSE_H
#define GDP_METER_EXPOSE_H

#include "gdp/meter.h"

typedef enum { GDP_TEXT, GDP_OPEN_1, GDP_OPEN_2, GDP_PROTOBUF, GDP_FORMS } gdp_form;

typedef struct {
    char *bytes;
    size_t len, room;
} gdp_page;

/* The page as of now, from its beginning: its length, GDP_BAD for another form, or GDP_NOMEM (the page is empty).
 * `whole`: with the end mark of OpenMetrics; without it another text may follow. */
int64_t gdp_page_render(gdp_page *page, const gdp_meter *m, gdp_form form, bool whole);
void gdp_page_free(gdp_page *page);

/* A number as the page shows it: 5, 0.25, 1e+20, +Inf, NaN. At most 32 bytes, no zero behind; its length. */
size_t gdp_page_number(char *to, double value);

#endif
