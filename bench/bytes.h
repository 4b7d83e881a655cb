// bytes.h: a run of bytes that grows at its end and is taken from its begin.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint8_t *p;
    int len, cap;
} bytes;

static void add(bytes *b, const void *p, int n) {
    if (b->len + n > b->cap) {
        b->cap = 2 * (b->len + n);
        b->p = realloc(b->p, b->cap);
    }
    memcpy(b->p + b->len, p, n);
    b->len += n;
}
static void cut(bytes *b, int n) {
    memmove(b->p, b->p + n, b->len - n);
    b->len -= n;
}
