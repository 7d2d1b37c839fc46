/* The floor: the same reads as the gateway, by libmodbus, and nothing done with what they bring.
 *
 *     floor PORT MACHINES BLOCKS PERIOD_MS SECONDS IN_FLIGHT
 *
 * One connection for each machine, BLOCKS times 125 holding registers at each poll. With a period the polls are spread over
 * it, with 0 each follows at once. libmodbus itself has one request on its way; for more, frames are written through its
 * socket. Prints the number of requests and the CPU time they took, in us. */

#include <fcntl.h>
#include <modbus.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { REGISTERS = 125, REQUEST = 12, ANSWER = 9 + 2 * REGISTERS, MOST = 16 };

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_us(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 + used.ru_utime.tv_usec + used.ru_stime.tv_usec;
}

static void wait_until(double moment) {
    struct timespec t = {.tv_sec = (time_t)moment, .tv_nsec = (long)((moment - (time_t)moment) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL))
        ;
}

static void read_together(int fd, int first, int n) {
    uint8_t out[MOST * REQUEST], in[MOST * ANSWER];

    for (int i = 0; i < n; i++) {
        int address = (first + i) * REGISTERS;
        uint8_t frame[REQUEST] = {0, first + i, 0, 0, 0, 6, 1, 3, address >> 8, address, 0, REGISTERS};
        for (int j = 0; j < REQUEST; j++)
            out[i * REQUEST + j] = frame[j];
    }
    if (send(fd, out, n * REQUEST, 0) != n * REQUEST)
        fail("send");
    for (ssize_t got = 0, more; got < n * ANSWER; got += more)
        if ((more = recv(fd, in + got, sizeof in - got, 0)) <= 0)
            fail("recv");
}

static void poll_machine(modbus_t *machine, int blocks, int in_flight) {
    uint16_t values[REGISTERS];

    for (int block = 0; block < blocks; block += in_flight) {
        if (in_flight > 1)
            read_together(modbus_get_socket(machine), block, blocks - block < in_flight ? blocks - block : in_flight);
        else if (modbus_read_registers(machine, block * REGISTERS, REGISTERS, values) != REGISTERS)
            fail("read");
    }
}

int main(int count, char **arguments) {
    if (count != 7 || atoi(arguments[6]) > MOST) {
        fprintf(stderr, "usage: floor PORT MACHINES BLOCKS PERIOD_MS SECONDS IN_FLIGHT\n");
        return 2;
    }
    int machines = atoi(arguments[2]), blocks = atoi(arguments[3]), in_flight = atoi(arguments[6]);
    double period = atof(arguments[4]) / 1e3, seconds = atof(arguments[5]);
    modbus_t **links = calloc(machines, sizeof *links);
    unsigned long polls = 0;

    for (int i = 0; i < machines; i++) {
        links[i] = modbus_new_tcp("127.0.0.1", atoi(arguments[1]));
        modbus_set_slave(links[i], 1);
        if (modbus_connect(links[i]))
            fail("connect");
        if (in_flight > 1) /* libmodbus waits with select() */
            fcntl(modbus_get_socket(links[i]), F_SETFL, 0);
        poll_machine(links[i], blocks, in_flight);
    }
    double start = now(), before = cpu_us();
    for (; now() < start + seconds; polls++) {
        wait_until(start + polls * period / machines);
        poll_machine(links[polls % machines], blocks, in_flight);
    }
    printf("%lu %.0f\n", polls * blocks, cpu_us() - before);
    return 0;
}
