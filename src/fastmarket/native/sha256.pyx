"""SHA-256 without Python's overhead: one input, many, or equal-sized ones packed side by side.

The processor's SHA instructions are used where it has them: `BACKEND` names what was picked.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport uint8_t


cdef extern from "Python.h":
    object PySequence_Fast(object items, const char *message)
    Py_ssize_t PySequence_Fast_GET_SIZE(object items)
    PyObject *PySequence_Fast_GET_ITEM(object items, Py_ssize_t index)  # borrowed


cdef extern from "sha256_impl.h" nogil:
    const char *fm_sha256_init() noexcept
    void fm_sha256(const uint8_t *data, size_t size, uint8_t *out) noexcept
    void fm_sha256_portable(const uint8_t *data, size_t size, uint8_t *out) noexcept
    void fm_sha256_pair(const uint8_t *d0, size_t size0, const uint8_t *d1, size_t size1,
                        uint8_t *out0, uint8_t *out1) noexcept
    int fm_sha256_pairable(size_t size0, size_t size1) noexcept


DIGEST_SIZE = 32
BACKEND = fm_sha256_init().decode("ascii")

# Below this many bytes giving the GIL away costs more than the hash.
cdef Py_ssize_t NOGIL_FROM_BYTES = 8192


cdef inline const uint8_t *_data(object item) noexcept:
    return <const uint8_t *> PyBytes_AS_STRING(item)


def sha256(bytes data not None) -> bytes:
    """The 32-byte digest of `data`."""
    cdef bytes digest = PyBytes_FromStringAndSize(NULL, 32)
    cdef const uint8_t *source = _data(data)
    cdef uint8_t *target = <uint8_t *> _data(digest)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    if size < NOGIL_FROM_BYTES:
        fm_sha256(source, size, target)
    else:
        with nogil:
            fm_sha256(source, size, target)
    return digest


def sha256_portable(bytes data not None) -> bytes:
    """The digest by the portable code, whatever the processor offers: what other machines run, for tests."""
    cdef bytes digest = PyBytes_FromStringAndSize(NULL, 32)
    fm_sha256_portable(_data(data), PyBytes_GET_SIZE(data), <uint8_t *> _data(digest))
    return digest


def sha256_many(items) -> list:
    """The digest of each item, in order. TypeError where an item is not `bytes`."""
    cdef object fast = PySequence_Fast(items, b"items: a sequence of bytes")
    with cython.critical_section(fast):  # it may be a list that other threads know
        return _digests(fast)


cdef list _digests(object fast):
    cdef Py_ssize_t count = PySequence_Fast_GET_SIZE(fast), i
    cdef object item, digest, waiting = None, waiting_digest = None
    for i in range(count):
        if not PyBytes_CheckExact(<object> PySequence_Fast_GET_ITEM(fast, i)):
            raise TypeError(f"items[{i}]: bytes wanted")
    cdef list digests = PyList_New(count)
    for i in range(count):
        item = <object> PySequence_Fast_GET_ITEM(fast, i)
        digest = PyBytes_FromStringAndSize(NULL, 32)
        Py_INCREF(digest)
        PyList_SET_ITEM(digests, i, digest)
        if waiting is None:
            waiting, waiting_digest = item, digest
        elif fm_sha256_pairable(PyBytes_GET_SIZE(waiting), PyBytes_GET_SIZE(item)):
            fm_sha256_pair(_data(waiting), PyBytes_GET_SIZE(waiting), _data(item), PyBytes_GET_SIZE(item),
                           <uint8_t *> _data(waiting_digest), <uint8_t *> _data(digest))
            waiting = waiting_digest = None
        else:
            fm_sha256(_data(waiting), PyBytes_GET_SIZE(waiting), <uint8_t *> _data(waiting_digest))
            waiting, waiting_digest = item, digest
    if waiting is not None:
        fm_sha256(_data(waiting), PyBytes_GET_SIZE(waiting), <uint8_t *> _data(waiting_digest))
    return digests


cdef void _packed(const uint8_t *source, Py_ssize_t size, Py_ssize_t count, uint8_t *target) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + 1 < count:
        fm_sha256_pair(source + i * size, size, source + (i + 1) * size, size,
                       target + 32 * i, target + 32 * i + 32)
        i += 2
    if i < count:
        fm_sha256(source + i * size, size, target + 32 * i)


def sha256_packed(bytes data not None, Py_ssize_t size) -> bytes:
    """Digests of the consecutive `size`-byte items in `data`, joined: 32 bytes an item.

    ValueError where `size` is not positive or does not divide the data.
    """
    cdef Py_ssize_t total = PyBytes_GET_SIZE(data)
    if size <= 0 or total % size:
        raise ValueError(f"size: {size} does not divide {total} bytes")
    cdef Py_ssize_t count = total // size
    cdef bytes digests = PyBytes_FromStringAndSize(NULL, 32 * count)
    cdef const uint8_t *source = _data(data)
    cdef uint8_t *target = <uint8_t *> _data(digests)
    if total < NOGIL_FROM_BYTES:
        _packed(source, size, count, target)
    else:
        with nogil:
            _packed(source, size, count, target)
    return digests
