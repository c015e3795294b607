/* Unsigned varints, the only reader and writer of them in C: those of the multiformats, and those of protobuf.
 *
 * They differ in what a reader takes. A multiformats varint has at most 9 bytes, 63 bits, and the shortest form only
 * (multiformats/unsigned-varint); protobuf takes 10 bytes, 64 bits, in any form (protobuf.dev, "Encoding").
 */
#ifndef FASTMARKET_VARINT_H
#define FASTMARKET_VARINT_H

#include <stddef.h>
#include <stdint.h>

#define FM_MAX_UVARINT 9
#define FM_MAX_PROTOBUF_VARINT 10

/* What a reader answers instead of the offset behind the varint. */
#define FM_VARINT_CUT (-1)
#define FM_VARINT_LONG (-2)
#define FM_VARINT_WIDE (-3)   /* one of protobuf, of more than 64 bits */
#define FM_VARINT_PADDED (-4) /* not the shortest form */

/* `protobuf` is a constant of the caller: what the other kind needs is not in the code. */
static inline ptrdiff_t fm_varint_read_as(const uint8_t *data, ptrdiff_t size, ptrdiff_t at, uint64_t *value,
                                          int protobuf) {
    int most = 7 * (protobuf ? FM_MAX_PROTOBUF_VARINT : FM_MAX_UVARINT);
    *value = 0;
    if (at < size && data[at] < 0x80) { /* as nearly always */
        *value = data[at];
        return at + 1;
    }
    for (int shift = 0; shift < most; at++, shift += 7) {
        if (at >= size) return FM_VARINT_CUT;
        if (protobuf && shift == 63 && data[at] > 1) return FM_VARINT_WIDE;
        *value |= (uint64_t)(data[at] & 0x7f) << shift;
        if (data[at] < 0x80) return !protobuf && data[at] == 0 ? FM_VARINT_PADDED : at + 1;
    }
    return FM_VARINT_LONG;
}

/* The offset behind the varint at `at`, or one of the answers above. */
static inline ptrdiff_t fm_uvarint_read(const uint8_t *data, ptrdiff_t size, ptrdiff_t at, uint64_t *value) {
    return fm_varint_read_as(data, size, at, value, 0);
}

/* The same for a varint of protobuf. */
static inline ptrdiff_t fm_protobuf_varint_read(const uint8_t *data, ptrdiff_t size, ptrdiff_t at,
                                                uint64_t *value) {
    return fm_varint_read_as(data, size, at, value, 1);
}

static inline const char *fm_varint_fault(ptrdiff_t answer) {
    if (answer == FM_VARINT_PADDED) return "varint is not minimal";
    if (answer == FM_VARINT_CUT) return "varint is cut short";
    return answer == FM_VARINT_WIDE ? "varint of more than 64 bits" : "varint longer than 9 bytes";
}

/* How many bytes `fm_varint_write` writes, of both kinds. */
static inline ptrdiff_t fm_varint_size(uint64_t value) {
    ptrdiff_t size = 1;
    for (; value >= 0x80; value >>= 7) size++;
    return size;
}

static inline ptrdiff_t fm_varint_write(uint8_t *out, uint64_t value) {
    ptrdiff_t used = 0;
    for (; value >= 0x80; value >>= 7) out[used++] = (uint8_t)(value | 0x80);
    out[used++] = (uint8_t)value;
    return used;
}

#endif
