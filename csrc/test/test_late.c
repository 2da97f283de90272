/* test_late.c -- whose turn it is. */
#include <math.h>

#include "gdp/late.h"
#include "test.h"

#define ROOM 64

static gdp_late_rule rule;

static int take_next(gdp_late *q, double now_s)
{
    int next = gdp_late_next(q, &rule, now_s);
    if (next >= 0) CHECK(gdp_late_take(q, (uint32_t)next) == 0);
    return next;
}

static void they_come_out_as_they_came(gdp_late *q)
{
    CHECK(take_next(q, 0) == GDP_MORE);
    for (uint32_t i = 0; i < ROOM; i++) CHECK(gdp_late_push(q, (i * 7) % ROOM, i, i + 2, 0.1) == 0);
    CHECK(gdp_late_push(q, 3, 0, 0, 0) == GDP_BAD);    /* waits already */
    CHECK(gdp_late_push(q, ROOM, 0, 0, 0) == GDP_BAD); /* no such ticket */
    for (uint32_t i = 0; i < ROOM; i++) CHECK(take_next(q, ROOM) == (int)((i * 7) % ROOM));
    CHECK(gdp_late_take(q, 3) == GDP_BAD && gdp_late_waiting(q) == 0);
}

static void who_cannot_be_saved_stands_aside(gdp_late *q)
{
    CHECK(gdp_late_push(q, 0, 0, 2, 0.5) == 0);
    CHECK(gdp_late_push(q, 1, 1, 3, 0.5) == 0);
    CHECK(gdp_late_next(q, &rule, 2) == 0);
    CHECK(!gdp_late_agree(q, &rule, 0, 2, 2.5)); /* due at 2 */
    CHECK(gdp_late_next(q, &rule, 2) == 1 && gdp_late_agree(q, &rule, 1, 2, 2.5));
    CHECK(take_next(q, 2) == 1);
    CHECK(gdp_late_next(q, &rule, 2) == 0 && gdp_late_agree(q, &rule, 0, 2, 2.5)); /* nobody else waits: served, late */
    CHECK(take_next(q, 2) == 0);
}

static void the_largest_goes_aside_first(gdp_late *q)
{
    for (uint32_t i = 0; i < 4; i++) CHECK(gdp_late_push(q, i, i, 100, i == 2 ? 9 : 1) == 0);
    CHECK(gdp_late_relieve(q, &rule, 0, 1) == 0); /* no worker: nothing would be won */
    CHECK(gdp_late_relieve(q, &rule, 8, 0.1) == 0);
    CHECK(gdp_late_relieve(q, &rule, 2, 0.1) == 1 && gdp_late_demoted(q) == 1);
    CHECK(fabs(gdp_late_work_s(q) - 3) < 1e-9);
    CHECK(gdp_late_relieve(q, &rule, 2, 50) == 2); /* one is always left in time */
    CHECK(take_next(q, 5) >= 0 && take_next(q, 5) >= 0 && take_next(q, 5) >= 0 && take_next(q, 5) >= 0);
    CHECK(take_next(q, 5) == GDP_MORE && fabs(gdp_late_work_s(q)) < 1e-9);
}

static void the_guard_serves_the_forgotten_one_a_second(gdp_late *q)
{
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(gdp_late_push(q, i, i, i, 1) == 0);
        CHECK(!gdp_late_agree(q, &rule, i, 10, 11));
    }
    for (uint32_t i = 10; i < 20; i++) CHECK(gdp_late_push(q, i, 100 + i, 1e6, 0.01) == 0);
    CHECK(gdp_late_next(q, &rule, 179) == 10);
    CHECK(gdp_late_next(q, &rule, 181) == 0 && gdp_late_agree(q, &rule, 0, 181, 182));
    CHECK(take_next(q, 181) == 10); /* the guard has just served: 0 was only asked about, and waits for its next turn */
    CHECK(gdp_late_next(q, &rule, 182.1) == 0);
    CHECK(take_next(q, 182.1) == 0);
    while (gdp_late_waiting(q)) CHECK(take_next(q, 500) >= 0);
}

