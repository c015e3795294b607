"""CIDs, multihashes and their text (base58btc, base32), and the digests of a file's UnixFS leaves.

Malformed or oversized input is a ValueError, whatever it holds. Lengths are bounded before any work is done.
Sources: multiformats/cid, multiformats/multihash, multiformats/multibase, RFC 4648 section 6; ipfs specs, UNIXFS.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EINTR, errno
from libc.stdint cimport int8_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset


cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    char *PyUnicode_DATA(object text)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)


cdef extern from "<unistd.h>" nogil:
    ctypedef long long off_t
    ssize_t pread(int fd, void *buf, size_t size, off_t offset) noexcept


cdef extern from "sha256_impl.h" nogil:
    const char *fm_sha256_init() noexcept
    void fm_sha256(const uint8_t *data, size_t size, uint8_t *out) noexcept
    void fm_sha256_pair(const uint8_t *d0, size_t size0, const uint8_t *d1, size_t size1,
                        uint8_t *out0, uint8_t *out1) noexcept


cdef enum:
    _MAX_BINARY = 128
    _MAX_TEXT = 257   # 'f' and two hex digits a byte, the longest text of _MAX_BINARY bytes
    _MAX_MULTIHASH = 80
    _SHA2_256 = 0x12
    _DAG_PB = 0x70
    _MAX_VARINT = 9
    _MAX_CHUNK = 1 << 21
    _LEAF_ROOM = 32   # the bytes of a dag-pb leaf around its data: at most 8 before a length, twice, and 6 behind

MAX_BINARY_BYTES = _MAX_BINARY  # a CID of the longest multihash, with room for its codec
MAX_TEXT_CHARS = _MAX_TEXT
MAX_MULTIHASH_BYTES = _MAX_MULTIHASH  # what libp2p kad-dht takes as a key, 64-byte digests included
MAX_CHUNK_BYTES = _MAX_CHUNK  # the largest block libp2p peers exchange is 2 MiB

fm_sha256_init()

cdef const uint8_t *BASE58 = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
cdef const uint8_t *BASE32 = b"abcdefghijklmnopqrstuvwxyz234567"
cdef int8_t BASE58_DIGIT[256]
cdef int8_t LOWER32_DIGIT[256]
cdef int8_t UPPER32_DIGIT[256]


cdef void _fill_tables() noexcept:
    cdef int i
    memset(BASE58_DIGIT, -1, 256)
    memset(LOWER32_DIGIT, -1, 256)
    memset(UPPER32_DIGIT, -1, 256)
    for i in range(58):
        BASE58_DIGIT[BASE58[i]] = i
    for i in range(32):
        LOWER32_DIGIT[BASE32[i]] = i
        UPPER32_DIGIT[BASE32[i] - (32 if BASE32[i] >= 97 else 0)] = i


_fill_tables()


# ---- base58btc: five digits at a time, as one 32-bit number ------------------------------------------------------

cdef enum:
    _B58_GROUP = 656356768  # 58 ** 5
    _WORDS = 33             # 32-bit words for _MAX_BINARY bytes, and one of room
    _GROUPS = 37            # groups of five for the text of _MAX_BINARY bytes, and one of room


cdef Py_ssize_t _base58_write(const uint8_t *data, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """Text of at most _MAX_BINARY bytes into `out` (room for _MAX_TEXT); its length."""
    cdef uint32_t words[_WORDS]
    cdef uint8_t digits[5 * _GROUPS]
    cdef Py_ssize_t zeros = 0, count, first = 0, used = 0, i
    cdef uint64_t rest
    cdef uint32_t group
    while zeros < size and data[zeros] == 0:
        zeros += 1
    count = (size - zeros + 3) >> 2
    for i in range(count):
        words[i] = 0
    for i in range(zeros, size):  # big-endian words, the first one short
        words[count - 1 - ((size - 1 - i) >> 2)] |= (<uint32_t> data[i]) << (8 * ((size - 1 - i) & 3))
    while first < count:
        rest = 0
        for i in range(first, count):
            rest = (rest << 32) | words[i]
            words[i] = <uint32_t> (rest / _B58_GROUP)
            rest = rest % _B58_GROUP
        group = <uint32_t> rest
        for i in range(5):
            digits[used + i] = group % 58
            group = group / 58
        used += 5
        if words[first] == 0:
            first += 1
    while used and digits[used - 1] == 0:
        used -= 1
    memset(out, 49, zeros)  # a leading zero byte is a '1'
    for i in range(used):
        out[zeros + i] = BASE58[digits[used - 1 - i]]
    return zeros + used


cdef Py_ssize_t _base58_read(const uint8_t *text, Py_ssize_t size, uint8_t *out) noexcept nogil:
    """Bytes of a text into `out` (room for _MAX_BINARY); their number, -1 for a foreign character, -2 for too many."""
    cdef uint32_t words[_WORDS]
    cdef Py_ssize_t zeros = 0, used = 0, at, step, length, i
    cdef uint64_t carry
    cdef uint32_t factor
    cdef int bad = 0, digit
    while zeros < size and text[zeros] == 49:
        zeros += 1
    at = zeros
    while at < size:
        step = min(5, size - at)
        carry = 0
        factor = 1
        for i in range(at, at + step):
            digit = BASE58_DIGIT[text[i]]
            bad |= digit
            carry = carry * 58 + <uint64_t> (digit & 63)
            factor *= 58
        at += step
        for i in range(used):
            carry += <uint64_t> words[i] * factor
            words[i] = <uint32_t> carry
            carry >>= 32
        if carry:
            if used == _WORDS:
                return -2
            words[used] = <uint32_t> carry
            used += 1
    if bad < 0:
        return -1
    length = 4 * used
    while length and (words[(length - 1) >> 2] >> (8 * ((length - 1) & 3))) & 255 == 0:
        length -= 1
    if zeros + length > _MAX_BINARY:
        return -2
    memset(out, 0, zeros)
    for i in range(length):
        out[zeros + length - 1 - i] = (words[i >> 2] >> (8 * (i & 3))) & 255
    return zeros + length


# ---- base32 and base16 -------------------------------------------------------------------------------------------

cdef Py_ssize_t _base32_write(const uint8_t *data, Py_ssize_t size, uint8_t *out) noexcept nogil:
    cdef uint32_t bits = 0
    cdef int held = 0
    cdef Py_ssize_t i, used = 0
    for i in range(size):
        bits = (bits << 8) | data[i]
        held += 8
        while held >= 5:
            held -= 5
            out[used] = BASE32[(bits >> held) & 31]
            used += 1
    if held:
        out[used] = BASE32[(bits << (5 - held)) & 31]
        used += 1
    return used


cdef Py_ssize_t _base32_read(const uint8_t *text, Py_ssize_t size, const int8_t *digits, uint8_t *out) noexcept nogil:
    """As _base58_read; -3 where the text has a length or trailing bits no encoder makes."""
    cdef uint32_t bits = 0
    cdef int held = 0, bad = 0, digit
    cdef Py_ssize_t i, used = 0
    if (size * 5) >> 3 > _MAX_BINARY:
        return -2
    for i in range(size):
        digit = digits[text[i]]
        bad |= digit
        bits = (bits << 5) | <uint32_t> (digit & 31)
        held += 5
        if held >= 8:
            held -= 8
            out[used] = (bits >> held) & 255
            used += 1
    if bad < 0:
        return -1
    if held >= 5 or bits & ((1 << held) - 1):
        return -3
    return used


cdef int _hex_digit(uint8_t c, uint8_t letter_a) noexcept nogil:
    if 48 <= c <= 57:
        return c - 48
    if letter_a <= c < letter_a + 6:
        return c - letter_a + 10
    return -1


cdef Py_ssize_t _base16_read(const uint8_t *text, Py_ssize_t size, uint8_t letter_a, uint8_t *out) noexcept nogil:
    cdef Py_ssize_t i
    cdef int high, low
    if size & 1:
        return -3
    if size >> 1 > _MAX_BINARY:
        return -2
    for i in range(size >> 1):
        high = _hex_digit(text[2 * i], letter_a)
        low = _hex_digit(text[2 * i + 1], letter_a)
        if high < 0 or low < 0:
            return -1
        out[i] = (high << 4) | low
    return size >> 1


# ---- multihash and CID bytes -------------------------------------------------------------------------------------

cdef struct Parsed:
    int version
    uint64_t codec
    Py_ssize_t hash_at    # where the multihash begins; it reaches to the end


cdef Py_ssize_t _read_varint(const uint8_t *data, Py_ssize_t size, Py_ssize_t at, uint64_t *value) noexcept nogil:
    """The offset behind the varint at `at`, -1 where it is cut short, too long or not minimal."""
    cdef int shift = 0
    value[0] = 0
    while at < size and shift < 7 * _MAX_VARINT:
        value[0] |= (<uint64_t> (data[at] & 127)) << shift
        if data[at] < 128:
            return -1 if data[at] == 0 and shift else at + 1
        at += 1
        shift += 7
    return -1


cdef Py_ssize_t _write_varint(uint8_t *out, uint64_t value) noexcept nogil:
    cdef Py_ssize_t used = 0
    while value >= 128:
        out[used] = (value & 127) | 128
        value >>= 7
        used += 1
    out[used] = <uint8_t> value
    return used + 1


cdef const char *_check_multihash(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    """What is wrong with it, NULL where nothing is."""
    cdef uint64_t code, length
    cdef Py_ssize_t at
    if size > _MAX_MULTIHASH:
        return b"multihash too long"
    at = _read_varint(data, size, 0, &code)
    if at < 0:
        return b"multihash code malformed"
    at = _read_varint(data, size, at, &length)
    if at < 0 or length != <uint64_t> (size - at):
        return b"multihash length does not match its digest"
    if code == _SHA2_256 and length != 32:
        return b"sha2-256 digest is not 32 bytes"
    return NULL


cdef bint _is_sha256(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    return size == 34 and data[0] == _SHA2_256 and data[1] == 32


cdef const char *_parse_cid(const uint8_t *data, Py_ssize_t size, Parsed *out) noexcept nogil:
    cdef uint64_t version
    cdef Py_ssize_t at
    if _is_sha256(data, size):
        out.version, out.codec, out.hash_at = 0, _DAG_PB, 0
        return NULL
    at = _read_varint(data, size, 0, &version)
    if at < 0 or version != 1:
        return b"CID version is neither 0 nor 1"
    at = _read_varint(data, size, at, &out.codec)
    if at < 0:
        return b"CID codec malformed"
    out.version, out.hash_at = 1, at
    return _check_multihash(data + at, size - at)


cdef const char *_read_text(const uint8_t *text, Py_ssize_t size, uint8_t *out, Py_ssize_t *used,
                            Parsed *parsed) noexcept nogil:
    """Bytes and parts of a CID's text; what is wrong with it, NULL where nothing is."""
    cdef Py_ssize_t got
    cdef const char *fault
    if size < 2:
        return b"CID too short"
    if size == 46 and text[0] == 81 and text[1] == 109:  # Qm, the multihash of a CIDv0
        got = _base58_read(text, size, out)
    elif text[0] == 98:  # b
        got = _base32_read(text + 1, size - 1, LOWER32_DIGIT, out)
    elif text[0] == 122:  # z
        got = _base58_read(text + 1, size - 1, out)
    elif text[0] == 66:  # B
        got = _base32_read(text + 1, size - 1, UPPER32_DIGIT, out)
    elif text[0] == 102:  # f
        got = _base16_read(text + 1, size - 1, 97, out)
    elif text[0] == 70:  # F
        got = _base16_read(text + 1, size - 1, 65, out)
    else:
        return b"CID multibase unknown"
    if got < 0:
        return _text_fault(got)
    used[0] = got
    fault = _parse_cid(out, got, parsed)
    if fault == NULL and parsed.version == 0 and text[0] != 81:
        return b"CIDv0 in a multibase"
    return fault


