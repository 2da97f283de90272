#include "load.h"

#include <stdio.h>

gdp_usage gdp_usage_now(const gdp_watched *w) {
    return (gdp_usage){
        .at_ns = gdp_now_ns(),
        .proxy_ns = gdp_pids_cpu_ns(&w->proxy),
        .self_ns = gdp_pids_cpu_ns(&w->self),
        .backend_ns = gdp_pids_cpu_ns(&w->backend),
        .busy_s = gdp_machine_busy_s(),
    };
}

static void print_hist(const char *name, const gdp_hist *h) {
    printf(",\"%s_us\":{\"n\":%llu,\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f}", name, (unsigned long long)h->n,
           gdp_hist_quantile(h, .5) / 1e3, gdp_hist_quantile(h, .99) / 1e3, (double)h->max / 1e3);
}

static void print_count(const char *name, uint64_t n) {
    printf(",\"%s\":%llu", name, (unsigned long long)n);
}

void gdp_load_report(const gdp_load *l, const gdp_watched *w, gdp_usage from, gdp_usage to) {
    double seconds = (double)(to.at_ns - from.at_ns) / 1e9;
    double proxy = (double)(to.proxy_ns - from.proxy_ns) / 1e9, self = (double)(to.self_ns - from.self_ns) / 1e9;
    double backend = (double)(to.backend_ns - from.backend_ns) / 1e9;
    int in_flight = 0;
    for (int i = 0; i < l->conns; i++) in_flight += l->conn[i].state >= GDP_SENDING;
    printf("{\"seconds\":%.4f,\"proxy_cpu_s\":%.6f,\"generator_cores\":%.3f,\"foreign_cores\":%.3f,\"rss_mib\":%.2f",
           seconds, proxy, (self + backend) / seconds, (to.busy_s - from.busy_s - proxy - self - backend) / seconds,
           gdp_pids_rss_mib(&w->proxy));
    print_count("ok", l->seen.ok);
    print_count("refused", l->seen.refused);
    print_count("refused_status", (uint64_t)l->seen.status);
    print_count("broken", l->seen.broken);
    print_count("events", l->seen.events);
    print_count("unasked_usage", l->seen.unasked_usage);
    print_count("no_done", l->seen.no_done);
    print_count("waiting_max", l->seen.waiting_max);
    print_count("in_flight", (uint64_t)in_flight);
    print_hist("latency", &l->latency);
    print_hist("first_event", &l->first_event);
    print_hist("age", &l->age);
    puts("}");
}
