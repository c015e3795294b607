"""Payments in headers of HTTP: x402 version 2, with the scheme "batch-settlement" on a network of our own.

Each header is base64 of a JSON object (x402 specification v2, transports-v2/http.md). What is ours stands in
`extra` and `payload`: whoever knows x402, and not the network, can read what is asked for, and cannot pay it.
"""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fastmarket.errors import PeerFault
from fastmarket.formats.identity import PeerId
from fastmarket.payments.reasons import Reason
from fastmarket.payments.session import KEY_BYTES
from fastmarket.payments.tab import MAX_SUM, is_currency

VERSION = 2
SCHEME = "batch-settlement"
NETWORK = "fastmarket:tab"
REQUIRED_HEADER = "PAYMENT-REQUIRED"
SIGNATURE_HEADER = "PAYMENT-SIGNATURE"
RESPONSE_HEADER = "PAYMENT-RESPONSE"
MAX_HEADER_CHARS = 12 * 1024
"""Of one header: an opening and a receipt with the largest RSA keys take 9 KiB."""

TIMEOUT_S = 60
"""Told as `maxTimeoutSeconds`, which x402 demands; a ticket is for one request, however late."""

MAX_PAYERS = 1024
"""Whose name stands encoded for the answers to them, 500 bytes each."""

_PROTOCOL = "payment"
# Of headers that each block has, written without a JSON encoder: that takes as long as all the rest.
_ACCEPTED = f'{{"x402Version":{VERSION},"accepted":{{"scheme":"{SCHEME}","network":"{NETWORK}"}}'
_TICKET_END = b'"}}'
_SUCCESS = f'{{"success":true,"transaction":"","network":"{NETWORK}"'


@dataclass(frozen=True, slots=True)
class Payment:
    """What a buyer sends with a request: a ticket, and as needed a receipt, and the opening of a session; b""
    for none."""

    ticket: bytes
    receipt: bytes = b""
    opening: bytes = b""


@dataclass(frozen=True, slots=True)
class TabState:
    """A tab as its seller sees it: the seq of the newest receipt that counts; the bytes that may be unpaid,
    those that are, and of these those of the offer in question; how many bytes the answer at hand costs."""

    seq: int = 0
    credit: int = 0
    unpaid: int = 0
    offer_unpaid: int = 0
    charged: int = 0


@dataclass(frozen=True, slots=True)
class PaymentTerms:
    """Why a request was not served, and what its seller asks for. `session_key`: an X25519 public key.
    `settlement`: what buyers make vouchers by, signed (`backing.sign_terms`); b"": it takes none."""

    reason: Reason
    seller: PeerId
    currency: str
    price: int
    session_key: bytes
    state: TabState
    settlement: bytes = b""


def _begun(text: str) -> str:
    """Base64 of the beginning of a JSON object, with spaces where they mean nothing: what follows is encoded
    apart."""
    return _text((text[:-1] + " " * (-len(text) % 3) + text[-1]).encode("ascii"))


def encode_payment(payment: Payment) -> str:
    """The value of PAYMENT-SIGNATURE."""
    if payment.ticket and not (payment.receipt or payment.opening):
        return _WITH_TICKET + _text(b2a_base64(payment.ticket, newline=False) + _TICKET_END)
    parts = ("ticket", payment.ticket), ("receipt", payment.receipt), ("opening", payment.opening)
    payload = ",".join([f'"{name}":"{_text(raw)}"' for name, raw in parts if raw])
    return _text(f'{_ACCEPTED},"payload":{{{payload}}}}}'.encode("ascii"))


def decode_payment(text: str) -> Payment:
    """Raises PeerFault."""
    if text.startswith(_WITH_TICKET) and (ticket := _ticket_alone(text)) is not None:
        return Payment(ticket)
    told = _decode(text)
    accepted, payload = _member(told, "accepted", dict), _member(told, "payload", dict)
    if accepted.get("scheme") != SCHEME or accepted.get("network") != NETWORK:
        raise PeerFault("another scheme or network", protocol=_PROTOCOL)
    return Payment(*(_raw(payload.get(name, "")) for name in ("ticket", "receipt", "opening")))


def _ticket_alone(text: str) -> bytes | None:
    """Of a payment as `encode_payment` writes it, without a JSON decoder; None: it is another one."""
    try:
        rest = a2b_base64(text[len(_WITH_TICKET) :], strict_mode=True)
        if len(text) > MAX_HEADER_CHARS or not rest.endswith(_TICKET_END):
            return None
        return a2b_base64(rest[: -len(_TICKET_END)], strict_mode=True)
    except ValueError:
        return None


