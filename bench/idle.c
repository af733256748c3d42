/*
 * idle.c: holds 15,000 idle connections to an echo server and prints what each costs it in resident user memory.
 * Must not know the server but by its port and its process id. Invariants: the figure is a difference between two moments of
 * one process, so what it takes to be there at all is not in it; memory is read only when every connection has been accepted.
 */
#define _GNU_SOURCE 1
#include "load.h"
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { WARM = 100, ALL = 15000, SOURCES = 16, STEP = 500, PATIENCE_MS = 10000 };

static const double TARGET = 160;

static void sleep_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Resident bytes of a process; 0: unknown. */
static long long resident(int pid)
{
    char path[64];
    char line[256];
    long long kib = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    FILE *f = fopen(path, "re");
    if (f == NULL) return 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "Rss: %lld kB", &kib) == 1) break;
    fclose(f);
    return kib * 1024;
}

static int open_files(int pid)
{
    char path[64];
    int n = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *d = opendir(path);
    if (d == NULL) return -1;
    while (readdir(d) != NULL) n++;
    closedir(d);
    return n;
}

static int wait_for_files(int pid, int n)
{
    for (int waited = 0; waited < PATIENCE_MS; waited += 10) {
        if (open_files(pid) >= n) return 0;
        sleep_ms(10);
    }
    fprintf(stderr, "idle: the server has not accepted everything after %d s\n", PATIENCE_MS / 1000);
    return -1;
}

/* Several source addresses: ports of one may be few, some of them still in TIME_WAIT. */
static int connect_from(unsigned i, uint16_t port)
{
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i % SOURCES)};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) == 0 &&
        bind(fd, (struct sockaddr *)&from, sizeof from) == 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    fprintf(stderr, "idle: connection %u: %s\n", i, strerror(errno));
    return -1;
}

static int echo_once(int fd)
{
    static const uint8_t frame[] = {0, 0, 0, 8, 'o', 'n', 'e', ' ', 'e', 'c', 'h', 'o'};
    uint8_t reply[sizeof frame];
    if (send(fd, frame, sizeof frame, MSG_NOSIGNAL) == (ssize_t)sizeof frame &&
        recv(fd, reply, sizeof reply, MSG_WAITALL) == (ssize_t)sizeof reply && memcmp(frame, reply, sizeof frame) == 0)
        return 0;
    fprintf(stderr, "idle: no echo: %s\n", strerror(errno));
    return -1;
}

static int open_up_to(unsigned *have, unsigned n, bool use, uint16_t port, int pid, int files_before)
{
    while (*have < n) {
        int fd = connect_from(*have, port);
        if (fd < 0 || (use && echo_once(fd) != 0)) return -1;
        ++*have;
        bool pause = *have % STEP == 0 || *have == n; /* before the backlog is full */
        if (pause && wait_for_files(pid, files_before + (int)*have) != 0) return -1;
    }
    sleep_ms(200);
    return 0;
}

static int measure(bool use, uint16_t port, int pid)
{
    unsigned have = 0;
    int files = open_files(pid);
    if (open_up_to(&have, WARM, true, port, pid, files) != 0) return -1;
    long long before = resident(pid);
    if (open_up_to(&have, ALL, use, port, pid, files) != 0) return -1;
    long long after = resident(pid);
    if (before == 0 || after == 0) {
        fputs("idle: the server's memory cannot be read\n", stderr);
        return -1;
    }
    double each = (double)(after - before) / (ALL - WARM);
    printf("idle: %.0f bytes of resident user memory per connection, %s: %lld KiB with %d, %lld KiB with %d   <= %.0f %s\n",
           each, use ? "each after one echo" : "never used", before / 1024, WARM, after / 1024, ALL, TARGET,
           each <= TARGET ? "ok" : "OVER");
    return fflush(stdout) == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    bool use = argc == 4 && strcmp(argv[1], "used") == 0;
    unsigned long port = argc == 4 ? strtoul(argv[2], NULL, 10) : 0;
    long pid = argc == 4 ? strtol(argv[3], NULL, 10) : 0;
    if ((!use && (argc != 4 || strcmp(argv[1], "unused") != 0)) || port < 1 || port > 65535 || pid < 1 || pid > 0x7fffffff) {
        fputs("usage: idle used|unused PORT PID    (an echo server on 127.0.0.1 and its process id)\n", stderr);
        return 2;
    }
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (files.rlim_cur < ALL + 100) {
        fprintf(stderr, "idle: needs %d descriptors, and the hard limit is %llu\n", ALL + 100,
                (unsigned long long)files.rlim_max);
        return 6;
    }
    return measure(use, (uint16_t)port, (int)pid) == 0 ? 0 : 1;
}