cdef const char *_text_fault(Py_ssize_t code) noexcept nogil:
    if code == -1:
        return b"character outside the alphabet"
    if code == -2:
        return b"too long"
    return b"not the text any encoder makes"


# ---- Python's side -----------------------------------------------------------------------------------------------

cdef object _fault(const char *reason):
    return ValueError(reason.decode("ascii"))


cdef const uint8_t *_text(str text) except NULL:
    """The characters, checked for number and range."""
    if PyUnicode_GET_LENGTH(text) > _MAX_TEXT:
        raise ValueError(f"too long: at most {_MAX_TEXT} characters, got {PyUnicode_GET_LENGTH(text)}")
    if not PyUnicode_IS_ASCII(text):
        raise ValueError("character outside the alphabet")
    return <const uint8_t *> PyUnicode_DATA(text)


cdef const uint8_t *_binary(bytes data) except NULL:
    if PyBytes_GET_SIZE(data) > _MAX_BINARY:
        raise ValueError(f"too long: at most {_MAX_BINARY} bytes, got {PyBytes_GET_SIZE(data)}")
    return <const uint8_t *> PyBytes_AS_STRING(data)


cdef str _new_text(const uint8_t *chars, Py_ssize_t size):
    cdef object text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_DATA(text), chars, size)
    return <str> text


