"""Offers of a batch, as a storer takes them by the thousand: cut into their fields, and hashed up to the root.

The formats: proto/fastmarket/v1/offer.proto (BatchedOffer), RFC 9162 section 2.1 with prefixes of our own.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy


cdef extern from "Python.h":
    object PyUnicode_DecodeASCII(const char *text, Py_ssize_t size, const char *errors)


cdef extern from "sha256_impl.h" nogil:
    const char *fm_sha256_init() noexcept
    void fm_sha256(const uint8_t *data, size_t size, uint8_t *out) noexcept


cdef enum:
    _HASH = 32
    _PREFIX = 17
    _MAX_LEAF = 4096  # above the longest offer; what is longer is hashed in a buffer of its own

HASH_BYTES = _HASH
# Two blocks of SHA-256 a node with or without them. Ours alone: no tree made elsewhere has such hashes.
LEAF_PREFIX = b"\x00fastmarket-offer"
NODE_PREFIX = b"\x01fastmarket-offer"

cdef const uint8_t *_LEAF = b"\x00fastmarket-offer"
cdef const uint8_t *_NODE = b"\x01fastmarket-offer"

fm_sha256_init()


cdef inline const uint8_t *_data(bytes item) noexcept:
    return <const uint8_t *> PyBytes_AS_STRING(item)


cdef int _climb(uint8_t *node, uint64_t at, uint64_t last, const uint8_t *path, Py_ssize_t size) noexcept nogil:
    """Replaces the hash of the leaf at `at` of `last` + 1 by that of the root; 0: such a path cannot be."""
    cdef uint8_t both[_PREFIX + 2 * _HASH]
    cdef uint8_t *left = both + _PREFIX
    cdef Py_ssize_t offset = 0
    memcpy(both, _NODE, _PREFIX)
    while last:
        if at % 2 or at < last:
            if size - offset < _HASH:
                return 0
            memcpy(left + (0 if at % 2 else _HASH), path + offset, _HASH)
            memcpy(left + (_HASH if at % 2 else 0), node, _HASH)
            offset += _HASH
            fm_sha256(both, _PREFIX + 2 * _HASH, node)
        at //= 2
        last //= 2
    return offset == size


def merkle_root(bytes leaf not None, uint64_t index, uint64_t count, bytes path not None):
    """The root that `path` leads to from the leaf at `index` of `count`; None: such a path cannot be."""
    if index >= count:
        return None
    cdef uint8_t room[_PREFIX + _MAX_LEAF]
    cdef Py_ssize_t size = PyBytes_GET_SIZE(leaf)
    cdef bytes root = PyBytes_FromStringAndSize(NULL, _HASH)
    cdef uint8_t *node = <uint8_t *> PyBytes_AS_STRING(root)
    cdef bytes whole
    if size <= _MAX_LEAF:
        memcpy(room, _LEAF, _PREFIX)
        memcpy(room + _PREFIX, _data(leaf), size)
        fm_sha256(room, _PREFIX + size, node)
    else:
        whole = LEAF_PREFIX + leaf
        fm_sha256(_data(whole), _PREFIX + size, node)
    return root if _climb(node, index, count - 1, _data(path), PyBytes_GET_SIZE(path)) else None


cdef Py_ssize_t _uvarint(const uint8_t *data, Py_ssize_t size, Py_ssize_t at, uint64_t *value) except -1:
    """Where it ends. ValueError."""
    cdef int shift = 0
    cdef uint8_t byte
    value[0] = 0
    while at < size:
        byte = data[at]
        value[0] |= <uint64_t> (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            if byte == 0 and shift:
                raise ValueError("varint is not minimal")
            return at
        shift += 7
        if shift == 63:
            raise ValueError("varint longer than 9 bytes")
    raise ValueError("varint is cut short")


cdef Py_ssize_t _field(const uint8_t *data, Py_ssize_t size, Py_ssize_t at, uint8_t tag,
                       Py_ssize_t *start) except -1:
    """Where the field ends that begins at `at`; `start`: its value. ValueError."""
    cdef uint64_t length
    if at >= size or data[at] != tag:
        raise ValueError("batched offer with other fields, or in another order")
    start[0] = _uvarint(data, size, at + 1, &length)
    if length > <uint64_t> (size - start[0]):
        raise ValueError("batched offer is cut short")
    return start[0] + <Py_ssize_t> length


def split_batched(bytes signed not None):
    """(batch, index, path, body) of a BatchedOffer; ValueError for anything but its one form."""
    cdef const uint8_t *data = _data(signed)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(signed), start = 0, end
    cdef uint64_t index
    end = _field(data, size, 0, 0x5a, &start)
    cdef bytes batch = PyBytes_FromStringAndSize(<const char *> data + start, end - start)
    if end >= size or data[end] != 0x60:
        raise ValueError("batched offer without an index")
    end = _uvarint(data, size, end + 1, &index)
    end = _field(data, size, end, 0x6a, &start)
    cdef bytes path = PyBytes_FromStringAndSize(<const char *> data + start, end - start)
    end = _field(data, size, end, 0x72, &start)
    if end != size:
        raise ValueError("bytes behind a batched offer")
    return batch, index, path, PyBytes_FromStringAndSize(<const char *> data + start, end - start)


def batch_of(bytes signed not None):
    """The batch's envelope alone, of a BatchedOffer; anything else as it is."""
    cdef const uint8_t *data = _data(signed)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(signed), start = 0, end
    if size == 0 or data[0] != 0x5a:
        return signed
    try:
        end = _field(data, size, 0, 0x5a, &start)
    except ValueError:
        return signed
    return PyBytes_FromStringAndSize(<const char *> data + start, end - start)


