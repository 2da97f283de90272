/* loop.c -- one I/O thread: epoll, lazy timers, the graveyard, and what control asks of it.
 *
 * A turn:  wait -> take the table -> timers -> events -> asks -> bury the dead.
 *
 * The timer wheel has 1,024 cells of 16 ms. A timer hangs in the cell of its due time (or the farthest cell); when the
 * wheel comes by and the timer was moved later meanwhile, it is hung up again. So the deadline between tokens, which
 * moves with every event of every stream, costs one store. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "inner.h"
#include "loop.h"

uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* ---- buffers -------------------------------------------------------------------------------------------------- */

static void account(gdp_loop *l, int64_t bytes) { atomic_fetch_add_explicit(&l->plane->buffered, bytes, memory_order_relaxed); }

int buf_reserve(gdp_loop *l, buf *b, size_t more) {
    size_t need = (size_t)b->len + more;
    if (need <= b->cap) return 0;
    if (need > UINT32_MAX) return GDP_NOMEM;
    size_t cap = b->cap ? (size_t)b->cap + b->cap / 2 : need;
    if (cap < need) cap = need;
    if (cap > UINT32_MAX) cap = UINT32_MAX;
    char *data = gdp_resize(b->data, cap);
    if (!data) return GDP_NOMEM;
    account(l, (int64_t)cap - (int64_t)b->cap);
    b->data = data;
    b->cap = (uint32_t)cap;
    return 0;
}

int buf_add(gdp_loop *l, buf *b, const void *bytes, size_t n) {
    if (!n) return 0;
    if (buf_reserve(l, b, n) < 0) return GDP_NOMEM;
    memcpy(b->data + b->len, bytes, n);
    b->len += (uint32_t)n;
    return 0;
}

void buf_drop(gdp_loop *l, buf *b) {
    if (b->data) {
        account(l, -(int64_t)b->cap);
        gdp_free(b->data);
    }
    *b = (buf){0};
}

/* ---- timers --------------------------------------------------------------------------------------------------- */

static void wheel_hang(gdp_loop *l, timer *t) {
    uint64_t tick = t->due / TICK + 1; /* never early */
    if (tick <= l->tick) tick = l->tick + 1;
    if (tick >= l->tick + WHEEL) tick = l->tick + WHEEL - 1;
    uint32_t cell = (uint32_t)(tick % WHEEL);
    timer *head = &l->wheel[cell];
    t->tick = tick;
    t->next = head->next;
    t->prev = head;
    head->next->prev = t;
    head->next = t;
    l->wheel_bits[cell / 64] |= 1ull << (cell % 64);
}

static void wheel_unhang(timer *t) {
    t->prev->next = t->next;
    t->next->prev = t->prev;
    t->prev = t->next = NULL;
}

void timer_set(gdp_loop *l, timer *t, uint64_t due) {
    t->due = due;
    if (t->next) {
        if (due / TICK + 1 >= t->tick) return; /* later: noticed when the wheel comes by */
        wheel_unhang(t);
    }
    wheel_hang(l, t);
}

void timer_stop(gdp_loop *l, timer *t) {
    (void)l;
    if (t->next) wheel_unhang(t);
}

static void timer_fire(gdp_loop *l, timer *t) {
    if (t->kind == IO_CLIENT)
        conn_timeout(l, (gdp_conn *)((char *)t - offsetof(gdp_conn, timer)));
    else
        upstream_timeout(l, (gdp_upstream *)((char *)t - offsetof(gdp_upstream, timer)));
}

static void wheel_turn(gdp_loop *l) {
    uint64_t now_tick = l->now / TICK;
    if (now_tick - l->tick > WHEEL) l->tick = now_tick - WHEEL; /* slept longer than a whole turn */
    while (l->tick < now_tick) {
        l->tick++;
        uint32_t cell = (uint32_t)(l->tick % WHEEL);
        if (!(l->wheel_bits[cell / 64] >> (cell % 64) & 1)) continue;
        timer *head = &l->wheel[cell];
        timer due = *head; /* take the whole chain, so that what is hung up again is not seen twice */
        if (head->next != head) {
            due.next->prev = &due;
            due.prev->next = &due;
            head->next = head->prev = head;
        } else {
            due.next = due.prev = &due;
        }
        l->wheel_bits[cell / 64] &= ~(1ull << (cell % 64));
        while (due.next != &due) {
            timer *t = due.next;
            wheel_unhang(t);
            if (t->due > l->now)
                wheel_hang(l, t);
            else
                timer_fire(l, t);
        }
    }
}