cdef bytes _new_bytes(const uint8_t *data, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char *> data, size)


def base58_encode(bytes data not None) -> str:
    """base58btc of at most MAX_BINARY_BYTES, without a multibase prefix."""
    cdef uint8_t out[_MAX_TEXT]
    cdef const uint8_t *source = _binary(data)
    return _new_text(out, _base58_write(source, PyBytes_GET_SIZE(data), out))


def base58_decode(str text not None) -> bytes:
    """Bytes of a base58btc text of at most MAX_TEXT_CHARS, without a multibase prefix."""
    cdef uint8_t out[_MAX_BINARY]
    cdef Py_ssize_t used = _base58_read(_text(text), PyUnicode_GET_LENGTH(text), out)
    if used < 0:
        raise _fault(_text_fault(used))
    return _new_bytes(out, used)


def base32_encode(bytes data not None) -> str:
    """Lower-case unpadded base32 of at most MAX_BINARY_BYTES, without a multibase prefix."""
    cdef uint8_t out[_MAX_TEXT]
    cdef const uint8_t *source = _binary(data)
    return _new_text(out, _base32_write(source, PyBytes_GET_SIZE(data), out))


def base32_decode(str text not None) -> bytes:
    """Bytes of a lower-case unpadded base32 text; only the text base32_encode makes of them is taken."""
    cdef uint8_t out[_MAX_BINARY]
    cdef Py_ssize_t used = _base32_read(_text(text), PyUnicode_GET_LENGTH(text), LOWER32_DIGIT, out)
    if used < 0:
        raise _fault(_text_fault(used))
    return _new_bytes(out, used)


