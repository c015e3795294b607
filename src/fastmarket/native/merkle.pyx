"""Offers of a batch, as a storer takes them by the thousand: cut into their fields, and hashed up to the root.

The formats: proto/fastmarket/v1/offer.proto (BatchedOffer), RFC 9162 section 2.1 with prefixes of our own.

Over 400 lines: the fields of an offer are read in one place.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from fastmarket.native.varint cimport uvarint


cdef extern from "Python.h":
    object PyUnicode_DecodeASCII(const char *text, Py_ssize_t size, const char *errors)
    Py_ssize_t PyUnicode_GET_LENGTH(object text) noexcept
    void *PyUnicode_DATA(object text) noexcept
    int PyObject_GenericSetAttr(object of, object name, object value) except -1
    void PyObject_GC_UnTrack(void *of) noexcept
    bint PyObject_IS_GC(object of) noexcept


cdef extern from "sha256_impl.h" nogil:
    const char *fm_sha256_init() noexcept
    void fm_sha256(const uint8_t *data, size_t size, uint8_t *out) noexcept


HASH_BYTES = HASH
# Two blocks of SHA-256 a node with or without them. Ours alone: no tree made elsewhere has such hashes.
LEAF_PREFIX = b"\x00fastmarket-offer"
NODE_PREFIX = b"\x01fastmarket-offer"

cdef const uint8_t *_LEAF = b"\x00fastmarket-offer"
cdef const uint8_t *_NODE = b"\x01fastmarket-offer"

fm_sha256_init()


cdef inline const uint8_t *_data(bytes item) noexcept:
    return <const uint8_t *> PyBytes_AS_STRING(item)


cdef int hash_leaf(const uint8_t *body, Py_ssize_t size, uint8_t *node) noexcept nogil:
    """0: it is longer than any offer."""
    cdef uint8_t room[PREFIX + MAX_LEAF]
    if size > MAX_LEAF:
        return 0
    memcpy(room, _LEAF, PREFIX)
    memcpy(room + PREFIX, body, size)
    fm_sha256(room, PREFIX + size, node)
    return 1


cdef void hash_pair(const uint8_t *left, const uint8_t *right, uint8_t *node) noexcept nogil:
    """`node` may be either of them."""
    cdef uint8_t both[PREFIX + 2 * HASH]
    memcpy(both, _NODE, PREFIX)
    memcpy(both + PREFIX, left, HASH)
    memcpy(both + PREFIX + HASH, right, HASH)
    fm_sha256(both, PREFIX + 2 * HASH, node)


cdef int _climb(uint8_t *node, uint64_t at, uint64_t last, const uint8_t *path, Py_ssize_t size) noexcept nogil:
    """Replaces the hash of the leaf at `at` of `last` + 1 by that of the root; 0: such a path cannot be."""
    cdef Py_ssize_t offset = 0
    while last:
        if at % 2 or at < last:
            if size - offset < HASH:
                return 0
            if at % 2:
                hash_pair(path + offset, node, node)
            else:
                hash_pair(node, path + offset, node)
            offset += HASH
        at //= 2
        last //= 2
    return offset == size


def merkle_root(bytes leaf not None, uint64_t index, uint64_t count, bytes path not None):
    """The root that `path` leads to from the leaf at `index` of `count`; None: such a path cannot be."""
    if index >= count:
        return None
    cdef Py_ssize_t size = PyBytes_GET_SIZE(leaf)
    cdef bytes root = PyBytes_FromStringAndSize(NULL, HASH)
    cdef uint8_t *node = <uint8_t *> PyBytes_AS_STRING(root)
    cdef bytes whole
    if not hash_leaf(_data(leaf), size, node):
        whole = LEAF_PREFIX + leaf
        fm_sha256(_data(whole), PREFIX + size, node)
    return root if _climb(node, index, count - 1, _data(path), PyBytes_GET_SIZE(path)) else None


cdef Py_ssize_t field(const uint8_t *data, Py_ssize_t size, Py_ssize_t at, uint8_t tag,
                      Py_ssize_t *start) except -1:
    """Where the field ends that begins at `at`; `start`: its value. ValueError."""
    cdef uint64_t length
    if at >= size or data[at] != tag:
        raise ValueError("batched offer with other fields, or in another order")
    start[0] = uvarint(data, size, at + 1, &length)
    if length > <uint64_t> (size - start[0]):
        raise ValueError("batched offer is cut short")
    return start[0] + <Py_ssize_t> length


def split_batched(bytes signed not None):
    """(batch, index, path, body) of a BatchedOffer; ValueError for anything but its one form."""
    cdef const uint8_t *data = _data(signed)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(signed), start = 0, end
    cdef uint64_t index
    end = field(data, size, 0, 0x5a, &start)
    cdef bytes batch = PyBytes_FromStringAndSize(<const char *> data + start, end - start)
    if end >= size or data[end] != 0x60:
        raise ValueError("batched offer without an index")
    end = uvarint(data, size, end + 1, &index)
    end = field(data, size, end, 0x6a, &start)
    cdef bytes path = PyBytes_FromStringAndSize(<const char *> data + start, end - start)
    end = field(data, size, end, 0x72, &start)
    if end != size:
        raise ValueError("bytes behind a batched offer")
    return batch, index, path, PyBytes_FromStringAndSize(<const char *> data + start, end - start)


cdef enum:
    _FIELDS = 18  # of OfferBody, from 1
    _BYTES = (1 << 1) | (1 << 2) | (1 << 3)
    _TEXTS = (1 << 4) | (1 << 5) | (1 << 9) | (1 << 17)
    _CONTENT = 1
    _PROVIDER = 2
    _USER_ID = 3
    _USER_NAME = 4
    _IP = 5
    _PORT = 6
    _PRICE = 7
    _SIZE = 8
    _NAME = 9
    _SEQ = 10
    _ISSUED_AT = 11
    _NOT_AFTER = 12
    _WITHDRAWN = 13
    _CODEC = 14
    _VERSION = 15
    _WAYS = 16
    _URL = 17

cdef struct _Scan:
    uint32_t there               # a bit for each field
    const uint8_t *at[_FIELDS]   # of bytes and texts
    uint64_t value[_FIELDS]      # a number, or the length of what is there


cdef inline bint _printable(const uint8_t *text, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at
    for at in range(size):
        if text[at] < 0x20 or text[at] > 0x7e:
            return False
    return True


cdef bint _scan(const uint8_t *data, Py_ssize_t size, _Scan *found) except -1:
    """Whether it is an OfferBody in the form that `plain_body` takes. ValueError: it is not one."""
    cdef Py_ssize_t at = 0
    cdef uint64_t number
    cdef int last = 0, field, wire
    memset(found, 0, sizeof(_Scan))
    while at < size:
        field, wire = (data[at] & 0x7f) >> 3, data[at] & 7
        if data[at] >= 0x80:  # a tag of two bytes: field 16 or above
            at += 1
            if at >= size or data[at] != 1:
                return False
            field += 16
        if field <= last or field >= _FIELDS:
            return False
        last = field
        at = uvarint(data, size, at + 1, &number)
        if (_BYTES | _TEXTS) >> field & 1:
            if wire != 2 or number > <uint64_t> (size - at):
                return False
            if _TEXTS >> field & 1 and not _printable(data + at, <Py_ssize_t> number):
                return False
            found.at[field] = data + at
            at += <Py_ssize_t> number
        elif wire != 0 or (field == _WITHDRAWN and number > 1) or (
            (field == _PORT or field == _VERSION) and number > 0xffffffff
        ):
            return False
        found.value[field] = number
        found.there |= <uint32_t> 1 << field
    return True


cdef inline bytes _bytes(const _Scan *found, int field):
    return PyBytes_FromStringAndSize(<const char *> found.at[field], <Py_ssize_t> found.value[field])


cdef inline str _text(const _Scan *found, int field):
    return PyUnicode_DecodeASCII(<const char *> found.at[field], <Py_ssize_t> found.value[field], NULL)


def plain_body(bytes raw not None):
    """The fields of an OfferBody as a tuple in their order; None where the general decoder has to look.

    Taken: each field once at most, in ascending order, every varint minimal, texts printable ASCII; what is
    not there is 0 or empty, `size`, `name`, `codec` and `version` None. Any encoder of ours and of others makes that.
    """
    cdef _Scan found
    try:
        if not _scan(_data(raw), PyBytes_GET_SIZE(raw), &found):
            return None
    except ValueError:
        return None
    return (
        _bytes(&found, _CONTENT), _bytes(&found, _PROVIDER), _bytes(&found, _USER_ID),
        _text(&found, _USER_NAME), _text(&found, _IP), found.value[_PORT], found.value[_PRICE],
        found.value[_SIZE] if found.there >> _SIZE & 1 else None,
        _text(&found, _NAME) if found.there >> _NAME & 1 else None,
        found.value[_SEQ], found.value[_ISSUED_AT], found.value[_NOT_AFTER], found.value[_WITHDRAWN] == 1,
        found.value[_CODEC] if found.there >> _CODEC & 1 else None,
        found.value[_VERSION] if found.there >> _VERSION & 1 else None,
        found.value[_WAYS], _text(&found, _URL),
    )


# Bounds of a plain offer; none above those of `offers.model.offer` and `offers.model.metadata`.
cdef enum:
    _MAX_USER_ID = 1024
    _MAX_USER_NAME = 256
    _MAX_NAME = 255
    _MAX_HOST = 253
    _MAX_PORT = 65535
    _MAX_URL = 1024
    _MAX_LIFETIME_S = 48 * 3600
    _SHA2_256_BYTES = 34  # of a multihash
    _DAG_PB = 0x70        # multicodec

PLAIN_BOUNDS = (_MAX_USER_ID, _MAX_USER_NAME, _MAX_NAME, _MAX_HOST, _MAX_PORT, _MAX_URL, _MAX_LIFETIME_S)


cdef class PlainOffers:
    """Makes the offers of a batch, one after the other: what they have in common is made once.

    Only of plain ones, which nearly all are: in the form that `plain_body` takes, for a SHA2-256 content,
    every field within its bounds. Anything else is answered with None, and the careful way finds out why.
    """

    def __init__(self, type offer not None, type metadata not None, type alone not None, is_host):
        """Of the types `Offer`, `FileMetadata` and `SignedAlone`; `is_host(text)`: whether it may be an
        offer's `ip`."""
        self._offer, self._metadata, self._alone, self._is_host = offer, metadata, alone, is_host
        self._envelope = self._root = self._raw_signer = self._user_id = b""
        self._count, self._signer, self._user_name, self._ip = 0, None, "", ""
        self._issued_at = self._not_after = self._began = self._ended = 0
        self._version, self._codec, self._form = 0, 0, None

    def expect(self, bytes envelope not None, bytes root not None, uint64_t count, signer,
               bytes raw_signer not None):
        """From now on offers of this batch, which was verified, are opened."""
        if PyBytes_GET_SIZE(root) != HASH:
            raise ValueError("not a hash")
        self._envelope, self._root, self._count = envelope, root, count
        self._signer, self._raw_signer = signer, raw_signer

    def open(self, bytes signed not None):
        """A verified offer, but for its times; None: not plain, or not of the batch that is expected."""
        cdef const uint8_t *data = _data(signed)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(signed), start = 0, end, path, path_end, body
        cdef uint64_t index
        cdef uint8_t node[HASH]
        try:
            end = field(data, size, 0, 0x5a, &start)
            if not _same(self._envelope, data + start, end - start):
                return None
            if end >= size or data[end] != 0x60:
                return None
            end = uvarint(data, size, end + 1, &index)
            path_end = field(data, size, end, 0x6a, &path)
            end = field(data, size, path_end, 0x72, &body)
        except ValueError:
            return None
        if end != size or index >= self._count or not hash_leaf(data + body, end - body, node):
            return None
        if not _climb(node, index, self._count - 1, data + path, path_end - path):
            return None
        if not _same(self._root, node, HASH):
            return None
        return self.made(data + body, end - body, _by_itself(self._alone, data + body, end - body, signed), 0)

    def read(self, bytes signed not None, bytes raw_signer not None, signer):
        """An offer of a batch of `signer` that was verified before it was put away; None: not plain."""
        cdef const uint8_t *data = _data(signed)
        cdef Py_ssize_t start = 0
        cdef Py_ssize_t end
        try:
            end = _body(signed, &start)
        except ValueError:
            return None
        self.sign_by(signer, raw_signer)
        return self.made(data + start, end - start, _by_itself(self._alone, data + start, end - start, signed), 0)

    cdef int sign_by(self, object signer, bytes raw_signer) except -1:
        """Offers of `signer` are made from now on; none of a batch is expected."""
        self._signer, self._raw_signer = signer, raw_signer
        self._envelope, self._root, self._count = b"", b"", 0  # or that root would vouch for another signer
        return 0

    cdef object made(self, const uint8_t *body, Py_ssize_t size, object signed, object index):
        """The offer, None: not plain. `signed`, `index`: how it travels."""
        cdef _Scan found
        try:
            if not _scan(body, size, &found) or not _in_order(self, &found):
                return None
        except ValueError:
            return None
        if not _same(self._user_id, found.at[_USER_ID], found.value[_USER_ID]):
            self._user_id = _bytes(&found, _USER_ID)
        cdef str user_name = self._user_name
        if not _same_text(user_name, found.at[_USER_NAME], found.value[_USER_NAME]):
            user_name = self._user_name = _text(&found, _USER_NAME)
        cdef object metadata = self._metadata.__new__(self._metadata)
        PyObject_GenericSetAttr(metadata, "ip", self._ip)
        PyObject_GenericSetAttr(metadata, "port", found.value[_PORT])
        PyObject_GenericSetAttr(metadata, "price_per_mb", found.value[_PRICE])
        PyObject_GenericSetAttr(metadata, "size", found.value[_SIZE] if found.there >> _SIZE & 1 else None)
        PyObject_GenericSetAttr(metadata, "name", _text(&found, _NAME) if found.there >> _NAME & 1 else None)
        PyObject_GenericSetAttr(metadata, "ways", found.value[_WAYS])
        PyObject_GenericSetAttr(metadata, "url", _text(&found, _URL) if found.value[_URL] else "")
        # Neighbours have the times in common.
        if self._began != found.value[_ISSUED_AT]:
            self._began = self._issued_at = found.value[_ISSUED_AT]
        if self._ended != found.value[_NOT_AFTER]:
            self._ended = self._not_after = found.value[_NOT_AFTER]
        cdef object offer = tuple.__new__(self._offer, (
            _bytes(&found, _CONTENT), self._signer, self._user_id, user_name, metadata, found.value[_SEQ],
            self._issued_at, self._not_after, found.value[_WITHDRAWN] == 1, signed, index,
            _form(self, &found),
        ))
        # Nothing that these refer to refers back.
        PyObject_GC_UnTrack(<void *> metadata)
        PyObject_GC_UnTrack(<void *> offer)
        return offer