/* Milliseconds until the next cell with something in it. */
static int wheel_wait_ms(const gdp_loop *l) {
    for (uint32_t ahead = 1; ahead <= WHEEL;) {
        uint32_t cell = (uint32_t)((l->tick + ahead) % WHEEL);
        uint64_t bits = l->wheel_bits[cell / 64] >> (cell % 64);
        if (bits) {
            ahead += (uint32_t)__builtin_ctzll(bits);
            uint64_t at = (l->tick + ahead) * TICK;
            return at <= l->now ? 0 : (int)((at - l->now) / MS) + 1;
        }
        ahead += 64 - cell % 64;
    }
    return 1000;
}

/* ---- epoll ---------------------------------------------------------------------------------------------------- */

void loop_watch(gdp_loop *l, io *i, uint32_t events) {
    if (i->fd < 0 || i->events == events) return;
    struct epoll_event e = {.events = events, .data.ptr = i};
    epoll_ctl(l->epfd, i->events == UINT32_MAX ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, i->fd, &e);
    i->events = events;
}

void loop_mute(gdp_loop *l, io *i) {
    if (i->fd < 0 || i->events == UINT32_MAX) return;
    epoll_ctl(l->epfd, EPOLL_CTL_DEL, i->fd, NULL);
    i->events = UINT32_MAX;
}

void loop_bury(gdp_loop *l, io *i) {
    if (i->fd < 0) return;
    close(i->fd);
    i->fd = -1;
    i->grave = l->graves;
    l->graves = i;
}

static void graves_empty(gdp_loop *l) {
    while (l->graves) {
        io *i = l->graves;
        l->graves = i->grave;
        gdp_free(i); /* io is the first member of what it belongs to */
    }
    while (l->dead) {
        gdp_exchange *x = l->dead;
        l->dead = x->q_next;
        gdp_free(x);
    }
}

void loop_wake(gdp_loop *l) {
    uint64_t one = 1;
    ssize_t ignored = write(l->wake.fd, &one, sizeof one); /* full counter: a wake-up is pending anyway */
    (void)ignored;
}

static void listener_event(gdp_loop *l) {
    for (int i = 0; i < 64; i++) {
        struct sockaddr_storage peer;
        socklen_t size = sizeof peer;
        int fd = accept4(l->listener.fd, (struct sockaddr *)&peer, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                /* Out of descriptors: stop listening until a connection closes or the next second. */
                loop_watch(l, &l->listener, 0);
                l->listener_paused_until = l->now + 100 * MS;
            }
            return;
        }
        COUNT(l, accepted, 1);
        conn_accept(l, fd, &peer);
    }
}

/* ---- records and lists ---------------------------------------------------------------------------------------- */

static void copy_text(char *to, size_t size, const char *from, size_t len) {
    if (len > size - 1) len = size - 1;
    memcpy(to, from, len);
    to[len] = 0;
}

static void peer_text(const gdp_conn *c, char *out, size_t size) {
    char ip[INET6_ADDRSTRLEN] = "";
    inet_ntop(c->family6 ? AF_INET6 : AF_INET, c->peer, ip, sizeof ip);
    snprintf(out, size, c->family6 ? "[%s]:%u" : "%s:%u", ip, c->peer_port);
}

