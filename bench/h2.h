// h2.h: the server's side of HTTP/2 (RFC 9113) without TLS, as far as streams of gRPC need it: frames, and the windows of both sides.
// Whoever includes it defines what is done with a stream: opened, heard and ended_turn. All belongs to one thread.
// A peer that breaks a rule ends the process: what goes on after an error measures something else. Heads of requests are not read,
// because there is one method; those of answers are literals, so that no table is kept.
#include "bytes.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };
enum { INITIAL_WINDOW_SIZE = 4, MAX_FRAME_SIZE = 5 }; // settings
#define HEAD 9                     // of a frame
#define FRAME 16384                // the longest that we take, and send
#define WINDOW (1 << 20)           // of a stream, ours
#define CONNECTION_WINDOW (1 << 24)
#define FIRST_WINDOW 65535         // before anybody said anything
#define MOST_WINDOW 0x7fffffff
#define HELD (1 << 20)             // bytes that wait for a peer's window; with more, it is not asked for more

typedef struct connection connection;
typedef struct stream stream;
struct stream {
    uint32_t id;
    connection *c;
    bytes in, batch; // the begin of a message; what is said in this turn
    bytes out;       // what the peer's window has not let go yet
    int64_t room;    // the peer's window
    int owed;        // bytes taken that the peer may not send again yet
    int over;        // the peer has said all
    stream *next;
};
struct connection {
    int fd, greeted, stuck;
    bytes part, out;  // the begin of a frame; what the socket did not take
    int64_t room;     // the peer's window
    int64_t initial;  // the peer's for new streams
    int owed;
    uint32_t last;    // highest stream
    uint32_t opening; // stream whose head is not whole; 0: none
    int opening_flags;
    stream *streams;
};
typedef struct {
    int len, type, flags;
    uint32_t id;
    const uint8_t *p;
} frame;

static void opened(stream *s);
static void heard(stream *s, const uint8_t *p, int n);
static void ended_turn(stream *s); // brings to s->out what was said in it

__attribute__((noreturn, format(printf, 1, 2))) static void fault(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    exit(1);
}

static uint32_t read32(const uint8_t *p) { return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3]; }
static void write32(uint8_t *p, uint32_t v) { p[0] = v >> 24, p[1] = v >> 16, p[2] = v >> 8, p[3] = v; }

static void send_frame(connection *c, int type, int flags, uint32_t id, const void *p, int n) {
    uint8_t head[HEAD] = {n >> 16, n >> 8, n, type, flags};
    write32(head + 5, id);
    add(&c->out, head, HEAD), add(&c->out, p, n);
}
static void give_back(connection *c, uint32_t id, int n) {
    uint8_t more[4];
    write32(more, n);
    send_frame(c, WINDOW_UPDATE, 0, id, more, 4);
}
static void greet(connection *c) {
    uint8_t window[6] = {0, INITIAL_WINDOW_SIZE};
    write32(window + 2, WINDOW);
    send_frame(c, SETTINGS, 0, 0, window, 6);
    give_back(c, 0, CONNECTION_WINDOW - FIRST_WINDOW);
}

// answer_head and answer_end are what stands before and behind the messages of an answer.
static void answer_head(stream *s) {
    static const uint8_t head[] = "\x88\x0f\x10\x10" "application/grpc"; // :status 200, content-type
    send_frame(s->c, HEADERS, END_HEADERS, s->id, head, sizeof head - 1);
}
static void answer_end(stream *s) {
    static const uint8_t end[] = "\0\x0bgrpc-status\1" "0";
    send_frame(s->c, HEADERS, END_HEADERS | END_STREAM, s->id, end, sizeof end - 1);
}

static stream *find(connection *c, uint32_t id) {
    stream *s = c->streams;
    while (s && s->id != id) s = s->next;
    return s;
}
static void forget(connection *c, uint32_t id) {
    for (stream **at = &c->streams; *at; at = &(*at)->next) {
        stream *s = *at;
        if (s->id != id) continue;
        *at = s->next;
        free(s->in.p), free(s->batch.p), free(s->out.p), free(s);
        return;
    }
}
// pump sends what the windows let go. Behind the last byte that follows a peer's end the stream is gone: s is not to be used.
static void pump(stream *s) {
    connection *c = s->c;
    int sent = 0;
    while (sent < s->out.len && s->room > 0 && c->room > 0) {
        int64_t n = s->out.len - sent;
        if (n > FRAME) n = FRAME;
        if (n > s->room) n = s->room;
        if (n > c->room) n = c->room;
        send_frame(c, DATA, 0, s->id, s->out.p + sent, n);
        sent += n, s->room -= n, c->room -= n;
    }
    if (sent) cut(&s->out, sent);
    if (!s->over && s->owed >= WINDOW / 2 && s->out.len < HELD) give_back(c, s->id, s->owed), s->owed = 0;
    if (s->over && !s->out.len) answer_end(s), forget(c, s->id);
}
static void pump_all(connection *c) {
    for (stream *s = c->streams, *next; s; s = next) next = s->next, pump(s);
}