def check_multihash(bytes multihash not None) -> None:
    """ValueError where the bytes are not one whole multihash of at most MAX_MULTIHASH_BYTES."""
    cdef const char *fault = _check_multihash(<const uint8_t *> PyBytes_AS_STRING(multihash), PyBytes_GET_SIZE(multihash))
    if fault != NULL:
        raise _fault(fault)


def decode_cid(str text not None) -> tuple:
    """(version, codec, multihash) of a CID's text: a CIDv0, or a CIDv1 in base32, base58btc or base16."""
    cdef uint8_t raw[_MAX_BINARY]
    cdef Py_ssize_t used = 0
    cdef Parsed parsed
    cdef const char *fault = _read_text(_text(text), PyUnicode_GET_LENGTH(text), raw, &used, &parsed)
    if fault != NULL:
        raise _fault(fault)
    return parsed.version, parsed.codec, _new_bytes(raw + parsed.hash_at, used - parsed.hash_at)


def cid_to_multihash(str text not None) -> bytes:
    """The multihash alone of what decode_cid takes."""
    cdef uint8_t raw[_MAX_BINARY]
    cdef Py_ssize_t used = 0
    cdef Parsed parsed
    cdef const char *fault = _read_text(_text(text), PyUnicode_GET_LENGTH(text), raw, &used, &parsed)
    if fault != NULL:
        raise _fault(fault)
    return _new_bytes(raw + parsed.hash_at, used - parsed.hash_at)


def decode_cid_bytes(bytes raw not None) -> tuple:
    """(version, codec, multihash) of a binary CID that fills `raw`."""
    cdef Parsed parsed
    cdef const uint8_t *data = _binary(raw)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw)
    cdef const char *fault = _parse_cid(data, size, &parsed)
    if fault != NULL:
        raise _fault(fault)
    return parsed.version, parsed.codec, _new_bytes(data + parsed.hash_at, size - parsed.hash_at)


cdef Py_ssize_t _write_v1(uint64_t codec, bytes multihash, uint8_t *out) except -1:
    cdef Py_ssize_t used, size = PyBytes_GET_SIZE(multihash)
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(multihash)
    cdef const char *fault = _check_multihash(data, size)
    if fault != NULL:
        raise _fault(fault)
    if codec >> 63:
        raise ValueError("CID codec above 63 bits")
    out[0] = 1
    used = 1 + _write_varint(out + 1, codec)
    memcpy(out + used, data, size)
    return used + size


def encode_cid_bytes_v1(uint64_t codec, bytes multihash not None) -> bytes:
    """The binary CIDv1. (A binary CIDv0 is its multihash.)"""
    cdef uint8_t raw[_MAX_BINARY]
    cdef Py_ssize_t size = _write_v1(codec, multihash, raw)
    return _new_bytes(raw, size)


def encode_cid_v0(bytes multihash not None) -> str:
    """Text of the CIDv0 (Qm...) of a 34-byte sha2-256 multihash."""
    cdef uint8_t out[_MAX_TEXT]
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(multihash)
    if not _is_sha256(data, PyBytes_GET_SIZE(multihash)):
        raise ValueError("CIDv0 wants a sha2-256 multihash")
    return _new_text(out, _base58_write(data, 34, out))


def encode_cid_v1(uint64_t codec, bytes multihash not None) -> str:
    """Text of the CIDv1 in base32 (b...)."""
    cdef uint8_t raw[_MAX_BINARY]
    cdef uint8_t out[_MAX_TEXT]
    cdef Py_ssize_t size = _write_v1(codec, multihash, raw)
    out[0] = 98
    return _new_text(out, 1 + _base32_write(raw, size, out + 1))


