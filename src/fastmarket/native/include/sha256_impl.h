/* SHA-256 (FIPS 180-4): portable C, and the x86 SHA extensions picked at run time.
 *
 * Two independent messages of equal length are hashed in one pass where the hardware allows: a SHA-NI round waits
 * four cycles for the one before and a second message fills them, which nearly doubles the bytes per cycle.
 *
 * Everything is static: each extension module that includes this calls fm_sha256_init() once, at import.
 */
#ifndef FASTMARKET_SHA256_IMPL_H
#define FASTMARKET_SHA256_IMPL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define FM_SHA256_BLOCK 64
#define FM_SHA256_DIGEST 32

static const uint32_t fm_sha256_iv[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static const uint32_t fm_sha256_k[64] __attribute__((aligned(64))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* One message (state, data) or two of the same number of blocks. */
typedef void (*fm_sha256_one_fn)(uint32_t state[8], const uint8_t *data, size_t blocks);
typedef void (*fm_sha256_two_fn)(uint32_t s0[8], uint32_t s1[8], const uint8_t *d0, const uint8_t *d1,
                                 size_t blocks);

/* ---- portable ------------------------------------------------------------------------------------------ */

static inline uint32_t fm_ror32(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static inline uint32_t fm_load_be32(const uint8_t *p) {
    return ((uint32_t)p[0] << 24) | ((uint32_t)p[1] << 16) | ((uint32_t)p[2] << 8) | (uint32_t)p[3];
}

static inline void fm_store_be32(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

static inline void fm_sha256_one_portable(uint32_t state[8], const uint8_t *data, size_t blocks) {
    for (; blocks; blocks--, data += FM_SHA256_BLOCK) {
        uint32_t w[16], s[8];
        memcpy(s, state, sizeof s);
        for (int t = 0; t < 64; t++) {
            uint32_t wt;
            if (t < 16) {
                wt = fm_load_be32(data + 4 * t);
            } else {
                uint32_t x = w[(t + 1) & 15], y = w[(t + 14) & 15];
                wt = w[t & 15] + (fm_ror32(x, 7) ^ fm_ror32(x, 18) ^ (x >> 3)) + w[(t + 9) & 15] +
                     (fm_ror32(y, 17) ^ fm_ror32(y, 19) ^ (y >> 10));
            }
            w[t & 15] = wt;
            uint32_t a = s[0], e = s[4];
            uint32_t t1 = s[7] + (fm_ror32(e, 6) ^ fm_ror32(e, 11) ^ fm_ror32(e, 25)) +
                          ((e & s[5]) ^ (~e & s[6])) + fm_sha256_k[t] + wt;
            uint32_t t2 = (fm_ror32(a, 2) ^ fm_ror32(a, 13) ^ fm_ror32(a, 22)) +
                          ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
            s[7] = s[6], s[6] = s[5], s[5] = e, s[4] = s[3] + t1;
            s[3] = s[2], s[2] = s[1], s[1] = a, s[0] = t1 + t2;
        }
        for (int i = 0; i < 8; i++) state[i] += s[i];
    }
}

static inline void fm_sha256_two_portable(uint32_t s0[8], uint32_t s1[8], const uint8_t *d0, const uint8_t *d1,
                                          size_t blocks) {
    fm_sha256_one_portable(s0, d0, blocks);
    fm_sha256_one_portable(s1, d1, blocks);
}

/* ---- x86 SHA extensions -------------------------------------------------------------------------------- */

#if (defined(__x86_64__) || defined(__i386__)) && (defined(__GNUC__) || defined(__clang__))
#define FM_SHA256_X86 1
#include <cpuid.h>
#include <immintrin.h>

#define FM_SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))

/* The instructions want the eight words as (A B E F) and (C D G H), A in the highest lane. */
#define FM_NI_LOAD_STATE(abef, cdgh, state)                                              \
    do {                                                                                 \
        __m128i lo_ = _mm_loadu_si128((const __m128i *)(state));         /* D C B A */   \
        __m128i hi_ = _mm_loadu_si128((const __m128i *)((state) + 4));   /* H G F E */   \
        lo_ = _mm_shuffle_epi32(lo_, 0xB1);                              /* C D A B */   \
        hi_ = _mm_shuffle_epi32(hi_, 0x1B);                              /* E F G H */   \
        abef = _mm_alignr_epi8(lo_, hi_, 8);                                             \
        cdgh = _mm_blend_epi16(hi_, lo_, 0xF0);                                          \
    } while (0)

#define FM_NI_STORE_STATE(abef, cdgh, state)                                             \
    do {                                                                                 \
        __m128i lo_ = _mm_shuffle_epi32(abef, 0x1B);                     /* F E B A */   \
        __m128i hi_ = _mm_shuffle_epi32(cdgh, 0xB1);                     /* D C H G */   \
        _mm_storeu_si128((__m128i *)(state), _mm_blend_epi16(lo_, hi_, 0xF0));           \
        _mm_storeu_si128((__m128i *)((state) + 4), _mm_alignr_epi8(hi_, lo_, 8));        \
    } while (0)

/* Message words 4*q .. 4*q+3, from the sixteen before them. */
#define FM_NI_SCHEDULE(m, q)                                                             \
    m[(q) & 3] = _mm_sha256msg2_epu32(                                                   \
        _mm_add_epi32(_mm_sha256msg1_epu32(m[(q) & 3], m[((q) + 1) & 3]),                \
                      _mm_alignr_epi8(m[((q) + 3) & 3], m[((q) + 2) & 3], 4)),           \
        m[((q) + 3) & 3])

/* Four rounds. */
#define FM_NI_ROUNDS(abef, cdgh, m, q)                                                   \
    do {                                                                                 \
        __m128i wk_ = _mm_add_epi32(m[(q) & 3], _mm_load_si128((const __m128i *)&fm_sha256_k[4 * (q)])); \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk_);                                   \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk_, 0x0E));          \
    } while (0)

#define FM_NI_LOAD_BLOCK(m, data, swap)                                                  \
    do {                                                                                 \
        m[0] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data)), swap);         \
        m[1] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data) + 1), swap);     \
        m[2] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data) + 2), swap);     \
        m[3] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(data) + 3), swap);     \
    } while (0)

