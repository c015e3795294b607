"""The candidates of one lookup: who is near its target, how far it has come with each, and whom it asks next.

Arrays and the walk over them, no policy: what each state of a peer means is a table that is handed in
(`kad.lookup.policy`), and `kad.lookup.iterative` decides what answers, failures and silence mean.

Who counts as closest: the nearest k, and as many more as it takes for k of few to an address block. Ids are
free: whoever rents a few machines can place as many ids as it likes around a key, and be all of its k closest
(Sridhar et al., "Content Censorship in the InterPlanetary File System", NDSS 2024). Addresses are not: so a
lookup, and what is stored at its end, goes on past such a crowd until k have been met that are none. A crowd is
an address block with more peers among them than the table lets into a bucket; without one these are the nearest
k. Whoever has many addresses, too, is met by `reach`: within the distance in which k are expected, all count, not the
nearest k alone, so that ids placed among them add to those that count and displace none (Netto, Cholez and Ignat,
arXiv:2505.01139).

One file beyond 400 lines: the walk goes over the fields of all these classes in C, which several modules could share
only by a header that says them again.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem, PyDict_Next
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memmove


cdef extern from "key256.h" nogil:
    ctypedef struct fm_key:
        uint64_t w[4]
    void fm_key_load(fm_key *key, const unsigned char *data) noexcept
    void fm_key_xor(fm_key *out, const fm_key *a, const fm_key *b) noexcept
    int fm_key_compare(const fm_key *a, const fm_key *b) noexcept


# A lookup keeps a few times k; more than this is a slip of its configuration.
MAX_LISTED = 1 << 20


cdef enum:
    # Columns of the table, a bit each.
    _QUERYABLE = 1 << 0
    _SKIPPABLE = 1 << 1
    _COUNTED = 1 << 2
    _HAS_ANSWERED = 1 << 3
    _AWAITED = 1 << 4
    _MAY_HOLD = 1 << 5
    _PRESENT = 1 << 6
    _FOUND = 1 << 7
    _MOST_STATES = 16
    _NO_BLOCK = -1       # no public address
    _UNKNOWN_BLOCK = -2  # not looked for so far
    _FIRST_MET = 128     # room for peers heard of at first, a power of two
    # More than 3/2 k within reach, where k are expected: by chance around one key in eighty. Ids may have been placed
    # there, and the peers beyond name those that they hide. Those of a crowd that do not count are some of them: 200
    # ids of 12 address blocks are 24 that count
    _SURPLUS_HALVES = 3

cdef tuple _COLUMNS = (
    "is_queryable", "is_skippable", "is_counted", "has_answered", "is_awaited", "may_hold", "is_present", "is_found",
)
cdef double _NEVER = -INFINITY


cdef int _load(fm_key *key, bytes raw) except -1:
    if PyBytes_GET_SIZE(raw) != 32:
        raise ValueError(f"key: 32 bytes wanted, got {PyBytes_GET_SIZE(raw)}")
    fm_key_load(key, <const unsigned char *> PyBytes_AS_STRING(raw))
    return 0


cdef int64_t _number(bytes block) except -3:
    """An address block as a number: 2 or 4 bytes, and their count."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(block), i
    cdef int64_t number = size
    if size > 6:
        raise ValueError(f"block: at most 6 bytes wanted, got {size}")
    for i in range(size):
        number = number << 8 | <unsigned char> PyBytes_AS_STRING(block)[i]
    return number


@cython.final
cdef class StateTable:
    """The states of a peer in a lookup, what each means, and which of them it enters when.

    Read by every walk: made once, and never changed.
    """

    cdef tuple _states
    cdef uint8_t _rules[_MOST_STATES]
    cdef int _heard, _query, _query_unresponsive, _soft_timeout, _answer, _shortcut, _doubt, _failure

    def __init__(self, rules, transitions):
        """`rules`: by state, an object with the eight columns; states are numbered from 0. `transitions`: for each
        event the state that follows. The meaning of both: `kad.lookup.policy`."""
        cdef int state, column
        self._states = tuple(sorted(rules))
        if self._states != tuple(range(len(self._states))) or not 0 < len(self._states) <= _MOST_STATES:
            raise ValueError(f"states: numbers from 0 on wanted, at most {_MOST_STATES}, got {self._states}")
        for state in range(len(self._states)):
            self._rules[state] = 0
            for column in range(len(_COLUMNS)):
                if getattr(rules[self._states[state]], _COLUMNS[column]):
                    self._rules[state] |= 1 << column
        self._heard = self._number_of(transitions.on_heard)
        self._query = self._number_of(transitions.on_query)
        self._query_unresponsive = self._number_of(transitions.on_query_unresponsive)
        self._soft_timeout = self._number_of(transitions.on_soft_timeout)
        self._answer = self._number_of(transitions.on_answer)
        self._shortcut = self._number_of(transitions.on_shortcut)
        self._doubt = self._number_of(transitions.on_doubt)
        self._failure = self._number_of(transitions.on_failure)

    cdef int _number_of(self, state) except -1:
        return self._states.index(state)