static void look_answer(gdp_loop *l) {
    look_box *box = &l->look;
    box->n = box->total = 0;
    for (gdp_conn *c = l->conns; c; c = c->next) {
        const gdp_exchange *x = c->x;
        if (!x) continue;
        box->total++;
        if (box->n == box->max) continue;
        gdp_sight *s = &box->out[box->n++];
        *s = (gdp_sight){.age_ns = l->now - x->arrival, .phase_age_ns = l->now - x->phase_at,
                         .slot = x->leg[x->at].booked ? x->leg[x->at].booking.slot : UINT32_MAX, .events = x->events,
                         .buffered = x->head.cap + x->body.cap + x->held.cap + x->tail.cap + c->in.cap + c->out.cap,
                         .phase = x->phase, .endpoint = x->endpoint, .stream = x->stream,
                         .retries = (uint8_t)(x->attempts ? x->attempts - 1 : 0), .thread = (uint8_t)l->index};
        copy_text(s->id, sizeof s->id, x->id, x->id_len);
        copy_text(s->model, sizeof s->model, x->model_name, x->model_len);
        peer_text(c, s->peer, sizeof s->peer);
    }
    atomic_store(&l->look_state, 2);
}

/* ---- what control asks ---------------------------------------------------------------------------------------- */

static void close_listener(gdp_loop *l) {
    l->closing = true;
    l->listener_paused_until = 0;
    if (l->listener.fd >= 0) {
        close(l->listener.fd);
        l->listener.fd = -1;
    }
    for (gdp_conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        if (!c->x && c->state == CL_READING && !c->in.len) conn_close(l, c);
    }
}

static void cut_all(gdp_loop *l) {
    l->cutting = true;
    for (gdp_conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        if (c->x)
            exchange_end(l, c->x, GDP_R_SHUTTING_DOWN);
        else if (c->state == CL_READING)
            conn_close(l, c);
    }
}

static bool asks_answer(gdp_loop *l) {
    uint32_t asks = atomic_load(&l->asks);
    if (asks & GDP_ASK_CLOSE_LISTENERS && !l->closing) close_listener(l);
    if (asks & GDP_ASK_CUT && !l->cutting) cut_all(l);
    uint32_t asked = 1;
    if (atomic_compare_exchange_strong(&l->look_state, &asked, 3)) look_answer(l);
    return asks & GDP_ASK_EXIT;
}

/* ---- the turn ------------------------------------------------------------------------------------------------- */

/* The table may have changed; nothing of the old one is held across a wait. */
static bool take_table(gdp_loop *l) {
    uint64_t epoch = atomic_load(&l->plane->epoch);
    atomic_store(&l->epoch, epoch);
    const gdp_table *t = atomic_load(&l->plane->table);
    bool changed = t != l->table || epoch != l->table_epoch; /* a new table may lie where an old one lay */
    l->table = t;
    l->table_epoch = epoch;
    l->set = &t->set;
    return changed;
}

static void dispatch(gdp_loop *l, const struct epoll_event *e) {
    io *i = e->data.ptr;
    if (i->fd < 0) return; /* died earlier in this turn */
    switch ((io_kind)i->kind) {
    case IO_CLIENT: conn_event(l, (gdp_conn *)i, e->events); break;
    case IO_UPSTREAM: upstream_event(l, (gdp_upstream *)i, e->events); break;
    case IO_LISTENER: listener_event(l); break;
    case IO_WAKE: {
        uint64_t n;
        ssize_t ignored = read(i->fd, &n, sizeof n);
        (void)ignored;
        break;
    }
    }
}

/* Parked requests are looked at when something was freed, and when an open circuit turns half open. */
static void queue_tend(gdp_loop *l, bool changed) {
    bool asked = atomic_load_explicit(&l->pump, memory_order_relaxed) && atomic_exchange(&l->pump, 0);
    int64_t head = l->q_head ? (int64_t)l->q_head->queued_at : 0;
    if (!l->q_head) {
        l->probe_at = 0;
        if (asked) queue_pass_on(l, head);
        return;
    }
    bool probe_due = l->probe_at && l->now >= l->probe_at;
    l->q_all |= changed;
    bool pumped = changed || probe_due || asked;
    if (pumped) queue_pump(l);
    if (asked) queue_pass_on(l, head);
    uint64_t next = l->q_head ? queue_next_try(l, gdp_next_probe(l->plane->books, l->now)) : 0;
    bool stands = !pumped && l->probe_at && l->probe_at < next; /* what was due does not move on with each turn */
    if (!stands) l->probe_at = next;
}

