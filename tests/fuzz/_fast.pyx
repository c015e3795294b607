# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Inputs made and fed in C: what `mutate.Mutator` and `loop.Loop` do in Python, without the cost of either.

Bytes, protobuf messages, frames and words are mutated here. An input that comes to a new outcome, takes long or
is a finding is handed back: `Loop` feeds it again, and judges it.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

cdef extern from "time.h" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int CLOCK_THREAD_CPUTIME_ID
    int CLOCK_MONOTONIC
    int clock_gettime(int clock, timespec *now)

cdef extern from "Python.h":
    ctypedef struct PyObject
    PyObject *PyObject_CallOneArg(object call, object argument)
    PyObject *PyErr_Occurred()
    int PyErr_GivenExceptionMatches(PyObject *given, object expected)
    void PyErr_Clear()
    void Py_DECREF(PyObject *one)

cdef enum:
    NESTING = 5  # levels of messages that are looked into
    MAX_FIELDS = 512  # of one message; longer ones are mutated as bytes
    BURST = 15  # inputs that differ in a byte or two from one that was made with care
    SAMPLE = 256  # one of so many inputs that are fed to the entry alone is fed to the whole check as well
    MAX_NAMES = 8  # classes of faults that are counted by their types before they are counted by name
    MAX_PARTS = 128  # frames of one input

cdef double TURN_S = 0.5  # of one call: well below what counts as a hang

cdef unsigned char EDGES[20]
EDGES[:] = [0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 34, 63, 64, 65, 127, 128, 129, 254, 255]
cdef uint64_t NUMBERS[10]
NUMBERS[:] = [
    0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000ULL, 0x20000000000001ULL,
    0x7FFFFFFFFFFFFFFFULL, 0x8000000000000000ULL, 0xFFFFFFFFFFFFFFFFULL,
]
cdef uint64_t RENUMBERED[7]
RENUMBERED[:] = [1, 1, 1, 15, 16, 2047, 0x1FFFFFFF]
cdef int COUNTS[5]
COUNTS[:] = [2, 3, 17, 40, 300]

cdef struct Field:
    int start  # of its tag
    int value  # of its value, behind tag and length
    int end
    uint64_t number
    int wire


cdef inline int put_varint(unsigned char *out, uint64_t number) noexcept nogil:
    cdef int size = 0
    while number > 127:
        out[size] = <unsigned char> (number & 127 | 128)
        number >>= 7
        size += 1
    out[size] = <unsigned char> number
    return size + 1


cdef inline int get_varint(const unsigned char *data, int at, int end, uint64_t *number) noexcept nogil:
    """The end of the varint at `at`; -1 if there is none."""
    cdef uint64_t value = 0
    cdef int shift = 0
    while at < end and shift < 70:
        value |= (<uint64_t> (data[at] & 127)) << (shift if shift < 64 else 63)
        at += 1
        if data[at - 1] < 128:
            number[0] = value
            return at
        shift += 7
    return -1


cdef int split(const unsigned char *data, int size, Field *fields) noexcept nogil:
    """The number of fields of a message; 0 unless all of it is varints and fields with a length."""
    cdef int at = 0, count = 0
    cdef uint64_t tag = 0, number = 0
    while at < size:
        if count == MAX_FIELDS:
            return 0
        fields[count].start = at
        at = get_varint(data, at, size, &tag)
        if at < 0 or tag >> 3 == 0:
            return 0
        fields[count].number, fields[count].wire = tag >> 3, tag & 7
        if tag & 7 == 0:
            fields[count].value = at
            at = get_varint(data, at, size, &number)
        elif tag & 7 == 2:
            at = get_varint(data, at, size, &number)
            if at < 0 or number > <uint64_t> (size - at):
                return 0
            fields[count].value = at
            at += <int> number
        else:
            return 0
        if at < 0:
            return 0
        fields[count].end = at
        count += 1
    return count


cdef inline double seconds_of(int clock) noexcept nogil:
    cdef timespec at
    clock_gettime(clock, &at)
    return at.tv_sec + 1e-9 * at.tv_nsec


