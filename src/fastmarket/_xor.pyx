"""256-bit keys under the XOR metric: distances, prefixes, the nearest of many.

A key is 32 bytes, big-endian; any other length is a ValueError.
Source: Maymounkov and Mazieres, "Kademlia", section 2.1.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc, qsort


cdef extern from "key256.h" nogil:
    ctypedef struct fm_key:
        uint64_t w[4]
    void fm_key_load(fm_key *key, const unsigned char *data) noexcept
    void fm_key_store(const fm_key *key, unsigned char *data) noexcept
    void fm_key_xor(fm_key *out, const fm_key *a, const fm_key *b) noexcept
    int fm_key_compare(const fm_key *a, const fm_key *b) noexcept
    int fm_key_leading_zeros(const fm_key *key) noexcept


KEY_BYTES = 32
KEY_BITS = 256

# Up to here the nearest are kept in an insertion-sorted row while scanning; above, everything is sorted once.
cdef Py_ssize_t SCAN_ROW = 64


cdef struct Ranked:
    fm_key distance
    Py_ssize_t index


cdef int _load(fm_key *key, bytes raw) except -1:
    if PyBytes_GET_SIZE(raw) != 32:
        raise ValueError(f"key: 32 bytes wanted, got {PyBytes_GET_SIZE(raw)}")
    fm_key_load(key, <const unsigned char *> PyBytes_AS_STRING(raw))
    return 0


cdef int _load_distance(fm_key *out, bytes a, bytes b) except -1:
    cdef fm_key x, y
    _load(&x, a)
    _load(&y, b)
    fm_key_xor(out, &x, &y)
    return 0


def distance(bytes a not None, bytes b not None) -> bytes:
    """a XOR b, 32 bytes; distances compare like the bytes they are."""
    cdef fm_key d
    _load_distance(&d, a, b)
    cdef bytes out = PyBytes_FromStringAndSize(NULL, 32)
    fm_key_store(&d, <unsigned char *> PyBytes_AS_STRING(out))
    return out


def common_prefix_length(bytes a not None, bytes b not None) -> int:
    """How many leading bits agree: 0..256, 256 for equal keys."""
    cdef fm_key d
    _load_distance(&d, a, b)
    return fm_key_leading_zeros(&d)


def closer(bytes target not None, bytes a not None, bytes b not None) -> bool:
    """Whether `a` is strictly closer to `target` than `b`."""
    cdef fm_key da, db
    _load_distance(&da, target, a)
    _load_distance(&db, target, b)
    return fm_key_compare(&da, &db) < 0


cdef int _by_distance(const void *a, const void *b) noexcept nogil:
    cdef const Ranked *x = <const Ranked *> a
    cdef const Ranked *y = <const Ranked *> b
    cdef int order = fm_key_compare(&x.distance, &y.distance)
    if order:
        return order
    return -1 if x.index < y.index else 1


cdef Py_ssize_t _scan(const fm_key *target, const unsigned char *keys, Py_ssize_t total,
                      Ranked *row, Py_ssize_t count) noexcept nogil:
    """The `count` nearest of `total` keys into `row`, closest first, the earlier of equals first; how many."""
    cdef Py_ssize_t i, at, kept = 0
    cdef fm_key key, d
    for i in range(total):
        fm_key_load(&key, keys + 32 * i)
        fm_key_xor(&d, &key, target)
        if kept == count and fm_key_compare(&d, &row[kept - 1].distance) >= 0:
            continue
        at = kept if kept < count else kept - 1
        while at and fm_key_compare(&d, &row[at - 1].distance) < 0:
            row[at] = row[at - 1]
            at -= 1
        row[at].distance = d
        row[at].index = i
        if kept < count:
            kept += 1
    return kept


cdef void _sort(const fm_key *target, const unsigned char *keys, Py_ssize_t total, Ranked *row) noexcept nogil:
    cdef Py_ssize_t i
    cdef fm_key key
    for i in range(total):
        fm_key_load(&key, keys + 32 * i)
        fm_key_xor(&row[i].distance, &key, target)
        row[i].index = i
    qsort(row, total, sizeof(Ranked), _by_distance)


def nearest(bytes target not None, bytes packed_keys not None, Py_ssize_t count) -> list:
    """Indices of the `count` keys nearest to `target`, closest first, of 32-byte keys joined together."""
    cdef fm_key t
    _load(&t, target)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(packed_keys)
    if size % 32:
        raise ValueError(f"packed_keys: a multiple of 32 bytes wanted, got {size}")
    if count < 0:
        raise ValueError(f"count: not negative, got {count}")
    cdef Py_ssize_t total = size // 32, kept, i
    kept = min(count, total)
    if kept == 0:
        return []
    cdef const unsigned char *keys = <const unsigned char *> PyBytes_AS_STRING(packed_keys)
    cdef bint scans = kept <= SCAN_ROW
    cdef Ranked *row = <Ranked *> malloc((kept if scans else total) * sizeof(Ranked))
    if row == NULL:
        raise MemoryError
    try:
        if scans:
            _scan(&t, keys, total, row, kept)
        else:
            with nogil:
                _sort(&t, keys, total, row)
        return [row[i].index for i in range(kept)]
    finally:
        free(row)
