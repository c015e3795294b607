"""CIDs, multihashes and their text (base58btc, base32), and the digests of a file's UnixFS leaves.

Malformed or oversized input is a ValueError, whatever it holds. Lengths are bounded before any work is done.
Sources: multiformats/cid, multihash, multibase; RFC 4648 section 6; ipfs specs, UNIXFS.md.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport int8_t, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy


cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    char *PyUnicode_DATA(object text)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 maxchar)


from fastmarket.native.varint cimport fm_varint_write


cdef extern from "multiformat.h" nogil:
    enum:
        FM_MAX_BINARY
        FM_MAX_TEXT
        FM_MAX_MULTIHASH
    const int8_t *fm_base32_digit
    ctypedef struct fm_cid:
        int version
        uint64_t codec
        Py_ssize_t hash_at
    void fm_multiformat_init() noexcept
    Py_ssize_t fm_base58_write(const uint8_t *data, Py_ssize_t size, uint8_t *out) noexcept
    Py_ssize_t fm_base58_read(const uint8_t *text, Py_ssize_t size, uint8_t *out) noexcept
    Py_ssize_t fm_base32_write(const uint8_t *data, Py_ssize_t size, uint8_t *out) noexcept
    Py_ssize_t fm_base32_read(const uint8_t *text, Py_ssize_t size, const int8_t *digits, uint8_t *out) noexcept
    bint fm_is_sha256(const uint8_t *data, Py_ssize_t size) noexcept
    const char *fm_text_fault(Py_ssize_t answer) noexcept
    const char *fm_multihash_fault(const uint8_t *data, Py_ssize_t size) noexcept
    const char *fm_cid_parse(const uint8_t *data, Py_ssize_t size, fm_cid *cid) noexcept
    const char *fm_cid_read(const uint8_t *text, Py_ssize_t size, uint8_t *out, Py_ssize_t *used,
                            fm_cid *cid) noexcept


cdef extern from "unixfs_leaf.h" nogil:
    ctypedef long long off_t
    size_t FM_LEAVES_ROOM(size_t chunk) noexcept
    const char *fm_sha256_init() noexcept
    int fm_leaves_hash(int fd, off_t offset, size_t length, size_t chunk, bint raw, uint8_t *room,
                       uint8_t *out) noexcept
    void fm_files_hash(const char *paths, size_t count, size_t chunk, bint raw, int64_t settled,
                       uint8_t *room, int *faults, uint8_t *out) noexcept
    enum:
        FM_FILE_ENDS
        FM_FILE_DIRECTORY
        FM_FILE_IRREGULAR
        FM_FILE_LARGE
        FM_FILE_UNSETTLED


cdef enum:
    _MAX_CHUNK = 1 << 21

MAX_BINARY_BYTES = FM_MAX_BINARY
# Faults of `file_digests` that are no errno.
FILE_DIRECTORY, FILE_IRREGULAR, FILE_LARGE, FILE_UNSETTLED = \
    FM_FILE_DIRECTORY, FM_FILE_IRREGULAR, FM_FILE_LARGE, FM_FILE_UNSETTLED
MAX_TEXT_CHARS = FM_MAX_TEXT
MAX_MULTIHASH_BYTES = FM_MAX_MULTIHASH
MAX_CHUNK_BYTES = _MAX_CHUNK  # the largest block libp2p peers exchange is 2 MiB

fm_sha256_init()
fm_multiformat_init()


cdef object _fault(const char *reason):
    return ValueError(reason.decode("ascii"))


cdef const uint8_t *_text(str text) except NULL:
    """The characters, checked for number and range."""
    if PyUnicode_GET_LENGTH(text) > FM_MAX_TEXT:
        raise ValueError(f"too long: at most {FM_MAX_TEXT} characters, got {PyUnicode_GET_LENGTH(text)}")
    if not PyUnicode_IS_ASCII(text):
        raise ValueError("character outside the alphabet")
    return <const uint8_t *> PyUnicode_DATA(text)


cdef const uint8_t *_binary(bytes data) except NULL:
    if PyBytes_GET_SIZE(data) > FM_MAX_BINARY:
        raise ValueError(f"too long: at most {FM_MAX_BINARY} bytes, got {PyBytes_GET_SIZE(data)}")
    return <const uint8_t *> PyBytes_AS_STRING(data)


cdef str _new_text(const uint8_t *chars, Py_ssize_t size):
    cdef object text = PyUnicode_New(size, 127)
    memcpy(PyUnicode_DATA(text), chars, size)
    return <str> text


cdef bytes _new_bytes(const uint8_t *data, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char *> data, size)


def base58_encode(bytes data not None) -> str:
    """base58btc of at most MAX_BINARY_BYTES, without a multibase prefix."""
    cdef uint8_t out[FM_MAX_TEXT]
    cdef const uint8_t *source = _binary(data)
    return _new_text(out, fm_base58_write(source, PyBytes_GET_SIZE(data), out))


def base58_decode(str text not None) -> bytes:
    """Bytes of a base58btc text of at most MAX_TEXT_CHARS, without a multibase prefix."""
    cdef uint8_t out[FM_MAX_BINARY]
    cdef Py_ssize_t used = fm_base58_read(_text(text), PyUnicode_GET_LENGTH(text), out)
    if used < 0:
        raise _fault(fm_text_fault(used))
    return _new_bytes(out, used)


def base32_encode(bytes data not None) -> str:
    """Lower-case unpadded base32 of at most MAX_BINARY_BYTES, without a multibase prefix."""
    cdef uint8_t out[FM_MAX_TEXT]
    cdef const uint8_t *source = _binary(data)
    return _new_text(out, fm_base32_write(source, PyBytes_GET_SIZE(data), out))


def base32_decode(str text not None) -> bytes:
    """Bytes of a lower-case unpadded base32 text; only the text base32_encode makes of them is taken."""
    cdef uint8_t out[FM_MAX_BINARY]
    cdef Py_ssize_t used = fm_base32_read(_text(text), PyUnicode_GET_LENGTH(text), fm_base32_digit, out)
    if used < 0:
        raise _fault(fm_text_fault(used))
    return _new_bytes(out, used)


def check_multihash(bytes multihash not None) -> None:
    """ValueError where the bytes are not one whole multihash of at most MAX_MULTIHASH_BYTES."""
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(multihash)
    cdef const char *fault = fm_multihash_fault(data, PyBytes_GET_SIZE(multihash))
    if fault != NULL:
        raise _fault(fault)


def decode_cid(str text not None) -> tuple:
    """(version, codec, multihash) of a CID's text: a CIDv0, or a CIDv1 in base32, base58btc or base16."""
    cdef uint8_t raw[FM_MAX_BINARY]
    cdef Py_ssize_t used = 0
    cdef fm_cid parsed
    cdef const char *fault = fm_cid_read(_text(text), PyUnicode_GET_LENGTH(text), raw, &used, &parsed)
    if fault != NULL:
        raise _fault(fault)
    return parsed.version, parsed.codec, _new_bytes(raw + parsed.hash_at, used - parsed.hash_at)