#define FM_NI_EACH_QUAD(FIRST, REST)                                                     \
    FIRST(0) FIRST(1) FIRST(2) FIRST(3) REST(4) REST(5) REST(6) REST(7) REST(8) REST(9)  \
    REST(10) REST(11) REST(12) REST(13) REST(14) REST(15)

FM_SHA_TARGET static inline void fm_sha256_one_x86(uint32_t state[8], const uint8_t *data, size_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i abef, cdgh, m[4];
    FM_NI_LOAD_STATE(abef, cdgh, state);
    for (; blocks; blocks--, data += FM_SHA256_BLOCK) {
        const __m128i abef0 = abef, cdgh0 = cdgh;
        FM_NI_LOAD_BLOCK(m, data, swap);
#define FM_FIRST(q) FM_NI_ROUNDS(abef, cdgh, m, q);
#define FM_REST(q)        \
    FM_NI_SCHEDULE(m, q); \
    FM_NI_ROUNDS(abef, cdgh, m, q);
        FM_NI_EACH_QUAD(FM_FIRST, FM_REST)
#undef FM_FIRST
#undef FM_REST
        abef = _mm_add_epi32(abef, abef0);
        cdgh = _mm_add_epi32(cdgh, cdgh0);
    }
    FM_NI_STORE_STATE(abef, cdgh, state);
}

FM_SHA_TARGET static inline void fm_sha256_two_x86(uint32_t s0[8], uint32_t s1[8], const uint8_t *d0,
                                                   const uint8_t *d1, size_t blocks) {
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i abef_a, cdgh_a, abef_b, cdgh_b, a[4], b[4];
    FM_NI_LOAD_STATE(abef_a, cdgh_a, s0);
    FM_NI_LOAD_STATE(abef_b, cdgh_b, s1);
    for (; blocks; blocks--, d0 += FM_SHA256_BLOCK, d1 += FM_SHA256_BLOCK) {
        const __m128i abef_a0 = abef_a, cdgh_a0 = cdgh_a, abef_b0 = abef_b, cdgh_b0 = cdgh_b;
        FM_NI_LOAD_BLOCK(a, d0, swap);
        FM_NI_LOAD_BLOCK(b, d1, swap);
#define FM_FIRST(q)                       \
    FM_NI_ROUNDS(abef_a, cdgh_a, a, q);   \
    FM_NI_ROUNDS(abef_b, cdgh_b, b, q);
#define FM_REST(q)        \
    FM_NI_SCHEDULE(a, q); \
    FM_NI_SCHEDULE(b, q); \
    FM_FIRST(q)
        FM_NI_EACH_QUAD(FM_FIRST, FM_REST)
#undef FM_FIRST
#undef FM_REST
        abef_a = _mm_add_epi32(abef_a, abef_a0);
        cdgh_a = _mm_add_epi32(cdgh_a, cdgh_a0);
        abef_b = _mm_add_epi32(abef_b, abef_b0);
        cdgh_b = _mm_add_epi32(cdgh_b, cdgh_b0);
    }
    FM_NI_STORE_STATE(abef_a, cdgh_a, s0);
    FM_NI_STORE_STATE(abef_b, cdgh_b, s1);
}

static inline int fm_cpu_has_sha(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    if (!(c & (1u << 9)) || !(c & (1u << 19))) return 0; /* SSSE3, SSE4.1 */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    return (b & (1u << 29)) != 0; /* SHA */
}
#endif

/* ---- dispatch and whole messages ----------------------------------------------------------------------- */

static fm_sha256_one_fn fm_sha256_one = fm_sha256_one_portable;
static fm_sha256_two_fn fm_sha256_two = fm_sha256_two_portable;

/* Picks the fastest code this processor runs; returns its name. */
static inline const char *fm_sha256_init(void) {
#ifdef FM_SHA256_X86
    if (fm_cpu_has_sha()) {
        fm_sha256_one = fm_sha256_one_x86;
        fm_sha256_two = fm_sha256_two_x86;
        return "x86-sha";
    }
#endif
    return "portable";
}