@cython.final
@cython.freelist(256)
cdef class Answered:
    """A peer that answered, or is known to be alive (`LivenessShortcut`), and the protocol it does so on."""

    cdef readonly object peer
    cdef readonly str protocol

    def __init__(self, peer, str protocol not None):
        self.peer = peer
        self.protocol = protocol

    def __eq__(self, other):
        if type(other) is not Answered:
            return NotImplemented
        return self.protocol == (<Answered> other).protocol and self.peer == (<Answered> other).peer

    def __hash__(self):
        return hash((self.peer, self.protocol))

    def __repr__(self):
        return f"Answered(peer={self.peer!r}, protocol={self.protocol!r})"


cdef class Connected


@cython.final
@cython.freelist(256)
cdef class Candidate:
    """A peer a lookup has heard of: `hops` away, 1 for one of its table, 2 for one named by these, and so on.

    `connected`, when it was asked. `protocol`: the one it answered on, or is known to speak; "" before.
    """

    cdef readonly object peer
    cdef readonly bytes key
    cdef readonly int hops
    cdef readonly double queried_at
    cdef readonly bint connected
    cdef readonly str protocol
    cdef double _late_at
    cdef double _hold_s   # after queried_at: no longer does it hold the end, unless others are as slow
    cdef StateTable _table
    cdef int _state
    cdef int _rule        # of its state
    cdef int64_t _block
    cdef object _choices  # how it would be asked, where a shortcut wanted to know
    cdef object _spoken   # the protocols that were looked at then
    cdef Connected _known  # and in what

    @property
    def state(self):
        return self._table._states[self._state]

    cdef inline void _enter(self, int state) noexcept:
        self._state = state
        self._rule = self._table._rules[state]

    def answer(self, str protocol not None, double now) -> float:
        """It answered; the seconds it took."""
        self._enter(self._table._answer)
        self.protocol = protocol
        return now - self.queried_at

    def query_unresponsive(self, double now, bint connected) -> None:
        """It is asked at `now`, and was silent before: nobody waits for it."""
        self.queried_at = now
        self.connected = connected
        self._enter(self._table._query_unresponsive)


@cython.final
cdef class Connected:
    """A peer with an open connection: what it speaks, and when it last answered (-inf: it is not believed in)."""

    cdef public object protocols
    cdef public double answered_at

    def __init__(self, protocols, double answered_at):
        self.protocols = protocols
        self.answered_at = answered_at


@cython.final
cdef class LivenessShortcut:
    """Vouches for candidates of one lookup: those known to be alive need not be asked.

    Only for those about as near as the k closest are expected to be: farther ones are steps on the way, of
    which as many are taken at once as may be.
    """

    cdef fm_key _reach
    cdef bint _bounded
    cdef dict _connected
    cdef double _alive_s
    cdef object _query

    def __init__(self, bytes reach, dict connected not None, double alive_s, query):
        """`reach`: 32-byte distance within which it is_alive, None: any. `connected`: `Connected` by 32-byte key,
        believed in for `alive_s` seconds after their last answer. `query.choices(peer)`: what each would be asked,
        of which it has to speak one (its `protocol`)."""
        self._bounded = reach is not None
        if self._bounded:
            _load(&self._reach, reach)
        self._connected = connected
        self._alive_s = alive_s
        self._query = query

    cdef bint _is_alive(self, Candidate candidate, const fm_key *distance, double now) except -1:
        cdef PyObject *found
        cdef Connected known = candidate._known
        if self._bounded and fm_key_compare(distance, &self._reach) > 0:
            return False
        if known is None or now - known.answered_at > self._alive_s:  # perhaps there is a newer one
            found = PyDict_GetItem(self._connected, candidate.key)
            if found == NULL:
                return False
            known = <Connected?> <object> found
            if now - known.answered_at > self._alive_s:
                return False
            candidate._known = known
        if known.protocols is candidate._spoken:
            return True  # as before
        if candidate._choices is None:
            candidate._choices = self._query.choices(candidate.peer)
        for choice in candidate._choices:
            if choice.protocol in known.protocols:
                candidate.protocol = choice.protocol
                candidate._spoken = known.protocols
                return True
        return False