cdef enum:
    _FIELDS = 14  # of OfferBody, from 1
    _BYTES = (1 << 1) | (1 << 2) | (1 << 3)
    _TEXTS = (1 << 4) | (1 << 5) | (1 << 9)


cdef inline bint _printable(const uint8_t *text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(size):
        if text[at] < 0x20 or text[at] > 0x7e:
            return False
    return True


def plain_body(bytes raw not None):
    """The fields of an OfferBody as a tuple in their order; None where the general decoder has to look.

    Taken: each field once at most, in ascending order, every varint minimal, texts printable ASCII; what is
    not there is 0 or empty, `size` and `name` None. Any encoder of ours and of others makes that.
    """
    cdef const uint8_t *data = _data(raw)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(raw), at = 0, start
    cdef uint64_t number
    cdef int last = 0, field, wire
    cdef list found = [b"", b"", b"", "", "", 0, 0, None, None, 0, 0, 0, False]
    cdef object value
    try:
        while at < size:
            field, wire = data[at] >> 3, data[at] & 7
            if field <= last or field >= _FIELDS or data[at] >= 0x80:
                return None
            last = field
            at = _uvarint(data, size, at + 1, &number)
            if (_BYTES | _TEXTS) >> field & 1:
                if wire != 2 or number > <uint64_t> (size - at):
                    return None
                start, at = at, at + <Py_ssize_t> number
                if _BYTES >> field & 1:
                    value = PyBytes_FromStringAndSize(<const char *> data + start, at - start)
                elif not _printable(data + start, at - start):
                    return None
                else:
                    value = PyUnicode_DecodeASCII(<const char *> data + start, at - start, NULL)
            elif wire != 0:
                return None
            elif field == 13:
                if number > 1:
                    return None
                value = number == 1
            elif field == 6 and number > 0xffffffff:
                return None
            else:
                value = number
            found[field - 1] = value
    except ValueError:
        return None
    return tuple(found)


def body_of(bytes signed not None):
    """The OfferBody in a BatchedOffer; ValueError for what is none."""
    cdef const uint8_t *data = _data(signed)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(signed), start = 0, end
    cdef uint64_t index
    end = _field(data, size, 0, 0x5a, &start)
    if end >= size or data[end] != 0x60:
        raise ValueError("batched offer without an index")
    end = _uvarint(data, size, end + 1, &index)
    end = _field(data, size, end, 0x6a, &start)
    end = _field(data, size, end, 0x72, &start)
    return PyBytes_FromStringAndSize(<const char *> data + start, end - start)
