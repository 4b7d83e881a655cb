// cfan: the load on a fan-out. All links are in one room; the first one speaks, and everybody must get each message once, in its order
// and byte by byte, the speaker too. A delivery is what is counted.
//   cfan [options] host:port     the options and the result are those of load.h; a body has 8 bytes or more
//   -m edged   HELLO and WELCOME, then DATA of the speaker that the Manager gives to the room (cmanager -r)
//   -m plain   the same frames without a login: croom
//   -m nats    one subject      -m mqtt    one topic, QoS 0 (MQTT 3.1.1)
//   -p n       messages on their way: the next one is sent when all links have the one n before it
#define _GNU_SOURCE
#include <stdint.h>

#define STAMP 4 // number of a message, at the begin of a body
#define BEHIND_LIMIT 30e9 // after the end: sixteen messages to 10,000 links may take seconds

typedef struct {
    uint32_t got; // messages
} own;
#include "links.h"
#include <sys/eventfd.h>

// message is what a dialect found at the begin of some bytes.
typedef struct {
    enum { NEWS, WELCOME, BODY, ASKED } what; // ASKED: answer begins what is to be answered
    const uint8_t *body;
    int size;
    const char *answer;
} message;

// dialect is how a server is spoken to. parse returns the bytes of one operation: 0 when it is not whole, -1 when nobody sends such.
typedef struct {
    const char *name;
    void (*greet)(conn *c);
    int (*parse)(const uint8_t *p, int n, message *m);
    void (*head)(bytes *b);
    const char *tail;
} dialect;

static const dialect *spoken;
static bytes head;     // what stands before each body
static char news[32];  // NATS: the line before each body that comes
static int nnews;
static int wake; // eventfd: a message has come to all
static _Atomic uint32_t arrived[MAXP]; // links that have the message of a slot
static _Atomic uint64_t sent_at[MAXP];
static _Atomic uint32_t complete; // messages that all have, which they get in their order
static uint32_t published;        // of the first worker alone

static void greet_plain(conn *c) { add(&c->out, "\0\0", 2); } // croom answers it from within the room
static void greet_edged(conn *c) { add(&c->out, "\0\1\1", 3); }
static void head_edged(bytes *b) {
    uint8_t h[3] = {(body + 1) >> 8, body + 1, 3};
    add(b, h, sizeof h);
}
static int parse_edged(const uint8_t *p, int n, message *m) {
    int len = n < 2 ? 0 : p[0] << 8 | p[1];
    if (n < 3 || n < 2 + len) return n >= 2 && !len ? -1 : 0;
    *m = (message){p[2] == 2 ? WELCOME : BODY, p + 3, len - 1, 0};
    return p[2] == 2 || p[2] == 3 ? 2 + len : -1;
}

static int parse_plain(const uint8_t *p, int n, message *m) {
    if (n < 2 || p[0] || p[1]) return parse_edged(p, n, m);
    return m->what = WELCOME, 2;
}

static void greet_nats(conn *c) {
    static const char hello[] = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB all 1\r\nPING\r\n";
    add(&c->out, hello, sizeof hello - 1);
}
static void head_nats(bytes *b) {
    char h[32];
    add(b, h, snprintf(h, sizeof h, "PUB all %d\r\n", body));
    nnews = snprintf(news, sizeof news, "MSG all 1 %d\r\n", body);
}
static int parse_nats(const uint8_t *p, int n, message *m) {
    const uint8_t *end = memchr(p, '\n', n);
    int line = end ? end + 1 - p : 0;
    if (!line) return n > 4096 ? -1 : 0;
    if (line == nnews && !memcmp(p, news, nnews)) {
        *m = (message){BODY, p + line, body, 0};
        if (n < line + body + 2) return 0;
        return memcmp(p + line + body, "\r\n", 2) ? -1 : line + body + 2;
    }
    *m = (message){NEWS, 0, 0, 0};
    if (line == 6 && !memcmp(p, "PONG\r\n", 6)) m->what = WELCOME;
    if (line == 6 && !memcmp(p, "PING\r\n", 6)) m->what = ASKED, m->answer = "PONG\r\n";
    return m->what || (line > 5 && !memcmp(p, "INFO ", 5)) ? line : -1;
}

// remaining is the length of the rest of an MQTT packet, in as many bytes as it takes.
static int write_remaining(uint8_t *p, int n) {
    int k = 0;
    for (; n >= 0x80; n >>= 7) p[k++] = n | 0x80;
    p[k++] = n;
    return k;
}
static void greet_mqtt(conn *c) {
    uint8_t p[64] = {0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0}; // 3.1.1, a clean session, no keepalive
    int n = snprintf((char *)p + 14, 32, "link%u", c->id);
    p[1] = 12 + n, p[13] = n;
    add(&c->out, p, 14 + n);
    add(&c->out, "\x82\x08\0\1\0\3all\0", 10);
}
static void head_mqtt(bytes *b) {
    uint8_t h[16] = {0x30};
    int k = 1 + write_remaining(h + 1, 5 + body);
    memcpy(h + k, "\0\3all", 5);
    add(b, h, k + 5);
}
static int parse_mqtt(const uint8_t *p, int n, message *m) {
    int len = 0, k = 1;
    for (int shift = 0;; shift += 7) {
        if (k >= n) return 0;
        if (shift > 14) return -1;
        len |= (p[k] & 0x7f) << shift;
        if (p[k++] < 0x80) break;
    }
    if (n < k + len) return 0;
    *m = (message){NEWS, 0, 0, 0};
    if (p[0] == 0x20) return len == 2 && !p[k + 1] ? k + len : -1;                   // CONNACK, accepted
    if (p[0] == 0x90) return m->what = WELCOME, len == 3 && !p[k + 2] ? k + len : -1; // SUBACK, QoS 0
    *m = (message){BODY, p + k + 5, len - 5, 0};
    return p[0] == 0x30 && len >= 5 && !memcmp(p + k, "\0\3all", 5) ? k + len : -1;
}

