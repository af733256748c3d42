/*
 * os_win_misc.c: what is not sockets: errors, Winsock as a whole, addresses, clock, random bytes, memory, threads and locks.
 * Must not know who asks.
 * Invariants: addresses are in the system's own form everywhere but in texts; no error code of the system leaves src/os.
 */
#include "../../proto/alloc.h"
#include "os_win.h"
#include <bcrypt.h>
#include <process.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM_MOST = 1 << 20, SLEEP_MOST_MS = 1 << 30 /* below INFINITE */ };

/* ---- errors ---- */

enum framed_status framed_os_classify(int error)
{
    switch (error) {
    case WSAECONNRESET:
    case WSAECONNABORTED:
    case WSAENETRESET:
    case WSAENOTCONN:
    case WSAESHUTDOWN:
    case WSAEDISCON:
    case ERROR_NETNAME_DELETED: return FRAMED_RESET;
    case WSAECONNREFUSED: return FRAMED_REFUSED;
    case WSAETIMEDOUT: return FRAMED_TIMEOUT;
    case WSAEMFILE:
    case WSAENOBUFS:
    case WSAEPROCLIM:
    case WSAEUSERS:
    case WSAEDQUOT:
    case WSAETOOMANYREFS: return FRAMED_LIMIT;
    case WSA_NOT_ENOUGH_MEMORY: return FRAMED_NOMEM;
    case WSAEADDRINUSE: return FRAMED_IN_USE;
    case WSAEACCES: return FRAMED_DENIED;
    case WSAEADDRNOTAVAIL:
    case WSAENETUNREACH:
    case WSAEHOSTUNREACH:
    case WSAENETDOWN:
    case WSAEHOSTDOWN: return FRAMED_UNREACHABLE;
    case WSAHOST_NOT_FOUND:
    case WSATRY_AGAIN:
    case WSANO_RECOVERY:
    case WSANO_DATA:
    case WSASERVICE_NOT_FOUND:
    case WSATYPE_NOT_FOUND: return FRAMED_NOT_FOUND;
    case WSAEINVAL:
    case WSAENOTSOCK:
    case WSAEBADF:
    case WSAEFAULT:
    case WSAEMSGSIZE:
    case WSAEDESTADDRREQ:
    case WSAEISCONN:
    case WSAEALREADY:
    case WSAEINPROGRESS:
    case WSANOTINITIALISED:
    case WSA_INVALID_HANDLE:
    case WSA_INVALID_PARAMETER: return FRAMED_USAGE;
    case WSAEAFNOSUPPORT:
    case WSAEPFNOSUPPORT:
    case WSAEPROTONOSUPPORT:
    case WSAESOCKTNOSUPPORT:
    case WSAEPROTOTYPE:
    case WSAENOPROTOOPT:
    case WSAEOPNOTSUPP:
    case WSAVERNOTSUPPORTED: return FRAMED_UNSUPPORTED;
    default: return FRAMED_OS; /* among them WSASYSNOTREADY, WSASYSCALLFAILURE and what a provider makes up */
    }
}

enum framed_status framed_os_last_error(void)
{
    return framed_os_classify(WSAGetLastError());
}

bool framed_os_would_block(int error)
{
    return error == WSAEWOULDBLOCK || error == WSAEINTR;
}

/* ---- Winsock as a whole ---- */

static BOOL CALLBACK start_winsock(PINIT_ONCE once, PVOID param, PVOID *context)
{
    (void)once, (void)param, (void)context;
    WSADATA data;
    return WSAStartup(MAKEWORD(2, 2), &data) == 0;
}

enum framed_status framed_os_winsock(void)
{
    static INIT_ONCE once = INIT_ONCE_STATIC_INIT;
    return InitOnceExecuteOnce(&once, start_winsock, NULL, NULL) ? FRAMED_OK : FRAMED_OS;
}

/* ---- addresses ---- */

enum framed_status framed_os_resolve(const char *host, const char *port, bool passive, struct os_address *found, size_t *n)
{
    enum framed_status st = framed_os_winsock();
    if (st != FRAMED_OK) return st;
    struct addrinfo hints = {.ai_flags = passive ? AI_PASSIVE : 0, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int error = getaddrinfo(host != NULL && host[0] != '\0' ? host : NULL, port, &hints, &list);
    if (error != 0) return error == WSA_NOT_ENOUGH_MEMORY ? FRAMED_NOMEM : FRAMED_NOT_FOUND;
    size_t room = *n, got = 0;
    for (const struct addrinfo *a = list; a != NULL && got < room; a = a->ai_next) {
        if (a->ai_addrlen > sizeof found[got].bytes) continue;
        found[got].len = (uint32_t)a->ai_addrlen;
        memcpy(found[got].bytes, a->ai_addr, a->ai_addrlen);
        got++;
    }
    freeaddrinfo(list);
    if (got == 0) return FRAMED_NOT_FOUND;
    *n = got;
    return FRAMED_OK;
}

enum framed_status framed_os_address_unix(const char *path, struct os_address *address)
{
    (void)path, (void)address;
    return FRAMED_UNSUPPORTED;
}

uint16_t framed_os_address_host(const struct os_address *address, struct os_host *host)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    *host = (struct os_host){0};
    if (family_of(address) == AF_INET && address->len >= sizeof(struct sockaddr_in)) {
        struct sockaddr_in v4;
        memcpy(&v4, address->bytes, sizeof v4);
        memcpy(host->bytes, mapped, sizeof mapped);
        memcpy(host->bytes + sizeof mapped, &v4.sin_addr, 4);
        return ntohs(v4.sin_port);
    }
    if (family_of(address) == AF_INET6 && address->len >= sizeof(struct sockaddr_in6)) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address->bytes, sizeof v6);
        memcpy(host->bytes, &v6.sin6_addr, 16);
        return ntohs(v6.sin6_port);
    }
    return 0;
}

