#!/usr/bin/env bash
# python-zeroconf 0.154.0 and an answer as libp2p's mDNS specification has it: PTR and TXT, without SRV and address
# records. AsyncServiceInfo.async_request returns False, and only after its whole timeout, although the TXT record
# came at once and stands in `text`: who trusts the result never meets such a peer, and who waits meets it late.
# In a network namespace of its own; nothing leaves it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check zeroconf==0.154.0
cat > probe.py <<'PY'
import asyncio, socket, time
from zeroconf import DNSOutgoing, DNSPointer, DNSText, const
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

SERVICE = "_p2p._udp.local."
NAME = "0123456789abcdef0123456789abcdef." + SERVICE
LINE = b"dnsaddr=/ip4/192.0.2.7/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"


def answer():
    out = DNSOutgoing(const._FLAGS_QR_RESPONSE | const._FLAGS_AA)
    out.add_answer_at_time(DNSPointer(SERVICE, const._TYPE_PTR, const._CLASS_IN, 120, NAME), 0)
    txt = bytes((len(LINE),)) + LINE
    out.add_additional_answer(DNSText(NAME, const._TYPE_TXT, const._CLASS_IN, 120, txt))
    return out.packets()[0]


async def main():
    node = AsyncZeroconf(interfaces=["127.0.0.1"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            peer.setsockopt(socket.SOL_SOCKET, option, 1)
        peer.bind(("127.0.0.1", 5353))
        peer.sendto(answer(), ("224.0.0.251", 5353))
    info = AsyncServiceInfo(SERVICE, NAME)
    began = time.monotonic()
    came = await info.async_request(node.zeroconf, 2000)
    print("async_request", came, "waited" if time.monotonic() - began > 1.9 else "at once")
    print("text", (info.text or b"")[1:].decode())
    await node.async_close()


asyncio.run(main())
PY
got=$(unshare -rn sh -c 'ip link set lo up multicast on && ip route add 224.0.0.0/4 dev lo && py/bin/python probe.py')
want=$(cat <<'WANT'
async_request False waited
text dnsaddr=/ip4/192.0.2.7/tcp/4001/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
