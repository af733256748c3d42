/*
 * meddle.c: stands before six functions of libsodium.
 * Must not know what a handshake is.
 * Invariant: what is not asked to lie does what libsodium does.
 */
#include "meddle.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct noise_meddle meddle;

int __real_crypto_scalarmult(uint8_t *q, const uint8_t *n, const uint8_t *p);
int __wrap_crypto_scalarmult(uint8_t *q, const uint8_t *n, const uint8_t *p);
int __wrap_crypto_scalarmult_base(uint8_t *q, const uint8_t *n);
int __real_crypto_auth_hmacsha256_init(void *state, const uint8_t *key, size_t len);
int __wrap_crypto_auth_hmacsha256_init(void *state, const uint8_t *key, size_t len);
int __real_sodium_memcmp(const void *a, const void *b, size_t len);
int __wrap_sodium_memcmp(const void *a, const void *b, size_t len);
void __real_sodium_memzero(void *at, size_t len);
void __wrap_sodium_memzero(void *at, size_t len);
int __real_sodium_init(void);
int __wrap_sodium_init(void);
size_t crypto_auth_hmacsha256_statebytes(void);

static void secret_at(const void *at, size_t len)
{
    for (size_t i = 0; i < meddle.secrets; i++)
        if (meddle.secret[i].at == at) return;
    assert_true(meddle.secrets < sizeof meddle.secret / sizeof *meddle.secret);
    meddle.secret[meddle.secrets].at = at;
    meddle.secret[meddle.secrets++].len = len;
}

int __wrap_crypto_scalarmult(uint8_t *q, const uint8_t *n, const uint8_t *p)
{
    meddle.multiplied++;
    secret_at(q, NOISE_KEY_SIZE);
    if (meddle.low && meddle.liars_key != NULL && memcmp(n, meddle.liars_key, NOISE_KEY_SIZE) == 0) {
        memset(q, 0, NOISE_KEY_SIZE);
        return 0;
    }
    int st = __real_crypto_scalarmult(q, n, p);
    if (st != 0) memset(q, 0, NOISE_KEY_SIZE); /* what it is of a low-order point, and what the liar reckons with */
    return st;
}

int __wrap_crypto_scalarmult_base(uint8_t *q, const uint8_t *n)
{
    meddle.multiplied++;
    if (meddle.liars_face == NULL || memcmp(n, meddle.liars_key, NOISE_KEY_SIZE) != 0)
        return __real_crypto_scalarmult_base(q, n);
    memcpy(q, meddle.liars_face, NOISE_KEY_SIZE);
    return 0;
}

int __wrap_crypto_auth_hmacsha256_init(void *state, const uint8_t *key, size_t len)
{
    secret_at(state, crypto_auth_hmacsha256_statebytes());
    return __real_crypto_auth_hmacsha256_init(state, key, len);
}

int __wrap_sodium_memcmp(const void *a, const void *b, size_t len)
{
    return meddle.blind ? -1 : __real_sodium_memcmp(a, b, len);
}

void __wrap_sodium_memzero(void *at, size_t len)
{
    const uint8_t *from = at;
    for (size_t i = meddle.secrets; i-- > 0;)
        if (meddle.secret[i].at >= from && meddle.secret[i].at + meddle.secret[i].len <= from + len)
            meddle.secret[i] = meddle.secret[--meddle.secrets];
    __real_sodium_memzero(at, len);
}

int __wrap_sodium_init(void)
{
    return meddle.broken ? -1 : __real_sodium_init();
}

int noise_honest(void **state)
{
    (void)state;
    memset(&meddle, 0, sizeof meddle);
    return 0;
}

int noise_all_wiped(void **state)
{
    (void)state;
    if (meddle.secrets > 0) print_error("%zu secrets were not wiped\n", meddle.secrets);
    return meddle.secrets == 0 ? 0 : -1;
}
