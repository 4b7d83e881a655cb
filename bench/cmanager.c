// cmanager: a Manager of edged in plain C, what one costs at least: HTTP/2 without TLS and batches by hand, in one thread.
//   cmanager [options] 127.0.0.1:port|unix:/path     port 0: the kernel picks one; a line "ready ADDRESS" tells it
//   -s n     bytes that the session of a link is filled up to at its HELLO (default 0: not at all)
//   -r room  each link joins the room at its HELLO, and its DATA goes to the room instead of back to it
//   -a mode  none or required: DATA is answered with a push of 64 bytes and this mode of acknowledgement instead; each
//            acknowledgement is answered with the next
// It binds each link to a user of its own, so that none replaces another, and gives no receipts.
// Whatever is not as PROTOCOL.md says ends it with a sentence.
#define _GNU_SOURCE
#include "h2.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/un.h>

#define MESSAGE 5           // head of a gRPC message: not compressed, length
#define LONGEST (4 << 20)   // a message
#define BATCH (FRAME - MESSAGE)
#define RBUF 65536
#define PUSHED 64
#define PAD "bench.pad"
#define DEVICE "bench"
// Tags of api/manager.proto: field number, and that a length follows.
#define FIELD(n) ((n) << 3 | 2)
enum { UP_ITEMS = FIELD(2), ITEM_LINK = FIELD(1), ITEM_SESSION = FIELD(2), ITEM_MESSAGE = FIELD(4), ITEM_ACKED = FIELD(5) };
enum { DOWN_ITEMS = FIELD(1), DOWN_HELLO = FIELD(4), TO_LINK = FIELD(1), TO_ROOM = FIELD(4), OF_DATA = FIELD(6), OF_PUSH = FIELD(7), OF_SESSION = FIELD(8), OF_BIND = FIELD(9), OF_JOIN = FIELD(10) };
enum { KIND = 1 << 3, PUSH_ACK = 3 << 3 }; // numbers follow
enum { HELLO = 1, DATA_KIND = 3 };
enum { NOT, NONE, REQUIRED };

static int session, pushes = NOT;
static const char *room;
static uint32_t users, named; // links that were let in; pushes that have a msg_id
static bytes item, inner;
static uint8_t pushed[PUSHED];

typedef struct {
    const uint8_t *p;
    uint64_t n; // of a number: itself
} value;

// number reads a varint, and moves *p behind it.
static uint64_t number(const uint8_t **p, const uint8_t *end) {
    uint64_t v = 0;
    for (int shift = 0; *p < end && shift < 64; shift += 7) {
        uint8_t b = *(*p)++;
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) return v;
    }
    fault("a number that does not end");
}
// field reads the next one and returns its tag; 0 at the end.
static int field(const uint8_t **p, const uint8_t *end, value *v) {
    if (*p == end) return 0;
    uint64_t tag = number(p, end);
    *v = (value){*p, 0};
    switch (tag & 7) {
        case 0: v->n = number(p, end); return tag;
        case 1: v->n = 8; break;
        case 2: v->n = number(p, end), v->p = *p; break;
        case 5: v->n = 4; break;
        default: fault("a field of type %d", (int)(tag & 7));
    }
    if (v->n > (uint64_t)(end - *p)) fault("a field of %lu bytes where %ld are left", (unsigned long)v->n, (long)(end - *p));
    *p += v->n;
    return tag;
}

static void put_number(bytes *b, uint64_t v) {
    uint8_t n[10];
    int k = 0;
    for (; v >= 0x80; v >>= 7) n[k++] = v | 0x80;
    n[k++] = v;
    add(b, n, k);
}
static void put(bytes *b, int tag, const void *p, int n) {
    put_number(b, tag), put_number(b, n), add(b, p, n);
}
static void put_text(bytes *b, int tag, const char *s) { put(b, tag, s, strlen(s)); }

