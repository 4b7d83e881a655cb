// crelay: the floor of a relay, in plain C: what cfloor is to an echo. It gathers the frames of all links of a thread into one
// stream to a backend that sends them back as they came (cfloor), and gives each answer to its link.
//   crelay [-n threads] 127.0.0.1:backend-port port     port 0: the kernel picks one; a line "ready ADDRESS" tells it
// Each thread has an epoll, a SO_REUSEPORT listener and one connection to the backend. A turn reads what is there, and writes
// once to the backend and once to each link that was answered. There is no login, no session, no receipt and no bound: whoever
// does not read is ended.
#define _GNU_SOURCE
#include "bytes.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define RBUF 65536
#define HEAD 2
#define NAME 8 // what stands before a body towards the backend: the link's file and its generation
#define MAXFILES (1 << 21)
typedef struct {
    bytes tail, out; // an incomplete frame; answers of this turn
    uint32_t life;   // generation: an answer for a link that is gone is for nobody
    int open, dirty;
} conn;
typedef struct {
    int ep, listener, backend, ndirty, stuck;
    bytes up, down;  // to the backend, not yet taken; from it, incomplete
    int *dirty;
    uint8_t *in;
} thread;

static conn *conns; // by fd
static struct sockaddr_in backend_addr;
static int port, nthreads = 2;

