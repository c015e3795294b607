from libc.stdint cimport int32_t, int64_t


cdef struct Event:
    double when
    int64_t order    # of their making
    int32_t slot     # where its action is held


cdef class NativeEvent:
    cdef int happen(self) except -1


cdef class EventQueue:
    cdef Event *_heap
    cdef Py_ssize_t _size, _room
    cdef int64_t _made
    cdef list _actions   # by slot: what is called, None where free
    cdef list _args      # by slot: with what
    cdef list _free
    cdef public double now
    cdef readonly int64_t events

    cdef int _grow(self) except -1
    cdef int push(self, double when, object action, tuple args) except -1
    cdef void _sift_down(self, Event event) noexcept
    cdef bint _step(self, double end) except -1
