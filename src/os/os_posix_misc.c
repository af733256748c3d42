/*
 * os_posix_misc.c: what is not sockets: addresses, clock, random bytes, memory, threads and locks.
 * Must not know who asks.
 * Invariants: addresses are in the system's own form everywhere but in texts.
 */
#define _GNU_SOURCE
#include "../../proto/alloc.h"
#include "os_posix.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* ---- addresses ---- */

enum framed_status framed_os_resolve(const char *host, const char *port, bool passive, struct os_address *found, size_t *n)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0};
    struct addrinfo *list = NULL;
    int error = getaddrinfo(host[0] != '\0' ? host : NULL, port, &hints, &list);
    if (error == EAI_MEMORY) return FRAMED_NOMEM;
    if (error == EAI_SYSTEM) return framed_os_classify(errno);
    if (error != 0) return FRAMED_NOT_FOUND;
    size_t count = 0;
    for (const struct addrinfo *a = list; a != NULL && count < *n; a = a->ai_next) {
        if (a->ai_addrlen > sizeof found->bytes) continue;
        found[count] = (struct os_address){.len = (uint32_t)a->ai_addrlen};
        memcpy(found[count].bytes, a->ai_addr, a->ai_addrlen);
        count++;
    }
    freeaddrinfo(list);
    if (count == 0) return FRAMED_NOT_FOUND;
    *n = count;
    return FRAMED_OK;
}

enum framed_status framed_os_address_unix(const char *path, struct os_address *address)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof un.sun_path) return FRAMED_USAGE;
    memcpy(un.sun_path, path, len);
    *address = (struct os_address){.len = sizeof un};
    memcpy(address->bytes, &un, sizeof un);
    return FRAMED_OK;
}

/* A view of the address as one family's struct; the bytes are aligned for it. */
static const struct sockaddr_in *as_in(const struct os_address *a)
{
    const struct sockaddr_in *in = (const void *)a->bytes;
    return a->len >= sizeof *in && in->sin_family == AF_INET ? in : NULL;
}

static const struct sockaddr_in6 *as_in6(const struct os_address *a)
{
    const struct sockaddr_in6 *in6 = (const void *)a->bytes;
    return a->len >= sizeof *in6 && in6->sin6_family == AF_INET6 ? in6 : NULL;
}

uint16_t framed_os_address_host(const struct os_address *a, struct os_host *host)
{
    *host = (struct os_host){0};
    const struct sockaddr_in6 *in6 = as_in6(a);
    if (in6 != NULL) {
        memcpy(host->bytes, &in6->sin6_addr, sizeof host->bytes);
        return ntohs(in6->sin6_port);
    }
    const struct sockaddr_in *in = as_in(a);
    if (in == NULL) return 0;
    host->bytes[10] = host->bytes[11] = 0xff; /* ::ffff:a.b.c.d, RFC 4291 §2.5.5.2 */
    memcpy(host->bytes + 12, &in->sin_addr, 4);
    return ntohs(in->sin_port);
}

void framed_os_host_text(const struct os_host *host, uint16_t port, char *text, size_t size)
{
    static const struct os_host local;
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char ip[INET6_ADDRSTRLEN] = "";
    if (port == 0 && memcmp(host, &local, sizeof local) == 0) {
        (void)snprintf(text, size, "unix");
    } else if (memcmp(host->bytes, mapped, sizeof mapped) == 0) {
        (void)inet_ntop(AF_INET, host->bytes + 12, ip, sizeof ip);
        (void)snprintf(text, size, "%s:%u", ip, port);
    } else {
        (void)inet_ntop(AF_INET6, host->bytes, ip, sizeof ip);
        (void)snprintf(text, size, "[%s]:%u", ip, port);
    }
}

