#define _GNU_SOURCE
#include "proc.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

gdp_pids gdp_pids_read(const char *list) {
    gdp_pids p = {0};
    char *end = NULL;
    for (const char *at = list; *at && p.n < GDP_PIDS_MAX; at = *end ? end + 1 : end) {
        p.pid[p.n] = (int)strtol(at, &end, 10);
        if (end == at) break;
        p.n++;
    }
    return p;
}

static uint64_t task_ns(int pid, const char *task) {
    char path[320];
    unsigned long long ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", pid, task);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    if (fscanf(f, "%llu", &ns) != 1) ns = 0;
    fclose(f);
    return ns;
}

static uint64_t process_ns(int pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) return 0;
    uint64_t sum = 0;
    for (struct dirent *e; (e = readdir(tasks));)
        if (e->d_name[0] != '.') sum += task_ns(pid, e->d_name);
    closedir(tasks);
    return sum;
}

uint64_t gdp_pids_cpu_ns(const gdp_pids *p) {
    uint64_t sum = 0;
    for (int i = 0; i < p->n; i++) sum += process_ns(p->pid[i]);
    return sum;
}

static double rss_kib(int pid) {
    char path[64], line[256];
    double kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "re");
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, "VmRSS:", 6)) kib = strtod(line + 6, NULL);
    fclose(f);
    return kib;
}

double gdp_pids_rss_mib(const gdp_pids *p) {
    double kib = 0;
    for (int i = 0; i < p->n; i++) kib += rss_kib(p->pid[i]);
    return kib / 1024;
}

double gdp_machine_busy_s(void) {
    unsigned long long user, nice, system, idle, wait, irq, softirq, steal;
    FILE *f = fopen("/proc/stat", "re");
    if (!f) return 0;
    int got = fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &irq, &softirq,
                     &steal);
    fclose(f);
    if (got != 8) return 0;
    return (double)(user + nice + system + irq + softirq + steal) / (double)sysconf(_SC_CLK_TCK);
}
