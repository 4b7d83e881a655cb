// cpush: the load on pushes. Each link answers each push, and the answer brings the next one (cmanager -a): a push down and a frame up,
// of the same size whether it is an acknowledgement or a message. It verifies every byte of each push.
//   cpush [options] host:port     the options and the result are those of load.h; -s is the size of a push's payload
//   -m none       pushes without acknowledgement; the answer is a DATA frame
//   -m required   the answer is an ACK
//   -p n          pushes of a link on their way
#define _GNU_SOURCE
#include <stdint.h>

#define PUSH_HEAD 6 // kind, flags, tid
#define STAMP 9     // version, length of the msg_id
enum { HELLO = 1, WELCOME, DATA, PUSH, ACK };
enum { FLAG_ACK = 1, FLAG_STAMPED = 32 };

typedef struct {
    uint32_t tid;      // of the next push
    uint32_t asked;    // pushes that were caused
    uint64_t t0[256]; // when each was; a ring of MAXP
} own;
#include "links.h"

static int required;

static void greet(worker *w, conn *c) {
    (void)w;
    add(&c->out, "\0\1\1", 3);
}
// say sends a frame that brings a push. tid is that of the one before.
static void say(conn *c, int kind, uint32_t tid, uint64_t t) {
    uint8_t f[7] = {0, 5, kind, tid >> 24, tid >> 16, tid >> 8, tid};
    add(&c->out, f, sizeof f);
    c->own.t0[c->own.asked++ % MAXP] = t;
}
// sound_push says whether a frame's body is the push that is due. What stands before its payload has a msg_id if it is to be acknowledged.
static int sound_push(worker *w, conn *c, const uint8_t *p, int n) {
    uint32_t tid = c->own.tid;
    uint8_t head[PUSH_HEAD] = {PUSH, required ? FLAG_ACK | FLAG_STAMPED : 0, tid >> 24, tid >> 16, tid >> 8, tid}, stamp[STAMP] = {0};
    int before = PUSH_HEAD;
    if (n < before || memcmp(p, head, before) || tid == c->own.asked) return 0;
    if (required) {
        if (n < before + STAMP || memcmp(p + before, stamp, STAMP - 1) || !p[before + STAMP - 1]) return 0;
        before += STAMP + p[before + STAMP - 1];
    }
    return n == before + body && !memcmp(p + before, w->tmp, body);
}
static void pushed(worker *w, conn *c, const uint8_t *p, int n, uint64_t t) {
    if (!sound_push(w, c, p, n)) {
        if (!w->mismatches) fprintf(stderr, "link %u, push %u: kind %d, flags %d, %d bytes\n", c->id, c->own.tid, p[0], n > 1 ? p[1] : 0, n);
        return unexpected(w, c, "not what was to be pushed");
    }
    uint32_t tid = c->own.tid++;
    if (phase == 1) w->frames++, w->hist[bucket(t - c->own.t0[tid % MAXP])]++;
    if (phase < 2) say(c, required ? ACK : DATA, tid, t);
}
static int operations(worker *w, conn *c, const uint8_t *p, int n, uint64_t t) {
    int off = 0;
    while (c->state != DEAD && n - off >= 2) {
        const uint8_t *frame = p + off + 2;
        int len = p[off] << 8 | p[off + 1];
        if (n - off < 2 + len) break;
        off += 2 + len;
        if (!len) unexpected(w, c, "a heartbeat that nobody asked for");
        else if (c->state == OPEN) pushed(w, c, frame, len, t);
        else if (frame[0] == WELCOME) opened(w, c);
        else unexpected(w, c, "no welcome");
    }
    return off;
}

static void *run(void *arg) {
    worker *w = arg;
    pthread_barrier_wait(&bar);
    open_all(w);
    pthread_barrier_wait(&bar); // all open
    pthread_barrier_wait(&bar); // go
    for (int i = 0; i < w->n; i++) {
        conn *c = &w->c[i];
        for (int k = 0; k < depth && c->state == OPEN; k++) say(c, DATA, k, now());
        flush(w, c);
        if (i % 64 == 63) poll_once(w, 0);
    }
    while (phase < 2) poll_once(w, 20);
    for (uint64_t t = now(), late = 0;; poll_once(w, 20)) { // nothing may be lost
        w->silent = 0, late = now() - t;
        for (int i = 0; i < w->n; i++) w->silent += w->c[i].state == OPEN && w->c[i].own.tid != w->c[i].own.asked;
        if (!w->silent || late > ANSWER_LIMIT) return 0;
    }
}

static int options(int ac, char **av) {
    for (int o; (o = getopt(ac, av, "m:" SHARED_OPTIONS)) > 0;) {
        if (o == 'm' && (!strcmp(optarg, "none") || !strcmp(optarg, "required"))) required = *optarg == 'r';
        else if (!shared_option(o)) return 0;
    }
    return optind < ac && sound() && address(av[optind], &target);
}

int main(int ac, char **av) {
    if (!options(ac, av)) {
        fprintf(stderr, "usage: see the head of cpush.c\n");
        return 2;
    }
    double before = line_ns();
    worker *ws = prepare();
    for (int i = 0; i < threads; i++) pthread_create(&ws[i].th, 0, run, &ws[i]);
    clocks a = begin(), b = window(&a);
    worker all = sum(ws);
    all.bytes = all.frames * body;
    return report(&all, &a, &b, before, line_ns());
}
