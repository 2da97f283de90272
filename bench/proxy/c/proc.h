/* proc.h -- what a set of processes and the whole machine used, read from /proc.
 *
 * CPU time is the sum of /proc/PID/task/TID/schedstat: nanoseconds on a CPU, exact to the context switch. The ticks of
 * /proc/PID/stat (10 ms) would be half a percent of a two-second window. */
#ifndef GDP_BENCH_PROC_H
#define GDP_BENCH_PROC_H

#include <stddef.h>
#include <stdint.h>

#define GDP_PIDS_MAX 64

typedef struct gdp_pids {
    int n, pid[GDP_PIDS_MAX];
} gdp_pids;

gdp_pids gdp_pids_read(const char *list); /* "12,34" */
uint64_t gdp_pids_cpu_ns(const gdp_pids *p);
double gdp_pids_rss_mib(const gdp_pids *p);

/* Seconds in which any CPU was neither idle nor waiting for a disk, summed over CPUs. */
double gdp_machine_busy_s(void);

#endif