def cid_to_multihash(str text not None) -> bytes:
    """The multihash alone of what decode_cid takes."""
    cdef uint8_t raw[FM_MAX_BINARY]
    cdef Py_ssize_t used = 0
    cdef fm_cid parsed
    cdef const char *fault = fm_cid_read(_text(text), PyUnicode_GET_LENGTH(text), raw, &used, &parsed)
    if fault != NULL:
        raise _fault(fault)
    return _new_bytes(raw + parsed.hash_at, used - parsed.hash_at)


def decode_cid_bytes(bytes raw not None) -> tuple:
    """(version, codec, multihash) of a binary CID that fills `raw`."""
    cdef fm_cid parsed
    cdef const uint8_t *data = _binary(raw)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw)
    cdef const char *fault = fm_cid_parse(data, size, &parsed)
    if fault != NULL:
        raise _fault(fault)
    return parsed.version, parsed.codec, _new_bytes(data + parsed.hash_at, size - parsed.hash_at)


cdef Py_ssize_t _write_v1(uint64_t codec, bytes multihash, uint8_t *out) except -1:
    cdef Py_ssize_t used, size = PyBytes_GET_SIZE(multihash)
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(multihash)
    cdef const char *fault = fm_multihash_fault(data, size)
    if fault != NULL:
        raise _fault(fault)
    if codec >> 63:
        raise ValueError("CID codec above 63 bits")
    out[0] = 1
    used = 1 + fm_varint_write(out + 1, codec)
    memcpy(out + used, data, size)
    return used + size


def encode_cid_bytes_v1(uint64_t codec, bytes multihash not None) -> bytes:
    """The binary CIDv1. (A binary CIDv0 is its multihash.)"""
    cdef uint8_t raw[FM_MAX_BINARY]
    cdef Py_ssize_t size = _write_v1(codec, multihash, raw)
    return _new_bytes(raw, size)


