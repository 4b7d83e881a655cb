// cnats: the load on a NATS server, in NATS's text protocol, and the backend behind it. It verifies every byte that comes back.
//   cnats -m load [options] host:port       the options and the result are those of load.h; a body has 8 bytes or more
//   cnats -m backend [-t n] host:port       a line "ready" tells that all n threads are subscribed
// Link i is subscribed to d.i. It has -p slots; in each one message to u.i is on its way, and the next is sent when it was answered.
// The backend has a connection for each thread. They share the messages to u.* as a queue group, and publish to d.i what came to u.i.
// The server is free to give the messages of one link to several of them, so answers may come in another order than the messages left.
#define _GNU_SOURCE
#include "bytes.h"
#include "load.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { LOAD, BACKEND };
enum { OPENING, OPEN, DEAD };
#define RBUF 65536
#define MAXBODY 65535
#define MAXLINE 4096                    // what the server says of itself is the longest
#define MAXPART (MAXLINE + MAXBODY + 2) // an operation that is not whole
#define HEAD 32                         // of a message that a link sends or awaits
#define ID 8                            // link and number, at the begin of a body

static struct sockaddr_in target;
static int mode = LOAD;
struct conn {
    int fd, state, stuck;      // stuck: the socket was full
    int waiting;               // messages that are not answered
    uint32_t id, answers;
    bytes part, out;           // an operation that is not whole; what is not sent
    char pub[HEAD], msg[HEAD]; // heads of a message and of its answer
    int npub, nmsg;
    uint32_t *seq;             // number of each slot's message
    uint64_t *t0;              // when it was sent
};
// message is an operation that brings a body: "MSG subject 1 size\r\n", body, "\r\n". Each part begins where it says.
typedef struct {
    const char *head, *subject, *size, *body, *end;
} message;

// fail ends a link. A backend cannot do with less than all of its connections.
static void fail(worker *w, conn *c, const char *why) {
    if (c->state == DEAD) return;
    if (!w->errors || mode == BACKEND) fprintf(stderr, "link %u: %s\n", c->id, why);
    if (mode == BACKEND) exit(1);
    if (c->state == OPEN) w->open--;
    w->errors++;
    c->state = DEAD;
    close(c->fd);
}
// flush sends what waits: all of it if the socket blocks, as the backend's do.
static void flush(worker *w, conn *c) {
    int sent = 0;
    while (c->state != DEAD && sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.p + sent, c->out.len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN) return fail(w, c, strerror(errno));
        if (n < 0) break;
        sent += n;
    }
    if (c->state == DEAD) return;
    if (sent) cut(&c->out, sent);
    if (c->stuck == (c->out.len > 0)) return;
    c->stuck = c->out.len > 0;
    struct epoll_event e = {.events = EPOLLIN | (c->stuck ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(w->ep, EPOLL_CTL_MOD, c->fd, &e);
}

static void publish(worker *w, conn *c, int slot, uint64_t t) {
    uint32_t id[2] = {c->id, c->seq[slot]};
    memcpy(w->tmp, id, ID);
    add(&c->out, c->pub, c->npub), add(&c->out, w->tmp, body), add(&c->out, "\r\n", 2);
    c->t0[slot] = t, c->waiting++;
}
// answered checks an answer against the message of its slot, and sends the next one.
static void answered(worker *w, conn *c, const message *m, uint64_t t) {
    uint32_t id[2] = {c->id, 0};
    int slot = 0, size = m->end - 2 - m->body, known = m->body - m->head == c->nmsg && !memcmp(m->head, c->msg, c->nmsg) && size == body;
    if (known) {
        memcpy(&id[1], m->body + sizeof id[0], sizeof id[1]);
        slot = id[1] % depth;
        memcpy(w->tmp, id, ID);
        known = id[1] == c->seq[slot] && !memcmp(w->tmp, m->body, body);
    }
    if (!known) {
        if (!w->mismatches++) fprintf(stderr, "link %u, answer %u: got %.*s\n", c->id, c->answers, (int)(m->end - m->head), m->head);
        return fail(w, c, "not what was sent");
    }
    c->answers++, c->waiting--, c->seq[slot] += depth;
    if (phase == 1) w->frames++, w->hist[bucket(t - c->t0[slot])]++;
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
        c->state = OPEN, w->open++;
        return;
    }
    if (n == 5 && !memcmp(p, "+OK\r\n", n)) return;
    if (n > 5 && !memcmp(p, "INFO ", 5)) return;
    snprintf(said, sizeof said, "the server said %.*s", n, p);
    said[strcspn(said, "\r\n")] = 0;
    fail(w, c, said);
}
// operations takes all that are whole and returns their bytes.
static int operations(worker *w, conn *c, const char *p, int n, uint64_t t) {
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
            w->mismatches++;
            fail(w, c, "a head that was not expected");
            break;
        }
        m.end = m.body + size + 2;
        if (m.end > p + n) break;
        if (memcmp(m.end - 2, "\r\n", 2)) {
            w->mismatches++;
            fail(w, c, "a body of another length than its head says");
        } else if (mode == LOAD) {
            answered(w, c, &m, t);
        } else {
            answer(w, c, &m);
        }
        off = m.end - p;
    }
    return off;
}
// take reads once, and sends what comes of it.
static void take(worker *w, conn *c) {
    int have = c->part.len;
    if (have) memcpy(w->buf, c->part.p, have);
    ssize_t n = recv(c->fd, w->buf + have, RBUF, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return fail(w, c, n ? strerror(errno) : "closed by the server");
    int used = operations(w, c, (char *)w->buf, have + n, now());
    c->part.len = 0;
    if (c->state == DEAD) return;
    if (used < have + n) add(&c->part, w->buf + used, have + n - used);
    flush(w, c);
}

// open_link returns when the server has answered a PING behind the subscription. Until then the socket blocks, a second at most.
static void open_link(worker *w, conn *c, uint64_t limit) {
    static const char hello[] = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
    char sub[HEAD];
    int one = 1, n = mode == LOAD ? snprintf(sub, HEAD, "SUB d.%u 1\r\n", c->id) : snprintf(sub, HEAD, "SUB u.* backend 1\r\n");
    struct timeval second = {1, 0};
    struct linger none = {1, 0}; // leaves no TIME_WAIT behind
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) { perror("socket"); exit(1); }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    if (connect(c->fd, (void *)&target, sizeof target)) return fail(w, c, strerror(errno));
    add(&c->out, hello, sizeof hello - 1), add(&c->out, sub, n), add(&c->out, "PING\r\n", 6);
    for (flush(w, c); c->state == OPENING && now() < limit;) take(w, c);
    if (c->state == OPENING) fail(w, c, "did not open in time");
    if (c->state == DEAD || mode == BACKEND) return;
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(w->ep, EPOLL_CTL_ADD, c->fd, &e);
}
static void open_all(worker *w) {
    uint64_t t = now();
    for (int i = 0; i < w->n; i++) open_link(w, &w->c[i], t + CONNECT_LIMIT);
    w->connect_s = (now() - t) / 1e9;
}

