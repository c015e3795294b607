"""Whole batches of offers: all bodies under one signed root, held and sent as they came, in one piece.

The form: proto/fastmarket/v1/offer.proto (WholeBatch). What one offer of it takes to travel by itself, the path
through the tree, is made when it is asked for.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from fastmarket.native.merkle cimport HASH, PlainOffers, field, hash_leaf, hash_pair
from fastmarket.native.varint cimport fm_varint_size, fm_varint_write


cdef extern from "Python.h":
    const char *PyUnicode_AsUTF8AndSize(object text, Py_ssize_t *size) except NULL


cdef enum:
    _MAX_COUNT = 256     # offers of a batch
    _MAX_DATA = 1 << 24  # bytes of it: far above a message; offsets are 32 bits
    _BATCH_TAG = 0x5a    # of the fields, number << 3 | 2, as in a BatchedOffer
    _INDEX_TAG = 0x60
    _PATH_TAG = 0x6a
    _BODY_TAG = 0x72

MAX_COUNT = _MAX_COUNT


cdef inline uint8_t *_data(bytes item) noexcept:
    return <uint8_t *> PyBytes_AS_STRING(item)


cdef inline uint8_t *_put(uint8_t *at, uint8_t tag, const uint8_t *data, Py_ssize_t size) noexcept nogil:
    at[0] = tag
    at = at + 1 + fm_varint_write(at + 1, <uint64_t> size)
    memcpy(at, data, size)
    return at + size


cdef inline Py_ssize_t _field_size(Py_ssize_t size) noexcept nogil:
    return 1 + fm_varint_size(<uint64_t> size) + size


def tree_root(list bodies not None):
    """The root over 1 to 256 of them; ValueError for other numbers of them, or one longer than any offer."""
    cdef uint8_t room[_MAX_COUNT * HASH]
    cdef list held = bodies[:]  # of which no other thread knows
    cdef Py_ssize_t count = len(held), at
    cdef bytes body
    if not 0 < count <= _MAX_COUNT:
        raise ValueError("a batch of too few or too many offers")
    for at in range(count):
        body = held[at]
        if body is None or not hash_leaf(_data(body), PyBytes_GET_SIZE(body), room + at * HASH):
            raise ValueError("an offer that is too long")
    while count > 1:
        count = _next_level(room, count, room)
    return PyBytes_FromStringAndSize(<const char *> room, HASH)


cdef Py_ssize_t _next_level(const uint8_t *level, Py_ssize_t count, uint8_t *above) noexcept nogil:
    """The hashes above `count` of them, where `above` may be the level itself; how many those are."""
    cdef Py_ssize_t at
    for at in range(count // 2):
        hash_pair(level + 2 * at * HASH, level + (2 * at + 1) * HASH, above + at * HASH)
    if count % 2:  # moves up as it is
        if above + count // 2 * HASH != level + (count - 1) * HASH:
            memcpy(above + count // 2 * HASH, level + (count - 1) * HASH, HASH)
    return (count + 1) // 2


cdef class SignedBatch:
    """A WholeBatch: the signed envelope and all its bodies. Nothing of it is verified by its making."""

    cdef readonly bytes data      # as it travels and is kept
    cdef readonly bytes envelope
    cdef readonly Py_ssize_t count
    cdef uint32_t *_spans         # of each body its start and its end in `data`
    cdef object __weakref__
    cdef uint8_t *_tree           # all levels, the leaves first; NULL until it is asked for

    def __cinit__(self, bytes data not None):
        """ValueError for anything but its one form, with 2 to 256 bodies."""
        cdef const uint8_t *raw = _data(data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data), start = 0, at, count = 0
        cdef uint32_t spans[2 * _MAX_COUNT]
        if size > _MAX_DATA:
            raise ValueError("a batch that is too long")
        at = field(raw, size, 0, _BATCH_TAG, &start)
        self.envelope = PyBytes_FromStringAndSize(<const char *> raw + start, at - start)
        while at < size:
            if count == _MAX_COUNT:
                raise ValueError("a batch of too many offers")
            at = field(raw, size, at, _BODY_TAG, &start)
            spans[2 * count], spans[2 * count + 1] = <uint32_t> start, <uint32_t> at
            count += 1
        if count < 2:
            raise ValueError("a batch of too few offers")
        self._spans = <uint32_t *> PyMem_Malloc(2 * count * sizeof(uint32_t))
        if self._spans == NULL:
            raise MemoryError
        memcpy(self._spans, spans, 2 * count * sizeof(uint32_t))
        self.data, self.count = data, count

    def __dealloc__(self):
        PyMem_Free(self._spans)
        PyMem_Free(self._tree)

    @staticmethod
    def join(bytes envelope not None, list bodies not None):
        """Of parts. ValueError as for its bytes."""
        cdef list held = bodies[:]  # of which no other thread knows
        cdef bytes body
        cdef Py_ssize_t size = _field_size(PyBytes_GET_SIZE(envelope))
        for body in held:
            if body is None:
                raise ValueError("no body")
            size += _field_size(PyBytes_GET_SIZE(body))
        cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
        cdef uint8_t *at = _put(_data(data), _BATCH_TAG, _data(envelope), PyBytes_GET_SIZE(envelope))
        for body in held:
            at = _put(at, _BODY_TAG, _data(body), PyBytes_GET_SIZE(body))
        return SignedBatch(data)

    @property
    def size(self):
        """Bytes it takes up, its tree included."""
        return PyBytes_GET_SIZE(self.data) + 2 * self.count * HASH

    @property
    def longest(self):
        """Bytes of the longest of its offers as it travels by itself, or a few more."""
        cdef Py_ssize_t at, most = 0
        for at in range(self.count):
            most = max(most, <Py_ssize_t> self._spans[2 * at + 1] - <Py_ssize_t> self._spans[2 * at])
        return _field_size(PyBytes_GET_SIZE(self.envelope)) + 3 + _field_size(8 * HASH) + _field_size(most)

    def root(self):
        """What has to be signed in the envelope. ValueError: a body is longer than any offer."""
        self._grow()
        return PyBytes_FromStringAndSize(<const char *> self._tree + (self._nodes() - 1) * HASH, HASH)

    def body(self, Py_ssize_t index):
        """Of the offer at `index`. IndexError."""
        self._check(index)
        cdef uint32_t start = self._spans[2 * index]
        return PyBytes_FromStringAndSize(
            <const char *> _data(self.data) + start, self._spans[2 * index + 1] - start
        )

    def signed(self, Py_ssize_t index):
        """The offer at `index` as it travels by itself, a BatchedOffer. IndexError, ValueError."""
        cdef uint8_t path[HASH * 8]
        cdef Py_ssize_t at = index, count = self.count, size = 0, length
        cdef const uint8_t *level
        self._check(index)
        self._grow()
        level = self._tree
        while count > 1:
            if at ^ 1 < count:
                memcpy(path + size, level + (at ^ 1) * HASH, HASH)
                size += HASH
            level += count * HASH
            at, count = at // 2, (count + 1) // 2
        cdef Py_ssize_t body = self._spans[2 * index + 1] - self._spans[2 * index]
        length = (
            _field_size(PyBytes_GET_SIZE(self.envelope)) + 1 + fm_varint_size(<uint64_t> index)
            + _field_size(size) + _field_size(body)
        )
        cdef bytes made = PyBytes_FromStringAndSize(NULL, length)
        cdef uint8_t *out = _put(
            _data(made), _BATCH_TAG, _data(self.envelope), PyBytes_GET_SIZE(self.envelope)
        )
        out[0] = _INDEX_TAG
        out = out + 1 + fm_varint_write(out + 1, <uint64_t> index)
        out = _put(out, _PATH_TAG, path, size)
        _put(out, _BODY_TAG, _data(self.data) + self._spans[2 * index], body)
        return made

    def offers(self, PlainOffers plain not None, signer, bytes raw_signer not None):
        """Its offers in order, of `signer`; None in the place of one that is not plain. Times and signature
        are the caller's to verify."""
        cdef const uint8_t *data = _data(self.data)
        cdef Py_ssize_t at
        cdef list made = []
        plain.sign_by(signer, raw_signer)
        for at in range(self.count):
            made.append(plain.made(
                data + self._spans[2 * at], self._spans[2 * at + 1] - self._spans[2 * at], self, at
            ))
        return made

    cdef int _check(self, Py_ssize_t index) except -1:
        if not 0 <= index < self.count:
            raise IndexError("no such offer in the batch")
        return 0

    cdef Py_ssize_t _nodes(self) noexcept:
        cdef Py_ssize_t count = self.count, all = count
        while count > 1:
            count = (count + 1) // 2
            all += count
        return all

    cdef int _grow(self) except -1:
        """The tree, if it is not there yet. A batch looks like a value, so several threads may ask at once."""
        with cython.critical_section(self):
            return 0 if self._tree != NULL else self._grow_first()

    cdef int _grow_first(self) except -1:
        cdef uint8_t *tree = <uint8_t *> PyMem_Malloc(self._nodes() * HASH)
        cdef const uint8_t *data = _data(self.data)
        cdef Py_ssize_t at, count = self.count
        cdef uint8_t *level = tree
        if tree == NULL:
            raise MemoryError
        for at in range(count):
            if not hash_leaf(data + self._spans[2 * at], self._spans[2 * at + 1] - self._spans[2 * at],
                             tree + at * HASH):
                PyMem_Free(tree)
                raise ValueError("an offer that is too long")
        while count > 1:
            at = _next_level(level, count, level + count * HASH)
            level += count * HASH
            count = at
        self._tree = tree
        return 0


