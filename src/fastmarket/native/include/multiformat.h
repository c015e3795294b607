/* Text and bytes of multihashes and CIDs: base58btc, base32, base16, and what a CID is made of.
 *
 * No function here writes past FM_MAX_BINARY bytes or FM_MAX_TEXT characters of its output.
 * Sources: multiformats/cid, multihash, multibase; RFC 4648 section 6.
 */
#ifndef FASTMARKET_MULTIFORMAT_H
#define FASTMARKET_MULTIFORMAT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "varint.h"

#define FM_MAX_BINARY 128   /* a CID of the longest multihash, with room for its codec */
#define FM_MAX_TEXT 257     /* 'f' and two hex digits a byte: the longest text of FM_MAX_BINARY bytes */
#define FM_MAX_MULTIHASH 80 /* what libp2p kad-dht takes as a key; 64-byte digests fit */

#define FM_SHA2_256 0x12
#define FM_DAG_PB 0x70

/* What a reader of text answers instead of a length. */
#define FM_FOREIGN (-1)   /* a character outside the alphabet */
#define FM_TOO_LONG (-2)  /* more than FM_MAX_BINARY bytes */
#define FM_UNENCODED (-3) /* a length, or bits behind the last byte, that no encoder makes */

static const char fm_base58[] = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
static const char fm_base32[] = "abcdefghijklmnopqrstuvwxyz234567";
static int8_t fm_base58_digit[256], fm_base32_digit[256], fm_base32_upper_digit[256];

static inline void fm_multiformat_init(void) {
    memset(fm_base58_digit, -1, 256);
    memset(fm_base32_digit, -1, 256);
    memset(fm_base32_upper_digit, -1, 256);
    for (int i = 0; i < 58; i++) fm_base58_digit[(uint8_t)fm_base58[i]] = (int8_t)i;
    for (int i = 0; i < 32; i++) {
        uint8_t lower = (uint8_t)fm_base32[i];
        fm_base32_digit[lower] = (int8_t)i;
        fm_base32_upper_digit[lower >= 'a' ? lower - 32 : lower] = (int8_t)i;
    }
}

/* ---- base58btc: five digits at a time, as one 32-bit number -------------------------------------------- */

#define FM_58_TO_THE_5 656356768u
#define FM_WORDS (FM_MAX_BINARY / 4 + 1)
#define FM_GROUPS 37 /* of five digits: 176 of them spell FM_MAX_BINARY bytes */

/* Text of at most FM_MAX_BINARY bytes; its length. */
static inline ptrdiff_t fm_base58_write(const uint8_t *data, ptrdiff_t size, uint8_t *out) {
    uint32_t words[FM_WORDS];
    uint8_t digits[5 * FM_GROUPS];
    ptrdiff_t zeros = 0, first = 0, used = 0;
    while (zeros < size && data[zeros] == 0) zeros++;
    ptrdiff_t count = (size - zeros + 3) / 4;
    memset(words, 0, (size_t)count * sizeof *words);
    for (ptrdiff_t i = zeros; i < size; i++) { /* most significant word first; it may be short */
        ptrdiff_t behind = size - 1 - i;
        words[count - 1 - behind / 4] |= (uint32_t)data[i] << (8 * (behind & 3));
    }
    while (first < count) {
        uint64_t rest = 0;
        for (ptrdiff_t i = first; i < count; i++) {
            rest = (rest << 32) | words[i];
            words[i] = (uint32_t)(rest / FM_58_TO_THE_5);
            rest %= FM_58_TO_THE_5;
        }
        uint32_t group = (uint32_t)rest;
        for (int i = 0; i < 5; i++, group /= 58) digits[used++] = (uint8_t)(group % 58);
        if (words[first] == 0) first++;
    }
    while (used && digits[used - 1] == 0) used--;
    memset(out, '1', (size_t)zeros); /* a leading zero byte is a '1' */
    for (ptrdiff_t i = 0; i < used; i++) out[zeros + i] = (uint8_t)fm_base58[digits[used - 1 - i]];
    return zeros + used;
}

/* Bytes of a text; their number, or one of the answers above. */
static inline ptrdiff_t fm_base58_read(const uint8_t *text, ptrdiff_t size, uint8_t *out) {
    uint32_t words[FM_WORDS]; /* least significant first */
    ptrdiff_t zeros = 0, used = 0;
    int foreign = 0;
    while (zeros < size && text[zeros] == '1') zeros++;
    for (ptrdiff_t at = zeros; at < size;) {
        ptrdiff_t end = size - at < 5 ? size : at + 5;
        uint64_t carry = 0;
        uint32_t factor = 1;
        for (; at < end; at++) {
            int digit = fm_base58_digit[text[at]];
            foreign |= digit;
            carry = carry * 58 + (uint64_t)(digit & 63);
            factor *= 58;
        }
        for (ptrdiff_t i = 0; i < used; i++) {
            carry += (uint64_t)words[i] * factor;
            words[i] = (uint32_t)carry;
            carry >>= 32;
        }
        if (carry) {
            if (used == FM_WORDS) return foreign < 0 ? FM_FOREIGN : FM_TOO_LONG;
            words[used++] = (uint32_t)carry;
        }
    }
    if (foreign < 0) return FM_FOREIGN;
    ptrdiff_t length = 4 * used;
    while (length && ((words[(length - 1) / 4] >> (8 * ((length - 1) & 3))) & 255) == 0) length--;
    if (zeros + length > FM_MAX_BINARY) return FM_TOO_LONG;
    memset(out, 0, (size_t)zeros);
    for (ptrdiff_t i = 0; i < length; i++) out[zeros + length - 1 - i] = (uint8_t)(words[i / 4] >> (8 * (i & 3)));
    return zeros + length;
}

