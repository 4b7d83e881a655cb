// croom: the floor of a fan-out, in plain C: one room that all links are in from the first moment. Each frame of a link (2-byte
// big-endian length and a body) goes to all of them, its sender too. An empty one at first comes back to its sender alone: it is in.
//   croom [-n threads] port     port 0: the kernel picks one; a line "ready ADDRESS" tells it
// Each thread has an epoll, a SO_REUSEPORT listener and its links. A turn reads what is there, hands the frames to the other threads,
// and writes once to each link. Whoever does not read is ended.
#define _GNU_SOURCE
#include "bytes.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define RBUF 65536
#define MAXTHREADS 64
#define MAXFILES (1 << 21)
typedef struct {
    int ep, listener, wake, nlinks;
    int *links;         // files
    bytes said;         // frames of this turn
    uint8_t *in;
    pthread_mutex_t mu; // guards heard
    bytes heard;        // from other threads
} thread;
typedef struct {
    bytes tail; // an incomplete frame
    int at;     // in its thread's links
    int greeted;
} conn;

static conn *conns; // by fd
static thread all[MAXTHREADS];
static int port, nthreads = 2;

static void watch(thread *t, int fd) {
    struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(t->ep, EPOLL_CTL_ADD, fd, &e);
}
static void drop(thread *t, int fd) {
    conn *c = &conns[fd];
    int last = t->links[--t->nlinks];
    t->links[c->at] = last, conns[last].at = c->at;
    c->tail.len = c->greeted = 0;
    close(fd);
}
static void accept_all(thread *t) {
    int one = 1;
    for (int s; (s = accept4(t->listener, 0, 0, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conns[s].at = t->nlinks;
        t->links[t->nlinks++] = s;
        watch(t, s);
    }
}
// whole returns the bytes of the whole frames at the begin of p.
static int whole(const uint8_t *p, int n) {
    int off = 0;
    while (n - off >= 2 && n - off >= 2 + (p[off] << 8 | p[off + 1])) off += 2 + (p[off] << 8 | p[off + 1]);
    return off;
}
static void readable(thread *t, int fd) {
    conn *c = &conns[fd];
    ssize_t n = recv(fd, t->in, RBUF, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) return drop(t, fd);
    add(&c->tail, t->in, n);
    if (!c->greeted && c->tail.len >= 2 && !memcmp(c->tail.p, "\0\0", 2)) {
        c->greeted = 1;
        cut(&c->tail, 2);
        if (send(fd, "\0\0", 2, MSG_NOSIGNAL) != 2) return drop(t, fd);
    }
    int used = whole(c->tail.p, c->tail.len);
    add(&t->said, c->tail.p, used);
    cut(&c->tail, used);
}
// tell hands what was said in this turn to the other threads, and takes over what they said.
static void tell(thread *t) {
    uint64_t one = 1;
    for (thread *o = all; t->said.len && o < all + nthreads; o++) {
        if (o == t) continue;
        pthread_mutex_lock(&o->mu);
        add(&o->heard, t->said.p, t->said.len);
        pthread_mutex_unlock(&o->mu);
        if (write(o->wake, &one, sizeof one) < 0) perror("wake");
    }
    pthread_mutex_lock(&t->mu);
    if (t->heard.len) add(&t->said, t->heard.p, t->heard.len);
    t->heard.len = 0;
    pthread_mutex_unlock(&t->mu);
}
static void write_all(thread *t) {
    for (int i = t->nlinks - 1; t->said.len && i >= 0; i--) // backwards: who is dropped is replaced by one who was served
        if (send(t->links[i], t->said.p, t->said.len, MSG_NOSIGNAL) != t->said.len) drop(t, t->links[i]);
    t->said.len = 0;
}

static void *loop(void *arg) {
    thread *t = arg;
    struct epoll_event ev[512];
    uint64_t times;
    for (;;) {
        int n = epoll_wait(t->ep, ev, 512, -1);
        for (int i = 0; i < n; i++) {
            int fd = ev[i].data.fd;
            if (fd == t->listener) accept_all(t);
            else if (fd != t->wake) readable(t, fd);
            else if (read(fd, &times, sizeof times) < 0) perror("wake");
        }
        tell(t);
        write_all(t);
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
    *t = (thread){.ep = epoll_create1(0), .listener = ls, .wake = eventfd(0, EFD_NONBLOCK), .links = calloc(files, sizeof(int)), .in = malloc(RBUF)};
    pthread_mutex_init(&t->mu, 0);
    watch(t, ls), watch(t, t->wake);
}

int main(int ac, char **av) {
    for (int o; (o = getopt(ac, av, "n:")) > 0;)
        if (o == 'n') nthreads = atoi(optarg);
        else return 2;
    if (optind >= ac || nthreads < 1 || nthreads > MAXTHREADS) { fprintf(stderr, "usage: see the head of croom.c\n"); return 2; }
    port = atoi(av[optind]);
    signal(SIGPIPE, SIG_IGN);
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max < MAXFILES ? rl.rlim_max : MAXFILES;
    setrlimit(RLIMIT_NOFILE, &rl);
    conns = calloc(rl.rlim_cur, sizeof *conns);
    for (int i = 0; i < nthreads; i++) open_thread(&all[i], rl.rlim_cur);
    printf("ready 127.0.0.1:%d\n", port);
    fflush(stdout);
    pthread_t th;
    for (int i = 1; i < nthreads; i++) pthread_create(&th, 0, loop, &all[i]);
    loop(&all[0]);
}
