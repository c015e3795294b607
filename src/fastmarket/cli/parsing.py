"""Parsers of settings, from an option's or variable's text or a TOML value. Each raises ValueError."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from fastmarket.cli.places import expanded
from fastmarket.config.payments import CreditPolicy
from fastmarket.errors import CallerFault
from fastmarket.formats.multiaddr import Multiaddr
from fastmarket.payments.tab import MAX_CURRENCY_CHARS, MAX_SUM, is_currency

MAX_PORT = 65535
MAX_PATHS = 16  # per lookup: more would leave each only two or three peers to start from
MAX_FRESH_S = 60.0  # longer would send buyers to holders that withdrew their offer
MAX_KEEP_ALIVE_S = 3600  # idle connections count against the limit
MAX_PREFIX_CHARS = 128  # well below multistream's 1024 bytes; people read protocol ids
_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+")
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")
_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"0", "false", "no", "off", ""})
_FACTORS = {"": 1, "k": 1000, "M": 1_000_000, "G": 1_000_000_000}
_EXPECTS = "expects {}, not {!r}"


def parse_port(raw: object) -> int:
    """0 (any free port) to 65535; raises ValueError."""
    text = str(raw)
    if isinstance(raw, bool) or not re.fullmatch(r"[0-9]{1,9}", text) or int(text) > MAX_PORT:
        raise ValueError(f"expects a port from 0 to {MAX_PORT}, not {text!r}")
    return int(text)


def parse_text(raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError(_EXPECTS.format("a text", raw))
    return raw.strip()


def parse_host(raw: object) -> str:
    text = parse_text(raw)
    if not _HOST.fullmatch(text):
        raise ValueError(_EXPECTS.format("an IP address or a host name", raw))
    return text


def parse_bytes(raw: object) -> int:
    """A number of bytes, in powers of 1000: `250000`, `250kB`, `10MB`, `1GB`."""
    match = re.fullmatch(r"([0-9]{1,15}) ?([kMG]?)B?", str(raw))
    if isinstance(raw, bool) or match is None:
        raise ValueError(_EXPECTS.format("bytes, as 500kB or 10MB", raw))
    return int(match[1]) * _FACTORS[match[2]]


def parse_credit(raw: object) -> int:
    """Bytes of a credit, which no block may exceed."""
    policy = CreditPolicy()
    count = parse_bytes(raw)
    if not policy.min_bytes <= count <= policy.max_bytes:
        raise ValueError(_EXPECTS.format(f"{policy.min_bytes} to {policy.max_bytes} bytes", raw))
    return count


def parse_currency(raw: object) -> str:
    """The label of a currency."""
    text = parse_text(raw)
    if not is_currency(text):
        raise ValueError(_EXPECTS.format(f"1 to {MAX_CURRENCY_CHARS} printable characters of ASCII", raw))
    return text


def parse_budget(raw: object) -> int:
    """Whole units of a currency."""
    if isinstance(raw, bool) or not re.fullmatch(r"[0-9]{1,19}", str(raw)) or int(str(raw)) > MAX_SUM:
        raise ValueError(_EXPECTS.format(f"whole units from 0 to {MAX_SUM}", raw))
    return int(str(raw))


def parse_directories(raw: object) -> tuple[str, ...]:
    """Absolute paths of directories, which need not exist yet; in one text separated as in PATH."""
    found = raw.split(os.pathsep) if isinstance(raw, str) else texts(raw)
    return tuple(str(expanded(text).absolute()) for text in found if text)


def parse_chunker(raw: object) -> int:
    """`size-262144`, as `ipfs add --chunker` takes it: the bytes of a chunk."""
    match = re.fullmatch(r"size-([0-9]{1,9})", parse_text(raw))
    if match is None or not int(match[1]):
        raise ValueError(_EXPECTS.format("size-N, with N bytes", raw))
    return int(match[1])


def parse_flag(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    text = str(raw).strip().lower()
    if text not in _YES | _NO:
        raise ValueError(_EXPECTS.format("true or false", raw))
    return text in _YES


def parse_switch(raw: object) -> str:
    """What is done where it is of use, always, or never: `auto`, `on`, `off`."""
    text = str(raw).strip().lower()
    if text not in {"auto", *_YES, *_NO}:
        raise ValueError(_EXPECTS.format("auto, on or off", raw))
    return text if text == "auto" else ("off", "on")[text in _YES]


def parse_path(raw: object) -> Path:
    return expanded(parse_text(raw))


def parse_mode(raw: object) -> str:
    """A file mode in octal digits. Numbers are rejected: TOML's 444 would not be 0444."""
    if not isinstance(raw, str) or not re.fullmatch(r"0?[0-7]{3}", raw.strip()):
        raise ValueError(f"expects octal digits such as 0440, not {raw!r}")
    return raw.strip().zfill(4)


