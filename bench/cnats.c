// cnats: the load on a NATS server, in NATS's text protocol, and the backend behind it. It verifies every byte that comes back.
//   cnats -m load [options] host:port       the options and the result are those of load.h; a body has 8 bytes or more
//   cnats -m backend [-t n] host:port       a line "ready" tells that all n threads are subscribed
// Link i is subscribed to d.i. It has -p slots; in each one message to u.i is on its way, and the next is sent when it was answered.
// The backend has a connection for each thread. They share the messages to u.* as a queue group, and publish to d.i what came to u.i.
// The server is free to give the messages of one link to several of them, so answers may come in another order than the messages left.
#define _GNU_SOURCE
#include <stdint.h>

enum { LOAD, BACKEND };
#define MAXBODY 65535
#define MAXLINE 4096 // what the server says of itself is the longest
#define HEAD 32      // of a message that a link sends or awaits
#define ID 8         // link and number, at the begin of a body

typedef struct {
    int waiting; // messages that are not answered
    uint32_t answers;
    char pub[HEAD], msg[HEAD]; // heads of a message and of its answer
    int npub, nmsg;
    uint32_t *seq; // number of each slot's message
    uint64_t *t0;  // when it was sent
} own;
#include "links.h"

static int mode = LOAD;
// message is an operation that brings a body: "MSG subject 1 size\r\n", body, "\r\n". Each part begins where it says.
typedef struct {
    const char *head, *subject, *size, *body, *end;
} message;

static void publish(worker *w, conn *c, int slot, uint64_t t) {
    uint32_t id[2] = {c->id, c->own.seq[slot]};
    memcpy(w->tmp, id, ID);
    add(&c->out, c->own.pub, c->own.npub), add(&c->out, w->tmp, body), add(&c->out, "\r\n", 2);
    c->own.t0[slot] = t, c->own.waiting++;
}
// answered checks an answer against the message of its slot, and sends the next one.
static void answered(worker *w, conn *c, const message *m, uint64_t t) {
    uint32_t id[2] = {c->id, 0};
    int slot = 0, size = m->end - 2 - m->body, known = m->body - m->head == c->own.nmsg && !memcmp(m->head, c->own.msg, c->own.nmsg) && size == body;
    if (known) {
        memcpy(&id[1], m->body + sizeof id[0], sizeof id[1]);
        slot = id[1] % depth;
        memcpy(w->tmp, id, ID);
        known = id[1] == c->own.seq[slot] && !memcmp(w->tmp, m->body, body);
    }
    if (!known) {
        if (!w->mismatches) fprintf(stderr, "link %u, answer %u: got %.*s\n", c->id, c->own.answers, (int)(m->end - m->head), m->head);
        return unexpected(w, c, "not what was sent");
    }
    c->own.answers++, c->own.waiting--, c->own.seq[slot] += depth;
    if (phase == 1) w->frames++, w->hist[bucket(t - c->own.t0[slot])]++;
    if (phase < 2) publish(w, c, slot, t);
}
// answer publishes to d.i what came to u.i.
static void answer(worker *w, conn *c, const message *m) {
    if (memcmp(m->subject, "u.", 2)) return fail(w, c, "a message to another subject");
    add(&c->out, "PUB d", 5);
    add(&c->out, m->subject + 1, m->size - 2 - (m->subject + 1)); // up to the number of the subscription, which is 1
    add(&c->out, m->size, m->end - m->size);
}

