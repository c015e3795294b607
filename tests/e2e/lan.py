"""`python -m tests.e2e.lan MDNS SECONDS`: two servers in the namespace that this runs in, which gets a link.

Prints whom each of them knows, as JSON, when both know somebody or the deadline has passed, and how many UDP
packets were sent."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from fastmarket.cli.processes import ServerProcess, environment, executable

LINK = """link set lo up
link add lan0 type veth peer name lan1
addr add 10.77.0.1/24 dev lan0
link set lan0 up
link set lan1 up"""
LOOK_S = 0.1


def peers(server: ServerProcess) -> list[str]:
    command = [*executable("fastmarket-client"), "-p", server.port, "peers", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment())
    return [f"{peer['peer_id']} {' '.join(peer['addrs'])}" for peer in json.loads(done.stdout)["peers"]]


def datagrams() -> int:
    """UDP packets that left this namespace's programs."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if "Udp:" in line
    )
    return int(values[names.index("OutDatagrams")])


def main(mdns: str, deadline_s: float) -> None:
    for line in LINK.splitlines():
        subprocess.run(["ip", *line.split()], check=True)
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        arguments = ("-p", "0", "-l", "/ip4/0.0.0.0/tcp/0", "--ephemeral", "--mdns", mdns)
        servers = [
            stack.enter_context(ServerProcess(name, arguments, Path(directory)))
            for name in ("first", "second")
        ]
        for server in servers:
            server.wait_ready()
        deadline = time.monotonic() + deadline_s
        while not all(found := [peers(server) for server in servers]) and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        ids = [server.ready["peer_id"] for server in servers]
        print(json.dumps({"ids": ids, "known": found, "datagrams": datagrams()}))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
