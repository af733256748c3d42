/*
 * count.c: so many messages of 64 bytes through the reader, a server or a client, in one thread and always in the same batches;
 * for counting their instructions.
 * Must not know what counts them (count.sh does). The other end is a few lines of raw sockets that cost the same every batch.
 * Invariant: everything beyond the beginning is work that grows with the messages.
 */
#define _POSIX_C_SOURCE 200809L
#include "loop.h"
#include "server.h"
#include <framed/framed.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAYLOAD = 64, FRAME = FRAMED_LENGTH_SIZE + PAYLOAD, BATCH = 256 };

static uint8_t frames[BATCH * FRAME];
static uint8_t back[BATCH * FRAME];

static void need(int holds, const char *what)
{
    if (holds) return;
    fprintf(stderr, "count: %s\n", what);
    exit(1);
}

static void decode(unsigned long batches)
{
    struct framed_reader reader;
    uint64_t bytes = 0;
    framed_reader_init(&reader, FRAMED_FRAME_MOST, 0, framed_os_allocator());
    for (unsigned long i = 0; i < batches; i++) {
        struct framed_bytes payload;
        need(framed_reader_feed(&reader, frames, sizeof frames) == FRAMED_OK, "feed");
        while (framed_reader_next(&reader, &payload) == FRAMED_OK) bytes += payload.len;
    }
    need(bytes == (uint64_t)batches * BATCH * PAYLOAD, "frames were lost");
    framed_reader_fini(&reader);
}

/* One batch from the raw end, and one back to it. */
static void put_batch(int fd, const uint8_t *at)
{
    need(send(fd, at, sizeof frames, 0) == (ssize_t)sizeof frames, "a batch could not be sent");
}

static void get_batch(int fd)
{
    need(recv(fd, back, sizeof back, MSG_WAITALL) == (ssize_t)sizeof back, "a batch did not come");
}

/* Only the last is looked at: comparing would count too. */
static void check_batch(void)
{
    need(memcmp(back, frames, sizeof back) == 0, "the last batch came changed");
}

static void answer(void *ctx, struct framed_call *call)
{
    (void)ctx;
    framed_call_reply(call, framed_call_body(call));
}

static int connect_raw(const char *address)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    need(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "cannot connect");
    return fd;
}

static void echo(unsigned long batches)
{
    struct framed_server_config config;
    struct framed_server *server;
    char address[64];
    framed_server_config_init(&config, sizeof config);
    config.handler = answer;
    need(framed_server_new(&config, &server) == FRAMED_OK, "no server");
    need(framed_server_listen(server, "127.0.0.1:0") == FRAMED_OK, "cannot listen");
    need(framed_server_address(server, 0, address, sizeof address) == FRAMED_OK, "no address");
    int fd = connect_raw(address);
    struct framed_server_stats stats = {0};
    for (unsigned long i = 0; i < batches; i++) {
        put_batch(fd, frames);
        do {
            need(framed_server_turn(server, 1000) == FRAMED_OK, "the loop ended");
            framed_server_stats(server, &stats, sizeof stats);
        } while (stats.replies < (i + 1) * BATCH);
        get_batch(fd);
    }
    check_batch();
    close(fd);
    framed_server_free(server);
}

/* BATCH calls are begun, answered with what they sent, and reported. */
static void call(unsigned long batches)
{
    int ends[2];
    char address[32];
    struct framed_client *client;
    struct framed_event event;
    need(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "no sockets");
    (void)snprintf(address, sizeof address, "fd:%d", ends[0]);
    need(framed_client_new(NULL, &client) == FRAMED_OK, "no client");
    need(framed_client_connect(client, address, 1000) == FRAMED_OK, framed_client_error(client));
    for (unsigned long i = 0; i < batches; i++) {
        for (int k = 0; k < BATCH; k++) {
            uint64_t id;
            struct framed_bytes body = framed_bytes_of(frames + FRAMED_LENGTH_SIZE, PAYLOAD);
            need(framed_client_start(client, body, 1000, &id) == FRAMED_OK, "a call was refused");
        }
        need(framed_client_next(client, 0, &event) == FRAMED_MORE, "an event too early");
        get_batch(ends[1]);
        put_batch(ends[1], back);
        for (int k = 0; k < BATCH; k++)
            need(framed_client_next(client, 1000, &event) == FRAMED_OK && event.outcome == FRAMED_REPLY, "no reply");
    }
    check_batch();
    close(ends[1]);
    framed_client_free(client);
}

int main(int argc, char **argv)
{
    need(argc == 3, "usage: count decode|echo|call BATCHES");
    for (size_t i = 0; i < sizeof frames; i++)
        frames[i] = i % FRAME < 3 ? 0 : i % FRAME == 3 ? PAYLOAD : (uint8_t)(i % FRAME * 7);
    unsigned long batches = strtoul(argv[2], NULL, 10);
    void (*way)(unsigned long) = argv[1][0] == 'd' ? decode : argv[1][0] == 'e' ? echo : call;
    way(batches);
    return 0;
}
