/*
 * seal.c: what encryption costs in memory. Records against libsodium's own ChaCha20-Poly1305 over the same bytes, in alternating
 * runs; then what a handshake costs each side, and what a stranger who knows no key can make a server do.
 * Must not know sockets. Invariant: whatever is measured is also checked: what was sealed opens, and to the same bytes.
 */
#include "load.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef FRAMED_SODIUM

int main(void)
{
    puts("seal: not built: there is no libsodium");
    return 0;
}

#else
#include "channel_noise.h"
#include <sodium.h>

enum { BIG = 1 << 20, ROUNDS = 31, BATCH = 200 };

static const double TARGET = 0.95;

static uint8_t plain[BIG], theirs[BIG + BIG / 64 * 16], ours[BIG + BIG / 64 * 32];
static uint8_t key[32] = {1, 2, 3};

static void must(bool good, const char *what)
{
    if (good) return;
    fprintf(stderr, "seal: %s\n", what);
    exit(1);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values; *spread is half of the range of their middle half. */
static double median(double values[ROUNDS], double *spread)
{
    qsort(values, ROUNDS, sizeof *values, compare_doubles);
    *spread = (values[ROUNDS * 3 / 4] - values[ROUNDS / 4]) / 2;
    return values[ROUNDS / 2];
}

/* ---- records ---- */

static struct framed_records direction(void)
{
    struct framed_records r = {.cipher.keyed = true};
    memcpy(r.cipher.key, key, sizeof key);
    return r;
}

/* Seals n bytes as records of `body`; returns the bytes of them. */
static size_t seal_all(size_t n, size_t body)
{
    struct framed_records out = direction();
    size_t used = 0;
    for (size_t at = 0; at < n; at += body) {
        size_t k = n - at < body ? n - at : body;
        struct framed_noise_sealing s;
        must(framed_record_seal_begin(&out, &s, RECORD_DATA, ours + used, k) == FRAMED_OK, "a record was not sealed");
        framed_noise_seal_more(&s, plain + at, k);
        framed_record_seal_end(&out, &s, RECORD_DATA);
        used += RECORD_HEAD + k + RECORD_TAIL;
    }
    return used;
}

static void open_all(size_t used)
{
    struct framed_records in = direction();
    struct framed_bytes body;
    enum record_type type;
    for (size_t at = 0; at < used;) {
        size_t len = (size_t)ours[at] << 24 | (size_t)ours[at + 1] << 16 | (size_t)ours[at + 2] << 8 | ours[at + 3];
        must(framed_record_open(&in, ours + at + FRAMED_LENGTH_SIZE, len, &type, &body) == FRAMED_OK,
             "a record did not open");
        at += FRAMED_LENGTH_SIZE + len;
    }
}

/* libsodium's own, in pieces of the same size, and over as much memory. */
static void sodium_seal_all(size_t n, size_t piece)
{
    uint8_t nonce[12] = {0}, *to = theirs;
    uint32_t count = 0;
    unsigned long long len;
    for (size_t at = 0; at < n; at += piece, to += len, count++) {
        memcpy(nonce + 4, &count, sizeof count);
        (void)crypto_aead_chacha20poly1305_ietf_encrypt(to, &len, plain + at, n - at < piece ? n - at : piece, NULL, 0, NULL,
                                                        nonce, key);
    }
}

static void sodium_open_all(size_t n, size_t piece)
{
    uint8_t nonce[12] = {0}, *from = theirs;
    uint32_t count = 0;
    for (size_t at = 0; at < n; at += piece, count++) {
        size_t k = (n - at < piece ? n - at : piece) + crypto_aead_chacha20poly1305_ietf_ABYTES;
        memcpy(nonce + 4, &count, sizeof count);
        must(crypto_aead_chacha20poly1305_ietf_decrypt(from, NULL, NULL, from, k, NULL, 0, nonce, key) == 0,
             "libsodium did not open what it sealed");
        from += k;
    }
}

static double seconds_since(uint64_t start)
{
    return (double)(load_clock_ns() - start) / 1e9;
}

/* For others that measure: libsodium's own nanoseconds for 1 MiB, sealing and opening. */
static void tell_own(void)
{
    double sealing[ROUNDS], opening[ROUNDS], ignored;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t start = load_clock_ns();
        sodium_seal_all(BIG, RECORD_BODY_MOST);
        sealing[i] = seconds_since(start) * 1e9;
        start = load_clock_ns();
        sodium_open_all(BIG, RECORD_BODY_MOST);
        opening[i] = seconds_since(start) * 1e9;
    }
    printf("%.0f %.0f\n", median(sealing, &ignored), median(opening, &ignored));
}

static bool compare_records(size_t body)
{
    double sealing[ROUNDS], opening[ROUNDS], rate[ROUNDS], spread, ignored;
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t start = load_clock_ns();
        sodium_seal_all(BIG, body);
        double sodium_s = seconds_since(start);
        start = load_clock_ns();
        size_t used = seal_all(BIG, body);
        double seal_s = seconds_since(start);
        start = load_clock_ns();
        open_all(used);
        double open_s = seconds_since(start);
        start = load_clock_ns();
        sodium_open_all(BIG, body);
        double sodium_open_s = seconds_since(start);
        sealing[i] = sodium_s / seal_s;
        opening[i] = sodium_open_s / open_s;
        rate[i] = BIG / seal_s / 1e6;
    }
    double seal = median(sealing, &spread);
    printf("records of %5zu bytes: sealing %.2f of libsodium's own rate (spread %.2f), ", body, seal, spread);
    double open = median(opening, &spread);
    printf("opening %.2f (%.2f); %.0f MB/s sealed\n", open, spread, median(rate, &ignored));
    return seal >= TARGET && open >= TARGET;
}