def encode_cid_v0(bytes multihash not None) -> str:
    """Text of the CIDv0 (Qm...) of a 34-byte sha2-256 multihash."""
    cdef uint8_t out[FM_MAX_TEXT]
    cdef const uint8_t *data = <const uint8_t *> PyBytes_AS_STRING(multihash)
    if not fm_is_sha256(data, PyBytes_GET_SIZE(multihash)):
        raise ValueError("CIDv0 wants a sha2-256 multihash")
    return _new_text(out, fm_base58_write(data, 34, out))


def encode_cid_v1(uint64_t codec, bytes multihash not None) -> str:
    """Text of the CIDv1 in base32 (b...)."""
    cdef uint8_t raw[FM_MAX_BINARY]
    cdef uint8_t out[FM_MAX_TEXT]
    cdef Py_ssize_t size = _write_v1(codec, multihash, raw)
    out[0] = 98
    return _new_text(out, 1 + fm_base32_write(raw, size, out + 1))


def leaf_digests(int fd, off_t offset, Py_ssize_t length, Py_ssize_t chunk, bint raw) -> bytes:
    """SHA-256 of each leaf of the `length` bytes at `offset` of an open file, cut every `chunk` bytes: 32 bytes
    each.

    A leaf is its bytes (`raw`) or the dag-pb node of a UnixFS file around them. The GIL is free meanwhile, so
    several threads can each take a part; memory is two chunks. OSError as pread gives it, EOFError where the
    file is shorter.
    """
    cdef int fault
    if not 0 < chunk <= _MAX_CHUNK:
        raise ValueError(f"chunk: 1..{_MAX_CHUNK} wanted, got {chunk}")
    if offset < 0 or length < 0:
        raise ValueError("offset, length: not negative")
    cdef bytes digests = PyBytes_FromStringAndSize(NULL, 32 * ((length + chunk - 1) // chunk))
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(digests)
    cdef uint8_t *room = <uint8_t *> PyMem_RawMalloc(FM_LEAVES_ROOM(chunk))
    if room == NULL:
        raise MemoryError
    with nogil:
        fault = fm_leaves_hash(fd, offset, length, chunk, raw, room, out)
        PyMem_RawFree(room)
    if fault > 0:
        raise OSError(fault, "reading a file")
    if fault < 0:
        raise EOFError("the file ends early")
    return digests


def file_digests(list paths not None, Py_ssize_t chunk, bint raw, int64_t settled_ns) -> list:
    """For each path (`bytes` without a NUL) of a file of one leaf its SHA-256, as `leaf_digests` has it.

    In place of a digest an `int`: the errno, FILE_LARGE for one of more than `chunk` bytes, FILE_DIRECTORY,
    FILE_IRREGULAR (a pipe, a device), or FILE_UNSETTLED: it changed meanwhile, or at `settled_ns` (Unix time)
    or later, or is not as long as its size says. The GIL is free for all of them together; memory is two
    chunks.
    """
    if not 0 < chunk <= _MAX_CHUNK:
        raise ValueError(f"chunk: 1..{_MAX_CHUNK} wanted, got {chunk}")
    cdef list held = paths[:]  # of which no other thread knows
    cdef Py_ssize_t count = len(held), i
    for i in range(count):
        if not isinstance(held[i], bytes) or b"\0" in held[i]:
            raise ValueError(f"paths[{i}]: bytes without a NUL wanted")
    cdef bytes joined = b"\0".join(held) + b"\0"
    cdef const char *names = PyBytes_AS_STRING(joined)
    cdef bytes digests = PyBytes_FromStringAndSize(NULL, 32 * count)
    cdef uint8_t *out = <uint8_t *> PyBytes_AS_STRING(digests)
    cdef size_t head = (count * sizeof(int) + 63) // 64 * 64
    cdef uint8_t *room = <uint8_t *> PyMem_RawMalloc(head + FM_LEAVES_ROOM(chunk))
    if room == NULL:
        raise MemoryError
    cdef int *faults = <int *> room
    try:
        with nogil:
            fm_files_hash(names, count, chunk, raw, settled_ns, room + head, faults, out)
        return [faults[i] if faults[i] else _new_bytes(out + 32 * i, 32) for i in range(count)]
    finally:
        PyMem_RawFree(room)