static const dialect dialects[] = {
    {"edged", greet_edged, parse_edged, head_edged, ""},
    {"plain", greet_plain, parse_plain, head_edged, ""},
    {"nats", greet_nats, parse_nats, head_nats, "\r\n"},
    {"mqtt", greet_mqtt, parse_mqtt, head_mqtt, ""},
};

static void greet(worker *w, conn *c) {
    (void)w;
    spoken->greet(c);
}

// delivered checks a message and counts it.
static void delivered(worker *w, conn *c, const message *m, uint64_t t) {
    uint32_t number = c->own.got;
    memcpy(w->tmp, &number, STAMP);
    if (m->size != body || memcmp(m->body, w->tmp, body)) return unexpected(w, c, "not what was sent, or not in its order");
    int slot = number % depth;
    c->own.got++;
    if (phase == 1) w->frames++, w->hist[bucket(t - sent_at[slot])]++;
    if (++arrived[slot] < (uint32_t)conns) return;
    arrived[slot] = 0; // before its slot is used again
    complete++;
    uint64_t one = 1;
    if (w->first && write(wake, &one, sizeof one) < 0) perror("wake"); // the first worker looks by itself
}
static int operations(worker *w, conn *c, const uint8_t *p, int n, uint64_t t) {
    int off = 0;
    while (off < n && c->state != DEAD) {
        message m;
        int used = spoken->parse(p + off, n - off, &m);
        if (used < 0) unexpected(w, c, "what nobody sends");
        if (used <= 0) break;
        if (m.what == WELCOME && c->state != OPENING) unexpected(w, c, "welcome twice");
        else if (m.what == WELCOME) opened(w, c);
        else if (m.what == ASKED) add(&c->out, m.answer, strlen(m.answer));
        else if (m.what == BODY) delivered(w, c, &m, t);
        off += used;
    }
    return off;
}
// publish sends what may be on its way.
static void publish(worker *w) {
    conn *c = w->c;
    uint64_t t = now();
    for (; phase < 2 && c->state == OPEN && published - complete < (uint32_t)depth; published++) {
        sent_at[published % depth] = t;
        memcpy(w->tmp, &published, STAMP);
        add(&c->out, head.p, head.len), add(&c->out, w->tmp, body), add(&c->out, spoken->tail, strlen(spoken->tail));
    }
    flush(w, c);
}
static int behind(worker *w) {
    int n = 0;
    for (int i = 0; i < w->n; i++) n += w->c[i].state == OPEN && w->c[i].own.got != published;
    return n;
}

static void *run(void *arg) {
    worker *w = arg;
    pthread_barrier_wait(&bar);
    open_all(w);
    pthread_barrier_wait(&bar); // all open
    pthread_barrier_wait(&bar); // go
    if (!w->first) {
        struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = 0}; // each write is told once, and nobody reads
        epoll_ctl(w->ep, EPOLL_CTL_ADD, wake, &e);
    }
    while (phase < 2) {
        if (!w->first) publish(w);
        poll_once(w, 20);
    }
    pthread_barrier_wait(&bar); // published stands
    for (uint64_t t = now(); (w->silent = behind(w)) && now() - t < BEHIND_LIMIT;) poll_once(w, 20);
    return 0;
}
static worker *start(void) {
    worker *ws = prepare();
    spoken->head(&head);
    wake = eventfd(0, EFD_NONBLOCK);
    for (int i = 0; i < threads; i++) pthread_create(&ws[i].th, 0, run, &ws[i]);
    return ws;
}

static int options(int ac, char **av) {
    for (int o; (o = getopt(ac, av, "m:" SHARED_OPTIONS)) > 0;) {
        if (o == 'm') {
            for (unsigned i = 0; i < sizeof dialects / sizeof *dialects; i++)
                if (!strcmp(optarg, dialects[i].name)) spoken = &dialects[i];
        } else if (!shared_option(o)) {
            return 0;
        }
    }
    return spoken && optind < ac && sound() && body >= STAMP && body <= 65000 && address(av[optind], &target);
}

int main(int ac, char **av) {
    if (!options(ac, av)) {
        fprintf(stderr, "usage: see the head of cfan.c\n");
        return 2;
    }
    double before = line_ns();
    worker *ws = start();
    clocks a = begin(), b = window(&a);
    pthread_barrier_wait(&bar);
    worker all = sum(ws);
    all.bytes = all.frames * body;
    return report(&all, &a, &b, before, line_ns());
}