cdef class Closest:
    """Counts peers off in the order of their distance. `wants` a peer, then `take` it if it is there."""

    cdef Py_ssize_t _k, _most, _near, _diverse, _inside, _met, _blocks, _room
    cdef int64_t *_block
    cdef Py_ssize_t *_held

    def __cinit__(self, Py_ssize_t k, Py_ssize_t most):
        """`k`: how many of no crowd are wanted; `most` of one address block are none."""
        self._k, self._most = k, most

    def __dealloc__(self):
        free(self._block)
        free(self._held)

    cdef void _start(self, Py_ssize_t met) noexcept:
        """`met`: how many of the peers that follow are within reach, whether they count or not."""
        self._near = self._diverse = self._inside = self._blocks = 0
        self._met = met

    cdef Py_ssize_t _find(self, int64_t block) noexcept:
        cdef Py_ssize_t at
        for at in range(self._blocks):
            if self._block[at] == block:
                return at
        return -1

    cdef bint _sated(self) noexcept:
        """Enough of no crowd; and where far more are within reach than are expected there, as many beyond it."""
        return self._diverse >= self._k and not (self._is_surplus() and self._near - self._inside < self._k)

    cdef inline bint _is_surplus(self) noexcept:
        """Far more are within reach than are expected there."""
        return 2 * self._met > _SURPLUS_HALVES * self._k

    cdef bint _wants(self, int64_t block, bint within) noexcept:
        """Of which the block is looked at only beyond the nearest k; `within`: it is where all count."""
        cdef Py_ssize_t at
        if self._near < self._k:
            return True
        if not within and self._sated():
            return False
        if block == _NO_BLOCK:
            return True
        at = self._find(block)
        return at < 0 or self._held[at] < self._most

    cdef int _take(self, int64_t block, bint within) except -1:
        cdef Py_ssize_t at
        cdef void *grown
        self._near += 1
        self._inside += within
        if block == _NO_BLOCK:
            self._diverse += 1
            return 0
        at = self._find(block)
        if at < 0:
            if self._blocks == self._room:
                self._room = 2 * self._room if self._room else 32
                grown = realloc(self._block, self._room * sizeof(int64_t))
                if grown == NULL:
                    raise MemoryError
                self._block = <int64_t *> grown
                grown = realloc(self._held, self._room * sizeof(Py_ssize_t))
                if grown == NULL:
                    raise MemoryError
                self._held = <Py_ssize_t *> grown
            at = self._blocks
            self._blocks += 1
            self._block[at] = block
            self._held[at] = 0
        self._held[at] += 1
        if self._held[at] <= self._most:
            self._diverse += 1
        elif self._held[at] == self._most + 1:
            self._diverse -= self._most  # now it is a crowd
        return 0

    @property
    def is_full(self):
        """Nobody is wanted any more."""
        return self._sated()

    @property
    def is_crowded(self):
        """Somebody of a crowd is among those that count."""
        return self._near != self._diverse

    def wants(self, block) -> bool:
        """Whether the next one, of that address block (None: of none), counts."""
        return self._wants(_NO_BLOCK if block is None else _number(block), False)

    def take(self, block) -> None:
        """The next one counts."""
        self._take(_NO_BLOCK if block is None else _number(block), False)