// end_head ends the head of a stream, which opens it, or of its trailers.
static void end_head(connection *c) {
    uint32_t id = c->opening;
    stream *s = find(c, id);
    c->opening = 0;
    if (!s) {
        s = calloc(1, sizeof *s);
        *s = (stream){.id = c->last = id, .c = c, .room = c->initial, .next = c->streams};
        c->streams = s;
        answer_head(s);
        opened(s);
    }
    if (c->opening_flags & END_STREAM) s->over = 1;
}
static void begin_head(connection *c, const frame *f) {
    if (f->id % 2 == 0 || (f->id <= c->last && !find(c, f->id))) fault("a head for stream %u after %u", f->id, c->last);
    c->opening = f->id, c->opening_flags = f->flags;
    if (f->flags & END_HEADERS) end_head(c);
}
static void data(connection *c, const frame *f) {
    int pad = 0, head = !!(f->flags & PADDED);
    if (head && (!f->len || (pad = f->p[0]) + 1 > f->len)) fault("padding of %d bytes in a frame of %d", pad, f->len);
    if ((c->owed += f->len) >= CONNECTION_WINDOW / 2) give_back(c, 0, c->owed), c->owed = 0;
    stream *s = find(c, f->id);
    if (!s && (!f->id || f->id > c->last)) fault("data for stream %u, which never was", f->id);
    if (!s) return; // it was reset, which we and the peer do not learn at one time
    if (s->over || (s->owed += f->len) > WINDOW) fault("data beyond %s of stream %u", s->over ? "the end" : "the window", f->id);
    heard(s, f->p + head, f->len - head - pad);
    if (f->flags & END_STREAM) s->over = 1;
}
static void settings(connection *c, const frame *f) {
    if (f->flags & ACK) return;
    if (f->len % 6) fault("settings of %d bytes", f->len);
    for (const uint8_t *p = f->p; p < f->p + f->len; p += 6) {
        uint32_t v = read32(p + 2);
        if ((p[0] << 8 | p[1]) != INITIAL_WINDOW_SIZE) continue; // a longer frame than FRAME is never sent
        if (v > MOST_WINDOW) fault("a window of %u bytes", v);
        for (stream *s = c->streams; s; s = s->next) s->room += v - c->initial;
        c->initial = v;
    }
    send_frame(c, SETTINGS, ACK, 0, 0, 0);
}
static void window_update(connection *c, const frame *f) {
    uint32_t n = f->len == 4 ? read32(f->p) & MOST_WINDOW : 0;
    stream *s = f->id ? find(c, f->id) : 0;
    int64_t *room = s ? &s->room : &c->room;
    if (f->id && !s) return;
    if (!n || (*room += n) > MOST_WINDOW) fault("a window that grows by %u bytes", n);
}
static void take_frame(connection *c, const frame *f) {
    if (c->opening && (f->type != CONTINUATION || f->id != c->opening)) fault("a frame of type %d within a head", f->type);
    switch (f->type) {
        case DATA: return data(c, f);
        case HEADERS: return begin_head(c, f);
        case SETTINGS: return settings(c, f);
        case WINDOW_UPDATE: return window_update(c, f);
        case RST_STREAM: return forget(c, f->id);
        case PUSH_PROMISE: fault("a client that promises a push");
        case PING:
            if (f->len != 8) fault("a ping of %d bytes", f->len);
            if (!(f->flags & ACK)) send_frame(c, PING, ACK, 0, f->p, 8);
            return;
        case CONTINUATION:
            if (!c->opening) fault("more of a head that is whole");
            if (f->flags & END_HEADERS) end_head(c);
    } // PRIORITY, GOAWAY and what nobody knows mean nothing here
}
// take_frames takes all that are whole, after the words with which a client begins; returns their bytes.
static int take_frames(connection *c, const uint8_t *p, int n) {
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    int off = 0, k = sizeof preface - 1;
    if (!c->greeted) {
        if (memcmp(p, preface, n < k ? n : k)) fault("a client that does not begin with HTTP/2");
        if (n < k) return 0;
        c->greeted = 1, off = k;
    }
    while (n - off >= HEAD) {
        const uint8_t *h = p + off;
        frame f = {h[0] << 16 | h[1] << 8 | h[2], h[3], h[4], read32(h + 5) & MOST_WINDOW, h + HEAD};
        if (f.len > FRAME) fault("a frame of %d bytes", f.len);
        if (n - off < HEAD + f.len) break;
        take_frame(c, &f);
        off += HEAD + f.len;
    }
    return off;
}

// flush sends; returns 0 when the connection is lost.
static int flush(int ep, connection *c) {
    ssize_t n = c->out.len ? send(c->fd, c->out.p, c->out.len, MSG_NOSIGNAL) : 0;
    if (n < 0 && errno != EAGAIN) return 0;
    if (n == c->out.len) c->out.len = 0;
    else if (n > 0) cut(&c->out, n);
    if (c->stuck == (c->out.len > 0)) return 1;
    c->stuck = c->out.len > 0;
    struct epoll_event e = {.events = EPOLLIN | (c->stuck ? EPOLLOUT : 0), .data.ptr = c};
    return !epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}
// turn takes the n bytes that came to buf, says what is to be said, and returns 0 when the connection is lost.
static int turn(int ep, connection *c, const uint8_t *buf, int n) {
    if (c->part.len) {
        add(&c->part, buf, n);
        cut(&c->part, take_frames(c, c->part.p, c->part.len));
    } else {
        int used = take_frames(c, buf, n);
        if (used < n) add(&c->part, buf + used, n - used);
    }
    for (stream *s = c->streams; s; s = s->next) ended_turn(s);
    pump_all(c);
    return flush(ep, c);
}
static connection *connect_to(int ep, int fd) {
    connection *c = calloc(1, sizeof *c);
    *c = (connection){.fd = fd, .room = FIRST_WINDOW, .initial = FIRST_WINDOW};
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
    greet(c);
    return c;
}
static void lose(connection *c) {
    while (c->streams) forget(c, c->streams->id);
    close(c->fd);
    free(c->part.p), free(c->out.p), free(c);
}