def untracked(made not None):
    """The same, left out by the cycle collector from now on: of a type that can be in cycles, but nothing that
    this object will ever refer to refers back. A node holds a hundred thousand such objects; looking at each
    once, the collector stopped it for half a second."""
    if PyObject_IS_GC(made):
        PyObject_GC_UnTrack(<void *> made)
    return made


cdef object _form(PlainOffers of, const _Scan *found):
    """Version and codec of the CID, as `formats.cid.cid_form` of a SHA2-256 multihash; None: none was told."""
    cdef uint64_t version = found.value[_VERSION], codec = found.value[_CODEC]
    if not (found.there >> _CODEC & 1 and found.there >> _VERSION & 1):
        return None
    if version != 1 and (version != 0 or codec != _DAG_PB):
        return None
    if of._form is None or of._version != version or of._codec != codec:
        of._version, of._codec, of._form = version, codec, (version, codec)
    return of._form


cdef bint _in_order(PlainOffers of, const _Scan *found) except -1:
    """Whether all of it is within its bounds, and the signer's."""
    cdef const uint8_t *content = found.at[_CONTENT]
    cdef uint64_t issued_at = found.value[_ISSUED_AT], not_after = found.value[_NOT_AFTER]
    if (
        found.value[_CONTENT] != _SHA2_256_BYTES or content[0] != 0x12 or content[1] != 0x20
        or found.value[_USER_ID] > _MAX_USER_ID or found.value[_USER_NAME] > _MAX_USER_NAME
        or found.value[_NAME] > _MAX_NAME or found.value[_URL] > _MAX_URL or not 0 < found.value[_IP] <= _MAX_HOST
        or not 0 < found.value[_PORT] <= _MAX_PORT or found.value[_PRICE] >> 63
        or not_after <= issued_at or not_after - issued_at > _MAX_LIFETIME_S
        or not _same(of._raw_signer, found.at[_PROVIDER], found.value[_PROVIDER])
    ):
        return False
    if _same_text(of._ip, found.at[_IP], found.value[_IP]):
        return True
    cdef str ip = _text(found, _IP)
    if not of._is_host(ip):
        return False
    of._ip = ip
    return True


