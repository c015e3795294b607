"""What each message of a simulated network passes: the carrier, the way from a region to another, the log of a run.

`sim.network` decides what a network is, and does what happens seldom; each request and reply passes here.
"""

import hashlib

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from fastmarket.native.event_queue cimport EventQueue, NativeEvent


cdef enum:
    _REGIONS = 256          # a region is a byte
    _RECORD_BYTES = 25      # time, what, node, other node, request
    _LOG_BYTES = 1 << 16    # so much goes into the digest at once


cdef class Ways:
    """One-way delays between nodes by where they stand, and by what each message waits on its way."""

    cdef double *_seconds    # by region and region
    cdef double *_waits
    cdef Py_ssize_t _count
    cdef Py_ssize_t _waiting
    cdef object _draw

    def __cinit__(self, list seconds not None, list waits not None, draw):
        """`seconds[here][there]`: between regions. Of `waits` one is added each time: that at `draw()` (0 to 1,
        exclusive) of their number."""
        cdef Py_ssize_t i, j
        self._count, self._waiting, self._draw = len(seconds), len(waits), draw
        if not 0 < self._count <= _REGIONS or not self._waiting:
            raise ValueError(f"1..{_REGIONS} regions and a wait wanted, got {self._count} and {self._waiting}")
        self._seconds = <double *> malloc(self._count * self._count * sizeof(double))
        self._waits = <double *> malloc(self._waiting * sizeof(double))
        if self._seconds == NULL or self._waits == NULL:
            raise MemoryError
        for i in range(self._count):
            if len(seconds[i]) != self._count:
                raise ValueError(f"seconds: {self._count} in a row wanted, got {len(seconds[i])}")
            for j in range(self._count):
                self._seconds[i * self._count + j] = seconds[i][j]
        for i in range(self._waiting):
            self._waits[i] = waits[i]

    def __dealloc__(self):
        free(self._seconds)
        free(self._waits)

    cpdef double one_way(self, Py_ssize_t here, Py_ssize_t there) except -1:
        """Seconds from one region to another, this time."""
        if not (0 <= here < self._count and 0 <= there < self._count):
            raise IndexError(f"region: 0..{self._count - 1} wanted, got {here} and {there}")
        cdef Py_ssize_t at = <Py_ssize_t> (<double> self._draw() * self._waiting)
        if not 0 <= at < self._waiting:
            raise ValueError("draw: from 0 to 1, exclusive")
        return self._seconds[here * self._count + there] + self._waits[at]

    cdef double _between(self, bytes regions, Py_ssize_t here, Py_ssize_t there) except -1:
        """The same between two nodes, of which `regions` says where they stand."""
        cdef const uint8_t *region = <const uint8_t *> PyBytes_AS_STRING(regions)
        cdef Py_ssize_t nodes = PyBytes_GET_SIZE(regions)
        if not (0 <= here < nodes and 0 <= there < nodes):
            raise IndexError(f"node: 0..{nodes - 1} wanted, got {here} and {there}")
        return self.one_way(region[here], region[there])


cdef class MessageLog:
    """A digest over all messages and outcomes of a run: two runs that have the same did the same."""

    cdef object _digest
    cdef uint8_t *_records
    cdef Py_ssize_t _size

    def __cinit__(self):
        self._digest = hashlib.sha256()
        self._records = <uint8_t *> malloc(_LOG_BYTES + _RECORD_BYTES)
        if self._records == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._records)

    def note(self, double now, str what not None, uint32_t node, uint32_t other, uint64_t request) -> None:
        """At `now` this happened (one ASCII character) to that request of a node to another."""
        self._note(now, <char> ord(what), node, other, request)

    cdef int _note(self, double now, char what, uint32_t node, uint32_t other, uint64_t request) except -1:
        cdef uint8_t *at = self._records + self._size
        memcpy(at, &now, 8)
        at[8] = <uint8_t> what
        memcpy(at + 9, &node, 4)
        memcpy(at + 13, &other, 4)
        memcpy(at + 17, &request, 8)
        self._size += _RECORD_BYTES
        if self._size >= _LOG_BYTES:
            self._move_on()
        return 0

    cdef int _move_on(self) except -1:
        self._digest.update(PyBytes_FromStringAndSize(<char *> self._records, self._size))
        self._size = 0
        return 0

    def hexdigest(self) -> str:
        """So far."""
        self._move_on()
        return self._digest.hexdigest()


@cython.final
cdef class SimLink:
    """A connection, shared by its two ends. `up_at`: when requests may pass; `used_at`: the last one."""

    cdef public double up_at, used_at

    def __init__(self, double up_at, double used_at):
        self.up_at, self.used_at = up_at, used_at


