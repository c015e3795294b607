"""TCP addresses, text and bytes: /ip4/A/tcp/P, alone or with /p2p/ID behind it, as nearly every address is.

Anything else is left to the general reader and writer (formats.multiaddr).

Sources: multiformats/multiaddr and its protocols.csv; libp2p/specs peer-ids.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy


cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    char *PyUnicode_DATA(object text)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)


cdef extern from "multiformat.h" nogil:
    enum:
        FM_MAX_BINARY
        FM_MAX_TEXT
    void fm_multiformat_init() noexcept
    Py_ssize_t fm_base58_write(const uint8_t *data, Py_ssize_t size, uint8_t *out) noexcept
    Py_ssize_t fm_base58_read(const uint8_t *text, Py_ssize_t size, uint8_t *out) noexcept


cdef enum:
    # Codes of the address table, the second of two bytes where there are two (multiaddr protocols.csv).
    _IP4 = 4
    _TCP = 6
    _P2P_LOW = 0xA5
    _P2P_HIGH = 3
    _IDENTITY_SIZE = 38  # of an Ed25519 peer id
    _SHA256_SIZE = 34  # of a hashed one

fm_multiformat_init()


cdef inline Py_ssize_t _number(const uint8_t *text, Py_ssize_t size, Py_ssize_t *at, uint32_t most) noexcept nogil:
    """A decimal number without leading zeros; -1 where there is none."""
    cdef Py_ssize_t first = at[0]
    cdef uint32_t value = 0
    while at[0] < size and 48 <= text[at[0]] <= 57 and at[0] - first < 5:
        value = 10 * value + text[at[0]] - 48
        at[0] += 1
    if at[0] == first or value > most or (text[first] == 48 and at[0] - first > 1):
        return -1
    return value


cdef inline bint _is_peer_id(const uint8_t *raw, Py_ssize_t size) noexcept nogil:
    """An Ed25519 key as it stands, or a SHA-256 of some other key."""
    if size == _IDENTITY_SIZE:
        return memcmp(raw, "\x00\x24\x08\x01\x12\x20", 6) == 0
    return size == _SHA256_SIZE and raw[0] == 0x12 and raw[1] == 0x20


def addr_from_text(str text not None):
    """The bytes of a plain TCP address; None for any other, and for what is not an address."""
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text), at = 5, part, value, used
    cdef const uint8_t *data
    cdef uint8_t out[10 + FM_MAX_BINARY]
    if size > FM_MAX_TEXT or not PyUnicode_IS_ASCII(text):
        return None
    data = <const uint8_t *> PyUnicode_DATA(text)
    if size < 18 or memcmp(data, "/ip4/", 5):
        return None
    out[0] = _IP4
    for part in range(4):
        value = _number(data, size, &at, 255)
        if value < 0 or at >= size or data[at] != (46 if part < 3 else 47):
            return None
        out[1 + part] = <uint8_t> value
        at += 1
    if size - at < 5 or memcmp(data + at, "tcp/", 4):
        return None
    at += 4
    value = _number(data, size, &at, 65535)
    if value < 0:
        return None
    out[5] = _TCP
    out[6] = <uint8_t> (value >> 8)
    out[7] = <uint8_t> value
    if at == size:
        return PyBytes_FromStringAndSize(<char *> out, 8)
    if size - at < 6 or size - at > 5 + 64 or memcmp(data + at, "/p2p/", 5):
        return None
    used = fm_base58_read(data + at + 5, size - at - 5, out + 11)
    if used < 0 or not _is_peer_id(out + 11, used):
        return None
    out[8] = _P2P_LOW
    out[9] = _P2P_HIGH
    out[10] = <uint8_t> used
    return PyBytes_FromStringAndSize(<char *> out, 11 + used)


cdef inline Py_ssize_t _decimal(uint8_t *out, uint32_t value) noexcept nogil:
    cdef uint8_t digits[5]
    cdef Py_ssize_t used = 0, i
    while True:
        digits[used] = 48 + value % 10
        used += 1
        value //= 10
        if not value:
            break
    for i in range(used):
        out[i] = digits[used - 1 - i]
    return used


def addr_to_text(bytes raw not None):
    """The text of a plain TCP address; None for any other, and for what is not an address."""
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(raw)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw), at = 5, part
    cdef uint8_t out[40 + FM_MAX_TEXT]
    if size < 8 or data[0] != _IP4 or data[5] != _TCP:
        return None
    memcpy(out, "/ip4/", 5)
    for part in range(4):
        at += _decimal(out + at, data[1 + part])
        out[at] = 46 if part < 3 else 47
        at += 1
    memcpy(out + at, "tcp/", 4)
    at += 4
    at += _decimal(out + at, <uint32_t> data[6] << 8 | data[7])
    if size > 8:
        if size < 11 or data[8] != _P2P_LOW or data[9] != _P2P_HIGH or data[10] != size - 11:
            return None
        if not _is_peer_id(data + 11, size - 11):
            return None
        memcpy(out + at, "/p2p/", 5)
        at += 5
        at += fm_base58_write(data + 11, size - 11, out + at)
    text = PyUnicode_New(at, 127)
    memcpy(PyUnicode_DATA(text), out, at)
    return text
