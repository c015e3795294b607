"""The Kademlia routing table: up to `bucket_size` keys for each common prefix length with the local key.

Names the peer to ping when a bucket is full; never pings. A key is 32 bytes, big-endian; other lengths are a
ValueError. Times are `now` of the caller, unix seconds; the table reads no clock.

Every entry has a fixed slot. One array sorted by distance to the local key names all slots in use; XOR with the
local key keeps prefixes together, so the entries nearest to any target are reached by splitting ranges of it.

One file beyond 400 lines: every operation is on the same few C arrays, which no other module may touch.

Sources: Maymounkov and Mazieres, "Kademlia", sections 2.2 and 2.4; libp2p specs, kad-dht.
"""

from enum import IntEnum
from types import GenericAlias

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy


cdef extern from "Python.h":
    ctypedef struct PyListObject:
        PyObject **ob_item
    bint PyObject_TypeCheck(PyObject *value, PyTypeObject *kind)
    PyTypeObject *Py_TYPE(PyObject *value)


cdef extern from "keyindex.h" nogil:
    ctypedef struct fm_key:
        uint64_t w[4]
    void fm_key_load(fm_key *key, const unsigned char *data) noexcept
    void fm_key_store(const fm_key *key, unsigned char *data) noexcept
    void fm_key_xor(fm_key *out, const fm_key *a, const fm_key *b) noexcept
    int fm_key_leading_zeros(const fm_key *key) noexcept
    void fm_prefetch(const void *at) noexcept

    ctypedef struct fm_found:
        int32_t slot
    ctypedef struct fm_index:
        int32_t *slots
        fm_key *whole
        fm_found *row
        Py_ssize_t count
        Py_ssize_t capacity
    void fm_index_free(fm_index *index) noexcept
    int fm_index_reserve(fm_index *index, Py_ssize_t capacity) noexcept
    Py_ssize_t fm_index_place(const fm_index *index, const fm_key *d, int *known) noexcept
    void fm_index_insert(fm_index *index, Py_ssize_t at, const fm_key *d, int32_t slot) noexcept
    int32_t fm_index_remove(fm_index *index, Py_ssize_t at) noexcept
    Py_ssize_t fm_index_nearest(fm_index *index, const fm_key *target, Py_ssize_t wanted) noexcept


KEY_BYTES = 32
BUCKETS = 256
DEFAULT_BUCKET_SIZE = 20  # k of the libp2p kad-dht specification
DEFAULT_MAX_ENTRIES = 5120  # what 256 buckets of 20 hold
LARGEST_TABLE = 1 << 24  # entries; beyond it a size is a slip of the caller's

cdef enum:
    LARGEST_ANSWER = 1 << 30  # bytes: no bound

cdef enum:
    _BUCKETS = 256
    _NONE = -1


class Inserted(IntEnum):
    """What became of an insert."""

    ADDED = 0  # new, and there was room
    UPDATED = 1  # known: its value was replaced and it became the most recently seen of its bucket
    FULL = 2  # no room; the value beside it is the entry to ping, and to remove if it is dead
    SELF = 3  # the local key itself is never held


cdef tuple _ADDED = (Inserted.ADDED, None)
cdef tuple _UPDATED = (Inserted.UPDATED, None)
cdef tuple _SELF = (Inserted.SELF, None)
cdef object _FULL = Inserted.FULL


cdef struct Entry:
    double seen       # when it was last heard of
    int32_t older     # neighbours in its bucket, least recently seen first; `newer` also chains the free slots
    int32_t newer
    int32_t bucket


cdef struct Bucket:
    double refreshed
    int32_t oldest
    int32_t newest
    int32_t size


cdef int _load(fm_key *key, bytes raw) except -1:
    if PyBytes_GET_SIZE(raw) != 32:
        raise ValueError(f"key: 32 bytes wanted, got {PyBytes_GET_SIZE(raw)}")
    fm_key_load(key, <const unsigned char *> PyBytes_AS_STRING(raw))
    return 0


cdef class ContactState:
    """The fields of a peer that `see` and `joined` look at; kad.contact says what they mean.

    `hidden`: its entry is not told to others; `proven`: it has answered a request of ours.
    """

    cdef public bytes encoded
    cdef public double seen, failed_at
    cdef public int failures
    cdef public bint hidden, proven


