/* 256-bit keys as four 64-bit words, most significant first, so that comparing words compares big-endian bytes. */
#ifndef FASTMARKET_KEY256_H
#define FASTMARKET_KEY256_H

#include <stdint.h>
#include <string.h>

#define FM_KEY_BYTES 32

typedef struct {
    uint64_t w[4];
} fm_key;

static inline uint64_t fm_be64(uint64_t x) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return x;
#else
    return __builtin_bswap64(x);
#endif
}

static inline void fm_key_load(fm_key *key, const unsigned char *bytes) {
    memcpy(key->w, bytes, FM_KEY_BYTES);
    for (int i = 0; i < 4; i++) key->w[i] = fm_be64(key->w[i]);
}

static inline void fm_key_store(const fm_key *key, unsigned char *bytes) {
    uint64_t words[4];
    for (int i = 0; i < 4; i++) words[i] = fm_be64(key->w[i]);
    memcpy(bytes, words, FM_KEY_BYTES);
}

static inline void fm_key_xor(fm_key *out, const fm_key *a, const fm_key *b) {
    for (int i = 0; i < 4; i++) out->w[i] = a->w[i] ^ b->w[i];
}

/* <0, 0, >0 as a is below, at or above b. */
static inline int fm_key_compare(const fm_key *a, const fm_key *b) {
    for (int i = 0; i < 4; i++) {
        if (a->w[i] != b->w[i]) return a->w[i] < b->w[i] ? -1 : 1;
    }
    return 0;
}

/* Zero bits before the first one; 256 for zero. Of a distance: the common prefix length. */
static inline int fm_key_leading_zeros(const fm_key *key) {
    for (int i = 0; i < 4; i++) {
        if (key->w[i]) return 64 * i + __builtin_clzll(key->w[i]);
    }
    return 256;
}

/* So that what lies there is at hand when it is looked at. */
static inline void fm_prefetch(const void *at) { __builtin_prefetch(at); }

static inline int fm_clz64(uint64_t x) { return x ? __builtin_clzll(x) : 64; }

#endif