cdef inline uint64_t hash_of(const unsigned char *data, Py_ssize_t size) noexcept nogil:
    """Of all bytes; the same in every process, so that the same inputs are in the sample."""
    cdef uint64_t value = 0x9E3779B97F4A7C15ULL ^ <uint64_t> size, word
    while size >= 8:
        memcpy(&word, data, 8)
        value = (value ^ word) * 0xFF51AFD7ED558CCDULL
        value ^= value >> 32
        data += 8
        size -= 8
    while size:
        value = (value ^ data[0]) * 0x100000001B3ULL
        data += 1
        size -= 1
    value ^= value >> 33
    value *= 0xC4CEB9FE1A85EC53ULL
    return value >> 32


cdef class FastMutator:
    """As `mutate.Mutator`: other inputs, of the same kinds. `framing`: 1 if each message of an input stands
    behind a varint of its length, 2 behind two bytes of it, 12 behind a head as Yamux has it; else 0."""

    cdef uint64_t state
    cdef int longest, room, seed_count, max_kept, framing, left, base_size
    cdef bint is_message
    cdef list corpus
    cdef tuple words
    cdef unsigned char *buffers[NESTING + 3]

    def __cinit__(
        self, uint64_t seed, seeds, *, bint is_message, words, int longest, int max_kept, int framing=0
    ):
        self.state = seed * 0x9E3779B97F4A7C15ULL + 0x2545F4914F6CDD1DULL
        self.corpus = [bytes(one) for one in seeds] or [b""]
        self.seed_count, self.max_kept = len(self.corpus), max_kept
        self.is_message, self.words = is_message, tuple(words)
        self.longest, self.framing, self.left, self.base_size = longest, framing, 0, 0
        self.room = max([longest] + [len(one) for one in self.corpus]) + 64
        cdef int at
        for at in range(NESTING + 3):
            self.buffers[at] = <unsigned char *> malloc(self.room)
            if self.buffers[at] is NULL:
                raise MemoryError

    def __dealloc__(self):
        cdef int at
        for at in range(NESTING + 3):
            free(self.buffers[at])

    def keep(self, bytes data):
        """An input that came to a new outcome."""
        if PyBytes_GET_SIZE(data) > self.longest:
            return
        if len(self.corpus) < self.seed_count + self.max_kept:
            self.corpus.append(data)
        else:
            self.corpus[self.seed_count + self.below(self.max_kept)] = data

    def next(self):
        """The next input."""
        return self.make()

    cdef inline uint64_t draw(self) noexcept nogil:
        cdef uint64_t x = self.state
        x ^= x >> 12
        x ^= x << 25
        x ^= x >> 27
        self.state = x
        return x * 0x2545F4914F6CDD1DULL

    cdef inline int below(self, int end) noexcept nogil:
        return <int> ((self.draw() >> 33) % <uint64_t> end)

    cdef bytes make(self):
        cdef bytes data = <bytes> self.corpus[self.below(len(self.corpus))]
        cdef unsigned char *out = self.buffers[0]
        cdef int size = <int> PyBytes_GET_SIZE(data), chance = self.below(100), at
        if chance == 0:
            size = self.below(200 if self.longest > 200 else self.longest + 1)
            for at in range(size):
                out[at] = <unsigned char> self.draw()
        elif chance < 3:
            memcpy(out, PyBytes_AS_STRING(data), size)
        else:
            memcpy(out, PyBytes_AS_STRING(data), size)
            if chance < 8:
                size = self.splice(out, size)
            if chance < 65 and self.is_message:
                size = self.message(out, size, 0)
            elif chance < 65 and self.framing:
                size = self.frames(out, size)
            elif chance < 65 and self.words:
                size = self.put_words(out, size)
            else:
                size = self.raw(out, size)
        self.left, self.base_size = 0, min(size, self.longest)
        return PyBytes_FromStringAndSize(<char *> out, min(size, self.longest))

    cdef bytes burst(self):
        """An input made with care, or one that differs from it in a byte or two, or ends earlier."""
        cdef unsigned char *out = self.buffers[0]
        cdef int at, other, choice
        cdef unsigned char was, other_was
        cdef bytes made
        if self.left == 0 or self.base_size == 0:
            made = self.make()
            self.left = BURST
            return made
        self.left -= 1
        choice = self.below(16)
        at = self.below(self.base_size)
        if choice < 8 and at > 24:  # heads decide most
            at = self.below(24)
        if choice == 15:
            return PyBytes_FromStringAndSize(<char *> out, at)
        was = out[at]
        if choice & 3 == 0:
            out[at] = EDGES[self.below(20)]
        elif choice & 3 == 1:
            out[at] ^= <unsigned char> (1 << self.below(8))
        elif choice & 3 == 2:
            out[at] = <unsigned char> (was + (1 if self.below(2) else 255))
        else:
            out[at] = <unsigned char> self.draw()
        if choice >= 12:
            other = self.below(self.base_size)
            other_was = out[other]
            out[other] = EDGES[self.below(20)]
            made = PyBytes_FromStringAndSize(<char *> out, self.base_size)
            out[other] = other_was
        else:
            made = PyBytes_FromStringAndSize(<char *> out, self.base_size)
        out[at] = was
        return made

    cdef int part_end(self, const unsigned char *out, int size, int at, int *head) noexcept:
        """The end of the frame at `at`, and the size of its head; -1 if it is not whole."""
        cdef uint64_t length = 0
        cdef int start
        if self.framing == 1:
            start = get_varint(out, at, size, &length)
            if start < 0:
                return -1
            head[0] = start - at
        elif size - at < self.framing:
            return -1
        elif self.framing == 2:
            head[0], length = 2, <uint64_t> out[at] << 8 | out[at + 1]
        else:
            head[0] = 12
            if out[at + 1] == 0:  # data; other frames have something else there
                length = (<uint64_t> out[at + 8] << 24) | (<uint64_t> out[at + 9] << 16)
                length |= (<uint64_t> out[at + 10] << 8) | out[at + 11]
        if length > <uint64_t> (size - at - head[0]):
            return -1
        return at + head[0] + <int> length

    cdef int put_head(self, unsigned char *out, const unsigned char *was, int length) noexcept:
        """The head of a frame, now that it carries so much; rarely it lies."""
        cdef int lie = self.below(40), at
        cdef uint64_t told = <uint64_t> length
        if lie < 3:
            told = NUMBERS[self.below(10)] if lie == 0 else told + 1 if lie == 1 else told - 1 if told else 0
        if self.framing == 1:
            return put_varint(out, told)
        if self.framing == 2:
            out[0], out[1] = <unsigned char> (told >> 8), <unsigned char> told
            return 2
        memcpy(out, was, 8)
        for at in range(4):
            out[8 + at] = <unsigned char> (told >> (24 - 8 * at))
        return 12

    cdef int frames(self, unsigned char *out, int size):
        """Frames changed, dropped, repeated and moved; and what their heads say."""
        cdef int ends[MAX_PARTS + 1]
        cdef int heads[MAX_PARTS]
        cdef int times = 1 if self.below(2) else 2 + self.below(3), count, at, head = 0
        while times:
            times -= 1
            count, at = 0, 0
            while count < MAX_PARTS and at < size:
                ends[count] = at
                at = self.part_end(out, size, at, &head)
                if at < 0:
                    break
                heads[count] = head
                count += 1
                ends[count] = at
            if count == 0:
                return self.raw(out, size)
            at = self.below(count)
            size = self.change_frame(out, size, ends, at, heads[at], count)
        return size

    cdef int change_frame(self, unsigned char *out, int size, int *ends, int which, int head, int count):
        cdef unsigned char *piece = self.buffers[1]
        cdef unsigned char old[16]
        cdef unsigned char made[24]
        cdef int at = ends[which], length = ends[which + 1] - at, choice = self.below(10), used, times, body
        memcpy(piece, out + at, length)
        if choice == 0:
            return self.remove(out, size, at, length)
        if choice == 1:
            size = self.remove(out, size, at, length)
            return self.insert(out, size, min(ends[self.below(count)], size), piece, length)
        if choice == 2:
            times = COUNTS[self.below(4)]
            while times:
                times -= 1
                size = self.insert(out, size, at, piece, length)
            return size
        if self.framing == 12 and choice < 8:
            used = self.below(4)
            if used == 0:
                out[at + 1] = <unsigned char> self.below(5)
            elif used == 1:
                out[at + 3] = <unsigned char> self.below(16)
            elif used == 2:
                out[at + 7] = <unsigned char> self.below(6)
            else:
                body = <int> NUMBERS[self.below(10)] if self.below(2) else 1 << self.below(31)
                for used in range(4):
                    out[at + 8 + used] = <unsigned char> (body >> (24 - 8 * used))
            return size
        memcpy(old, out + at, min(head, 16))
        memmove(piece, piece + head, length - head)
        body = self.message(piece, length - head, 1) if self.is_message else self.raw(piece, length - head)
        used = self.put_head(made, old, body)
        size = self.remove(out, size, at, length)
        size = self.insert(out, size, at, made, used)
        return self.insert(out, size, min(at + used, size), piece, body)

    cdef int insert(self, unsigned char *out, int size, int at, const unsigned char *piece, int length) noexcept:
        """Inserts as much of a piece as there is room for; the size then."""
        if length > self.room - size:
            length = self.room - size
        if length <= 0:
            return size
        memmove(out + at + length, out + at, size - at)
        memcpy(out + at, piece, length)
        return size + length

    cdef int remove(self, unsigned char *out, int size, int at, int length) noexcept:
        if length > size - at:
            length = size - at
        memmove(out + at, out + at + length, size - at - length)
        return size - length

    cdef int splice(self, unsigned char *out, int size):
        cdef bytes other = <bytes> self.corpus[self.below(len(self.corpus))]
        cdef int length = <int> PyBytes_GET_SIZE(other)
        cdef int cut = self.below(size + 1), start = self.below(length + 1)
        cdef const unsigned char *piece = <const unsigned char *> PyBytes_AS_STRING(other)
        return self.insert(out, cut, cut, piece + start, length - start)

    cdef int put_words(self, unsigned char *out, int size):
        cdef int count = 1 + self.below(3), at, times, taken
        cdef bytes word
        while count:
            count -= 1
            word = <bytes> self.words[self.below(len(self.words))]
            at = self.below(size + 1)
            size = self.remove(out, size, at, self.below(6))
            times = 1 if self.below(20) else 1 + self.below(1500)
            taken = <int> PyBytes_GET_SIZE(word)
            while times and taken:
                times -= 1
                size = self.insert(out, size, at, <const unsigned char *> PyBytes_AS_STRING(word), taken)
        return size

    cdef int raw(self, unsigned char *out, int size):
        cdef int count = 1 if self.below(2) else 2 + self.below(5)
        while count:
            count -= 1
            size = self.change(out, size)
        return size

    cdef int change(self, unsigned char *out, int size):
        """One change of bytes."""
        cdef unsigned char piece[64]
        cdef int choice = self.below(12), at = self.below(size) if size else 0, length, start, times
        cdef uint64_t number
        cdef bytes other
        if size == 0 and choice not in (4, 8, 9, 11):
            return size
        if choice == 0:
            out[at] ^= <unsigned char> (1 << self.below(8))
        elif choice == 1:
            out[at] = EDGES[self.below(20)]
        elif choice == 2:
            out[at] = <unsigned char> self.draw()
        elif choice == 3:
            out[at] = <unsigned char> (out[at] + (1 if self.below(2) else 255))
        elif choice == 4 or choice == 11:
            length = self.below(12)
            for start in range(length):
                piece[start] = <unsigned char> self.draw()
            size = self.insert(out, size, at if choice == 4 else size, piece, length)
        elif choice == 5:
            size = self.remove(out, size, at, 1 + self.below(16))
        elif choice == 6:
            size = at
        elif choice == 7:
            length = min(1 + self.below(64), size - at)
            memcpy(piece, out + at, length)
            times = 1 + self.below(3) if self.below(16) else 1 + self.below(200)
            while times:
                times -= 1
                size = self.insert(out, size, at, piece, length)
        elif choice == 8:
            length = put_varint(piece, NUMBERS[self.below(10)])
            if self.below(3) == 0:  # not minimal, or without an end
                piece[length - 1] |= 128
                piece[length] = 0
                length += self.below(2)
            size = self.remove(out, size, at, self.below(10))
            size = self.insert(out, size, at, piece, length)
        elif choice == 9:
            other = <bytes> self.corpus[self.below(len(self.corpus))]
            length = <int> PyBytes_GET_SIZE(other)
            if length:
                start = self.below(length)
                length = min(length - start, self.below(200))
                size = self.remove(out, size, at, self.below(40))
                size = self.insert(
                    out, size, at, <const unsigned char *> PyBytes_AS_STRING(other) + start, length
                )
        else:
            number, length = NUMBERS[self.below(10)], 1 << self.below(4)
            for start in range(length):
                if at + start < size:
                    out[at + start] = <unsigned char> (number >> (8 * (length - 1 - start)))
        return size

    cdef int message(self, unsigned char *out, int size, int level):
        """Changes fields in place; bytes that are not a message are mutated as bytes."""
        cdef Field fields[MAX_FIELDS]
        cdef int times = 1 if self.below(10) < 7 else 3, count, choice
        while times:
            times -= 1
            count = split(out, size, fields)
            if count == 0:
                return self.raw(out, size)
            choice = self.below(13)
            if choice < 6:
                size = self.change_value(out, size, &fields[self.below(count)], level)
            else:
                size = self.rearrange(out, size, fields, count, choice)
        return size

    cdef int change_value(self, unsigned char *out, int size, Field *field, int level):
        cdef unsigned char head[24]
        cdef unsigned char *inner = self.buffers[2 + level]
        cdef int length, used
        cdef uint64_t number
        if field.wire == 2:
            length = field.end - field.value
            memcpy(inner, out + field.value, length)
            if level < NESTING and length > 1 and self.below(10) < 7:
                length = self.message(inner, length, level + 1)
            else:
                length = self.raw(inner, length)
            number = <uint64_t> length
            used = self.below(100)
            if used == 0:
                number += 1 if self.below(2) else <uint64_t> 1 << (20 + self.below(43))
            elif used == 1 and number:
                number -= 1
            used = put_varint(head, field.number << 3 | 2)
            used += put_varint(head + used, number)
            size = self.remove(out, size, field.start, field.end - field.start)
            size = self.insert(out, size, field.start, head, used)
            return self.insert(out, size, min(field.start + used, size), inner, length)
        get_varint(out, field.value, field.end, &number)
        used = self.below(12)
        number = NUMBERS[used] if used < 10 else number + 1 if used == 10 else number ^ 1
        used = put_varint(head, number)
        size = self.remove(out, size, field.value, field.end - field.value)
        return self.insert(out, size, field.value, head, used)

    cdef int rearrange(self, unsigned char *out, int size, Field *fields, int count, int choice):
        cdef unsigned char head[24]
        cdef unsigned char *piece = self.buffers[1]
        cdef Field field = fields[self.below(count)]
        cdef int length = field.end - field.start, times = 1, used, to
        cdef uint64_t number = field.number
        memcpy(piece, out + field.start, length)
        if choice == 6:
            return self.remove(out, size, field.start, length)
        if choice == 7:  # moved
            to = fields[self.below(count)].start
            size = self.remove(out, size, field.start, length)
            return self.insert(out, size, min(to, size), piece, length)
        if choice == 8:
            to = fields[self.below(count)].start
            return self.insert(out, size, to, piece, length)
        if choice == 9:
            times = COUNTS[self.below(5)]
            while times:
                times -= 1
                size = self.insert(out, size, field.start, piece, length)
            return size
        if choice == 10:  # of another number
            used = self.below(7)
            number = number + 1 if used == 0 else number - 1 if used == 1 and number > 1 else RENUMBERED[used]
            used = put_varint(head, number << 3 | field.wire)
            to = get_varint(out, field.start, field.end, &number) - field.start
            size = self.remove(out, size, field.start, to)
            return self.insert(out, size, field.start, head, used)
        if choice == 11:  # of another type
            out[field.start] = <unsigned char> (out[field.start] & 0xF8 | self.below(8))
            return size
        used = put_varint(head, number << 3 | 2)  # inside another of its kind
        used += put_varint(head + used, <uint64_t> length)
        return self.insert(out, size, field.start, head, used)


