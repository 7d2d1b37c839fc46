/* A Modbus TCP server that costs as little as can be:  server CONTROL IMAGE PORT...
 *
 * Any number of clients, at any of the ports; any unit id; several requests at a time. Coils, discrete inputs, input and
 * holding registers are there, at every address.
 *
 * IMAGE has three tables of 65536 words: base, step, mask. What a register holds at the k-th request for its block is
 *     base + (k * step & mask)
 * CONTROL is shared with whoever started it: it counts the answers, and says whether k goes on.
 *     HOLD      nothing changes
 *     CHANGING  every value changes with every request for it
 *     CLOCK     two registers each hold the moment of the last change, in us of the monotonic clock modulo 2^32, high word
 *               first; the next change is 250 to 350 ms later. */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

enum { SIZE = 65536, HEADER = 7, REQUEST = 12, MOST = 16384, BLOCKS = 4096, MAX_REGISTERS = 125, MAX_BITS = 2000 };
enum mode { HOLD, CHANGING, CLOCK };

struct control {
    volatile uint64_t answers;
    volatile uint32_t mode;
};

struct peer {
    int fd, listens;
    size_t pending;          /* bytes of requests that have come so far */
    uint8_t request[MOST];
    uint16_t polls[BLOCKS];  /* requests for each block, by a hash of it */
};

static struct control *control;
static uint16_t base[SIZE + MAX_REGISTERS], step[SIZE + MAX_REGISTERS], mask[SIZE + MAX_REGISTERS];
static uint64_t changed, next_change;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000ull + t.tv_nsec / 1000;
}

static void clock_registers(uint16_t *out, unsigned address, unsigned count) {
    uint64_t now = now_us();

    if (now > next_change + 1000000)
        next_change = now;
    while (now >= next_change) {
        changed = next_change;
        next_change += 250000 + rand() % 100000;
    }
    for (unsigned i = 0; i < count; i++)
        out[i] = htons((address + i) % 2 ? changed : changed >> 16);
}

static void registers(uint16_t *restrict out, unsigned address, unsigned count, uint16_t k) {
    const uint16_t *b = base + address, *s = step + address, *m = mask + address;

    for (unsigned i = 0; i < count; i++) {
        uint16_t value = b[i] + ((uint16_t)(k * s[i]) & m[i]);
        out[i] = (uint16_t)(value << 8 | value >> 8);
    }
}

/* Answer one request; returns the length of the answer. */
static size_t answer(struct peer *peer, const uint8_t *in, uint8_t *out) {
    unsigned unit = in[6], function = in[7], address = in[8] << 8 | in[9], count = in[10] << 8 | in[11], bytes;
    uint16_t *polls = &peer->polls[(address * 31 + unit * 977 + function) % BLOCKS];
    int bits = function <= 2, code = 0;
    uint16_t words[MAX_REGISTERS];

    memcpy(out, in, 8);
    if (function < 1 || function > 4)
        code = 1;
    else if (count < 1 || count > (bits ? MAX_BITS : MAX_REGISTERS))
        code = 3;
    else if (address + count > SIZE)
        code = 2;
    control->answers++;
    if (code) {
        out[4] = 0, out[5] = 3, out[7] = function | 0x80, out[8] = code;
        return HEADER + 2;
    }
    if (control->mode == CHANGING)
        ++*polls;
    if (bits) {
        bytes = (count + 7) / 8;
        memset(out + HEADER + 2, (address + *polls) % 2 ? 0xAA : 0x55, bytes);
    } else {
        bytes = 2 * count;
        if (control->mode == CLOCK)
            clock_registers(words, address, count);
        else
            registers(words, address, count, *polls);
        memcpy(out + HEADER + 2, words, bytes);
    }
    out[4] = (3 + bytes) >> 8, out[5] = 3 + bytes, out[8] = bytes;
    return HEADER + 2 + bytes;
}

/* Answer all that has come, with one send; 0 when the client is gone. */
static int serve(struct peer *peer) {
    static uint8_t out[MOST / REQUEST * 264];
    size_t done = 0, length = 0;
    ssize_t n = recv(peer->fd, peer->request + peer->pending, MOST - peer->pending, 0);

    if (n <= 0)
        return 0;
    peer->pending += n;
    while (peer->pending - done >= REQUEST) {
        const uint8_t *in = peer->request + done;
        if (in[4] || in[5] != REQUEST - 6)
            return 0;
        length += answer(peer, in, out + length);
        done += REQUEST;
    }
    peer->pending -= done;
    memmove(peer->request, peer->request + done, peer->pending);
    return !length || send(peer->fd, out, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static void *shared(const char *path, size_t size, int write) {
    int fd = open(path, write ? O_RDWR : O_RDONLY);
    void *at = mmap(NULL, size, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, fd, 0);

    if (fd < 0 || at == MAP_FAILED)
        fail(path);
    close(fd);
    return at;
}

static void watch(int epoll, int fd, int listens) {
    struct peer *peer = calloc(1, sizeof *peer);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};

    if (!peer)
        fail("memory");
    peer->fd = fd, peer->listens = listens;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

static int listen_at(int port) {
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 1024))
        fail("listen");
    return fd;
}

int main(int count, char **arguments) {
    if (count < 4) {
        fprintf(stderr, "usage: server CONTROL IMAGE PORT...\n");
        return 2;
    }
    control = shared(arguments[1], sizeof *control, 1);
    const uint16_t *image = shared(arguments[2], 3 * SIZE * sizeof *image, 0);
    memcpy(base, image, SIZE * sizeof *base);
    memcpy(step, image + SIZE, SIZE * sizeof *step);
    memcpy(mask, image + 2 * SIZE, SIZE * sizeof *mask);
    int epoll = epoll_create1(0), yes = 1;
    for (int i = 3; i < count; i++)
        watch(epoll, listen_at(atoi(arguments[i])), 1);
    printf("listening\n");
    fflush(stdout);

    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct peer *peer = events[i].data.ptr;
            if (peer->listens) {
                int client = accept(peer->fd, NULL, NULL);
                if (client < 0)
                    continue;
                setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                watch(epoll, client, 0);
            } else if (!serve(peer)) {
                close(peer->fd);
                free(peer);
            }
        }
    }
}