// close_batch makes the items that were gathered a message.
static void close_batch(stream *s) {
    uint8_t head[MESSAGE] = {0};
    write32(head + 1, s->batch.len);
    if (s->batch.len) add(&s->out, head, MESSAGE), add(&s->out, s->batch.p, s->batch.len);
    s->batch.len = 0;
}
static void ended_turn(stream *s) { close_batch(s); }
// tell brings the item to the batch. One that lets it grow beyond a frame begins the next.
static void tell(stream *s) {
    if (s->batch.len + item.len + 8 > BATCH) close_batch(s);
    put(&s->batch, DOWN_ITEMS, item.p, item.len);
    item.len = inner.len = 0;
}
static void tell_link(stream *s, value link, int what, const void *p, int n) {
    put(&item, TO_LINK, link.p, link.n), put(&item, what, p, n);
    tell(s);
}

static void opened(stream *s) {
    put_text(&inner, FIELD(1), "bench-c"), put_number(&inner, 2 << 3), put_number(&inner, 1); // protocol 1, no receipts
    put(&s->batch, DOWN_HELLO, inner.p, inner.len);
    inner.len = 0;
    close_batch(s);
}

// session_len is the size of a session as the gateway's limit counts it.
static int session_len(value v) {
    const uint8_t *p = v.p, *end = v.p + v.n;
    int n = 0;
    for (value entry, part; field(&p, end, &entry);) {
        const uint8_t *q = entry.p, *last = entry.p + entry.n;
        while (field(&q, last, &part)) n += part.n;
    }
    return n;
}
static void admit(stream *s, value link, value keys) {
    char user[16], pad[4096];
    snprintf(user, sizeof user, "user%06u", ++users);
    put_text(&inner, FIELD(1), user), put_text(&inner, FIELD(2), DEVICE);
    tell_link(s, link, OF_BIND, inner.p, inner.len);
    if (room) tell_link(s, link, OF_JOIN, room, strlen(room));
    int n = session - session_len(keys) - (int)(strlen("user" "device" DEVICE PAD) + strlen(user));
    if (n <= 0) return;
    bytes entry = {0};
    memset(pad, 'x', n);
    put_text(&entry, FIELD(1), PAD), put(&entry, FIELD(2), pad, n), put(&inner, FIELD(1), entry.p, entry.len);
    free(entry.p);
    tell_link(s, link, OF_SESSION, inner.p, inner.len);
}
static void push(stream *s, value link) {
    put(&inner, FIELD(1), pushed, PUSHED);
    if (pushes == REQUIRED) {
        char id[16];
        snprintf(id, sizeof id, "m%u", named++);
        put_text(&inner, FIELD(2), id), put_number(&inner, PUSH_ACK), put_number(&inner, 1);
    }
    tell_link(s, link, OF_PUSH, inner.p, inner.len);
}
static void said(stream *s, value link, value keys, value message) {
    const uint8_t *p = message.p, *end = message.p + message.n;
    value v, payload = {message.p, 0};
    uint64_t kind = 0;
    for (int tag; (tag = field(&p, end, &v));) {
        if (tag == KIND) kind = v.n;
        if (tag == FIELD(2)) payload = v;
    }
    if (kind == HELLO) return admit(s, link, keys);
    if (kind != DATA_KIND) fault("a message of kind %lu", (unsigned long)kind);
    if (pushes) return push(s, link);
    if (!room) return tell_link(s, link, OF_DATA, payload.p, payload.n);
    put_text(&item, TO_ROOM, room), put(&item, OF_DATA, payload.p, payload.n);
    tell(s);
}
// take_item leaves alone what is told of links that end, and of what was not carried out: the load finds out.
static void take_item(stream *s, value whole) {
    const uint8_t *p = whole.p, *end = whole.p + whole.n;
    value v, link = {0}, keys = {0}, message = {0}, acked = {0};
    for (int tag; (tag = field(&p, end, &v));) switch (tag) {
        case ITEM_LINK: link = v; break;
        case ITEM_SESSION: keys = v; break;
        case ITEM_MESSAGE: message = v; break;
        case ITEM_ACKED: acked = v; break;
    }
    if (!link.p && (message.p || acked.p)) fault("an item without a link");
    if (message.p) said(s, link, keys, message);
    if (acked.p && pushes) push(s, link);
}
static void take_batch(stream *s, const uint8_t *p, uint32_t n) {
    const uint8_t *end = p + n;
    value v;
    for (int tag; (tag = field(&p, end, &v));)
        if (tag == UP_ITEMS) take_item(s, v);
}