cdef class Drive:
    """Feeds a check until something has to be looked at. `marks`: hashes of outcomes that are known. `way` and
    `size_mark` tell the outcome of a fault and of a result."""

    cdef object check, way, size_mark
    cdef tuple faults
    cdef double max_cpu_s
    cdef set marks
    cdef dict refused
    cdef uint64_t accepted, checked
    cdef Py_ssize_t max_marks
    cdef unsigned char[:] last

    def __cinit__(
        self, check, faults, double max_cpu_s, set marks, int max_marks, unsigned char[:] last, way, size_mark
    ):
        """`last`: memory that outlives this process; it has the length and the bytes of the latest input."""
        self.check, self.faults, self.max_cpu_s, self.marks = check, tuple(faults), max_cpu_s, marks
        self.refused, self.accepted, self.last, self.checked = {}, 0, last, 0
        self.way, self.size_mark, self.max_marks = way, size_mark, max_marks

    def run(self, make, int count):
        """Feeds `count` inputs, or as many as a turn has time for; earlier it returns one that has to be looked
        at, which is not counted. `make` is a `FastMutator`, or makes an input when called."""
        cdef FastMutator mutator = make if isinstance(make, FastMutator) else None
        cdef double began = seconds_of(CLOCK_MONOTONIC)
        cdef bytes data
        while count and seconds_of(CLOCK_MONOTONIC) - began < TURN_S:
            count -= 1
            data = mutator.make() if mutator is not None else <bytes> make()
            self.note(data)
            if self.is_odd(data):
                return data
        return None

    def run_entry(self, FastMutator mutator not None, entry not None, int count):
        """As `run`, but `entry` alone is fed, and `check` with one of SAMPLE inputs, by their hash. Wanted of the
        others: one of our faults, in time."""
        cdef double began = seconds_of(CLOCK_MONOTONIC), before = began, now
        cdef PyObject *types[MAX_NAMES]
        cdef uint64_t counts[MAX_NAMES]
        cdef int known = 0, at
        cdef bint is_good = True
        cdef PyObject *result
        cdef PyObject *fault
        cdef bytes data = None
        while count and is_good and before - began < TURN_S:
            count -= 1
            data = mutator.burst()
            self.note(data)
            if hash_of(<const unsigned char *> PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)) % SAMPLE == 0:
                is_good = not self.is_odd(data)
                before = seconds_of(CLOCK_MONOTONIC)
                continue
            result = PyObject_CallOneArg(entry, data)
            now = seconds_of(CLOCK_MONOTONIC)
            if now - before > self.max_cpu_s:  # perhaps; it is measured when it is judged
                is_good = False
            before = now
            if result is not NULL:
                Py_DECREF(result)
                self.accepted += is_good
                continue
            fault = PyErr_Occurred()
            if not PyErr_GivenExceptionMatches(fault, self.faults):
                PyErr_Clear()
                is_good = False
                continue
            if not is_good:
                PyErr_Clear()
                continue
            at = 0
            while at < known and types[at] is not fault:
                at += 1
            if at == known and known < MAX_NAMES:
                types[at], counts[at] = fault, 0  # a class of `faults` or a subclass: its module keeps it
                known += 1
            PyErr_Clear()
            if at == MAX_NAMES:
                self.refuse("others", 1)
            else:
                counts[at] += 1
        for at in range(known):
            self.refuse((<type> <object> types[at]).__name__, counts[at])
        return None if is_good else data

    cdef bint is_odd(self, bytes data):
        """Feeds one to the whole check; counts it, unless it has to be looked at."""
        cdef double before = seconds_of(CLOCK_THREAD_CPUTIME_ID)
        cdef object mark
        cdef str name = None
        try:
            mark = self.size_mark(self.check(data))
        except self.faults as error:
            mark, name = self.way(error.__traceback__), type(error).__name__
        except BaseException:
            return True
        if mark not in self.marks and len(self.marks) < self.max_marks:
            return True
        if seconds_of(CLOCK_THREAD_CPUTIME_ID) - before > self.max_cpu_s:
            return True
        self.checked += 1
        if name is None:
            self.accepted += 1
        else:
            self.refuse(name, 1)
        return False

    cdef void refuse(self, str name, uint64_t count):
        self.refused[name] = self.refused.get(name, 0) + count

    def take(self):
        """How many were accepted since the last call, how many refused by each class, and how many of both the
        whole check saw."""
        accepted, refused, checked = self.accepted, self.refused, self.checked
        self.accepted, self.refused, self.checked = 0, {}, 0
        return accepted, refused, checked

    cdef void note(self, bytes data) noexcept:
        cdef Py_ssize_t size = min(PyBytes_GET_SIZE(data), self.last.shape[0] - 4)
        if size < 0:
            return
        self.last[0], self.last[1] = <unsigned char> (size >> 24), <unsigned char> (size >> 16)
        self.last[2], self.last[3] = <unsigned char> (size >> 8), <unsigned char> size
        if size:
            memcpy(&self.last[4], PyBytes_AS_STRING(data), size)
