// links.h: links over which operations travel that are taken whole: what the loads have in common that do not echo frames. A load
// defines the type own, what it keeps of a link, then includes this, then defines greet and operations.
#include "bytes.h"
#include "load.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { OPENING, OPEN, DEAD };
#define RBUF 65536
#define MAXPART (1 << 17) // an operation that is not whole

struct conn {
    int fd, state, stuck; // stuck: the socket was full
    uint32_t id;
    bytes part, out; // an operation that is not whole; what is not sent
    own own;
};
static struct sockaddr_in target;
static int vital; // a link that fails ends the program

// greet puts into c->out what opens a link.
static void greet(worker *w, conn *c);
// operations takes all that are whole and returns their bytes. It says opened when the greeting is answered.
static int operations(worker *w, conn *c, const uint8_t *p, int n, uint64_t t);

static void opened(worker *w, conn *c) { c->state = OPEN, w->open++; }
static void fail(worker *w, conn *c, const char *why) {
    if (c->state == DEAD) return;
    if (!w->errors || vital) fprintf(stderr, "link %u: %s\n", c->id, why);
    if (vital) exit(1);
    if (c->state == OPEN) w->open--;
    w->errors++;
    c->state = DEAD;
    close(c->fd);
}
// unexpected ends a link that got what nobody sent.
static void unexpected(worker *w, conn *c, const char *why) {
    w->mismatches++;
    fail(w, c, why);
}
// flush sends what waits: all of it if the socket blocks.
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
// take reads once, and sends what comes of it.
static void take(worker *w, conn *c) {
    int have = c->part.len;
    if (have) memcpy(w->buf, c->part.p, have);
    ssize_t n = recv(c->fd, w->buf + have, RBUF, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return fail(w, c, n ? strerror(errno) : "closed by the server");
    int used = operations(w, c, w->buf, have + n, now());
    c->part.len = 0;
    if (c->state == DEAD) return;
    if (have + n - used > MAXPART) return unexpected(w, c, "an operation that does not end");
    if (used < have + n) add(&c->part, w->buf + used, have + n - used);
    flush(w, c);
}

// open_link returns when the greeting is answered. Until then the socket blocks, a second at most; a vital one for ever.
static void open_link(worker *w, conn *c, uint64_t limit) {
    int one = 1;
    struct timeval second = {1, 0};
    struct linger none = {1, 0}; // leaves no TIME_WAIT behind
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0) { perror("socket"); exit(1); }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    if (connect(c->fd, (void *)&target, sizeof target)) return fail(w, c, strerror(errno));
    greet(w, c);
    for (flush(w, c); c->state == OPENING && now() < limit;) take(w, c);
    if (c->state == OPENING) fail(w, c, "did not open in time");
    if (c->state == DEAD || vital) return;
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(w->ep, EPOLL_CTL_ADD, c->fd, &e);
}
static void open_all(worker *w) {
    uint64_t t = now();
    for (int i = 0; i < w->n; i++) open_link(w, &w->c[i], t + CONNECT_LIMIT);
    w->connect_s = (now() - t) / 1e9;
}
// poll_once waits for events, and hands a null pointer's to nobody.
static void poll_once(worker *w, int ms) {
    struct epoll_event ev[512];
    int n = epoll_wait(w->ep, ev, 512, ms);
    for (int i = 0; i < n; i++) {
        conn *c = ev[i].data.ptr;
        if (!c) continue;
        if (ev[i].events & EPOLLOUT) flush(w, c);
        if (c->state == OPEN && ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) take(w, c);
    }
}

// prepare returns the workers with links that are not open yet. w->tmp has room for a body.
static worker *prepare(void) {
    worker *ws = hire();
    for (int i = 0; i < threads; i++) {
        worker *w = &ws[i];
        w->ep = epoll_create1(0);
        w->c = calloc(w->n, sizeof *w->c);
        w->buf = malloc(MAXPART + RBUF);
        w->tmp = malloc(body);
        for (int k = 0; k < body; k++) w->tmp[k] = 'a' + k % 26;
        for (int k = 0; k < w->n; k++) w->c[k].id = w->first + k;
    }
    return ws;
}