static int wait_ms(const gdp_loop *l) {
    int ms = wheel_wait_ms(l);
    if (l->probe_at) {
        int until = l->probe_at <= l->now ? 0 : (int)((l->probe_at - l->now) / MS) + 1;
        if (until < ms) ms = until;
    }
    if (l->t_due) {
        int until = l->t_due <= l->now ? 0 : (int)((l->t_due - l->now) / MS) + 1;
        if (until < ms) ms = until;
    }
    if (l->q_head && atomic_load_explicit(&l->pump, memory_order_relaxed)) ms = 0; /* freed while the queue was pumped */
    if (l->listener_paused_until && ms > 100) ms = 100;
    return ms;
}

bool loop_turn(gdp_loop *l, bool block) {
    struct epoll_event events[EVENTS];
    atomic_store(&l->epoch, UINT64_MAX);
    int n = epoll_wait(l->epfd, events, EVENTS, block ? wait_ms(l) : 0);
    bool changed = take_table(l);
    l->now = clock_ns();
    if (changed) {
        upstream_sweep(l);
        exchange_sweep(l);
    }
    for (int i = 0; i < n; i++) dispatch(l, &events[i]);
    wheel_turn(l);
    tokens_tend(l);
    queue_tend(l, changed);
    if (l->listener_paused_until && l->now >= l->listener_paused_until && l->listener.fd >= 0) {
        l->listener_paused_until = 0;
        loop_watch(l, &l->listener, EPOLLIN);
    }
    bool leave = asks_answer(l);
    graves_empty(l);
    return !leave;
}

int loop_wait_ms(const gdp_loop *l) { return wait_ms(l); }

void *loop_main(void *arg) {
    gdp_loop *l = arg;
    while (loop_turn(l, true)) {
    }
    atomic_store(&l->epoch, UINT64_MAX);
    return NULL;
}

int loop_init(gdp_loop *l, gdp_plane *p, uint32_t index) {
    l->plane = p;
    l->index = index;
    l->listener = (io){.fd = -1, .events = UINT32_MAX, .kind = IO_LISTENER};
    l->wake = (io){.fd = -1, .events = UINT32_MAX, .kind = IO_WAKE};
    l->epfd = -1;
    atomic_store(&l->epoch, UINT64_MAX);
    for (unsigned i = 0; i < WHEEL; i++) l->wheel[i].prev = l->wheel[i].next = &l->wheel[i];
    l->now = clock_ns();
    l->tick = l->now / TICK;
    l->scratch = gdp_alloc(SCRATCH);
    if (!l->scratch) return -ENOMEM;
    l->epfd = epoll_create1(EPOLL_CLOEXEC);
    l->wake.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->epfd < 0 || l->wake.fd < 0) return -errno;
    loop_watch(l, &l->wake, EPOLLIN);
    l->decisions = gdp_alloc(DECISIONS * sizeof *l->decisions);
    return l->decisions ? 0 : -ENOMEM;
}

void loop_free(gdp_loop *l, const gdp_table *t) {
    l->table = t;
    l->set = &t->set;
    while (l->conns) {
        gdp_conn *c = l->conns;
        if (c->x) exchange_gone(l, c->x, GDP_R_SHUTTING_DOWN);
        conn_close(l, c);
    }
    for (unsigned i = 0; i < GDP_SLOTS_MAX; i++)
        while (l->pool[i]) upstream_release(l, l->pool[i], false);
    graves_empty(l);
    buf_drop(l, &l->emit);
    gdp_free(l->scratch);
    gdp_free(l->records);
    ledger_free(l);
    gdp_free(l->decisions);
    gdp_free(l->reach[0]);
    gdp_index_reader_free(l->reader);
    queue_free(l);
    if (l->listener.fd >= 0) close(l->listener.fd);
    if (l->wake.fd >= 0) close(l->wake.fd);
    if (l->epfd >= 0) close(l->epfd);
}
