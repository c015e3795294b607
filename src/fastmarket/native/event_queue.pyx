"""Virtual time: events in order of their moment, and of their making where moments are equal.

A simulated request is four events, in a heap of some thousands: as tuples in a heapq they cost as much as what
happens in them.
"""

from libc.stdint cimport int32_t
from libc.stdlib cimport free, realloc


cdef inline bint _before(const Event *a, const Event *b) noexcept nogil:
    return a.when < b.when or (a.when == b.when and a.order < b.order)


cdef class NativeEvent:
    """Something that may come to pass: an event of kernels among themselves, with nothing to call by name."""

    cdef int happen(self) except -1:
        raise NotImplementedError


cdef class EventQueue:
    """A heap of events and the clock they move. Nothing here waits."""

    def __init__(self, double start):
        """`start`: what time it is (unix seconds)."""
        self.now = start
        self._actions, self._args, self._free = [], [], []

    def __dealloc__(self):
        free(self._heap)

    def __len__(self) -> int:
        return self._size

    cdef int _grow(self) except -1:
        cdef Py_ssize_t room = 2 * self._room if self._room else 1024
        cdef void *grown = realloc(self._heap, room * sizeof(Event))
        if grown == NULL:
            raise MemoryError
        self._heap = <Event *> grown
        self._actions.extend([None] * (room - self._room))
        self._args.extend([None] * (room - self._room))
        self._free.extend(range(room - 1, self._room - 1, -1))
        self._room = room
        return 0

    def at(self, double when, action not None, *args) -> None:
        """Have `action(*args)` happen at `when` (unix seconds); a moment that is past means now."""
        self.push(when, action, args)

    cdef int push(self, double when, object action, tuple args) except -1:
        """As `at`; without `args` the action is a `NativeEvent`."""
        cdef Event event
        cdef Py_ssize_t at, parent
        if self._size == self._room:
            self._grow()
        event.when = when if when > self.now else self.now
        self._made += 1
        event.order = self._made
        event.slot = <int32_t> self._free.pop()
        self._actions[event.slot] = action
        self._args[event.slot] = args
        at = self._size
        self._size += 1
        while at:
            parent = (at - 1) >> 1
            if not _before(&event, &self._heap[parent]):
                break
            self._heap[at] = self._heap[parent]
            at = parent
        self._heap[at] = event
        return 0

    def after(self, double delay_s, action not None, *args) -> None:
        """Have `action(*args)` happen in a while."""
        self.push(self.now + delay_s, action, args)

    cdef void _sift_down(self, Event event) noexcept:
        cdef Py_ssize_t at = 0, child = 1
        while child < self._size:
            if child + 1 < self._size and _before(&self._heap[child + 1], &self._heap[child]):
                child += 1
            if not _before(&self._heap[child], &event):
                break
            self._heap[at] = self._heap[child]
            at = child
            child = 2 * at + 1
        self._heap[at] = event

    cdef bint _step(self, double end) except -1:
        """Let the next event happen, if it comes by `end`."""
        cdef object action
        cdef tuple args
        cdef int32_t slot
        if not self._size or self._heap[0].when > end:
            return False
        self.now = self._heap[0].when
        slot = self._heap[0].slot
        self._size -= 1
        if self._size:
            self._sift_down(self._heap[self._size])
        action, args = self._actions[slot], self._args[slot]
        self._actions[slot] = self._args[slot] = None
        self._free.append(slot)
        self.events += 1
        if args is None:
            (<NativeEvent> action).happen()
        else:
            action(*args)
        return True

    def run(self, until, double within_s) -> bool:
        """Let events happen until the condition holds; False when it does not within `within_s` seconds."""
        cdef double end = self.now + within_s
        while not until():
            if not self._step(end):
                return False
        return True

    def rest(self, double seconds) -> None:
        """Let that much time pass."""
        cdef double end = self.now + seconds
        while self._step(end):
            pass
        self.now = end

    def clear(self) -> None:
        """Forget what was still to happen."""
        self._size = 0
        self._actions, self._args = [None] * self._room, [None] * self._room
        self._free = list(range(self._room - 1, -1, -1))