cdef inline object _by_itself(type alone, const uint8_t *body, Py_ssize_t size, bytes signed):
    return tuple.__new__(alone, (PyBytes_FromStringAndSize(<const char *> body, size), signed))


cdef inline bint _same(bytes known, const uint8_t *data, Py_ssize_t size) noexcept:
    """`data` of a field that is not there is NULL, and its size 0: C allows no memcmp of that."""
    return PyBytes_GET_SIZE(known) == size and (size == 0 or memcmp(_data(known), data, size) == 0)


cdef inline bint _same_text(str known, const uint8_t *data, Py_ssize_t size) noexcept:
    """`known` is ASCII; `data` as of `_same`."""
    return PyUnicode_GET_LENGTH(known) == size and (size == 0 or memcmp(PyUnicode_DATA(known), data, size) == 0)


cdef Py_ssize_t _body(bytes signed, Py_ssize_t *start) except -1:
    """Where the body of a BatchedOffer ends and begins, which is taken from our own disk. ValueError."""
    cdef const uint8_t *data = _data(signed)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(signed), end
    cdef uint64_t index
    end = field(data, size, 0, 0x5a, start)
    if end >= size or data[end] != 0x60:
        raise ValueError("batched offer without an index")
    end = uvarint(data, size, end + 1, &index)
    end = field(data, size, end, 0x6a, start)
    return field(data, size, end, 0x72, start)


