"""What the operator says of a chain, in TOML: --settlement x402=FILE."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from fastmarket.errors import CallerFault
from fastmarket.settlement.x402.channels import MAX_NOTICE_S, MIN_NOTICE_S
from fastmarket.settlement.x402.encoding import MAX_UINT128, address_of

FIELD = "settlement"
BLOCKS = ("latest", "safe", "finalized")
MAX_FILE_BYTES = 1 << 16
_GWEI = 10**9


@dataclass(frozen=True, slots=True)
class X402Settings:
    """The settings; addresses have 20 bytes."""

    rpc: str = field(repr=False)  # URL of a node of the chain; it may have a key in it
    chain_id: int
    contract: bytes
    token: bytes
    key: Path  # file with the private key, which signs vouchers, and pays for claims
    receiver: bytes | None = None  # who is paid; None: the owner of the key
    units: int = 1  # of the token, in its smallest unit, for one unit of the currency
    # How long before the end of a withdrawal it has to be begun: a buyer's deposit for less is not taken
    notice_s: int = 86_400
    max_notice_s: int = 7 * 86_400  # as a buyer: no vouchers for sellers that ask for more
    block: str = "latest"  # up to which deposits are believed; one of BLOCKS
    max_fee_gwei: int = 100  # for a unit of gas: at more nothing is claimed
    claim_min: int = 1  # of the token: less is left for a later claim

    @property
    def max_fee(self) -> int:
        """In wei."""
        return self.max_fee_gwei * _GWEI


def read_settings(path: Path | None) -> X402Settings:
    """Raises CallerFault("settlement") that names the file and its line's key."""
    if path is None:
        raise CallerFault(FIELD, "x402 needs a file with its settings: x402=FILE")
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES)
        document = tomllib.loads(raw.decode())
    except OSError as error:
        raise CallerFault(FIELD, f"cannot read {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CallerFault(FIELD, f"{path} is not TOML: {error}") from None
    try:
        return _settings(document, path.parent)
    except CallerFault as fault:
        raise CallerFault(FIELD, f"{path}: {fault.field}: {fault.reason}") from None


def _settings(document: dict[str, Any], directory: Path) -> X402Settings:
    rows = {one.name: one for one in fields(X402Settings)}
    for name in document:
        if name not in rows:
            raise CallerFault(name, "there is no such setting")
    for name, one in rows.items():
        if one.default is MISSING and name not in document:
            raise CallerFault(name, "is missing")
    values: dict[str, Any] = dict(document)
    for name in ("contract", "token", "receiver"):
        if name in values:
            values[name] = address_of(values[name], name)
    for name, (low, high) in _RANGES.items():
        value = values.get(name, rows[name].default)
        if type(value) is not int or not low <= value <= high:
            raise CallerFault(name, f"expects a number from {low} to {high}, not {value!r}")
    for name in ("rpc", "key"):
        if not isinstance(values[name], str) or not values[name]:
            raise CallerFault(name, "expects a text")
    if values.get("block", BLOCKS[0]) not in BLOCKS:
        raise CallerFault("block", f"expects one of {', '.join(BLOCKS)}")
    values["key"] = directory / values["key"]
    return X402Settings(**values)


_RANGES = {
    "chain_id": (1, (1 << 63) - 1),
    "units": (1, 10**30),
    "notice_s": (MIN_NOTICE_S, MAX_NOTICE_S),
    "max_notice_s": (MIN_NOTICE_S, MAX_NOTICE_S),
    "max_fee_gwei": (1, 10**9),
    "claim_min": (1, MAX_UINT128),
}