@cython.final
cdef class Port:
    """A node as the carrier knows it: its identity, its connections, and what takes what arrives for it.

    `owner` has `answer(sender, choice, now)`, `sender` the other node's Port: the reply, or None for no reply;
    raises PeerFault. `received(request id, protocol, payload, now)`: the reply to one of its requests.
    `failed(request id, kind, now)`: there will be none.
    """

    cdef readonly uint32_t number
    cdef readonly object peer_id
    cdef readonly bytes block      # the address block that it is in
    cdef readonly frozenset protocols  # as identify lists them
    cdef readonly object owner
    cdef readonly dict links       # of SimLink, by the number of the other end
    cdef public bint gone          # its process has ended; another node may stand in its place

    def __init__(self, uint32_t number, peer_id not None, bytes block not None, frozenset protocols not None,
                 owner not None):
        self.number, self.peer_id, self.block, self.protocols = number, peer_id, block, protocols
        self.owner, self.links = owner, {}


cdef enum Stage:
    _ARRIVES
    _RETURNS


@cython.final
cdef class Exchange(NativeEvent):
    """One request on its way; exactly one outcome reaches its node."""

    cdef Carrier _carrier
    cdef Port _port
    cdef object _action
    cdef object _choice  # the one it is answered in
    cdef object _reply
    cdef double _deadline
    cdef uint64_t _request
    cdef uint32_t _target
    cdef Stage _stage
    cdef bint _over

    @property
    def action(self):
        """The SendRequest."""
        return self._action

    @property
    def target(self) -> int:
        """The number of the node it goes to."""
        return self._target

    cdef int happen(self) except -1:
        return self._carrier._arrive(self) if self._stage == _ARRIVES else self._carrier._return(self)


cdef uint32_t _NOBODY = 0xFFFFFFFF
NOBODY = _NOBODY
"""The number of what is not one of the nodes."""