static void fifo_demotes_nobody(gdp_late *q)
{
    rule.fifo = true;
    for (uint32_t i = 0; i < 4; i++) CHECK(gdp_late_push(q, i, i, i, 100) == 0);
    CHECK(gdp_late_relieve(q, &rule, 1, 1000) == 0);
    for (int i = 0; i < 4; i++) {
        CHECK(gdp_late_agree(q, &rule, (uint32_t)i, 1000, 2000));
        CHECK(take_next(q, 1000) == i);
    }
}

static void a_worker_is_open_or_full(gdp_late *q)
{
    (void)q;
    CHECK(gdp_late_open(&rule, 0.6, 5, 0, 0.061));
    CHECK(!gdp_late_open(&rule, 0.61, 5, 0, 0.010));
    CHECK(!gdp_late_open(&rule, 0.1, 5, 5, 0.010));
    CHECK(!gdp_late_open(&rule, 0.1, 5, 0, 0.062)); /* would slow those that decode there beyond their promise */
    CHECK(gdp_late_open(&rule, 9, 0, 1, 9));        /* nothing to do: open */
    CHECK(gdp_late_bears(&rule, 5, 0, 0.061) && gdp_late_bears(&rule, 0, 1, 9)); /* whatever the backlog */
    CHECK(!gdp_late_bears(&rule, 5, 5, 0.010) && !gdp_late_bears(&rule, 5, 0, 0.062));
}

/* Against lists that are searched. */
static void it_agrees_with_a_dumb_queue(gdp_late *q)
{
    struct { double arrival, deadline; int line; } dumb[ROOM] = {{0}};
    uint64_t random = 31;
    for (int step = 0; step < 30000; step++) {
        double now = step * 0.05;
        uint32_t i = gdp_random(&random) % ROOM;
        switch (gdp_random(&random) % 4) {
        case 0:
            if (gdp_late_push(q, i, now, now + 1, 0.1) == 0) {
                CHECK(!dumb[i].line);
                dumb[i].arrival = now, dumb[i].deadline = now + 1, dumb[i].line = 1;
            } else {
                CHECK(dumb[i].line);
            }
            break;
        case 1:
            CHECK((gdp_late_take(q, i) == 0) == (dumb[i].line != 0));
            dumb[i].line = 0;
            break;
        default: {
            int next = gdp_late_next(q, &rule, now), oldest[3] = {-1, -1, -1};
            for (int k = 0; k < ROOM; k++)
                if (dumb[k].line && (oldest[dumb[k].line] < 0 || dumb[k].arrival < dumb[oldest[dumb[k].line]].arrival))
                    oldest[dumb[k].line] = k;
            if (next < 0) {
                CHECK(oldest[1] < 0 && oldest[2] < 0);
                break;
            }
            bool guard = dumb[next].line == 2 && oldest[1] >= 0;
            CHECK(next == oldest[dumb[next].line] && (!guard || now - dumb[next].arrival > rule.guard_s));
            if (!gdp_late_agree(q, &rule, (uint32_t)next, now, now + 0.5)) {
                CHECK(dumb[next].line == 1 && now + 0.5 > dumb[next].deadline);
                dumb[next].line = 2;
            }
        }
        }
    }
}

void gdp_test_late(void)
{
    static void (*const TESTS[])(gdp_late *) = {
        they_come_out_as_they_came, who_cannot_be_saved_stands_aside, the_largest_goes_aside_first,
        the_guard_serves_the_forgotten_one_a_second, fifo_demotes_nobody, a_worker_is_open_or_full,
        it_agrees_with_a_dumb_queue,
    };
    for (size_t i = 0; i < sizeof TESTS / sizeof *TESTS; i++) {
        gdp_late *q = gdp_late_new(ROOM);
        CHECK(q != NULL);
        gdp_late_rule_init(&rule);
        TESTS[i](q);
        gdp_late_free(q);
    }
}

void gdp_oom_late(void)
{
    gdp_late_free(gdp_late_new(ROOM));
}

static void bench_pass(void *arg)
{
    gdp_late *q = arg;
    (void)gdp_late_push(q, 5, 1, 3, 0.1);
    (void)gdp_late_take(q, (uint32_t)gdp_late_next(q, &rule, 2));
}

void gdp_bench_late(void)
{
    gdp_late *q = gdp_late_new(ROOM);
    gdp_late_rule_init(&rule);
    gdp_bench_row("push, next, take", 0, gdp_bench_ns(bench_pass, q));
    gdp_late_free(q);
}