// messages takes all that are whole, and returns their bytes.
static int messages(stream *s, const uint8_t *p, int n) {
    int off = 0;
    while (n - off >= MESSAGE) {
        uint32_t len = read32(p + off + 1);
        if (p[off] || len > LONGEST) fault("a message of %u bytes%s", len, p[off] ? ", compressed" : "");
        if ((uint32_t)(n - off - MESSAGE) < len) break;
        take_batch(s, p + off + MESSAGE, len);
        off += MESSAGE + len;
    }
    return off;
}
static void heard(stream *s, const uint8_t *p, int n) {
    if (s->in.len) {
        add(&s->in, p, n);
        cut(&s->in, messages(s, s->in.p, s->in.len));
        return;
    }
    int used = messages(s, p, n);
    if (used < n) add(&s->in, p + used, n - used);
}

// listen_at prints where; returns -1 if the address is none.
static int listen_at(char *at) {
    char where[128];
    int one = 1, fd;
    struct sockaddr_un u = {.sun_family = AF_UNIX};
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    if (!strncmp(at, "unix:", 5)) {
        if (strlen(at + 5) >= sizeof u.sun_path) return -1;
        strcpy(u.sun_path, at + 5);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (bind(fd, (void *)&u, sizeof u)) fault("bind to %s: %s", at, strerror(errno));
        snprintf(where, sizeof where, "%s", at);
    } else {
        char *colon = strrchr(at, ':');
        if (!colon) return -1;
        *colon = 0;
        a.sin_port = htons(atoi(colon + 1));
        if (inet_pton(AF_INET, at, &a.sin_addr) != 1) return -1;
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (void *)&a, len) || getsockname(fd, (void *)&a, &len)) fault("bind to %s: %s", at, strerror(errno));
        snprintf(where, sizeof where, "%s:%d", at, ntohs(a.sin_port));
    }
    if (listen(fd, 1024)) fault("listen: %s", strerror(errno));
    printf("ready %s\n", where);
    fflush(stdout);
    return fd;
}
static void accept_all(int ep, int listener) {
    int one = 1;
    for (int fd; (fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0;) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one); // a unix socket has no such thing
        connection *c = connect_to(ep, fd);
        if (!flush(ep, c)) lose(c);
    }
}
static void ready(int ep, connection *c, uint32_t events) {
    static uint8_t buf[RBUF];
    ssize_t n = events & ~EPOLLOUT ? recv(c->fd, buf, RBUF, 0) : 0;
    int lost = events & ~EPOLLOUT && (n == 0 || (n < 0 && errno != EAGAIN));
    if (lost || !(n > 0 ? turn(ep, c, buf, n) : flush(ep, c))) lose(c);
}

static int options(int ac, char **av) {
    for (int o; (o = getopt(ac, av, "s:r:a:")) > 0;) switch (o) {
        case 's': session = atoi(optarg); break;
        case 'r': room = optarg; break;
        case 'a': pushes = !strcmp(optarg, "none") ? NONE : !strcmp(optarg, "required") ? REQUIRED : -1; break;
        default: return 0;
    }
    return optind == ac - 1 && session >= 0 && session <= 4096 && pushes >= 0;
}

int main(int ac, char **av) {
    int listener = options(ac, av) ? listen_at(av[optind]) : -1, ep = epoll_create1(0);
    if (listener < 0) {
        fprintf(stderr, "usage: see the head of cmanager.c\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < PUSHED; i++) pushed[i] = 'a' + i % 26;
    struct epoll_event all[64], e = {.events = EPOLLIN, .data.ptr = 0};
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) { // until a signal ends it
        int n = epoll_wait(ep, all, 64, -1);
        for (int i = 0; i < n; i++)
            if (all[i].data.ptr) ready(ep, all[i].data.ptr, all[i].events);
            else accept_all(ep, listener);
    }
}