/* Writes the last, padded one or two blocks of a message into `out`; returns how many. */
static inline size_t fm_sha256_pad(const uint8_t *data, size_t size, uint8_t out[2 * FM_SHA256_BLOCK]) {
    size_t rest = size % FM_SHA256_BLOCK;
    size_t blocks = rest < FM_SHA256_BLOCK - 8 ? 1 : 2;
    uint64_t bits = (uint64_t)size * 8;
    uint8_t *end = out + blocks * FM_SHA256_BLOCK;
    memset(out, 0, 2 * FM_SHA256_BLOCK);
    if (rest) memcpy(out, data + (size - rest), rest);
    out[rest] = 0x80;
    fm_store_be32(end - 8, (uint32_t)(bits >> 32));
    fm_store_be32(end - 4, (uint32_t)bits);
    return blocks;
}

static inline void fm_sha256_output(const uint32_t state[8], uint8_t out[FM_SHA256_DIGEST]) {
    for (int i = 0; i < 8; i++) fm_store_be32(out + 4 * i, state[i]);
}

static inline void fm_sha256_with(fm_sha256_one_fn compress, const uint8_t *data, size_t size,
                                  uint8_t out[FM_SHA256_DIGEST]) {
    uint32_t state[8];
    uint8_t last[2 * FM_SHA256_BLOCK];
    size_t last_blocks = fm_sha256_pad(data, size, last);
    memcpy(state, fm_sha256_iv, sizeof state);
    if (size >= FM_SHA256_BLOCK) compress(state, data, size / FM_SHA256_BLOCK);
    compress(state, last, last_blocks);
    fm_sha256_output(state, out);
}

static inline void fm_sha256(const uint8_t *data, size_t size, uint8_t out[FM_SHA256_DIGEST]) {
    fm_sha256_with(fm_sha256_one, data, size, out);
}

static inline void fm_sha256_portable(const uint8_t *data, size_t size, uint8_t out[FM_SHA256_DIGEST]) {
    fm_sha256_with(fm_sha256_one_portable, data, size, out);
}

/* Two messages that fill the same number of blocks. */
static inline void fm_sha256_pair(const uint8_t *d0, size_t size0, const uint8_t *d1, size_t size1,
                                  uint8_t out0[FM_SHA256_DIGEST], uint8_t out1[FM_SHA256_DIGEST]) {
    uint32_t s0[8], s1[8];
    uint8_t last0[2 * FM_SHA256_BLOCK], last1[2 * FM_SHA256_BLOCK];
    size_t last_blocks = fm_sha256_pad(d0, size0, last0);
    fm_sha256_pad(d1, size1, last1);
    memcpy(s0, fm_sha256_iv, sizeof s0);
    memcpy(s1, fm_sha256_iv, sizeof s1);
    if (size0 >= FM_SHA256_BLOCK) fm_sha256_two(s0, s1, d0, d1, size0 / FM_SHA256_BLOCK);
    fm_sha256_two(s0, s1, last0, last1, last_blocks);
    fm_sha256_output(s0, out0);
    fm_sha256_output(s1, out1);
}

/* From a state after the first `done` blocks of a message to its digest. */
static inline void fm_sha256_rest(uint32_t state[8], const uint8_t *data, size_t size, size_t done,
                                  uint8_t out[FM_SHA256_DIGEST]) {
    uint8_t last[2 * FM_SHA256_BLOCK];
    size_t last_blocks = fm_sha256_pad(data, size, last), whole = size / FM_SHA256_BLOCK;
    if (whole > done) fm_sha256_one(state, data + done * FM_SHA256_BLOCK, whole - done);
    fm_sha256_one(state, last, last_blocks);
    fm_sha256_output(state, out);
}

/* Two messages of any lengths: in one pass as far as both go, then each alone. */
static inline void fm_sha256_beside(const uint8_t *d0, size_t size0, const uint8_t *d1, size_t size1,
                                    uint8_t out0[FM_SHA256_DIGEST], uint8_t out1[FM_SHA256_DIGEST]) {
    uint32_t s0[8], s1[8];
    size_t both = (size0 < size1 ? size0 : size1) / FM_SHA256_BLOCK;
    memcpy(s0, fm_sha256_iv, sizeof s0);
    memcpy(s1, fm_sha256_iv, sizeof s1);
    if (both) fm_sha256_two(s0, s1, d0, d1, both);
    fm_sha256_rest(s0, d0, size0, both, out0);
    fm_sha256_rest(s1, d1, size1, both, out1);
}

/* Whether two messages can share a pass: equal whole blocks, equal padded ones. */
static inline int fm_sha256_pairable(size_t size0, size_t size1) {
    return size0 / FM_SHA256_BLOCK == size1 / FM_SHA256_BLOCK &&
           (size0 % FM_SHA256_BLOCK < FM_SHA256_BLOCK - 8) == (size1 % FM_SHA256_BLOCK < FM_SHA256_BLOCK - 8);
}

#endif