/* ---- handshakes ---- */

struct side {
    struct framed_handshake hs;
    struct framed_noise_keypair identity;
};

static const uint8_t openings[3][8] = {{0xf7, 0x46, 1, 0x80}, {0xf7, 0x46, 1, 0x90}, {0xf7, 0x46, 1, 0xa0}};

static void begin(struct side *s, unsigned kind, enum framed_side which, const uint8_t *psk)
{
    uint8_t ephemeral[32];
    const struct framed_hello hello = {.max_frame = 1 << 24};
    randombytes_buf(ephemeral, sizeof ephemeral);
    const struct framed_handshake_config config = {.mode = openings[kind][3],
                                                   .side = which,
                                                   .opening = framed_bytes_of(openings[kind], 8),
                                                   .ephemeral = ephemeral,
                                                   .psk = kind != 1 ? psk : NULL,
                                                   .identity = kind != 0 ? &s->identity : NULL,
                                                   .hello = which == FRAMED_ACCEPTOR ? &hello : NULL};
    must(framed_handshake_init(&s->hs, &config) == FRAMED_OK, "no handshake was begun");
}

/* Says a message, and lets the other read it; false: it did not believe it. Each's time goes to its own sum. */
static bool pass(struct side *from, struct side *to, double *says, double *hears)
{
    uint8_t message[FRAMED_HANDSHAKE_MOST];
    size_t n = 0;
    uint64_t start = load_clock_ns();
    enum framed_status st = framed_handshake_say(&from->hs, message, &n);
    *says += seconds_since(start);
    if (st == FRAMED_MORE) return true;
    must(st == FRAMED_OK, "a message was not said");
    struct framed_bytes in = framed_bytes_of(message, n);
    start = load_clock_ns();
    st = framed_handshake_next(&to->hs, &in);
    *hears += seconds_since(start);
    return st == FRAMED_OK;
}

static void measure_handshakes(unsigned kind, const char *name)
{
    static struct side connector, acceptor;
    double connects[ROUNDS], accepts[ROUNDS], forced[ROUNDS], spread;
    uint8_t psk[32] = {7}, guess[32] = {8};
    randombytes_buf(connector.identity.secret, 32);
    randombytes_buf(acceptor.identity.secret, 32);
    must(framed_noise_keypair(&connector.identity, connector.identity.secret) == FRAMED_OK &&
             framed_noise_keypair(&acceptor.identity, acceptor.identity.secret) == FRAMED_OK,
         "no keys");
    for (unsigned i = 0; i < ROUNDS; i++) {
        double c = 0, a = 0, work = 0, stranger = 0;
        for (unsigned k = 0; k < BATCH; k++) {
            uint64_t start = load_clock_ns();
            begin(&connector, kind, FRAMED_CONNECTOR, psk);
            c += seconds_since(start);
            start = load_clock_ns();
            begin(&acceptor, kind, FRAMED_ACCEPTOR, psk);
            a += seconds_since(start);
            bool good = pass(&connector, &acceptor, &c, &a) && pass(&acceptor, &connector, &a, &c) &&
                        pass(&connector, &acceptor, &c, &a);
            must(good && framed_handshake_is_done(&acceptor.hs), "a handshake failed");
            begin(&connector, kind, FRAMED_CONNECTOR, guess); /* and now somebody who only guesses */
            start = load_clock_ns();
            begin(&acceptor, kind, FRAMED_ACCEPTOR, psk);
            work += seconds_since(start);
            if (pass(&connector, &acceptor, &stranger, &work)) (void)pass(&acceptor, &connector, &work, &stranger);
        }
        connects[i] = c * 1e6 / BATCH;
        accepts[i] = a * 1e6 / BATCH;
        forced[i] = work * 1e6 / BATCH;
    }
    double accept = median(accepts, &spread);
    printf("%-22s connector %3.0f us, acceptor %3.0f us (spread %.0f): %.0f a second on a core; a stranger makes it work "
           "%.1f us\n",
           name, median(connects, &connects[0]), accept, spread, 1e6 / accept, median(forced, &forced[0]));
}

int main(int argc, char **argv)
{
    must(framed_noise_start() == FRAMED_OK, "libsodium cannot run here");
    randombytes_buf(plain, sizeof plain);
    if (argc > 1 && strcmp(argv[1], "own") == 0) {
        tell_own();
        return 0;
    }
    bool met = compare_records(RECORD_BODY_MOST);
    compare_records(1024);
    compare_records(64);
    measure_handshakes(0, "shared key");
    measure_handshakes(1, "pinned keys");
    measure_handshakes(2, "shared and pinned keys");
    printf("target: sealing and opening full records at least %.2f of libsodium's own rate: %s\n", TARGET,
           met ? "met" : "missed");
    return 0;
}
#endif