/* The path of a Unix address, or NULL when it has none (an unnamed or abstract socket). */
static const char *path_of(const struct os_address *a)
{
    const struct sockaddr_un *un = (const void *)a->bytes;
    bool named = a->len > offsetof(struct sockaddr_un, sun_path) && un->sun_family == AF_UNIX && un->sun_path[0] != '\0';
    return named ? un->sun_path : NULL;
}

void framed_os_address_text(const struct os_address *a, char *text, size_t size)
{
    const char *path = path_of(a);
    if (path != NULL) {
        (void)snprintf(text, size, "unix:%.*s", (int)(a->len - offsetof(struct sockaddr_un, sun_path)), path);
        return;
    }
    struct os_host host;
    uint16_t port = framed_os_address_host(a, &host);
    framed_os_host_text(&host, port, text, size);
}

void framed_os_address_remove(const struct os_address *a)
{
    const char *path = path_of(a);
    if (path != NULL) (void)unlink(path);
}

/* ---- clock, random, memory ---- */

uint64_t framed_os_clock_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void framed_os_sleep_ms(uint32_t ms)
{
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) continue;
}

void framed_os_yield(void)
{
    (void)sched_yield();
}

enum framed_status framed_os_random(void *at, size_t n)
{
    uint8_t *to = at;
    while (n > 0) {
        size_t k = n < 256 ? n : 256; /* getentropy's most */
        if (getentropy(to, k) != 0) return framed_os_classify(errno);
        to += k;
        n -= k;
    }
    return FRAMED_OK;
}

static void *resize(void *ctx, void *at, size_t old_size, size_t new_size)
{
    (void)ctx;
    (void)old_size;
    if (new_size > 0) return realloc(at, new_size);
    free(at);
    return NULL;
}

const struct framed_allocator *framed_os_allocator(void)
{
    static const struct framed_allocator heap = {.resize = resize};
    return &heap;
}

/* ---- threads and locks ---- */

uintptr_t framed_os_thread_self(void)
{
    static _Thread_local char here; /* its address is the thread's, and never NULL */
    return (uintptr_t)&here;
}

struct os_thread {
    pthread_t id;
    void (*run)(void *ctx);
    void *ctx;
};

static void *thread_main(void *arg)
{
    struct os_thread *t = arg;
    t->run(t->ctx);
    return NULL;
}

enum framed_status framed_os_thread_start(struct os_thread **thread, void (*run)(void *ctx), void *ctx)
{
    struct os_thread *t = malloc(sizeof *t);
    if (t == NULL) return FRAMED_NOMEM;
    *t = (struct os_thread){.run = run, .ctx = ctx};
    sigset_t all, before; /* signals are for the threads of who uses us */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&t->id, NULL, thread_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0) {
        free(t);
        return error == EAGAIN ? FRAMED_LIMIT : framed_os_classify(error);
    }
    *thread = t;
    return FRAMED_OK;
}

void framed_os_thread_join(struct os_thread *t)
{
    (void)pthread_join(t->id, NULL);
    free(t);
}

struct os_lock {
    pthread_mutex_t mutex;
};

enum framed_status framed_os_lock_new(struct os_lock **lock, const struct framed_allocator *alloc)
{
    struct os_lock *made = mem_new(alloc, sizeof *made);
    if (made == NULL) return FRAMED_NOMEM;
    int error = pthread_mutex_init(&made->mutex, NULL);
    if (error != 0) {
        mem_free(alloc, made, sizeof *made);
        return framed_os_classify(error);
    }
    *lock = made;
    return FRAMED_OK;
}

void framed_os_lock_free(struct os_lock *lock, const struct framed_allocator *alloc)
{
    if (lock == NULL) return;
    (void)pthread_mutex_destroy(&lock->mutex);
    mem_free(alloc, lock, sizeof *lock);
}

void framed_os_lock(struct os_lock *lock)
{
    (void)pthread_mutex_lock(&lock->mutex);
}

void framed_os_unlock(struct os_lock *lock)
{
    (void)pthread_mutex_unlock(&lock->mutex);
}