cdef class Carrier(EventQueue):
    """Carries requests and replies in virtual time; each request has its outcome by its deadline.

    What others change under way, it was given: `ports` and `numbers` (by raw id) of the nodes, `states` and `sides`
    (of a partition) of those that do not have the usual one, and which are `slow`.
    """

    cdef Ways _ways
    cdef bytes _regions
    cdef MessageLog _log
    cdef object _draw
    cdef double _loss, _idle_s
    cdef Py_ssize_t _frame_bytes
    cdef readonly dict ports, numbers, states, sides, failures
    cdef readonly set slow
    cdef object _up, _silent, _down, _timed_out, _unreachable, _refused, _reset, _fault
    cdef object _network
    cdef readonly int64_t requests, replies, carried_bytes
    cdef public int64_t connections

    def __init__(self, double start, Ways ways not None, bytes regions not None, draw, *, network not None,
                 dict numbers not None, double loss, double idle_s, Py_ssize_t frame_bytes, states, kinds, fault):
        """`draw()`: from 0 to 1, exclusive. `loss`: share of requests, and of replies, that never arrive; `idle_s`:
        after so long a connection is gone; `frame_bytes`: of each message beside its body and length. `states`: the
        objects that stand for up, silent and down; `kinds`: for a request that timed out, could not be delivered, was
        refused, and was reset; `fault`: what an owner's `answer` raises to reset it.

        `network` has `make(number)`, the port of a node that comes into being; `dialable(exchange)`; `dial(port,
        number)`, the new SimLink; `slowness()`, seconds that a slow node thinks."""
        EventQueue.__init__(self, start)
        self._network = network
        self._ways, self._regions, self._log, self._draw = ways, regions, MessageLog(), draw
        self._loss, self._idle_s, self._frame_bytes = loss, idle_s, frame_bytes
        self.numbers = numbers
        self.ports, self.states, self.sides, self.failures, self.slow = {}, {}, {}, {}, set()
        self._up, self._silent, self._down = states
        self._timed_out, self._unreachable, self._refused, self._reset = kinds
        self._fault = fault

    def way(self, Py_ssize_t here, Py_ssize_t there, Py_ssize_t times=1) -> float:
        """Seconds from a node to another, this time; of so many messages, one after another."""
        cdef double seconds = 0.0
        for _ in range(times):
            seconds += self._way(here, there)
        return seconds

    def hexdigest(self) -> str:
        """Of every message and outcome so far, with their times."""
        return self._log.hexdigest()

    cdef double _way(self, Py_ssize_t here, Py_ssize_t there) except -1:
        return self._ways._between(self._regions, here, there)

    cdef bint _is_up(self, uint32_t number) except -1:
        return not self.states or self.states.get(number, self._up) is self._up

    cdef bint _is_cut(self, uint32_t one, uint32_t other) except -1:
        return len(self.sides) > 0 and self.sides.get(one) != self.sides.get(other)

    cdef bint _is_lost(self) except -1:
        return self._loss > 0 and <double> self._draw() < self._loss

    cdef Py_ssize_t _wire(self, Py_ssize_t size) noexcept:
        return size + self._frame_bytes + (1 if size < 1 << 7 else 2 if size < 1 << 14 else 3)

    def send(self, Port port not None, action) -> None:
        """Carry a request (kad.events.SendRequest) of that node; its outcome comes by its deadline."""
        cdef Exchange exchange = Exchange.__new__(Exchange)
        cdef object number = self.numbers.get(action.peer.peer_id.raw), state = self._up
        cdef SimLink link
        cdef double arrives
        exchange._carrier, exchange._port, exchange._action = self, port, action
        exchange._deadline, exchange._request = action.deadline, action.request_id
        exchange._target = _NOBODY if number is None else number
        self._log._note(self.now, c">", port.number, exchange._target, exchange._request)
        self.requests += 1
        if number is None:
            self._end_after(self._way(port.number, port.number), exchange, self._unreachable)
            return
        if self.states:
            state = self.states.get(number, self._up)
        if state is self._silent or self._is_cut(port.number, exchange._target):
            self._time_out(exchange)
            return
        link = self._link(port, number)
        if state is self._down or (link is None and not self._network.dialable(exchange)):
            self._end_after(2 * self._way(port.number, exchange._target), exchange, self._unreachable)
            return
        if link is None:
            link = self._network.dial(port, number)
        link.used_at = max(link.up_at, self.now)
        if self._is_lost():
            self._time_out(exchange)
            return
        arrives = link.used_at + self._way(port.number, exchange._target)
        if arrives > exchange._deadline:
            self._time_out(exchange)
        exchange._stage = _ARRIVES
        self.push(arrives, exchange, None)

    cdef SimLink _link(self, Port port, object number):
        cdef SimLink link = port.links.get(number)
        cdef Port other
        if link is None or link.used_at + self._idle_s >= self.now:
            return link
        del port.links[number]
        other = self.ports.get(number)
        if other is not None:
            other.links.pop(port.number, None)
        return None

    cdef int _arrive(self, Exchange exchange) except -1:
        cdef uint32_t number = exchange._target
        cdef Port port = exchange._port, other
        cdef double back
        cdef object choice, reply = None, protocols
        cdef bint reset = False
        if not self._is_up(number) or self._is_cut(port.number, number):
            return self._time_out(exchange)
        other = self.ports.get(number)
        if other is None:
            other = self._network.make(number)
        back = self._way(number, port.number)
        if self.slow and number in self.slow:
            back += self._network.slowness()
        protocols = other.protocols
        for choice in exchange._action.choices:
            if choice.protocol in protocols:
                break
        else:
            return self._end_after(back, exchange, self._refused)
        exchange._choice = choice
        self.carried_bytes += self._wire(len(<bytes?> choice.payload))
        try:
            reply = other.owner.answer(port, choice, self.now)
        except self._fault:
            reset = True
        if not choice.expects_reply:
            exchange._reply = b""
            return self._return(exchange)
        if reset:
            return self._end_after(back, exchange, self._reset)
        if reply is None:
            return self._time_out(exchange)
        self.replies += 1
        self.carried_bytes += self._wire(len(<bytes?> reply))
        if self._is_lost():
            return self._time_out(exchange)
        if self.now + back > exchange._deadline:
            self._time_out(exchange)
        exchange._reply, exchange._stage = reply, _RETURNS
        return self.push(self.now + back, exchange, None)

    cdef int _return(self, Exchange exchange) except -1:
        cdef Port port = exchange._port
        if exchange._over:
            return 0
        if self._is_cut(port.number, exchange._target):
            return self._time_out(exchange)
        if self._ends(c"<", exchange):
            port.owner.received(exchange._request, exchange._choice.protocol, exchange._reply, self.now)
        return 0

    cdef int _time_out(self, Exchange exchange) except -1:
        """No outcome will come before the request's deadline."""
        return self.push(exchange._deadline, self.fail, (exchange, self._timed_out))

    cdef int _end_after(self, double delay_s, Exchange exchange, kind) except -1:
        """The request fails in a while, or at its deadline if that is sooner."""
        if self.now + delay_s > exchange._deadline:
            return self._time_out(exchange)
        return self.push(self.now + delay_s, self.fail, (exchange, kind))

    def fail(self, Exchange exchange not None, kind) -> None:
        """The request's outcome, unless it had one."""
        cdef Port port = exchange._port
        if exchange._over:
            return
        self.failures[kind] = self.failures.get(kind, 0) + 1
        if self._ends(c"!", exchange):
            port.owner.failed(exchange._request, kind, self.now)

    cdef bint _ends(self, char what, Exchange exchange) except -1:
        """This is the request's outcome; whether a node is there to take it."""
        cdef Port port = exchange._port
        exchange._over = True
        self._log._note(self.now, what, port.number, exchange._target, exchange._request)
        return not port.gone and self._is_up(port.number)