# ---- leaves of a file --------------------------------------------------------------------------------------------

cdef Py_ssize_t _leaf_head(uint8_t *out, uint64_t size) noexcept nogil:
    """What stands before `size` > 0 data bytes in a dag-pb leaf: PBNode.Data, and in it UnixFS Type=File and Data."""
    cdef uint8_t length[10]
    cdef Py_ssize_t width = _write_varint(length, size), used
    out[0] = 0x0A
    used = 1 + _write_varint(out + 1, 2 + 1 + width + size + 1 + width)
    out[used] = 0x08
    out[used + 1] = 2
    out[used + 2] = 0x12
    memcpy(out + used + 3, length, width)
    return used + 3 + width


cdef Py_ssize_t _leaf_tail(uint8_t *out, uint64_t size) noexcept nogil:
    """What stands behind them: UnixFS filesize."""
    out[0] = 0x18
    return 1 + _write_varint(out + 1, size)


cdef struct Leaf:
    uint8_t *room     # _LEAF_ROOM before the data and behind it
    uint8_t *start    # the encoded leaf
    size_t size


cdef int _read_leaf(int fd, off_t offset, Py_ssize_t size, bint raw, Leaf *leaf) noexcept nogil:
    """Reads and encodes one leaf: 0, an errno, or -1 where the file ends early."""
    cdef uint8_t *data = leaf.room + _LEAF_ROOM
    cdef uint8_t head[_LEAF_ROOM]
    cdef Py_ssize_t got, done = 0, before
    while done < size:
        got = pread(fd, data + done, size - done, offset + done)
        if got < 0:
            if errno != EINTR:
                return errno
        elif got == 0:
            return -1
        else:
            done += got
    leaf.start = data
    leaf.size = size
    if not raw:
        before = _leaf_head(head, size)
        memcpy(data - before, head, before)
        leaf.start -= before
        leaf.size += before + _leaf_tail(data + size, size)
    return 0


cdef int _hash_leaves(int fd, off_t offset, Py_ssize_t length, Py_ssize_t chunk, bint raw, Leaf *leaves,
                      uint8_t *out) noexcept nogil:
    """Two whole leaves at a time share a pass of the hash; what is left goes alone."""
    cdef int fault
    while length >= 2 * chunk:
        fault = _read_leaf(fd, offset, chunk, raw, &leaves[0])
        if not fault:
            fault = _read_leaf(fd, offset + chunk, chunk, raw, &leaves[1])
        if fault:
            return fault
        fm_sha256_pair(leaves[0].start, leaves[0].size, leaves[1].start, leaves[1].size, out, out + 32)
        offset += 2 * chunk
        length -= 2 * chunk
        out += 64
    while length > 0:
        fault = _read_leaf(fd, offset, min(chunk, length), raw, &leaves[0])
        if fault:
            return fault
        fm_sha256(leaves[0].start, leaves[0].size, out)
        offset += chunk
        length -= chunk
        out += 32
    return 0


def leaf_digests(int fd, off_t offset, Py_ssize_t length, Py_ssize_t chunk, bint raw) -> bytes:
    """SHA-256 of each leaf of the `length` bytes at `offset` of an open file, cut every `chunk` bytes: 32 bytes each.

    A leaf is its bytes (`raw`) or the dag-pb node of a UnixFS file around them. The GIL is free meanwhile, so several
    threads can each take a part; memory is two chunks. OSError as pread gives it, EOFError where the file is shorter.
    """
    cdef Leaf leaves[2]
    cdef int fault
    if not 0 < chunk <= _MAX_CHUNK:
        raise ValueError(f"chunk: 1..{_MAX_CHUNK} wanted, got {chunk}")
    if offset < 0 or length < 0:
        raise ValueError("offset, length: not negative")
    cdef bytes digests = PyBytes_FromStringAndSize(NULL, 32 * ((length + chunk - 1) // chunk))
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(digests)
    cdef uint8_t *room = <uint8_t *> malloc(2 * (chunk + 2 * _LEAF_ROOM))
    if room == NULL:
        raise MemoryError
    leaves[0].room = room
    leaves[1].room = room + chunk + 2 * _LEAF_ROOM
    with nogil:
        fault = _hash_leaves(fd, offset, length, chunk, raw, leaves, out)
        free(room)
    if fault > 0:
        raise OSError(fault, "reading a file")
    if fault < 0:
        raise EOFError("the file ends early")
    return digests