cdef class Candidates:
    """Those of one lookup, at most `shortlist_size`, closest first; and the walk over them.

    `reach`: a 32-byte distance within which all of them count among the closest, but of one address block beyond the
    nearest k no more than of a crowd. If these are many more than k, as many as k beyond count, too. None: there is
    none.

    A walk: `begin`, then `next_to_query` until it returns None; each candidate that it returns is to be asked, by
    `query` or `Candidate.query_unresponsive`, before it goes on. Then `is_open` tells whether somebody is waited for,
    `is_cut` whether somebody would have to be asked beyond `max_asked`, `held_until` up to when a late one holds the
    end (None: none does), and `awaited_count` how many have to answer before a walk can find anything new; 0: it may.
    """

    cdef fm_key _target
    cdef fm_key *_distances
    cdef list _listed          # of Candidate
    cdef list _fresh           # of Candidate: those in their slot, alpha at most, in the order of asking
    cdef set _seen             # keys
    cdef PyObject **_met       # peers heard of, by their own place in memory: most are heard of again and again
    cdef Py_ssize_t _met_room, _met_count
    cdef object _block_of
    cdef dict _claims
    cdef Closest _chosen
    cdef Py_ssize_t _capacity, _k, _alpha, _beta, _min_queried, _max_asked
    cdef double _timeout_s
    cdef StateTable _table
    cdef public LivenessShortcut shortcut
    cdef fm_key _reach
    cdef bint _has_reach
    # of the walk
    cdef double _now, _slow_hold_s, _held_until
    cdef Py_ssize_t _at, _counted, _answered, _awaited, _asked, _within
    cdef readonly bint is_open, is_cut
    cdef Candidate _returned

    def __cinit__(self, bytes target not None, bytes local not None, config, StateTable table not None, block_of,
                  dict claims=None):
        """`local`: a 32-byte key that is never listed. `block_of(peer)`: its address block, None: none.

        `claims`, shared with other lookups for the same target: by key, the candidate of the one that asks."""
        self._capacity = config.shortlist_size
        if not 0 < self._capacity <= MAX_LISTED:
            raise ValueError(f"shortlist_size: 1..{MAX_LISTED} wanted, got {self._capacity}")
        _load(&self._target, target)
        self._distances = <fm_key *> malloc(self._capacity * sizeof(fm_key))
        self._met = <PyObject **> calloc(_FIRST_MET, sizeof(PyObject *))
        self._met_room = _FIRST_MET
        if self._distances == NULL or self._met == NULL:
            raise MemoryError
        self._listed, self._fresh, self._seen = [], [], {local}
        self._block_of = block_of
        self._claims = claims
        self._k, self._alpha, self._beta = config.k, config.alpha, config.beta
        self._min_queried, self._max_asked = config.min_queried, config.max_asked
        self._table = table
        self._timeout_s = config.request_timeout_s
        self._chosen = Closest(self._k, config.max_group_in_bucket)
        self._held_until = _NEVER

    def __dealloc__(self):
        cdef Py_ssize_t at
        if self._met != NULL:
            for at in range(self._met_room):
                Py_XDECREF(self._met[at])
        free(self._met)
        free(self._distances)

    # -- who is heard of -------------------------------------------------------------------------------------

    cdef bint _meet(self, object peer) except -1:
        """Whether this very object was not met before; it is kept."""
        cdef uint64_t mask = self._met_room - 1, at = (<uint64_t> <uintptr_t> <PyObject *> peer >> 4) & mask
        while self._met[at] != NULL:
            if self._met[at] == <PyObject *> peer:
                return False
            at = (at + 1) & mask
        if 2 * self._met_count >= self._met_room:
            self._make_room()
            return self._meet(peer)
        Py_INCREF(peer)
        self._met[at] = <PyObject *> peer
        self._met_count += 1
        return True

    cdef int _make_room(self) except -1:
        cdef Py_ssize_t room = 2 * self._met_room, old
        cdef uint64_t at
        cdef PyObject **grown = <PyObject **> calloc(room, sizeof(PyObject *))
        if grown == NULL:
            raise MemoryError
        for old in range(self._met_room):
            if self._met[old] != NULL:
                at = (<uint64_t> <uintptr_t> self._met[old] >> 4) & <uint64_t> (room - 1)
                while grown[at] != NULL:
                    at = (at + 1) & <uint64_t> (room - 1)
                grown[at] = self._met[old]
        free(self._met)
        self._met, self._met_room = grown, room
        return 0

    @property
    def reach(self):
        cdef uint8_t raw[32]
        cdef int at
        if not self._has_reach:
            return None
        for at in range(32):
            raw[at] = <uint8_t> (self._reach.w[at >> 3] >> (56 - 8 * (at & 7)) & 0xFF)
        return (<char *> raw)[:32]

    @reach.setter
    def reach(self, bytes distance):
        self._has_reach = distance is not None
        if self._has_reach:
            _load(&self._reach, distance)

    cdef Py_ssize_t _count_within(self) noexcept:
        """How many of the listed are within reach."""
        cdef Py_ssize_t at
        if not self._has_reach:
            return 0
        at = self._place(&self._reach)
        return at + (at < len(self._listed) and fm_key_compare(&self._distances[at], &self._reach) == 0)

    cdef Py_ssize_t _place(self, const fm_key *d) noexcept:
        """The first position whose distance is not below `d`."""
        cdef Py_ssize_t low = 0, high = len(self._listed), middle
        while low < high:
            middle = (low + high) >> 1
            if fm_key_compare(&self._distances[middle], d) < 0:
                low = middle + 1
            else:
                high = middle
        return low

    def add(self, peers, int hops) -> bool:
        """Peers heard of, `hops` away; known ones change nothing. Whether any was listed.

        One falls out of a full list for a newcomer: beyond the nearest k, the farthest of an address block with
        more listed than are none of a crowd, which would not count; or else the farthest. So ids in few blocks,
        however many, do not push out all others.
        """
        cdef bint listed = False
        cdef bytes key
        cdef fm_key d
        cdef Py_ssize_t at, size, known, out
        cdef Candidate candidate
        for peer in peers:
            if not self._meet(peer):
                continue
            key = peer.peer_id.key
            _load(&d, key)
            known = len(self._seen)
            self._seen.add(key)
            if len(self._seen) == known:
                continue
            fm_key_xor(&d, &d, &self._target)
            at, size = self._place(&d), len(self._listed)
            if size == self._capacity:
                out = self._surplus(self._block_number(peer), at)
                if out == size:
                    continue
                if out < at:
                    at -= 1
                self._drop(out)
                size -= 1
            candidate = Candidate.__new__(Candidate)
            candidate.peer, candidate.key, candidate.hops = peer, key, hops
            candidate.protocol = ""
            candidate._block = _UNKNOWN_BLOCK
            candidate._table = self._table
            candidate._enter(self._table._heard)
            memmove(&self._distances[at + 1], &self._distances[at], (size - at) * sizeof(fm_key))
            self._distances[at] = d
            self._listed.insert(at, candidate)
            listed = True
        return listed

    cdef Py_ssize_t _surplus(self, int64_t newcomer, Py_ssize_t place) except -1:
        """Which of a full list gives way to a newcomer of that block, which belongs there; its size: the newcomer."""
        cdef dict counts = {}
        cdef Py_ssize_t size = len(self._listed), rank, at
        cdef int64_t block
        if newcomer != _NO_BLOCK:
            counts[newcomer] = 1
        for one in self._listed:
            block = self._block(<Candidate> one)
            if block != _NO_BLOCK:
                counts[block] = counts.get(block, 0) + 1
        for rank in range(size, self._k - 1, -1):  # of all, the newcomer among them
            at = size if rank == place else rank - (rank > place)
            block = newcomer if at == size else self._block(<Candidate> self._listed[at])
            if block != _NO_BLOCK and <Py_ssize_t> counts[block] > self._chosen._most:
                return at
        return size - (place < size)

    cdef int _drop(self, Py_ssize_t at) except -1:
        memmove(&self._distances[at], &self._distances[at + 1], (len(self._listed) - at - 1) * sizeof(fm_key))
        del self._listed[at]
        return 0

    def fail(self, Candidate candidate not None) -> None:
        """No answer will come of it: it leaves the list."""
        cdef fm_key d
        cdef Py_ssize_t at
        candidate._enter(self._table._failure)
        _load(&d, candidate.key)
        fm_key_xor(&d, &d, &self._target)
        at = self._place(&d)
        if at < len(self._listed) and fm_key_compare(&self._distances[at], &d) == 0:
            self._drop(at)

    @property
    def heard_count(self) -> int:
        """Peers heard of so far, and the local one."""
        return len(self._seen)

    def listed(self) -> list:
        """All that are listed, closest first, in a new list."""
        return self._listed[:]

    # -- slots -----------------------------------------------------------------------------------------------

    @property
    def in_flight_count(self) -> int:
        """Slots taken: asked, and not late."""
        return len(self._fresh)

    def query(
        self, Candidate candidate not None, double now, bint connected, double soft_timeout_s, double hold_s
    ) -> None:
        """It is asked at `now`, and takes a slot until it is `soft_timeout_s` later; late, it holds the end until
        `hold_s` after `now`, or longer where others are slow."""
        candidate.queried_at = now
        candidate.connected = connected
        candidate._enter(self._table._query)
        candidate._late_at = now + soft_timeout_s
        candidate._hold_s = hold_s
        self._fresh.append(candidate)

    def free_slot(self, Candidate candidate not None) -> None:
        """Its slot, if it has one, is free."""
        cdef Py_ssize_t at
        for at in range(len(self._fresh)):
            if self._fresh[at] is candidate:
                del self._fresh[at]
                return

    def overdue(self, double now) -> list:
        """Those whose soft timeout has passed at `now`: they are late and have left their slots."""
        cdef list overdue = [one for one in self._fresh if (<Candidate> one)._late_at <= now]
        for one in overdue:
            (<Candidate> one)._enter(self._table._soft_timeout)
            self._fresh.remove(one)
        return overdue

    def next_timer(self, dict outstanding not None, held_until):
        """The first of when a slot is given on, the first of the `outstanding` in the order of asking is given up,
        and `held_until`; None: nothing is waited for."""
        cdef double when = INFINITY if held_until is None else held_until
        cdef PyObject *oldest
        cdef Py_ssize_t at = 0
        for one in self._fresh:
            when = min(when, (<Candidate> one)._late_at)
        if PyDict_Next(outstanding, &at, NULL, &oldest):
            when = min(when, (<Candidate?> <object> oldest).queried_at + self._timeout_s)
        return None if when == INFINITY else when

    # -- the walk --------------------------------------------------------------------------------------------

    cdef int64_t _block_number(self, peer) except -3:
        block = self._block_of(peer)
        return _NO_BLOCK if block is None else _number(block)

    cdef int64_t _block(self, Candidate candidate) except -3:
        if candidate._block == _UNKNOWN_BLOCK:
            candidate._block = self._block_number(candidate.peer)
        return candidate._block

    cdef inline bint _is_done(self) noexcept:
        """Whether those counted are all that count: enough of no crowd, and none within reach follows."""
        return self._chosen._sated() and self._at + 1 >= self._within

    def begin(self, double now, Py_ssize_t asked, slow_hold_s) -> None:
        """Walk again, with `asked` peers asked so far. `slow_hold_s`: how long after its query any late peer holds
        the end, as others were as slow; None: without end, since none has answered."""
        self._now, self._asked = now, asked
        self._slow_hold_s = _NEVER if slow_hold_s is None else slow_hold_s
        self._held_until = _NEVER
        self._at = self._counted = self._answered = self._awaited = 0
        self.is_open = self.is_cut = False
        self._returned = None
        self._within = self._count_within()
        self._chosen._start(self._within)

    @property
    def held_until(self):
        return None if self._held_until == _NEVER else self._held_until

    @property
    def awaited_count(self) -> int:
        return self._awaited if self._claims is None and self._beta >= self._k else 0

    cdef bint _holds(self, Candidate late) noexcept:
        """Whether a late peer holds the end: as long as others were slow, too, or nobody answered at all.

        One that was silent before never does.
        """
        cdef double until
        if self._slow_hold_s == _NEVER:
            return True
        if not late._hold_s:
            return False
        until = late.queried_at + min(max(late._hold_s, self._slow_hold_s), self._timeout_s)
        if until <= self._now:
            return False
        if self._held_until == _NEVER or until < self._held_until:
            self._held_until = until
        return True

    cdef bint _take_unqueried(self, Candidate candidate) except -1:
        """Whether it counts among the chosen without being asked. Past a crowd nobody does."""
        cdef Closest chosen = self._chosen
        if (self.shortcut is None or chosen._near != chosen._diverse
                or not self.shortcut._is_alive(candidate, &self._distances[self._at], self._now)):
            candidate._enter(self._table._doubt)  # also where it was vouched for before
            return False
        candidate._enter(self._table._shortcut)
        chosen._take(self._block(candidate), self._at < self._within)
        return True

    cdef Candidate _whoever_asks(self, Candidate listed):
        cdef PyObject *other = PyDict_GetItem(self._claims, listed.key)
        return listed if other == NULL else <Candidate?> <object> other

    def next_to_query(self):
        """Whom it is time to ask; None: nobody more."""
        cdef Candidate listed, candidate = self._returned
        cdef Closest chosen = self._chosen
        if candidate is not None:
            self._returned = None
            self._asked += 1
            if self._count(candidate):
                return None
            self._at += 1
        while self._at < len(self._listed):
            candidate = listed = <Candidate> self._listed[self._at]
            if chosen._near >= self._k and not chosen._wants(self._block(listed), self._at < self._within):
                if chosen._sated() and self._at >= self._within:
                    return None
                self._at += 1
                continue
            if self._claims is not None:
                candidate = self._whoever_asks(listed)
            if candidate._rule & _QUERYABLE:
                skippable = candidate._rule & _SKIPPABLE and self._counted >= self._min_queried
                if skippable and self._take_unqueried(candidate):
                    if self._is_done():
                        return None
                elif self._asked >= self._max_asked:
                    self.is_cut = True
                elif len(self._fresh) >= self._alpha:
                    self.is_open, self._awaited = True, 0
                    return None
                else:
                    self._returned = candidate
                    return candidate
            elif self._count(candidate):
                return None
            self._at += 1
        return None

    cdef bint _count(self, Candidate candidate) except -1:
        """What one that was asked means for the end; whether the walk ends with it."""
        cdef Closest chosen = self._chosen
        if candidate._rule & _MAY_HOLD:
            self.is_open = self._holds(candidate) or self.is_open
        if candidate._rule & _COUNTED:
            chosen._take(self._block(candidate), self._at < self._within)
            self._counted += 1
            if candidate._rule & _HAS_ANSWERED:
                self._answered += 1
            if candidate._rule & _AWAITED:
                self._awaited += 1
                self.is_open = True
            # Among a crowd, or within reach, beta answers are too few: they may all be an attacker's.
            return self._is_done() or (
                self._answered >= self._beta and not self.is_open
                and chosen._near == chosen._diverse and self._at + 1 >= self._within
                and not chosen._is_surplus()
            )
        return False

    # -- what was found --------------------------------------------------------------------------------------

    def closest(self, candidates=None) -> tuple:
        """The up to k closest that answered, or need not, as `Answered`; of these candidates instead, if any."""
        cdef list found = [], given = self._listed if candidates is None else candidates
        cdef Candidate candidate
        for one in given:
            candidate = <Candidate?> one
            if candidate._rule & _FOUND:
                found.append(_answered(candidate))
                if len(found) == self._k:
                    break
        return tuple(found)

    def closest_keys(self) -> list:
        """Their keys."""
        cdef list found = []
        for one in self._listed:
            if (<Candidate> one)._rule & _FOUND:
                found.append((<Candidate> one).key)
                if len(found) == self._k:
                    break
        return found

    def chosen(self, bint answered, candidates=None) -> list:
        """Those that count as the closest, of all that have not failed, or of those that answered or need not."""
        cdef list found = [], given = self._listed if candidates is None else candidates
        cdef Closest chosen = Closest(self._k, self._chosen._most)
        cdef Candidate candidate
        cdef Py_ssize_t met = 0
        cdef bint within = self._has_reach
        if within:
            for one in given:
                if not self._is_within(<Candidate?> one):
                    break
                met += 1
        chosen._start(met)
        for one in given:
            candidate = <Candidate?> one
            if within:
                within = self._is_within(candidate)
            if not within and chosen._sated():
                break
            if not candidate._rule & (_FOUND if answered else _PRESENT):
                continue
            if chosen._wants(self._block(candidate), within):
                chosen._take(self._block(candidate), within)
                found.append(candidate)
        return found

    cdef bint _is_within(self, Candidate candidate) except -1:
        cdef fm_key d
        _load(&d, candidate.key)
        fm_key_xor(&d, &d, &self._target)
        return fm_key_compare(&d, &self._reach) <= 0

    def storers(self, candidates=None) -> tuple:
        """As `Answered`: those that count as the closest of those that answered or need not."""
        return tuple([_answered(one) for one in self.chosen(True, candidates)])


cdef Answered _answered(Candidate candidate):
    cdef Answered answered = Answered.__new__(Answered)
    answered.peer, answered.protocol = candidate.peer, candidate.protocol
    return answered