void framed_os_host_text(const struct os_host *host, uint16_t port, char *text, size_t size)
{
    static const struct os_host local;
    char ip[INET6_ADDRSTRLEN] = "?";
    struct in6_addr v6;
    memcpy(&v6, host->bytes, sizeof v6);
    if (port == 0 && memcmp(host, &local, sizeof local) == 0) {
        (void)snprintf(text, size, "unix");
    } else if (IN6_IS_ADDR_V4MAPPED(&v6)) {
        (void)inet_ntop(AF_INET, host->bytes + 12, ip, sizeof ip);
        (void)snprintf(text, size, "%s:%u", ip, (unsigned)port);
    } else {
        (void)inet_ntop(AF_INET6, &v6, ip, sizeof ip);
        (void)snprintf(text, size, "[%s]:%u", ip, (unsigned)port);
    }
}

void framed_os_address_text(const struct os_address *address, char *text, size_t size)
{
    struct os_host host;
    uint16_t port = framed_os_address_host(address, &host);
    framed_os_host_text(&host, port, text, size);
}

void framed_os_address_remove(const struct os_address *address)
{
    (void)address;
}

/* ---- the rest ---- */

uint64_t framed_os_clock_ns(void)
{
    LARGE_INTEGER now, rate; /* both cannot fail since Windows XP */
    (void)QueryPerformanceCounter(&now);
    (void)QueryPerformanceFrequency(&rate);
    uint64_t ticks = (uint64_t)now.QuadPart, per_second = (uint64_t)rate.QuadPart, second = 1000000000u;
    return ticks / per_second * second + ticks % per_second * second / per_second;
}

enum framed_status framed_os_random(void *at, size_t n)
{
    for (uint8_t *to = at; n > 0;) {
        ULONG some = n < RANDOM_MOST ? (ULONG)n : RANDOM_MOST;
        if (BCryptGenRandom(NULL, to, some, BCRYPT_USE_SYSTEM_PREFERRED_RNG) != 0) return FRAMED_OS;
        to += some;
        n -= some;
    }
    return FRAMED_OK;
}

void framed_os_sleep_ms(uint32_t ms)
{
    Sleep(ms < SLEEP_MOST_MS ? ms : SLEEP_MOST_MS);
}

void framed_os_yield(void)
{
    (void)SwitchToThread();
}

static void *heap_resize(void *ctx, void *at, size_t old_size, size_t new_size)
{
    (void)ctx, (void)old_size;
    if (new_size > 0) return realloc(at, new_size);
    free(at);
    return NULL;
}

const struct framed_allocator *framed_os_allocator(void)
{
    static const struct framed_allocator heap = {.resize = heap_resize};
    return &heap;
}

uintptr_t framed_os_thread_self(void)
{
    return GetCurrentThreadId();
}

struct os_thread {
    void (*run)(void *ctx);
    void *ctx;
    HANDLE handle;
};

static unsigned __stdcall thread_main(void *arg)
{
    struct os_thread *thread = arg;
    thread->run(thread->ctx);
    return 0;
}

enum framed_status framed_os_thread_start(struct os_thread **thread, void (*run)(void *ctx), void *ctx)
{
    struct os_thread *t = malloc(sizeof *t);
    if (t == NULL) return FRAMED_NOMEM;
    t->run = run;
    t->ctx = ctx;
    t->handle = (HANDLE)_beginthreadex(NULL, 0, thread_main, t, 0, NULL);
    if (t->handle == NULL) {
        free(t);
        return FRAMED_LIMIT;
    }
    *thread = t;
    return FRAMED_OK;
}

void framed_os_thread_join(struct os_thread *thread)
{
    (void)WaitForSingleObject(thread->handle, INFINITE);
    (void)CloseHandle(thread->handle);
    free(thread);
}

struct os_lock {
    SRWLOCK lock;
};

enum framed_status framed_os_lock_new(struct os_lock **lock, const struct framed_allocator *alloc)
{
    struct os_lock *l = mem_new(alloc, sizeof *l);
    if (l == NULL) return FRAMED_NOMEM;
    InitializeSRWLock(&l->lock);
    *lock = l;
    return FRAMED_OK;
}

void framed_os_lock_free(struct os_lock *lock, const struct framed_allocator *alloc)
{
    mem_free(alloc, lock, sizeof *lock); /* an SRWLOCK holds nothing */
}

void framed_os_lock(struct os_lock *lock)
{
    AcquireSRWLockExclusive(&lock->lock);
}

void framed_os_unlock(struct os_lock *lock)
{
    ReleaseSRWLockExclusive(&lock->lock);
}