/* ---- base32 and base16 --------------------------------------------------------------------------------- */

/* Lower-case text without padding of at most FM_MAX_BINARY bytes; its length. */
static inline ptrdiff_t fm_base32_write(const uint8_t *data, ptrdiff_t size, uint8_t *out) {
    uint32_t bits = 0;
    int held = 0;
    ptrdiff_t used = 0;
    for (ptrdiff_t i = 0; i < size; i++) {
        bits = (bits << 8) | data[i];
        for (held += 8; held >= 5;) {
            held -= 5;
            out[used++] = (uint8_t)fm_base32[(bits >> held) & 31];
        }
    }
    if (held) out[used++] = (uint8_t)fm_base32[(bits << (5 - held)) & 31];
    return used;
}

static inline ptrdiff_t fm_base32_read(const uint8_t *text, ptrdiff_t size, const int8_t *digits, uint8_t *out) {
    uint32_t bits = 0;
    int held = 0, foreign = 0;
    ptrdiff_t used = 0;
    if (size * 5 / 8 > FM_MAX_BINARY) return FM_TOO_LONG;
    for (ptrdiff_t i = 0; i < size; i++) {
        int digit = digits[text[i]];
        foreign |= digit;
        bits = (bits << 5) | (uint32_t)(digit & 31);
        held += 5;
        if (held >= 8) {
            held -= 8;
            out[used++] = (uint8_t)(bits >> held);
        }
    }
    if (foreign < 0) return FM_FOREIGN;
    return held >= 5 || (bits & ((1u << held) - 1)) ? FM_UNENCODED : used;
}

static inline int fm_hex_digit(uint8_t c, uint8_t letter_a) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= letter_a && c < letter_a + 6 ? c - letter_a + 10 : -1;
}

static inline ptrdiff_t fm_base16_read(const uint8_t *text, ptrdiff_t size, uint8_t letter_a, uint8_t *out) {
    if (size & 1) return FM_UNENCODED;
    if (size / 2 > FM_MAX_BINARY) return FM_TOO_LONG;
    for (ptrdiff_t i = 0; i < size / 2; i++) {
        int high = fm_hex_digit(text[2 * i], letter_a), low = fm_hex_digit(text[2 * i + 1], letter_a);
        if (high < 0 || low < 0) return FM_FOREIGN;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return size / 2;
}

/* ---- multihashes and CIDs: what is wrong with them, NULL where nothing is ------------------------ */

static inline int fm_is_sha256(const uint8_t *data, ptrdiff_t size) {
    return size == 34 && data[0] == FM_SHA2_256 && data[1] == 32;
}

static inline const char *fm_multihash_fault(const uint8_t *data, ptrdiff_t size) {
    uint64_t code, length;
    if (size > FM_MAX_MULTIHASH) return "multihash too long";
    ptrdiff_t at = fm_uvarint_read(data, size, 0, &code);
    if (at < 0) return "multihash code malformed";
    at = fm_uvarint_read(data, size, at, &length);
    if (at < 0 || length != (uint64_t)(size - at)) return "multihash length does not match its digest";
    if (code == FM_SHA2_256 && length != 32) return "sha2-256 digest is not 32 bytes";
    return NULL;
}

typedef struct {
    int version;
    uint64_t codec;
    ptrdiff_t hash_at; /* where the multihash begins; it reaches to the end */
} fm_cid;

static inline const char *fm_cid_parse(const uint8_t *data, ptrdiff_t size, fm_cid *cid) {
    uint64_t version;
    cid->version = 0, cid->codec = FM_DAG_PB, cid->hash_at = 0;
    if (fm_is_sha256(data, size)) return NULL;
    ptrdiff_t at = fm_uvarint_read(data, size, 0, &version);
    if (at < 0 || version != 1) return "CID version is neither 0 nor 1";
    at = fm_uvarint_read(data, size, at, &cid->codec);
    if (at < 0) return "CID codec malformed";
    cid->version = 1, cid->hash_at = at;
    return fm_multihash_fault(data + at, size - at);
}

static inline const char *fm_text_fault(ptrdiff_t answer) {
    if (answer == FM_FOREIGN) return "character outside the alphabet";
    return answer == FM_TOO_LONG ? "too long" : "not the text any encoder makes";
}

/* Bytes and parts of a CID's text. */
static inline const char *fm_cid_read(const uint8_t *text, ptrdiff_t size, uint8_t *out, ptrdiff_t *used,
                                      fm_cid *cid) {
    if (size < 2) return "CID too short";
    int bare = size == 46 && text[0] == 'Q' && text[1] == 'm'; /* a CIDv0 stands without a multibase */
    const uint8_t *rest = text + 1;
    if (bare) *used = fm_base58_read(text, size, out);
    else if (text[0] == 'b') *used = fm_base32_read(rest, size - 1, fm_base32_digit, out);
    else if (text[0] == 'z') *used = fm_base58_read(rest, size - 1, out);
    else if (text[0] == 'B') *used = fm_base32_read(rest, size - 1, fm_base32_upper_digit, out);
    else if (text[0] == 'f') *used = fm_base16_read(rest, size - 1, 'a', out);
    else if (text[0] == 'F') *used = fm_base16_read(rest, size - 1, 'A', out);
    else return "CID multibase unknown";
    if (*used < 0) return fm_text_fault(*used);
    const char *fault = fm_cid_parse(out, *used, cid);
    if (!fault && cid->version == 0 && !bare) return "CIDv0 in a multibase";
    return fault;
}

#endif