cdef class BucketTable:
    """Keys with a value each, bounded by `bucket_size` a bucket and `max_entries` in all.

    Bucket i holds the keys whose common prefix with the local key is i bits long, 0..255.
    """

    cdef fm_key _local
    cdef fm_index _index          # distances to the local key
    cdef Entry *_entries          # by slot
    cdef Bucket _buckets[_BUCKETS]
    cdef int32_t _free
    cdef readonly Py_ssize_t bucket_size
    cdef readonly Py_ssize_t max_entries
    cdef list _values             # by slot; None where free

    def __cinit__(self, bytes local_key not None, *, Py_ssize_t bucket_size=20, Py_ssize_t max_entries=5120):
        cdef int i
        if not 0 < bucket_size <= LARGEST_TABLE:
            raise ValueError(f"bucket_size: 1..{LARGEST_TABLE} wanted, got {bucket_size}")
        if not 0 < max_entries <= LARGEST_TABLE:
            raise ValueError(f"max_entries: 1..{LARGEST_TABLE} wanted, got {max_entries}")
        _load(&self._local, local_key)
        self.bucket_size = bucket_size
        self.max_entries = max_entries
        self._free = _NONE
        self._values = []
        for i in range(_BUCKETS):
            self._buckets[i].refreshed = -INFINITY
            self._buckets[i].oldest = self._buckets[i].newest = _NONE
            self._buckets[i].size = 0

    def __dealloc__(self):
        fm_index_free(&self._index)
        free(self._entries)

    def __class_getitem__(cls, item):
        return GenericAlias(cls, item)

    # -- slots and order -------------------------------------------------------------------------------------

    cdef int _grow(self) except -1:
        cdef Py_ssize_t held = self._index.capacity, capacity = min(max(64, 2 * held), self.max_entries), slot
        cdef void *grown = realloc(self._entries, capacity * sizeof(Entry))
        if grown == NULL:
            raise MemoryError
        self._entries = <Entry *> grown
        self._values.extend([None] * (capacity - len(self._values)))
        if fm_index_reserve(&self._index, capacity):
            raise MemoryError
        for slot in range(capacity - 1, held - 1, -1):
            self._entries[slot].newer = self._free
            self._free = <int32_t> slot
        return 0

    cdef Py_ssize_t _place(self, bytes key, fm_key *d, int *known) except -1:
        """The distance of the key to the local one, and where it stands among the others, or would."""
        _load(d, key)
        fm_key_xor(d, d, &self._local)
        return fm_index_place(&self._index, d, known)

    cdef int32_t _find(self, bytes key) except -2:
        """The slot of the key, _NONE where it is not held."""
        cdef fm_key d
        cdef int known
        cdef Py_ssize_t at = self._place(key, &d, &known)
        return self._index.slots[at] if known else _NONE

    cdef void _unlink(self, int32_t slot) noexcept nogil:
        cdef Entry *entry = &self._entries[slot]
        cdef Bucket *bucket = &self._buckets[entry.bucket]
        if entry.older == _NONE:
            bucket.oldest = entry.newer
        else:
            self._entries[entry.older].newer = entry.newer
        if entry.newer == _NONE:
            bucket.newest = entry.older
        else:
            self._entries[entry.newer].older = entry.older

    cdef void _link_newest(self, int32_t slot) noexcept nogil:
        cdef Entry *entry = &self._entries[slot]
        cdef Bucket *bucket = &self._buckets[entry.bucket]
        entry.older = bucket.newest
        entry.newer = _NONE
        if bucket.newest == _NONE:
            bucket.oldest = slot
        else:
            self._entries[bucket.newest].newer = slot
        bucket.newest = slot

    cdef void _see(self, int32_t slot, double now) noexcept nogil:
        self._entries[slot].seen = now
        if self._entries[slot].newer != _NONE:
            self._unlink(slot)
            self._link_newest(slot)

    cdef int _fullest(self) noexcept nogil:
        cdef int i, best = 0
        for i in range(1, _BUCKETS):
            if self._buckets[i].size > self._buckets[best].size:
                best = i
        return best

    # -- changes ---------------------------------------------------------------------------------------------

    def insert(self, bytes key not None, value, double now) -> tuple:
        """Add a key, or replace the value of a known one and count it as seen.

        Returns (Inserted, None), or (Inserted.FULL, value of the entry to ping): the least recently seen of the
        key's bucket, or of the fullest bucket where the table as a whole is full.
        """
        cdef fm_key d
        cdef int known, bucket
        cdef Py_ssize_t at
        cdef int32_t slot
        if self._free == _NONE and self._index.capacity < self.max_entries:
            self._grow()  # first: memory taken from Python may run the collector, and that any code
        at = self._place(key, &d, &known)
        if known:
            slot = self._index.slots[at]
            self._see(slot, now)
            self._values[slot] = value
            return _UPDATED
        bucket = fm_key_leading_zeros(&d)
        if bucket == _BUCKETS:
            return _SELF
        if self._buckets[bucket].size >= self.bucket_size:
            return (_FULL, self._values[self._buckets[bucket].oldest])
        if self._index.count >= self.max_entries:
            return (_FULL, self._values[self._buckets[self._fullest()].oldest])
        slot = self._free
        self._free = self._entries[slot].newer
        fm_index_insert(&self._index, at, &d, slot)
        self._entries[slot].seen = now
        self._entries[slot].bucket = bucket
        self._link_newest(slot)
        self._buckets[bucket].size += 1
        self._values[slot] = value
        return _ADDED

    def touch(self, bytes key not None, double now) -> bool:
        """Count a held key as seen: it becomes the most recent of its bucket. False where it is not held."""
        cdef int32_t slot = self._find(key)
        if slot == _NONE:
            return False
        self._see(slot, now)
        return True

    def see(self, bytes key not None, double now):
        """As `touch`, of a table of `ContactState`s: the value heard of, its failures forgotten; None: not held."""
        cdef int32_t slot = self._find(key)
        cdef ContactState contact
        if slot == _NONE:
            return None
        contact = <ContactState?> self._values[slot]
        self._see(slot, now)
        contact.seen = now
        contact.failures = 0
        return contact

    def remove(self, bytes key not None) -> bool:
        """Whether the key was held; it no longer is."""
        cdef fm_key d
        cdef int known
        cdef int32_t slot
        cdef Py_ssize_t at = self._place(key, &d, &known)
        if not known:
            return False
        slot = fm_index_remove(&self._index, at)
        self._unlink(slot)
        self._buckets[self._entries[slot].bucket].size -= 1
        self._entries[slot].newer = self._free
        self._free = slot
        self._values[slot] = None  # last: what it runs finds the table whole
        return True

    def mark_refreshed(self, int bucket, double now) -> None:
        """A lookup in this bucket's range took place at `now`."""
        self._bucket(bucket).refreshed = now

    # -- questions -------------------------------------------------------------------------------------------

    def get(self, bytes key not None):
        """The value of the key, None where it is not held."""
        cdef int32_t slot = self._find(key)
        return None if slot == _NONE else self._values[slot]

    def last_seen(self, bytes key not None):
        """When the key was last inserted or touched (unix seconds), None where it is not held."""
        cdef int32_t slot = self._find(key)
        return None if slot == _NONE else self._entries[slot].seen

    def __contains__(self, bytes key not None) -> bool:
        return self._find(key) != _NONE

    def __len__(self) -> int:
        return self._index.count

    def items(self) -> list:
        """All values, closest to the local key first."""
        cdef Py_ssize_t i
        return [self._values[self._index.slots[i]] for i in range(self._index.count)]

    def bucket_index(self, bytes key not None) -> int:
        """The common prefix length of the key with the local one; 256 for the local key itself."""
        cdef fm_key d
        _load(&d, key)
        fm_key_xor(&d, &d, &self._local)
        return fm_key_leading_zeros(&d)

    cdef Bucket *_bucket(self, int index) except NULL:
        if not 0 <= index < _BUCKETS:
            raise ValueError(f"bucket: 0..{_BUCKETS - 1} wanted, got {index}")
        return &self._buckets[index]

    def bucket_sizes(self) -> list:
        """Entries held in each of the 256 buckets."""
        cdef int i
        return [self._buckets[i].size for i in range(_BUCKETS)]

    def least_recent(self, int bucket):
        """The value of the least recently seen entry of the bucket, None where it is empty."""
        cdef int32_t slot = self._bucket(bucket).oldest
        return None if slot == _NONE else self._values[slot]

    def stale_buckets(self, double now, double age_s) -> list:
        """Buckets not refreshed within the last `age_s` seconds, up to the deepest that holds an entry.

        A bucket never marked refreshed is stale. Deeper ones are left out: a lookup there only finds the
        neighbours a lookup of the local key finds.
        """
        cdef int i, deepest = -1
        if self._index.count:
            deepest = self._entries[self._index.slots[0]].bucket
        return [i for i in range(deepest + 1) if now - self._buckets[i].refreshed >= age_s]

    def random_key_in(self, int bucket, bytes entropy not None) -> bytes:
        """A key that belongs to the bucket; its free bits are those of `entropy` (32 bytes)."""
        cdef fm_key key
        cdef int i, word = bucket >> 6, bit = 63 - (bucket & 63)
        cdef uint64_t free_bits
        self._bucket(bucket)
        _load(&key, entropy)
        for i in range(word):
            key.w[i] = self._local.w[i]
        free_bits = ((<uint64_t> 1) << bit) - 1
        key.w[word] = (self._local.w[word] & ~free_bits) ^ ((<uint64_t> 1) << bit) | (key.w[word] & free_bits)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, 32)
        fm_key_store(&key, <unsigned char *> PyBytes_AS_STRING(out))
        return out

    # -- the nearest -----------------------------------------------------------------------------------------

    cdef Py_ssize_t _nearest(self, bytes target, Py_ssize_t count) except -1:
        """Fills the index's row; how many of it are the answer."""
        cdef fm_key t
        if count < 0:
            raise ValueError(f"count: not negative, got {count}")
        _load(&t, target)
        fm_key_xor(&t, &t, &self._local)
        return fm_index_nearest(&self._index, &t, count)

    def nearest(self, bytes target not None, Py_ssize_t count) -> list:
        """Values of the `count` entries nearest to `target`, closest first; fewer where fewer are held."""
        cdef Py_ssize_t found = self._nearest(target, count), i
        cdef list out = PyList_New(found)
        cdef object value
        for i in range(found):
            value = self._values[self._index.row[i].slot]
            Py_INCREF(value)
            PyList_SET_ITEM(out, i, value)
        return out

    def joined(
        self, bytes head not None, bytes target not None, bytes asker, Py_ssize_t count, Py_ssize_t hidden,
        bytes tail not None=b"", Py_ssize_t room=LARGEST_ANSWER,
    ) -> bytes:
        """`head`, the entries of the `count` nearest to `target` of a table of `ContactState`s, and `tail`.

        Left out are the key `asker` and what is hidden (`hidden` of them at most), and every entry from the first
        on with which the entries would take more than `room` bytes.
        """
        cdef int32_t skipped = _NONE if asker is None else self._find(asker), slot
        cdef Py_ssize_t found = self._nearest(target, count + (skipped != _NONE) + hidden), i, kept = 0, size = 0
        cdef Py_ssize_t before = PyBytes_GET_SIZE(head), behind = PyBytes_GET_SIZE(tail), length
        cdef PyObject **values = (<PyListObject *> self._values).ob_item
        cdef PyObject *encoded
        cdef PyTypeObject *kind = NULL
        cdef char *at
        # Each entry lies somewhere else, and its bytes again: all are on their way before the first is looked at.
        for i in range(found):
            fm_prefetch(values[self._index.row[i].slot])
        for i in range(found):
            if Py_TYPE(values[self._index.row[i].slot]) != kind:
                if not PyObject_TypeCheck(values[self._index.row[i].slot], <PyTypeObject *> ContactState):
                    raise TypeError("joined: of a table of ContactStates")
                kind = Py_TYPE(values[self._index.row[i].slot])  # nearly always that of all
            fm_prefetch(<PyObject *> (<ContactState> values[self._index.row[i].slot]).encoded)
        for i in range(found):
            slot = self._index.row[i].slot
            if slot == skipped or (<ContactState> values[slot]).hidden:
                continue
            length = PyBytes_GET_SIZE((<ContactState> values[slot]).encoded)
            if kept == count or length > room - size:
                break
            size += length
            self._index.row[kept].slot = slot
            kept += 1
        cdef bytes out = PyBytes_FromStringAndSize(NULL, before + size + behind)
        at = PyBytes_AS_STRING(out)
        memcpy(at, PyBytes_AS_STRING(head), before)
        at += before
        for i in range(kept):
            encoded = <PyObject *> (<ContactState> values[self._index.row[i].slot]).encoded
            length = PyBytes_GET_SIZE(<bytes> encoded)
            memcpy(at, PyBytes_AS_STRING(<bytes> encoded), length)
            at += length
        memcpy(at, PyBytes_AS_STRING(tail), behind)
        return out

    def nearest_keys(self, bytes target not None, Py_ssize_t count) -> list:
        """Keys of the `count` entries nearest to `target`, closest first; fewer where fewer are held."""
        cdef Py_ssize_t found = self._nearest(target, count), i
        return [self._key(self._index.row[i].slot) for i in range(found)]

    cdef bytes _key(self, int32_t slot):
        cdef fm_key key
        fm_key_xor(&key, &self._index.whole[slot], &self._local)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, 32)
        fm_key_store(&key, <unsigned char *> PyBytes_AS_STRING(out))
        return out