// body_size parses the line of a message, which ends before m->body; returns -1 if it is none that was subscribed to.
static int body_size(message *m) {
    const char *p = m->head, *end = m->body - 2;
    if (end - p < 4 || memcmp(p, "MSG ", 4) || memcmp(end, "\r\n", 2)) return -1;
    m->subject = p + 4;
    p = memchr(m->subject, ' ', end - m->subject);
    if (!p || end - p < 4 || memcmp(p, " 1 ", 3)) return -1;
    int n = 0;
    for (m->size = p += 3; p < end && *p >= '0' && *p <= '9' && n <= MAXBODY; p++) n = 10 * n + *p - '0';
    return p == end && n <= MAXBODY ? n : -1;
}
// line takes what brings no body.
static void line(worker *w, conn *c, const char *p, int n) {
    char said[128];
    if (n == 6 && !memcmp(p, "PING\r\n", n)) return add(&c->out, "PONG\r\n", n);
    if (n == 6 && !memcmp(p, "PONG\r\n", n) && c->state == OPENING) { // our only PING came behind the subscription
        return opened(w, c);
    }
    if (n == 5 && !memcmp(p, "+OK\r\n", n)) return;
    if (n > 5 && !memcmp(p, "INFO ", 5)) return;
    snprintf(said, sizeof said, "the server said %.*s", n, p);
    said[strcspn(said, "\r\n")] = 0;
    fail(w, c, said);
}
// operations takes all that are whole and returns their bytes.
static int operations(worker *w, conn *c, const uint8_t *text, int n, uint64_t t) {
    const char *p = (const char *)text;
    int off = 0;
    while (c->state != DEAD) {
        const char *end = memchr(p + off, '\n', n - off);
        if ((end ? end - (p + off) : n - off) >= MAXLINE) fail(w, c, "a line that is too long");
        if (!end || c->state == DEAD) break;
        message m = {.head = p + off, .body = end + 1};
        if (*m.head != 'M') {
            line(w, c, m.head, m.body - m.head);
            off = m.body - p;
            continue;
        }
        int size = body_size(&m);
        if (size < 0) {
            unexpected(w, c, "a head that was not expected");
            break;
        }
        m.end = m.body + size + 2;
        if (m.end > p + n) break;
        if (memcmp(m.end - 2, "\r\n", 2)) {
            unexpected(w, c, "a body of another length than its head says");
        } else if (mode == LOAD) {
            answered(w, c, &m, t);
        } else {
            answer(w, c, &m);
        }
        off = m.end - p;
    }
    return off;
}
// greet subscribes. The link is open when the server has answered the PING behind that.
static void greet(worker *w, conn *c) {
    (void)w;
    static const char hello[] = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
    char sub[HEAD];
    int n = mode == LOAD ? snprintf(sub, HEAD, "SUB d.%u 1\r\n", c->id) : snprintf(sub, HEAD, "SUB u.* backend 1\r\n");
    add(&c->out, hello, sizeof hello - 1), add(&c->out, sub, n), add(&c->out, "PING\r\n", 6);
}

static void exchange(worker *w) {
    for (int i = 0; i < w->n; i++) {
        conn *c = &w->c[i];
        for (int k = 0; k < depth && c->state == OPEN; k++) publish(w, c, k, now());
        flush(w, c);
        if (i % 64 == 63) poll_once(w, 0);
    }
    while (phase < 2) poll_once(w, 20);
    for (uint64_t t = now(), late = 0;; poll_once(w, 20)) { // nothing may be lost
        w->silent = 0, late = now() - t;
        for (int i = 0; i < w->n; i++) w->silent += w->c[i].state == OPEN && w->c[i].own.waiting;
        if (!w->silent || late > ANSWER_LIMIT) return;
    }
}

static void *run(void *arg) {
    worker *w = arg;
    pthread_barrier_wait(&bar);
    open_all(w);
    pthread_barrier_wait(&bar); // all open
    pthread_barrier_wait(&bar); // go
    if (mode == LOAD) exchange(w);
    else for (;;) take(w, w->c); // until the connection fails
    return 0;
}
static worker *start(void) {
    worker *ws = prepare();
    for (int i = 0; i < threads; i++) {
        for (int k = 0; k < ws[i].n; k++) {
            conn *c = &ws[i].c[k];
            own *o = &c->own;
            o->npub = snprintf(o->pub, HEAD, "PUB u.%u %d\r\n", c->id, body), o->nmsg = snprintf(o->msg, HEAD, "MSG d.%u 1 %d\r\n", c->id, body);
            o->seq = calloc(depth, sizeof *o->seq), o->t0 = calloc(depth, sizeof *o->t0);
            for (int s = 0; s < depth; s++) o->seq[s] = s;
        }
        pthread_create(&ws[i].th, 0, run, &ws[i]);
    }
    return ws;
}

static int options(int ac, char **av) {
    for (int o; (o = getopt(ac, av, "m:" SHARED_OPTIONS)) > 0;) {
        if (o == 'm') mode = *optarg == 'b' ? BACKEND : LOAD;
        else if (!shared_option(o)) return 0;
    }
    if (mode == BACKEND) conns = threads, vital = 1; // it cannot do with less than all of its connections
    return optind < ac && sound() && body >= ID && address(av[optind], &target);
}

int main(int ac, char **av) {
    if (!options(ac, av)) {
        fprintf(stderr, "usage: see the head of cnats.c\n");
        return 2;
    }
    double before = line_ns();
    worker *ws = start();
    clocks a = begin();
    if (mode == BACKEND) {
        printf("ready\n");
        fflush(stdout);
        pthread_barrier_wait(&bar);
        pthread_join(ws->th, 0); // never: it ends by a signal, or with a connection
    }
    clocks b = window(&a);
    worker all = sum(ws);
    all.bytes = all.frames * body;
    return report(&all, &a, &b, before, line_ns());
}