static void drop(int fd) {
    conn *c = &conns[fd];
    c->open = c->tail.len = c->out.len = 0, c->life++;
    close(fd);
}
static void watch(thread *t, int op, int fd, uint32_t ev) {
    struct epoll_event e = {.events = ev, .data.fd = fd};
    epoll_ctl(t->ep, op, fd, &e);
}
static void accept_all(thread *t) {
    int one = 1;
    for (int s; (s = accept4(t->listener, 0, 0, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conns[s].open = 1;
        watch(t, EPOLL_CTL_ADD, s, EPOLLIN | EPOLLRDHUP);
    }
}

// frames hands every whole frame of p to f and returns the bytes that they took.
static int frames(thread *t, int fd, const uint8_t *p, int n, void (*f)(thread *, int, const uint8_t *, int)) {
    int off = 0;
    while (n - off >= HEAD) {
        int body = p[off] << 8 | p[off + 1];
        if (n - off < HEAD + body) break;
        f(t, fd, p + off + HEAD, body);
        off += HEAD + body;
    }
    return off;
}
// take adds what was read to what was left over, and hands the whole frames on.
static void take(thread *t, int fd, bytes *tail, int n, void (*f)(thread *, int, const uint8_t *, int)) {
    if (!tail->len) {
        int used = frames(t, fd, t->in, n, f);
        if (used < n) add(tail, t->in + used, n - used);
        return;
    }
    add(tail, t->in, n);
    cut(tail, frames(t, fd, tail->p, tail->len, f));
}
static void from_link(thread *t, int fd, const uint8_t *body, int n) {
    uint8_t head[HEAD + NAME] = {(n + NAME) >> 8, n + NAME};
    if (n + NAME > 65535) { fprintf(stderr, "a frame of %d bytes is too long\n", n); exit(1); }
    memcpy(head + HEAD, &fd, 4), memcpy(head + HEAD + 4, &conns[fd].life, 4);
    add(&t->up, head, sizeof head), add(&t->up, body, n);
}
static void from_backend(thread *t, int unused, const uint8_t *body, int n) {
    int fd;
    uint32_t life;
    (void)unused;
    memcpy(&fd, body, 4), memcpy(&life, body + 4, 4);
    conn *c = &conns[fd];
    if (!c->open || c->life != life) return;
    uint8_t head[HEAD] = {(n - NAME) >> 8, n - NAME};
    add(&c->out, head, HEAD), add(&c->out, body + NAME, n - NAME);
    if (!c->dirty) c->dirty = 1, t->dirty[t->ndirty++] = fd;
}
static void readable(thread *t, int fd) {
    ssize_t n = recv(fd, t->in, RBUF, 0);
    if (n > 0) return take(t, fd, fd == t->backend ? &t->down : &conns[fd].tail, n, fd == t->backend ? from_backend : from_link);
    if (n < 0 && errno == EAGAIN) return;
    if (fd == t->backend) { fprintf(stderr, "the backend is gone\n"); exit(1); }
    drop(fd);
}
// flush ends a turn.
static void flush(thread *t) {
    if (t->up.len) {
        ssize_t n = send(t->backend, t->up.p, t->up.len, MSG_NOSIGNAL);
        if (n > 0 && n < t->up.len) cut(&t->up, n);
        else if (n > 0) t->up.len = 0;
        int stuck = t->up.len > 0;
        if (stuck != t->stuck) watch(t, EPOLL_CTL_MOD, t->backend, EPOLLIN | (stuck ? EPOLLOUT : 0)), t->stuck = stuck;
    }
    for (int i = 0; i < t->ndirty; i++) {
        conn *c = &conns[t->dirty[i]];
        c->dirty = 0;
        if (c->open && c->out.len && send(t->dirty[i], c->out.p, c->out.len, MSG_NOSIGNAL) != c->out.len) drop(t->dirty[i]);
        c->out.len = 0;
    }
    t->ndirty = 0;
}

static void *loop(void *arg) {
    thread *t = arg;
    struct epoll_event ev[512];
    for (;;) {
        int n = epoll_wait(t->ep, ev, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = ev[i].data.fd;
            if (fd == t->listener) accept_all(t);
            else if (ev[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP)) readable(t, fd);
        }
        flush(t);
    }
    return 0; // never
}

static void open_thread(thread *t, int files) {
    int one = 1, ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t l = sizeof a;
    setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    setsockopt(ls, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
    if (bind(ls, (void *)&a, l) || listen(ls, 65535) || getsockname(ls, (void *)&a, &l)) { perror("listen"); exit(1); }
    port = ntohs(a.sin_port);
    *t = (thread){.ep = epoll_create1(0), .listener = ls, .dirty = calloc(files, sizeof(int)), .in = malloc(RBUF)};
    t->backend = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(t->backend, (void *)&backend_addr, sizeof backend_addr)) { perror("connect to the backend"); exit(1); }
    setsockopt(t->backend, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(t->backend, F_SETFL, O_NONBLOCK);
    watch(t, EPOLL_CTL_ADD, ls, EPOLLIN);
    watch(t, EPOLL_CTL_ADD, t->backend, EPOLLIN);
}

int main(int ac, char **av) {
    for (int o; (o = getopt(ac, av, "n:")) > 0;)
        if (o == 'n') nthreads = atoi(optarg);
        else return 2;
    char *colon = optind + 1 < ac ? strrchr(av[optind], ':') : 0;
    if (!colon || nthreads < 1 || nthreads > 1024) { fprintf(stderr, "usage: see the head of crelay.c\n"); return 2; }
    *colon = 0;
    backend_addr.sin_family = AF_INET, backend_addr.sin_port = htons(atoi(colon + 1));
    if (inet_pton(AF_INET, av[optind], &backend_addr.sin_addr) != 1) { fprintf(stderr, "%s is no address\n", av[optind]); return 2; }
    port = atoi(av[optind + 1]);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max < MAXFILES ? rl.rlim_max : MAXFILES;
    setrlimit(RLIMIT_NOFILE, &rl);
    conns = calloc(rl.rlim_cur, sizeof *conns);
    thread *all = calloc(nthreads, sizeof *all);
    for (int i = 0; i < nthreads; i++) open_thread(&all[i], rl.rlim_cur);
    printf("ready 127.0.0.1:%d\n", port);
    fflush(stdout);
    pthread_t th;
    for (int i = 1; i < nthreads; i++) pthread_create(&th, 0, loop, &all[i]);
    loop(&all[0]);
}
