// load.h: what the loads have in common: the clocks, the phases of a run and the report. Each of them includes it once.
// Options that all of them have:
//   -c n  links     -t n  threads     -p n  messages in flight per link     -s n  bytes of a body
//   -d s  seconds measured, after -w s seconds of warm-up; -d 0: until standard input ends ("open" on standard error tells when all links are)
//   -P pid[,pid...]  account the CPU (utime+stime) of these servers over the measured window; other_cpu is then what the
//           rest of the machine used meanwhile, in CPUs: a disturbed measurement shows it
//   -L a,b  measure before and after how long a cache line takes from CPU a to CPU b and back: the host of a virtual machine
//           moves its CPUs near to and far from each other, and all that two of them share costs several times more then
// One line of JSON tells the result. The exit status is 1 when there was an error (a link that did not open, closed or
// never got an answer) or a mismatch (bytes that were not expected).
#include <arpa/inet.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define MAXP 256 // messages in flight on a link
#define MAXPIDS 4
#ifndef CONNECT_LIMIT
#define CONNECT_LIMIT 60e9 // nanoseconds, for all links to open
#endif
#define LINE_LIMIT 2000    // for a cache line to another CPU and back
#define ANSWER_LIMIT 5e9   // after the end, for answers that are on their way
#define BUCKETS (64 * 40)
#define SHARED_OPTIONS "c:d:w:s:p:t:P:L:"

static int conns = 100, body = 64, depth = 1, threads = 1, npids, pids[MAXPIDS];
static double dur = 3, warm = 0.5;
static pthread_barrier_t bar;
static volatile int phase; // 0 connect and warm-up, 1 measure, 2 stop

typedef struct conn conn; // a link: each load knows what it is made of
typedef struct {
    pthread_t th;
    int idx, n, ep, open, dead;
    uint32_t first; // number of its first link
    conn *c;
    uint8_t *buf, *tmp;
    uint64_t frames, bytes, errors, mismatches, silent, hist[BUCKETS];
    double connect_s;
} worker;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}
static void nap(double s) { usleep(s * 1e6); }

static int bucket(uint64_t v) { // log-linear, 32 steps an octave: within 3 %
    if (v < 64) return v;
    int e = 63 - __builtin_clzll(v);
    int b = (e - 5) * 32 + (int)(v >> (e - 5));
    return b < BUCKETS ? b : BUCKETS - 1;
}
static double bucket_value(int b) {
    if (b < 64) return b;
    int e = b / 32 + 4;
    return (double)((uint64_t)(b - (e - 5) * 32) << (e - 5));
}

