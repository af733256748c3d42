/*
 * meddle.h: libsodium, meddled with by the linker (-Wl,--wrap, Makefile): what a peer that lies is given instead of the truth, and
 * what of secrets is not wiped. Set `meddle` around the acts of the liar.
 */
#ifndef FRAMED_TESTS_MEDDLE_H
#define FRAMED_TESTS_MEDDLE_H

#include "noise.h"
#include <stddef.h>

struct noise_meddle {
    /* what the liar gets */
    bool blind;                /* it takes no key for its own */
    const uint8_t *liars_key;  /* all that is multiplied with it is zero, when `low` */
    const uint8_t *liars_face; /* the public key that is made of it; NULL: the true one */
    bool low;
    /* what is seen */
    unsigned multiplied;
    struct {
        const uint8_t *at;
        size_t len;
    } secret[32]; /* not wiped yet */
    size_t secrets;
    bool broken; /* sodium_init fails */
};

extern struct noise_meddle meddle;

/* The true one, for a public key of the liar's. */
int __real_crypto_scalarmult_base(uint8_t *q, const uint8_t *n);

/* cmocka's setup and teardown: nothing is meddled with; whatever a test did, no product of a multiplication and no state of a MAC
 * is left behind. */
int noise_honest(void **state);
int noise_all_wiped(void **state);

/* What a test leaves undone to the secrets in memory is that test's failure. */
#define NOISE_TEST(name) cmocka_unit_test_setup_teardown(name, noise_honest, noise_all_wiped)

#endif