def parse_paths(raw: object) -> int:
    text = str(raw)
    if isinstance(raw, bool) or not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= MAX_PATHS:
        raise ValueError(f"expects a number from 1 to {MAX_PATHS}, not {text!r}")
    return int(text)


def parse_fresh(raw: object) -> float:
    try:
        seconds = -1.0 if isinstance(raw, bool) else float(str(raw))
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= MAX_FRESH_S:
        raise ValueError(f"expects seconds from 0 to {MAX_FRESH_S:g}, not {str(raw)!r}")
    return seconds


def parse_keep_alive(raw: object) -> int:
    text = str(raw)
    number = re.fullmatch(r"[0-9]{1,5}", text)
    if isinstance(raw, bool) or number is None or not 0 < int(text) <= MAX_KEEP_ALIVE_S:
        raise ValueError(f"expects whole seconds from 1 to {MAX_KEEP_ALIVE_S}, not {text!r}")
    return int(text)


def parse_names(raw: object) -> tuple[str, ...]:
    """Host names, in lower case."""
    found = tuple(name.lower().rstrip(".") for name in texts(raw))
    for name in found:
        if not re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", name):
            raise ValueError(_EXPECTS.format("a host name such as node.example.org", name))
    return found


def parse_prefix(raw: object) -> str:
    text = parse_text(raw)
    if len(text) > MAX_PREFIX_CHARS or not _PREFIX.fullmatch(text):
        raise ValueError(_EXPECTS.format("a path such as /fastmarket", text))
    return text


def parse_store(raw: object) -> str:
    """Checks only the form, and never repeats the value: it may contain a password."""
    text = parse_text(raw)
    if not re.fullmatch(r"(redis|valkey)s?://\S+", text):
        raise ValueError("expects redis://HOST:PORT,... (rediss:// for TLS)")
    return text


def parse_http_url(raw: object) -> str:
    text = parse_text(raw)
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", text):
        raise ValueError("expects http://HOST:PORT")
    return text


def one_of(*words: str) -> Callable[[object], str]:
    def parse(raw: object) -> str:
        text = parse_text(raw).lower()
        if text not in words:
            raise ValueError(_EXPECTS.format(" or ".join(words), raw))
        return text

    return parse


def texts(raw: object) -> tuple[str, ...]:
    """A list, or one text whose items are separated by commas or blanks."""
    if isinstance(raw, str):
        return tuple(raw.replace(",", " ").split())
    if not isinstance(raw, list | tuple):
        raise ValueError(_EXPECTS.format("a multiaddr or a list of them", raw))
    return tuple(parse_text(item) for item in raw)


def parse_listen(raw: object) -> tuple[str, ...]:
    found = texts(raw)
    if not found:
        raise ValueError("names no address")
    for text in found:
        address = multiaddr(text)
        endpoint = address.host_port()
        if endpoint is None or endpoint.kind not in ("ip4", "ip6") or address.peer_id is not None:
            raise ValueError(
                f"cannot listen on {text!r}; expects /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT"
            )
    return found


def parse_announce(raw: object) -> tuple[str, ...]:
    found = texts(raw)
    for text in found:
        address = multiaddr(text)
        endpoint = address.host_port()
        if not address.is_dnsaddr and (endpoint is None or endpoint.port == 0):
            raise ValueError(f"cannot be dialed: {text!r}; expects /ip4|ip6|dns/HOST/tcp/PORT")
        _check_place(text, address)
    return found


def parse_bootstrap(raw: object) -> tuple[str, ...]:
    found = texts(raw)
    for text in found:
        address = multiaddr(text)
        if address.peer_id is None:
            raise ValueError(f"{text!r} does not end in /p2p/PEER_ID")
        if address.host_port() is None and not address.is_dnsaddr:
            raise ValueError(f"cannot dial {text!r}; expects /ip4|ip6|dns/HOST/tcp/PORT/p2p/PEER_ID")
        _check_place(text, address)
    return found


def _check_place(text: str, address: Multiaddr) -> None:
    """Rejects 0.0.0.0, [::] and port 0, copied from --listen: they cannot be dialed."""
    from fastmarket.libp2p.peerstore import worth_keeping

    if not worth_keeping(address):
        raise ValueError(f"cannot be dialed: {text!r}; give an address where others reach the node")


def multiaddr(text: str) -> Multiaddr:
    try:
        return Multiaddr.from_text(text)
    except CallerFault as fault:
        raise ValueError(f"{text!r} is not a multiaddr ({fault.reason})") from None
