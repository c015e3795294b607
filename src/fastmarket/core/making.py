"""The operation of each command."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastmarket.core import commands as c
from fastmarket.core.operations import LookupOperation, OfferSearch, Operation
from fastmarket.core.registrations import Announcing, ManyRegistrations, Registration, RegistrationHost
from fastmarket.kad.jobs import Job
from fastmarket.kad.lookup.find_peer import FindPeerQuery


def make_operation(host: RegistrationHost, number: int, command: c.Command, now: float) -> Operation:
    """Makes the operation of a command. Raises CallerFault for its arguments, before anything has started."""
    return _MAKERS[type(command)](host, number, command, now)


def _make_registration(host: RegistrationHost, number: int, command: c.Register, now: float) -> Operation:
    if not host.batcher.is_idle:
        return Registration(host, number, command.timeout_s, command.terms)
    wanted = host.offers.register(command.terms, now, command.timeout_s)
    return Announcing(host, number, command.timeout_s, wanted, waits_for_all=False)


def _make_many(host: RegistrationHost, number: int, command: c.RegisterMany, now: float) -> Operation:
    return ManyRegistrations(host, number, command.timeout_s, command.terms)


def _make_withdrawal(host: RegistrationHost, number: int, command: c.Withdraw, now: float) -> Operation:
    wanted = host.offers.withdraw(command.content, command.user_id, now, command.timeout_s)
    return Announcing(host, number, command.timeout_s, wanted, waits_for_all=True)


def _make_search(host: RegistrationHost, number: int, command: c.FindOffers, now: float) -> Operation:
    return OfferSearch(host, number, command)


def _make_query(host: RegistrationHost, number: int, command: c.Command, now: float) -> Operation:
    return LookupOperation(host, number, _JOBS[type(command)](host, command, now))


def _put_value(host: RegistrationHost, command: c.PutValue, now: float) -> Job:
    engine = host.engine
    put = engine.put_value_once if command.once else engine.put_value
    job = put(command.key, command.value, now, command.quorum, command.timeout_s)
    if not command.once:
        host.records.mark_own(command.key, now)
    return job


def _find_peer(host: RegistrationHost, command: c.FindPeer, now: float) -> Job:
    query = FindPeerQuery(host.config.kad, command.peer_id)
    return host.engine.lookup_job(command.peer_id.raw, query, command.timeout_s)


def _bootstrap(host: RegistrationHost, command: c.Bootstrap, now: float) -> Job:
    host.note_joining()
    return host.engine.bootstrap(command.seeds, command.timeout_s)


_JOBS: Mapping[type[c.Command], Callable[[RegistrationHost, Any, float], Job]] = {
    c.PutValue: _put_value,
    c.GetValue: lambda host, one, now: host.engine.get_value(one.key, now, one.quorum, one.timeout_s),
    c.Provide: lambda host, one, now: host.engine.provide(one.key, now, one.timeout_s),
    c.FindProviders: lambda host, one, now: host.engine.find_providers(
        one.key, now, one.limit, one.timeout_s
    ),
    c.FindPeer: _find_peer,
    c.Closest: lambda host, one, now: host.engine.find_node(one.key, one.timeout_s),
    c.Bootstrap: _bootstrap,
}
_MAKERS: Mapping[type[c.Command], Callable[[RegistrationHost, int, Any, float], Operation]] = {
    c.Register: _make_registration,
    c.RegisterMany: _make_many,
    c.Withdraw: _make_withdrawal,
    c.FindOffers: _make_search,
    **dict.fromkeys(_JOBS, _make_query),
}
