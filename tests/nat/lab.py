"""Networks made of Linux namespaces: hosts, routers of each kind, a real miniupnpd. No route leads out.

Addresses of the Internet are from 11.0.0.0/8, which nodes take for public ones, as they do not the addresses
that are reserved for examples.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

wants_namespaces = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("nft")),
    reason="wants root, ip and nft, to make networks of its own",
)
wants_miniupnpd = pytest.mark.skipif(shutil.which("miniupnpd") is None, reason="wants miniupnpd")

_CLONE_NEWNET = 0x40000000  # setns(2)
_numbers = itertools.count()
SELLER, HOME = "192.168.7.2", "192.168.7.1"  # behind the router, and its address there
OUTSIDE = "11.0.0.2"  # the router's
STRANGER, OTHER = "11.0.0.1", "11.0.0.3"  # two hosts in one namespace
NET6, STRANGER6, OUTSIDE6 = "2600:7::", "2600:1::1", "2600:1::2"
SELLER6, HOME6, LINK6 = f"{NET6}2", f"{NET6}1", "fe80::1"
WAIT_S = 20.0

# What a router does to connections of its own network; in the words of RFC 3489.
ROUTED = """table inet filter {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "lan" accept
    jump miniupnpd
    %s
  }
  chain miniupnpd { }
  chain prerouting {
    type nat hook prerouting priority -100; policy accept;
    jump prerouting_miniupnpd
    %s
  }
  chain postrouting {
    type nat hook postrouting priority 100; policy accept;
    jump postrouting_miniupnpd
    %s
  }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
  set seen { type ipv4_addr; flags dynamic,timeout; timeout 1m; }
  set open { type inet_service; flags dynamic,timeout; timeout 1m; }
}"""
_TAKEN = f'iifname "wan" meta l4proto {{ tcp, udp }} th dport @open %s dnat ip to {SELLER}'
_NOTED = 'oifname "wan" meta l4proto { tcp, udp } update @open { th sport } update @seen { ip daddr }'


class Lab:
    """Namespaces of one test, by short names of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._prefix = f"fm{os.getpid()}-{next(_numbers)}-"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._made: list[str] = []

    def namespace(self, name: str) -> str:
        full = self._prefix + name
        subprocess.run(["ip", "netns", "add", full], check=True)
        self._made.append(full)
        self.ip(name, "link set lo up")
        return full

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for name in self._made:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def through(self, name: str) -> list[str]:
        """The beginning of a command that runs there."""
        program = shutil.which("ip")
        assert program is not None
        return [program, "netns", "exec", self._prefix + name]

    def run(self, name: str, *command: str, text: str | None = None) -> str:
        done = subprocess.run(
            [*self.through(name), *command], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def ip(self, name: str, arguments: str) -> None:
        subprocess.run(["ip", "-n", self._prefix + name, *arguments.split()], check=True)

    def nft(self, name: str, rules: str) -> None:
        self.run(name, "nft", "-f", "-", text=rules)

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """A program that is ended with the lab."""
        log = (self.directory / f"{Path(command[0]).name}-{len(self._processes)}.log").open("wb")
        with log:
            process = subprocess.Popen([*self.through(name), *command], stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def link(self, one: str, its: str, other: str, others: str, end: str = "lan", far: str = "lan") -> None:
        """A cable between two namespaces; `its`, `others`: the addresses at its ends, with their length."""
        ends = self._prefix + one, self._prefix + other
        command = ["ip", "link", "add", end, "netns", ends[0], "type", "veth", "peer", "name", far]
        subprocess.run([*command, "netns", ends[1]], check=True)
        for name, interface, address in ((one, end, its), (other, far, others)):
            # No waiting for duplicates of an IPv6 address: nobody else is there.
            self.ip(name, f"addr add {address} dev {interface}" + (" nodad" if ":" in address else ""))
            self.ip(name, f"link set {interface} up")

    def socket(self, name: str, kind: socket.SocketKind = socket.SOCK_DGRAM) -> socket.socket:
        """A socket of this process in that namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as ours, open(f"/run/netns/{self._prefix}{name}") as theirs:
            assert libc.setns(theirs.fileno(), _CLONE_NEWNET) == 0
            try:
                return socket.socket(socket.AF_INET, kind)
            finally:
                assert libc.setns(ours.fileno(), _CLONE_NEWNET) == 0


@contextmanager
def lab(directory: Path) -> Iterator[Lab]:
    made = Lab(directory)
    try:
        yield made
    finally:
        made.close()


def home(made: Lab, router: str = "router", outside: str = OUTSIDE, provider: str = STRANGER) -> None:
    """A seller behind a router, and strangers outside, who have no way in."""
    for name in ("seller", router, "world"):
        made.namespace(name)
    made.link("seller", f"{SELLER}/24", router, f"{HOME}/24")
    made.link("world", f"{provider}/24", router, f"{outside}/24", "wan", "wan")
    made.ip("seller", f"route add default via {HOME}")
    if provider == STRANGER:
        made.ip("world", f"addr add {OTHER}/24 dev wan")
    made.run(router, "sysctl", "-qw", "net.ipv4.ip_forward=1")


def ipv6(made: Lab, router: str = "router") -> None:
    """Public addresses behind it, which nobody outside gets to: what `ROUTED` forwards is no wider for them.
    The default route leads to a link-local address, as router advertisements have it."""
    for name in ("seller", router, "world"):
        made.run(name, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0")
    for name, address, interface in (
        ("seller", f"{SELLER6}/64", "lan"),
        (router, f"{HOME6}/64", "lan"),
        (router, f"{LINK6}/64", "lan"),
        (router, f"{OUTSIDE6}/64", "wan"),
        ("world", f"{STRANGER6}/64", "wan"),
    ):
        made.ip(name, f"addr add {address} dev {interface} nodad")
    made.run(router, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    made.ip("seller", f"-6 route add default via {LINK6} dev lan")
    made.ip("world", f"-6 route add {NET6}/64 via {OUTSIDE6}")


# -- kinds of routers


def port_restricted(made: Lab, router: str = "router", hairpin: bool = False) -> None:
    """Keeps ports, lets in what answers. Most home routers."""
    inside = f"{HOME.rpartition('.')[0]}.0/24"
    back = f"ip saddr {inside} ip daddr {inside} masquerade" if hairpin else ""
    made.nft(
        router,
        ROUTED
        % ('iifname "lan" oifname "lan" accept', "", f'{back}\noifname "wan" meta nfproto ipv4 masquerade'),
    )
    if hairpin:
        rule = f'add rule inet filter prerouting iifname "lan" ip daddr {OUTSIDE} dnat ip to {SELLER}'
        made.nft(router, rule)


def address_restricted(made: Lab, router: str = "router") -> None:
    """Lets in whatever host was sent something, from any of its ports."""
    taken = _TAKEN % "ip saddr @seen"
    made.nft(router, ROUTED % ("ct status dnat accept", taken, f"{_NOTED} masquerade"))


def full_cone(made: Lab, router: str = "router") -> None:
    """Lets in everybody at a port that something was sent from."""
    made.nft(router, ROUTED % ("ct status dnat accept", _TAKEN % "", f"{_NOTED} masquerade"))


def symmetric(made: Lab, router: str = "router") -> None:
    """Another outside port for each destination."""
    # Of `to :PORTS`, nftables needs the range; `fully-random` keeps it from keeping ports.
    rule = 'oifname "wan" meta l4proto { tcp, udp } masquerade to :1024-65535 fully-random'
    made.nft(router, ROUTED % ("", "", rule))


def loses(made: Lab, name: str, percent: int = 1) -> None:
    """Drops so many of the packets that pass that router."""
    made.nft(
        name,
        "table inet loss { chain forward { type filter hook forward priority -10; policy accept;"
        f" numgen random mod 100 < {percent} drop; }}\n}}\n",
    )


def delays(made: Lab, name: str, interface: str, delay_ms: int = 40) -> None:
    """Each packet sent there takes longer. Skips without netem in the kernel."""
    command = ["tc", "qdisc", "add", "dev", interface, "root", "netem", "delay", f"{delay_ms}ms"]
    done = subprocess.run([*made.through(name), *command], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this kernel has no netem")


class Miniupnpd:
    """A real one in a router that keeps ports; its age counts from its start, as with a router that boots."""

    def __init__(self, made: Lab, upnp: bool = True, natpmp: bool = True, router: str = "router") -> None:
        self._lab, self._router = made, router
        self._conf = made.directory / "miniupnpd.conf"
        lines = (
            *("ext_ifname=wan", "listening_ip=lan", "system_uptime=no"),
            *(f"enable_upnp={'yes' if upnp else 'no'}", f"enable_natpmp={'yes' if natpmp else 'no'}"),
            *("uuid=11111111-2222-3333-4444-555555555555", "allow 1024-65535 0.0.0.0/0 1024-65535"),
        )
        self._conf.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        pid = self._lab.directory / "miniupnpd.pid"
        pid.unlink(missing_ok=True)  # with that of another one it says nothing and ends
        command = ("miniupnpd", "-d", "-f", str(self._conf), "-P", str(pid))
        self._process = self._lab.start(self._router, *command)
        wait_until(lambda: pid.exists() and pid.stat().st_size > 0, "miniupnpd has begun")

    def stop(self) -> None:
        """Its mappings go with it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(WAIT_S)
        self._lab.run(self._router, "nft", "flush", "chain", "inet", "filter", "prerouting_miniupnpd")

    def mapped(self) -> str:
        """Its rules."""
        return "\n".join(
            line.strip()
            for line in self._lab.run(
                self._router, "nft", "list", "chain", "inet", "filter", "prerouting_miniupnpd"
            ).splitlines()
            if "dnat" in line
        )


def wait_until(is_true: object, what: str, deadline_s: float = WAIT_S) -> float:
    """Seconds until it was true."""
    assert callable(is_true)
    began = time.monotonic()
    while not is_true():
        assert time.monotonic() - began < deadline_s, f"not within {deadline_s:g} s: {what}"
        time.sleep(0.05)
    return time.monotonic() - began


def received(inbox: socket.socket, timeout_s: float = 0.3) -> tuple[str, int] | None:
    """From where the next datagram came; None: none did."""
    inbox.settimeout(timeout_s)
    with suppress(TimeoutError):
        host, port = inbox.recvfrom(100)[1]
        return str(host), int(port)
    return None
