"""Asks holders whether they are there: a HEAD of the root block, to many at once, within a second."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from fastmarket.config import HolderConfig
from fastmarket.errors import CallerFault, NetworkFault, PeerFault
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.formats.cid import Cid, Codec, cid_form
from fastmarket.net.clock import Clock
from fastmarket.net.fetching.http_call import HttpCall
from fastmarket.net.fetching.http_connection import HttpConnection
from fastmarket.net.fetching.http_dialer import HttpDialer
from fastmarket.net.fetching.http_holder import MISSING
from fastmarket.net.fetching.http_target import HttpTarget
from fastmarket.net.fetching.sources import target_of
from fastmarket.net.gateways import gateway_url
from fastmarket.offers.model.offer import Offer

_HERE = frozenset((200, 204))


class HolderLiveness(IntEnum):
    """What a probe found; numbers as in proto/fastmarket/v1/market.proto."""

    LIVE = 1  # it has the content
    MISSING = 2  # it answered that it has not
    SILENT = 3  # it did not answer, or not as a gateway does


@dataclass(frozen=True, slots=True)
class Probe:
    """The outcome for one place. `took_ms`: from the start of the dial to the answer; 0 without one.
    `is_ours`: we had no connection left, or too little time, so its silence says nothing of the holder."""

    liveness: HolderLiveness
    took_ms: int = 0
    is_ours: bool = False


class Prober:
    """Shares the connections of a node's fetches, and what they know of holders."""

    def __init__(
        self, dialer: HttpDialer, config: HolderConfig, clock: Clock, history: HolderHistory | None = None
    ) -> None:
        """`history` learns who answers."""
        self._history = history
        self._dialer = dialer
        self._config = config
        self._clock = clock

    async def probe(self, offers: Sequence[Offer], within_s: float) -> Mapping[str, Probe]:
        """Probes the places of offers for one content, the first `max_holders` of them, each once.

        The result is by `gateway_url`; offers that name no place are left out. Returns when all have
        answered, after `within_s` or the configured time at the latest.
        """
        places = dict.fromkeys(url for offer in offers if (url := gateway_url(offer)))
        chosen = list(places)[: self._config.max_holders]
        if not chosen:
            return {}
        cid = _root_of(offers[0])
        tasks = {url: asyncio.ensure_future(self._probe(url, cid)) for url in chosen}
        timeout_s = min(within_s, self._config.probe_timeout_s)
        try:
            await asyncio.wait(tasks.values(), timeout=timeout_s)
        finally:
            for task in tasks.values():
                task.cancel()
            await asyncio.gather(*tasks.values(), return_exceptions=True)
        hasty = timeout_s < self._config.probe_timeout_s
        found = {url: _outcome(task, hasty) for url, task in tasks.items()}
        self._remember(offers, found)
        return found

    def _remember(self, offers: Sequence[Offer], found: Mapping[str, Probe]) -> None:
        if self._history is None:
            return
        seen: dict[bytes, set[HolderLiveness]] = {}
        for offer in offers:
            probe = found.get(gateway_url(offer))
            if probe is not None and not probe.is_ours:
                seen.setdefault(offer.provider.raw, set()).add(probe.liveness)
        now = self._clock.now()
        for provider, outcomes in seen.items():  # one of several places that answers is enough
            is_there = HolderLiveness.LIVE in outcomes
            silent = not is_there and HolderLiveness.SILENT in outcomes
            self._history.on_probe(provider, now, silent=silent, missing=not (is_there or silent))

    async def _probe(self, url: str, cid: bytes) -> Probe:
        began = self._clock.now()
        try:
            target = target_of(url)
        except CallerFault:
            return Probe(HolderLiveness.SILENT)
        if not self._dialer.take():
            return Probe(HolderLiveness.SILENT, is_ours=True)
        call = HttpCall()
        connection: HttpConnection | None = None
        try:
            connection = await self._dial(target, call)
            connection.send(target.request(cid, is_head=True), 0, is_head=True)
            response = await call.answer
        except (NetworkFault, PeerFault):
            return Probe(HolderLiveness.SILENT)
        finally:
            if connection is not None:
                connection.close()
            self._dialer.release()
        took_ms = max(1, round((self._clock.now() - began) * 1000))
        if response.status in _HERE:
            return Probe(HolderLiveness.LIVE, took_ms)
        return Probe(HolderLiveness.MISSING if response.status in MISSING else HolderLiveness.SILENT, took_ms)

    async def _dial(self, target: HttpTarget, call: HttpCall) -> HttpConnection:
        return await self._dialer.connect(target, await self._dialer.addresses(target), call)


def _root_of(offer: Offer) -> bytes:
    """The binary CID to ask for. Of a content without a known codec, the one of a file, which is also the
    most usual; a gateway finds blocks by multihash."""
    form = offer.form or cid_form(1, Codec.DAG_PB, offer.content)
    return Cid(*(form or (1, Codec.RAW)), offer.content).raw


def _outcome(task: asyncio.Task[Probe], hasty: bool) -> Probe:
    if task.cancelled() or task.exception() is not None:
        return Probe(HolderLiveness.SILENT, is_ours=hasty)
    return task.result()