def encode_terms(terms: PaymentTerms, url: str, amount: int) -> str:
    """The value of PAYMENT-REQUIRED, for a request for `url`, which costs `amount`."""
    state = terms.state
    extra = {
        "pricePerMb": str(terms.price),
        "sessionKey": _text(terms.session_key),
        **_state_fields(state),
    }
    if terms.settlement:
        extra["settlement"] = _text(terms.settlement)
    option = {
        "scheme": SCHEME,
        "network": NETWORK,
        "amount": str(amount),
        "asset": terms.currency,
        "payTo": str(terms.seller),
        "maxTimeoutSeconds": TIMEOUT_S,
        "extra": extra,
    }
    return _encode(
        {
            "x402Version": VERSION,
            "error": terms.reason.value,
            "resource": {"url": url},
            "accepts": [option],
        }
    )


def decode_terms(text: str) -> PaymentTerms:
    """Raises PeerFault."""
    told = _decode(text)
    option = _option(_member(told, "accepts", list))
    extra = _member(option, "extra", dict)
    currency, price = _member(option, "asset", str), _member(extra, "pricePerMb", str)
    key = _raw(_member(extra, "sessionKey", str))
    if not is_currency(currency):
        raise PeerFault("not the label of a currency", protocol=_PROTOCOL)
    if not (price.isascii() and price.isdecimal() and len(price) < 20 and int(price) <= MAX_SUM):
        raise PeerFault("not a price", protocol=_PROTOCOL)
    if len(key) != KEY_BYTES:
        raise PeerFault("not a session key", protocol=_PROTOCOL)
    try:
        reason, seller = Reason(told.get("error")), PeerId.from_text(_member(option, "payTo", str))
    except ValueError:
        raise PeerFault("no reason, or no peer id", protocol=_PROTOCOL) from None
    settlement = _raw(extra.get("settlement", ""))
    return PaymentTerms(reason, seller, currency, int(price), key, _state_of(extra), settlement)


def encode_state(state: TabState, payer: PeerId) -> str:
    """The value of PAYMENT-RESPONSE."""
    counts = (
        f'"seq":{state.seq},"credit":{state.credit},"unpaidBytes":{state.unpaid},'
        f'"offerUnpaidBytes":{state.offer_unpaid},"chargedBytes":{state.charged}}}}}}}'
    )
    return _paid_by(payer) + _text(counts.encode("ascii"))


@lru_cache(MAX_PAYERS)
def _paid_by(payer: PeerId) -> str:
    return _begun(f'{_SUCCESS},"payer":"{payer}","extensions":{{"tab":{{')


def decode_state(text: str) -> TabState:
    """Raises PeerFault."""
    return _state_of(_member(_member(_decode(text), "extensions", dict), "tab", dict))


def _state_fields(state: TabState) -> dict[str, int]:
    return {
        "seq": state.seq,
        "credit": state.credit,
        "unpaidBytes": state.unpaid,
        "offerUnpaidBytes": state.offer_unpaid,
        "chargedBytes": state.charged,
    }


def _state_of(told: dict[str, Any]) -> TabState:
    names = ("seq", "credit", "unpaidBytes", "offerUnpaidBytes", "chargedBytes")
    values = [_member(told, name, int) for name in names]
    if any(isinstance(one, bool) or not 0 <= one <= MAX_SUM for one in values):
        raise PeerFault("a number is outside 0..2**63-1", protocol=_PROTOCOL)
    return TabState(*values)


def _option(accepts: list[Any]) -> dict[str, Any]:
    for option in accepts:
        if isinstance(option, dict) and (option.get("scheme"), option.get("network")) == (SCHEME, NETWORK):
            return option
    raise PeerFault("no way of paying that is ours", protocol=_PROTOCOL)


def _encode(told: dict[str, Any]) -> str:
    return _text(json.dumps(told, separators=(",", ":")).encode())


def _decode(text: str) -> dict[str, Any]:
    if len(text) > MAX_HEADER_CHARS:
        raise PeerFault(f"a header of more than {MAX_HEADER_CHARS} characters", protocol=_PROTOCOL)
    try:
        told = json.loads(_raw(text))
    except (ValueError, RecursionError):
        raise PeerFault("not base64 of JSON", protocol=_PROTOCOL) from None
    if not isinstance(told, dict) or told.get("x402Version", VERSION) != VERSION:
        raise PeerFault("not x402 of version 2", protocol=_PROTOCOL)
    return told


def _member(told: dict[str, Any], name: str, kind: type) -> Any:
    value = told.get(name)
    if not isinstance(value, kind):
        raise PeerFault(f"no {name}", protocol=_PROTOCOL)
    return value


def _text(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode("ascii")


def _raw(text: object) -> bytes:
    if not isinstance(text, str) or not text.isascii():
        raise PeerFault("not base64", protocol=_PROTOCOL)
    try:
        return a2b_base64(text, strict_mode=True)
    except ValueError:
        raise PeerFault("not base64", protocol=_PROTOCOL) from None


_WITH_TICKET = _begun(f'{_ACCEPTED},"payload":{{"ticket":"')