def body_of(bytes signed not None):
    """The OfferBody in a BatchedOffer; ValueError for what is not one."""
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t end = _body(signed, &start)
    return PyBytes_FromStringAndSize(<const char *> _data(signed) + start, end - start)


cdef enum:
    _KEY_TAG = 0x0a        # of an Envelope
    _TYPE_TAG = 0x12
    _PAYLOAD_TAG = 0x1a
    _SIGNATURE_TAG = 0x2a
    _STORE_TAG = 0x0a      # of an OfferRequest
    _OFFERS_TAG = 0x0a     # of a Store
    _WHOLE_TAG = 0x12


def claims(bytes signed not None):
    """(content, provider, user id, seq, issued_at, not_after) that a signed offer claims, unverified; None where
    the general decoder has to look: it is not one, has other fields or another order, or its body is not plain."""
    cdef const uint8_t *data = _data(signed)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(signed), start = 0, end, ignored = 0
    cdef _Scan found
    try:
        if size and data[0] == _KEY_TAG:
            end = field(data, size, 0, _KEY_TAG, &ignored)
            end = field(data, size, end, _TYPE_TAG, &ignored)
            end = field(data, size, end, _PAYLOAD_TAG, &start)
            if field(data, size, end, _SIGNATURE_TAG, &ignored) != size:
                return None
        else:
            end = _body(signed, &start)
            if end != size:
                return None
        if not _scan(data + start, end - start, &found):
            return None
    except ValueError:
        return None
    return (
        _bytes(&found, _CONTENT), _bytes(&found, _PROVIDER), _bytes(&found, _USER_ID),
        found.value[_SEQ], found.value[_ISSUED_AT], found.value[_NOT_AFTER],
    )


def split_store(bytes request not None):
    """(signed offers, whole batches) of an OfferRequest that stores; None where the general decoder has to
    look."""
    cdef const uint8_t *data = _data(request)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(request), at = 0, start = 0
    cdef list offers = [], whole = []
    try:
        if field(data, size, 0, _STORE_TAG, &at) != size:
            return None
        while at < size:
            if data[at] == _OFFERS_TAG:
                at = field(data, size, at, _OFFERS_TAG, &start)
                offers.append(PyBytes_FromStringAndSize(<const char *> data + start, at - start))
            else:
                at = field(data, size, at, _WHOLE_TAG, &start)
                whole.append(PyBytes_FromStringAndSize(<const char *> data + start, at - start))
    except ValueError:
        return None
    return offers, whole
