#!/usr/bin/env bash
# miniupnpd 2.3.1 as Debian ships it (system_uptime=yes, and a unit that deletes the tables of rules when it stops):
# after `systemctl restart miniupnpd` all mappings are gone, and NAT-PMP still tells the system's uptime as the seconds
# since its epoch. RFC 6886 section 3.6 has clients learn from that number whether the router has lost its mappings;
# here it goes on, so they do not. With system_uptime=no it begins anew. What the unit does is done by hand here.
# As root, in network namespaces of its own; nothing leaves them.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get -q download miniupnpd-nftables=2.3.1-1 nftables libnftnl11 libmnl0 >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
cat > probe.py <<'PY'
import os, signal, socket, struct, subprocess, sys, time

UPTIME, ROOT = sys.argv[1], os.path.abspath("root")
ENV = {**os.environ, "LD_LIBRARY_PATH": ":".join(f"{ROOT}/{d}/x86_64-linux-gnu" for d in ("usr/lib", "lib"))}
CONF = f"""ext_ifname=wan
listening_ip=lan
enable_natpmp=yes
enable_upnp=no
system_uptime={UPTIME}
uuid=11111111-2222-3333-4444-555555555555
allow 1024-65535 0.0.0.0/0 1024-65535
"""
RULES = """table inet filter {
  chain forward { type filter hook forward priority 0; jump miniupnpd; }
  chain miniupnpd { }
  chain prerouting { type nat hook prerouting priority -100; jump prerouting_miniupnpd; }
  chain postrouting { type nat hook postrouting priority 100; jump postrouting_miniupnpd; }
  chain prerouting_miniupnpd { }
  chain postrouting_miniupnpd { }
}"""


def start():
    if os.path.exists("pid"):
        os.unlink("pid")
    made = subprocess.Popen([f"{ROOT}/usr/sbin/miniupnpd", "-d", "-f", "conf", "-P", os.path.abspath("pid")],
                            env=ENV, stdout=open("log", "ab"), stderr=subprocess.STDOUT)
    while not (os.path.exists("pid") and os.path.getsize("pid")):
        time.sleep(0.05)
    return made


def asked(request):
    for _ in range(40):
        router.send(request)
        try:
            return router.recv(100)
        except (TimeoutError, ConnectionRefusedError):
            continue
    raise SystemExit("no answer")


def age():
    return struct.unpack("!I", asked(bytes(2))[4:8])[0]


def nft(rules):
    subprocess.run([f"{ROOT}/usr/sbin/nft", "-f", "-"], env=ENV, input=rules, text=True, check=True)


def mappings():
    rules = subprocess.run([f"{ROOT}/usr/sbin/nft", "list", "ruleset"], env=ENV, capture_output=True, text=True)
    return rules.stdout.count("dnat")


for line in ("link add lan type veth peer name lan1", "addr add 192.168.7.1/24 dev lan", "link set lan up",
             "link set lan1 up", "link add wan type veth peer name wan1", "addr add 11.0.0.2/24 dev wan",
             "link set wan up", "link set wan1 up", "link set lo up"):
    subprocess.run(["ip", *line.split()], check=True)
open("conf", "w").write(CONF)
nft(RULES)
router = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
router.settimeout(0.25)
router.bind(("192.168.7.1", 0))
router.connect(("192.168.7.1", 5351))
daemon = start()
asked(struct.pack("!BBxxHHI", 0, 2, 4001, 4001, 3600))
before, stood = age(), mappings()
daemon.send_signal(signal.SIGTERM)
daemon.wait()
nft("delete table inet filter\n" + RULES)
time.sleep(3)
daemon = start()
after, left = age(), mappings()
daemon.kill()
print(f"system_uptime={UPTIME}: {stood} rule before, {left} after; the age", "went on" if after >= before + 3 else "began anew")
PY
got=$(for uptime in yes no; do unshare -n python3 probe.py $uptime; done)
want=$(cat <<'WANT'
system_uptime=yes: 1 rule before, 0 after; the age went on
system_uptime=no: 1 rule before, 0 after; the age began anew
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