def count_signatures(offers):
    """Different batches, and offers that are of none, among signed offers."""
    cdef bytes one, _kept  # `before` points into it
    cdef const uint8_t *before = NULL
    cdef const uint8_t *data
    cdef Py_ssize_t held = 0, size, start, end
    cdef set different = set()
    for one in offers:
        data, size, start = _data(one), PyBytes_GET_SIZE(one), 0
        end = size
        if size and data[0] == _BATCH_TAG:
            if held and size > held and memcmp(data, before, held) == 0:
                continue  # a neighbour of the same batch
            try:
                end = field(data, size, 0, _BATCH_TAG, &start)
                _kept, before, held = one, data, end
            except ValueError:
                start, end = 0, size
        different.add(PyBytes_FromStringAndSize(<const char *> data + start, end - start))
    return len(different)


cdef inline Py_ssize_t _number_size(uint64_t value) noexcept nogil:
    return 1 + fm_varint_size(value) if value else 0


cdef inline uint8_t *_put_number(uint8_t *at, uint8_t tag, uint64_t value) noexcept nogil:
    if not value:
        return at
    at[0] = tag
    return at + 1 + fm_varint_write(at + 1, value)


cdef inline Py_ssize_t _some_size(Py_ssize_t size) noexcept nogil:
    return _field_size(size) if size else 0