static double cpu_s(int p) { // utime+stime of a process in seconds: the sum that /proc/PID/stat shows, without its 10 ms steps
    clockid_t c;
    struct timespec t;
    if (clock_getcpuclockid(p, &c) || clock_gettime(c, &t)) return 0;
    return t.tv_sec + t.tv_nsec / 1e9;
}
static double busy_s(void) { // all CPU time the machine spent, seconds
    unsigned long v[8] = {0};
    FILE *f = fopen("/proc/stat", "r");
    if (!f) return 0;
    if (fscanf(f, "cpu %lu %lu %lu %lu %lu %lu %lu %lu", v, v + 1, v + 2, v + 3, v + 4, v + 5, v + 6, v + 7) < 8) v[0] = 0;
    fclose(f);
    return (double)(v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / sysconf(_SC_CLK_TCK);
}

// clocks is what was spent until a moment.
typedef struct {
    uint64_t t;
    double server[MAXPIDS], own, machine;
} clocks;
static clocks read_clocks(void) {
    clocks k = {.t = now(), .own = cpu_s(getpid()), .machine = busy_s()};
    for (int i = 0; i < npids; i++) k.server[i] = cpu_s(pids[i]);
    return k;
}

static int line_cpus[2], line_asked;
static _Atomic int line_turn; // who may write next: 0 the asker, 1 the answerer
static _Atomic int line_over; // apart, so that a late answer cannot undo it
static void bind_to(int cpu) {
    cpu_set_t s;
    CPU_ZERO(&s);
    CPU_SET(cpu, &s);
    pthread_setaffinity_np(pthread_self(), sizeof s, &s);
}
static void *line_answer(void *arg) {
    bind_to(line_cpus[1]);
    while (line_turn == 1 ? !(line_turn = 0) : !line_over);
    return arg;
}
static void *line_ask(void *best) {
    bind_to(line_cpus[0]);
    for (uint64_t t0 = now(), t = t0; t - t0 < 50000000; t = now()) { // the least of many is what nobody disturbed
        for (int i = 0; i < 200; i++)
            for (line_turn = 1; line_turn == 1 && now() - t < 10000000;);
        double ns = (now() - t) / 200.0;
        if (ns < *(double *)best) *(double *)best = ns;
        if (now() - t0 > 5000000 && *(double *)best < LINE_LIMIT) break;
    }
    line_over = 1;
    return 0;
}
static double line_ns(void) {
    if (!line_asked) return 0;
    double best = 1e9;
    pthread_t a, b;
    line_turn = line_over = 0;
    pthread_create(&a, 0, line_answer, 0), pthread_create(&b, 0, line_ask, &best);
    pthread_join(a, 0), pthread_join(b, 0);
    return best < LINE_LIMIT ? best : 0; // more is no distance: others had the CPUs all the time
}

// shared_option takes one of SHARED_OPTIONS; returns 0 when it is none.
static int shared_option(int o) {
    switch (o) {
        case 'c': conns = atoi(optarg); break;
        case 'd': dur = atof(optarg); break;
        case 'w': warm = atof(optarg); break;
        case 's': body = atoi(optarg); break;
        case 'p': depth = atoi(optarg); break;
        case 't': threads = atoi(optarg); break;
        case 'L': line_asked = sscanf(optarg, "%d,%d", line_cpus, line_cpus + 1) == 2; break;
        case 'P':
            for (char *s = strtok(optarg, ","); s && npids < MAXPIDS; s = strtok(0, ",")) pids[npids++] = atoi(s);
            break;
        default: return 0;
    }
    return 1;
}
// sound says whether the shared options make sense.
static int sound(void) {
    return conns >= 1 && body >= 1 && body <= 65535 && depth >= 1 && depth <= MAXP && threads >= 1 && threads <= conns;
}
// address parses host:port, and writes into it.
static int address(char *s, struct sockaddr_in *to) {
    char *colon = strrchr(s, ':');
    if (!colon) return 0;
    *colon = 0;
    to->sin_family = AF_INET;
    to->sin_port = htons(atoi(colon + 1));
    return inet_pton(AF_INET, *s ? s : "127.0.0.1", &to->sin_addr) == 1;
}

// hire returns the workers with their share of the links. Whoever called it starts their threads, each of which passes the barrier
// three times: before it opens its links, when they are open, and before it works.
static worker *hire(void) {
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
    pthread_barrier_init(&bar, 0, threads + 1);
    worker *ws = calloc(threads, sizeof *ws);
    for (int i = 0, id = 0; i < threads; i++) {
        ws[i].idx = i, ws[i].first = id;
        ws[i].n = conns / threads + (i < conns % threads);
        id += ws[i].n;
    }
    return ws;
}
// begin has the workers open their links, and returns what was spent before.
static clocks begin(void) {
    clocks a = read_clocks();
    pthread_barrier_wait(&bar);
    pthread_barrier_wait(&bar); // all open
    return a;
}
// window has the workers do their work and returns what was spent from *a to the end of the window.
static clocks window(clocks *a) {
    fprintf(stderr, "open\n"); // whoever started us may look at the server from here on
    pthread_barrier_wait(&bar);
    if (warm > 0) nap(warm);
    *a = read_clocks();
    phase = 1;
    if (dur > 0) nap(dur);
    else for (char ch; read(0, &ch, 1) > 0;);
    clocks b = read_clocks();
    phase = 2;
    return b;
}

// sum waits for the workers and adds up what they found.
static worker sum(worker *ws) {
    worker all = {0};
    for (int i = 0; i < threads; i++) {
        worker *w = &ws[i];
        pthread_join(w->th, 0);
        all.open += w->open, all.frames += w->frames, all.bytes += w->bytes;
        all.errors += w->errors, all.mismatches += w->mismatches, all.silent += w->silent;
        if (w->connect_s > all.connect_s) all.connect_s = w->connect_s;
        for (int k = 0; k < BUCKETS; k++) all.hist[k] += w->hist[k];
    }
    return all;
}

// report prints the result and returns the exit status.
static int report(worker *w, clocks *a, clocks *b, double line0, double line1) {
    double q[3] = {0.5, 0.99, 0.999}, v[3] = {0}, secs = (b->t - a->t) / 1e9, rest = b->machine - a->machine - (b->own - a->own);
    uint64_t n = 0;
    for (int k = 0, j = 0; k < BUCKETS && j < 3; k++)
        for (n += w->hist[k]; j < 3 && n && n >= q[j] * w->frames; j++) v[j] = bucket_value(k) / 1e3;
    printf("{\"links\":%d,\"seconds\":%.3f,\"frames\":%lu,\"rate\":%.0f,\"mb_per_s\":%.1f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,"
           "\"errors\":%lu,\"mismatches\":%lu,\"silent\":%lu,\"connects_per_s\":%.0f,\"servers\":[",
           w->open, secs, w->frames, w->frames / secs, w->bytes / secs / 1e6, v[0], v[1], v[2], w->errors, w->mismatches, w->silent,
           w->open / w->connect_s);
    for (int i = 0; i < npids; i++) {
        double cpu = b->server[i] - a->server[i];
        rest -= cpu;
        printf("%s{\"cpu\":%.5f,\"us_per_frame\":%.4f}", i ? "," : "", cpu / secs, w->frames ? cpu * 1e6 / w->frames : 0);
    }
    printf("],\"client_cpu\":%.3f,\"other_cpu\":%.3f,\"line_ns\":[%.0f,%.0f]}\n", (b->own - a->own) / secs, rest / secs, line0, line1);
    return w->errors || w->mismatches || w->silent ? 1 : 0;
}
