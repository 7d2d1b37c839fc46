/* A Modbus server on libmodbus:  mbserver IMAGE PORT [rtu]
 *
 * With "rtu" the frames on its port are those of a serial line, as behind a converter. Joined to a serial port by socat
 * it is a serial line with several units, which libmodbus alone cannot be: it knows one unit id at a time.
 *
 * IMAGE has one line per register or bit:  unit table address value
 * where table is coil, discrete, input or holding. What is not in it is answered with exception 2, a unit that is
 * not in it with exception 11 (on a serial line: with silence). SIGHUP reads the image again (what clients wrote is forgotten), SIGTERM ends. */

#include <errno.h>
#include <modbus.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COIL, DISCRETE, INPUT, HOLDING, TABLES };
enum { SIZE = 65536, HEADER = 7 }; /* addresses in a table; bytes of an MBAP header */

static const char *const NAMES[TABLES] = {"coil", "discrete", "input", "holding"};

struct unit {
    modbus_mapping_t *map;
    bool has[TABLES][SIZE];
};

static struct unit *units[256];
static volatile sig_atomic_t reload = 1, ended;

static void on_signal(int number) {
    if (number == SIGHUP)
        reload = 1;
    else
        ended = 1;
}

static void fail(const char *what) {
    fprintf(stderr, "mbserver: %s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

static int table_of(const char *name) {
    for (int table = 0; table < TABLES; table++)
        if (!strcmp(name, NAMES[table]))
            return table;
    return -1;
}

static struct unit *unit_of(unsigned id) {
    if (!units[id]) {
        if (!(units[id] = calloc(1, sizeof(struct unit))))
            fail("memory");
        if (!(units[id]->map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE)))
            fail("memory");
    }
    return units[id];
}

static void set(struct unit *unit, int table, unsigned address, unsigned value) {
    unit->has[table][address] = true;
    switch (table) {
    case COIL: unit->map->tab_bits[address] = value != 0; break;
    case DISCRETE: unit->map->tab_input_bits[address] = value != 0; break;
    case INPUT: unit->map->tab_input_registers[address] = value; break;
    case HOLDING: unit->map->tab_registers[address] = value; break;
    }
}

static void forget(void) {
    for (int id = 0; id < 256; id++)
        if (units[id]) {
            modbus_mapping_free(units[id]->map);
            free(units[id]);
            units[id] = NULL;
        }
}

static void load(const char *path) {
    FILE *file = fopen(path, "r");
    unsigned id, address, value, lines = 0;
    char name[16];

    if (!file)
        fail(path);
    forget();
    while (fscanf(file, "%u %15s %u %u", &id, name, &address, &value) == 4) {
        int table = table_of(name);
        if (table < 0 || id > 255 || address >= SIZE || value >= SIZE)
            break;
        set(unit_of(id), table, address, value);
        lines++;
    }
    if (!feof(file)) {
        fprintf(stderr, "mbserver: %s:%u: not understood\n", path, lines + 1);
        exit(1);
    }
    fclose(file);
    printf("loaded %u\n", lines);
    fflush(stdout);
}

static unsigned word(const uint8_t *at) { return at[0] << 8 | at[1]; }

static bool has(const struct unit *unit, int table, unsigned address, unsigned count) {
    if (count > 2000)
        return true; /* libmodbus answers that with exception 3 */
    if (address + count > SIZE)
        return false;
    while (count--)
        if (!unit->has[table][address + count])
            return false;
    return true;
}

/* Whether the image has all that a request, from its function code on, asks for. */
static bool covers(const struct unit *unit, const uint8_t *pdu) {
    unsigned address = word(pdu + 1), count = word(pdu + 3);

    switch (pdu[0]) {
    case MODBUS_FC_READ_COILS: return has(unit, COIL, address, count);
    case MODBUS_FC_READ_DISCRETE_INPUTS: return has(unit, DISCRETE, address, count);
    case MODBUS_FC_READ_HOLDING_REGISTERS: return has(unit, HOLDING, address, count);
    case MODBUS_FC_READ_INPUT_REGISTERS: return has(unit, INPUT, address, count);
    case MODBUS_FC_WRITE_SINGLE_COIL: return has(unit, COIL, address, 1);
    case MODBUS_FC_WRITE_SINGLE_REGISTER:
    case MODBUS_FC_MASK_WRITE_REGISTER: return has(unit, HOLDING, address, 1);
    case MODBUS_FC_WRITE_MULTIPLE_COILS: return has(unit, COIL, address, count);
    case MODBUS_FC_WRITE_MULTIPLE_REGISTERS: return has(unit, HOLDING, address, count);
    case MODBUS_FC_WRITE_AND_READ_REGISTERS:
        return has(unit, HOLDING, address, count) && has(unit, HOLDING, word(pdu + 5), word(pdu + 7));
    default: return true;
    }
}

/* Answer one request of a serial line; false when the client is gone. */
static bool serve_rtu(modbus_t *modbus, int fd) {
    uint8_t request[MODBUS_RTU_MAX_ADU_LENGTH], id;

    if (recv(fd, &id, 1, MSG_PEEK) <= 0)
        return false;
    const struct unit *unit = units[id];
    /* Of the frame of another unit it would expect that somebody else answers it. */
    int length = modbus_set_slave(modbus, id) ? -1 : modbus_receive(modbus, request);
    if (length < 0)
        while (recv(fd, request, sizeof request, MSG_DONTWAIT) > 0) /* noise: begin anew */
            ;
    if (length <= 0 || !unit)
        return true;
    if (!covers(unit, request + 1))
        return modbus_reply_exception(modbus, request, MODBUS_EXCEPTION_ILLEGAL_DATA_ADDRESS) > 0;
    return modbus_reply(modbus, request, length, unit->map) > 0;
}

/* Answer one request; false when the client is gone. */
static bool serve(modbus_t *modbus) {
    uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
    int length = modbus_receive(modbus, request);

    if (length <= 0)
        return length == 0;
    const struct unit *unit = units[request[HEADER - 1]];
    if (!unit)
        return modbus_reply_exception(modbus, request, MODBUS_EXCEPTION_GATEWAY_TARGET) > 0;
    if (!covers(unit, request + HEADER))
        return modbus_reply_exception(modbus, request, MODBUS_EXCEPTION_ILLEGAL_DATA_ADDRESS) > 0;
    return modbus_reply(modbus, request, length, unit->map) > 0;
}

int main(int count, char **arguments) {
    bool rtu = count == 4 && !strcmp(arguments[3], "rtu");
    if (count != 3 && !rtu) {
        fprintf(stderr, "usage: mbserver IMAGE PORT [rtu]\n");
        return 2;
    }
    /* Signals come in only while waiting, so that none is missed. */
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t blocked, waiting;
    sigemptyset(&blocked);
    for (const int *number = (const int[]){SIGHUP, SIGTERM, SIGINT, 0}; *number; number++) {
        sigaction(*number, &action, NULL);
        sigaddset(&blocked, *number);
    }
    sigprocmask(SIG_BLOCK, &blocked, &waiting);

    modbus_t *modbus = modbus_new_tcp("127.0.0.1", atoi(arguments[2]));
    modbus_t *line = modbus_new_rtu("/dev/null", 19200, 'N', 8, 1); /* only ever used with the sockets of clients */
    int listener = modbus_tcp_listen(modbus, 16);
    if (listener < 0)
        fail("listen");
    fd_set clients;
    FD_ZERO(&clients);

    while (!ended) {
        if (reload) {
            reload = 0;
            load(arguments[1]);
        }
        fd_set readable = clients;
        FD_SET(listener, &readable);
        if (pselect(FD_SETSIZE, &readable, NULL, NULL, NULL, &waiting) < 0)
            continue;
        for (int fd = 0; fd < FD_SETSIZE; fd++) {
            if (!FD_ISSET(fd, &readable))
                continue;
            if (fd == listener) {
                int client = modbus_tcp_accept(modbus, &listener);
                if (client >= 0)
                    FD_SET(client, &clients);
                continue;
            }
            modbus_set_socket(rtu ? line : modbus, fd);
            if (!(rtu ? serve_rtu(line, fd) : serve(modbus))) {
                close(fd);
                FD_CLR(fd, &clients);
            }
        }
    }
    for (int fd = 0; fd < FD_SETSIZE; fd++)
        if (FD_ISSET(fd, &clients))
            close(fd);
    close(listener);
    modbus_free(modbus);
    modbus_free(line);
    forget();
    return 0;
}
