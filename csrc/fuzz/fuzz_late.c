/* fuzz_late.c -- any order of coming, going and asking: whoever is next does wait, nobody is lost, nobody is served
 * twice. Four bytes are one act: what, whom, and two numbers. */
#include <math.h>

#include "fuzz.h"
#include "gdp/late.h"

#define ROOM 24

int gdp_fuzz_late(const uint8_t *data, size_t size);

int gdp_fuzz_late(const uint8_t *data, size_t size)
{
    gdp_late *q = gdp_late_new(ROOM);
    gdp_late_rule rule;
    bool here[ROOM] = {false};
    uint32_t waiting = 0;
    double now_s = 0;
    FUZZ_CHECK(q);
    gdp_late_rule_init(&rule);
    rule.fifo = size && data[0] & 128;
    for (; size >= 4; data += 4, size -= 4) {
        uint32_t ticket = data[1] % (ROOM + 1); /* one too many, at times */
        bool known = ticket < ROOM && here[ticket];
        double a = data[2] * 0.1, b = data[3] * 0.1;
        now_s += data[3] * 0.05;
        switch (data[0] % 4) {
        case 0:
            FUZZ_CHECK((gdp_late_push(q, ticket, now_s - a, now_s + b, a) == 0) == (ticket < ROOM && !known));
            if (ticket < ROOM && !known) here[ticket] = true, waiting++;
            break;
        case 1:
            FUZZ_CHECK((gdp_late_take(q, ticket) == 0) == known);
            if (known) here[ticket] = false, waiting--;
            break;
        case 2: FUZZ_CHECK(gdp_late_relieve(q, &rule, data[1] % 5, a) <= waiting); break;
        default: {
            int next;
            uint32_t asked = 0;
            while ((next = gdp_late_next(q, &rule, now_s)) >= 0) {
                FUZZ_CHECK(next < ROOM && here[next]);
                if (gdp_late_agree(q, &rule, (uint32_t)next, now_s, now_s + a)) break;
                FUZZ_CHECK(++asked <= waiting); /* each is demoted once at most */
            }
            FUZZ_CHECK((next == GDP_MORE) == !waiting);
        }
        }
        FUZZ_CHECK(gdp_late_waiting(q) == waiting && gdp_late_demoted(q) <= waiting);
        FUZZ_CHECK(!rule.fifo || !gdp_late_demoted(q));
        FUZZ_CHECK(isfinite(gdp_late_work_s(q)) && gdp_late_work_s(q) > -1e-6);
    }
    gdp_late_free(q);
    return 0;
}