static void poll_once(worker *w, int ms) {
    struct epoll_event ev[512];
    int n = epoll_wait(w->ep, ev, 512, ms);
    for (int i = 0; i < n; i++) {
        conn *c = ev[i].data.ptr;
        if (ev[i].events & EPOLLOUT) flush(w, c);
        if (c->state == OPEN && ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) take(w, c);
    }
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
        for (int i = 0; i < w->n; i++) w->silent += w->c[i].state == OPEN && w->c[i].waiting;
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
    worker *ws = hire();
    for (int i = 0; i < threads; i++) {
        worker *w = &ws[i];
        w->ep = epoll_create1(0);
        w->c = calloc(w->n, sizeof *w->c);
        w->buf = malloc(MAXPART + RBUF);
        w->tmp = malloc(body);
        for (int k = 0; k < body; k++) w->tmp[k] = 'a' + k % 26;
        for (int k = 0; k < w->n; k++) {
            conn *c = &w->c[k];
            c->id = w->first + k;
            c->npub = snprintf(c->pub, HEAD, "PUB u.%u %d\r\n", c->id, body), c->nmsg = snprintf(c->msg, HEAD, "MSG d.%u 1 %d\r\n", c->id, body);
            c->seq = calloc(depth, sizeof *c->seq), c->t0 = calloc(depth, sizeof *c->t0);
            for (int s = 0; s < depth; s++) c->seq[s] = s;
        }
        pthread_create(&w->th, 0, run, w);
    }
    return ws;
}

static int options(int ac, char **av) {
    for (int o; (o = getopt(ac, av, "m:" SHARED_OPTIONS)) > 0;) {
        if (o == 'm') mode = *optarg == 'b' ? BACKEND : LOAD;
        else if (!shared_option(o)) return 0;
    }
    if (mode == BACKEND) conns = threads;
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