cdef inline uint8_t *_put_some(uint8_t *at, uint8_t tag, const uint8_t *data, Py_ssize_t size) noexcept nogil:
    return _put(at, tag, data, size) if size else at


def encode_body(bytes content not None, bytes provider not None, bytes user_id not None,
                str user_name not None, str ip not None, uint32_t port, uint64_t price, size, str name,
                uint64_t seq, uint64_t issued_at, uint64_t not_after, bint withdrawn, codec=None, version=None,
                uint64_t ways=0, str url not None=""):
    """An OfferBody, as protobuf writes it: fields in order, those that are 0 or empty left out, but for a
    `size`, a `name`, a `codec` and a `version` that are not None. OverflowError, UnicodeEncodeError."""
    cdef Py_ssize_t user_name_size = 0, ip_size = 0, name_size = 0, url_size = 0
    cdef const uint8_t *url_at = <const uint8_t *> PyUnicode_AsUTF8AndSize(url, &url_size)
    cdef const uint8_t *user_name_at = <const uint8_t *> PyUnicode_AsUTF8AndSize(user_name, &user_name_size)
    cdef const uint8_t *ip_at = <const uint8_t *> PyUnicode_AsUTF8AndSize(ip, &ip_size)
    cdef const uint8_t *name_at = NULL
    cdef uint64_t file_size = 0 if size is None else size
    cdef bint sized = size is not None, coded = codec is not None, versioned = version is not None
    cdef uint64_t cid_codec = 0 if codec is None else codec
    cdef uint32_t cid_version = 0 if version is None else version
    if name is not None:
        name_at = <const uint8_t *> PyUnicode_AsUTF8AndSize(name, &name_size)
    cdef Py_ssize_t length = (
        _some_size(PyBytes_GET_SIZE(content)) + _some_size(PyBytes_GET_SIZE(provider))
        + _some_size(PyBytes_GET_SIZE(user_id)) + _some_size(user_name_size) + _some_size(ip_size)
        + _number_size(port) + _number_size(price) + (1 + fm_varint_size(file_size) if sized else 0)
        + (_field_size(name_size) if name_at != NULL else 0) + _number_size(seq) + _number_size(issued_at)
        + _number_size(not_after) + (2 if withdrawn else 0)
        + (1 + fm_varint_size(cid_codec) if coded else 0) + (1 + fm_varint_size(cid_version) if versioned else 0)
        + (2 + fm_varint_size(ways) if ways else 0) + (1 + _field_size(url_size) if url_size else 0)
    )
    cdef bytes made = PyBytes_FromStringAndSize(NULL, length)
    cdef uint8_t *at = _data(made)
    at = _put_some(at, 0x0a, _data(content), PyBytes_GET_SIZE(content))
    at = _put_some(at, 0x12, _data(provider), PyBytes_GET_SIZE(provider))
    at = _put_some(at, 0x1a, _data(user_id), PyBytes_GET_SIZE(user_id))
    at = _put_some(at, 0x22, user_name_at, user_name_size)
    at = _put_some(at, 0x2a, ip_at, ip_size)
    at = _put_number(at, 0x30, port)
    at = _put_number(at, 0x38, price)
    if sized:
        at[0] = 0x40
        at = at + 1 + fm_varint_write(at + 1, file_size)
    if name_at != NULL:
        at = _put(at, 0x4a, name_at, name_size)
    at = _put_number(at, 0x50, seq)
    at = _put_number(at, 0x58, issued_at)
    at = _put_number(at, 0x60, not_after)
    if withdrawn:
        at[0], at[1] = 0x68, 1
        at += 2
    if coded:
        at[0] = 0x70
        at = at + 1 + fm_varint_write(at + 1, cid_codec)
    if versioned:
        at[0] = 0x78
        at = at + 1 + fm_varint_write(at + 1, cid_version)
    if ways:
        at[0], at[1] = 0x80, 0x01  # tags from field 16 on have two bytes
        at = at + 2 + fm_varint_write(at + 2, ways)
    if url_size:
        at[0] = 0x8a
        _put(at + 1, 0x01, url_at, url_size)
    return made
