#!/usr/bin/env bash
# Kubo 0.43.1 with Bitswap.Libp2pEnabled=false fetches nothing at all, though HTTPRetrieval.Enabled is true and
# its documentation names the two together: the exchange that is given to the rest of the node is then one that
# has no block (core/node/groups.go: OnlineExchange is told of Bitswap over libp2p alone), so `ipfs block get`
# says at once that the block could not be found, and neither a router nor a gateway is asked. There is no way
# to have Kubo fetch over HTTP only.
# (Kubo is a thousand packages, so this uses the module cache and the build cache of whoever runs it.)
set -euo pipefail
work=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
cd "$work"
mkdir go && cd go
go mod init probe >/dev/null 2>&1
# Its own go.mod replaces go-libp2p by a fork; as a dependency it is built with the release.
go get -tool github.com/ipfs/kubo/cmd/ipfs@v0.43.1 >/dev/null 2>&1
go get github.com/libp2p/go-libp2p@v0.51.0 >/dev/null 2>&1
go build -p 1 -o "$work/ipfs" github.com/ipfs/kubo/cmd/ipfs
cd ..

# A gateway with one raw block, and a router that names it, which both print what they are asked.
cat > serve.py <<'PY'
import hashlib, json, sys
from base64 import b32encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = b"a block that is to be had over HTTP"
CID = "b" + b32encode(b"\x01\x55\x12\x20" + hashlib.sha256(BLOCK).digest()).decode().rstrip("=").lower()
PEER = "12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5"

class Answers(BaseHTTPRequestHandler):
    def answer(self):
        path = self.path.partition("?")[0]
        with open("asked", "a") as asked:
            asked.write(path.split("/")[1] + "\n")
        status, kind, body = 404, "text/plain", b""
        if path == f"/routing/v1/providers/{CID}":
            addr = f"/ip4/127.0.0.1/tcp/{self.server.server_port}/http"
            record = {"Schema": "peer", "ID": PEER, "Addrs": [addr], "Protocols": ["transport-ipfs-gateway-http"]}
            status, kind, body = 200, "application/x-ndjson", json.dumps(record).encode() + b"\n"
        elif path in ("/ipfs/bafkqaaa", f"/ipfs/{CID}"):
            status, kind, body = 200, "application/vnd.ipld.raw", BLOCK if path.endswith(CID) else b""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD = answer

    def log_message(self, *words):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
with open("place", "w") as place:
    place.write(f"{server.server_port} {CID}")
server.serve_forever()
PY
python3 serve.py & pids+=($!)
while [ ! -s place ]; do sleep 0.1; done
read -r port cid < place || true

try() {
  local bitswap=$1
  export IPFS_PATH="$work/repo-$bitswap"
  ./ipfs init --profile=test >/dev/null
  ./ipfs bootstrap rm --all >/dev/null
  set_to() { ./ipfs config --json "$1" "$2"; }
  set_to Routing.Type '"delegated"'
  set_to Routing.DelegatedRouters "[\"http://127.0.0.1:$port\"]"
  set_to Provide.Enabled false
  set_to AutoTLS.Enabled false
  set_to HTTPRetrieval.Enabled true
  set_to Bitswap.Libp2pEnabled "$bitswap"
  set_to Addresses.API '"/ip4/127.0.0.1/tcp/0"'
  set_to Addresses.Gateway '"/ip4/127.0.0.1/tcp/0"'
  set_to Addresses.Swarm '["/ip4/127.0.0.1/tcp/0"]'
  : > "daemon-$bitswap"
  ./ipfs daemon > "daemon-$bitswap" 2>&1 & pids+=($!)
  until grep -q 'Daemon is ready' "daemon-$bitswap"; do sleep 0.1; done
  : > asked
  local said
  said=$(./ipfs block get --timeout=20s "$cid" 2>&1) || true
  local asked
  asked=$(sort -u asked | paste -sd ' ')
  echo "kubo, Bitswap.Libp2pEnabled $bitswap: ${said//$cid/CID}; asked for: ${asked:-nothing}"
}
try true > said
try false >> said
got=$(cat said)
want=$(cat <<'WANT'
kubo, Bitswap.Libp2pEnabled true: a block that is to be had over HTTP; asked for: ipfs routing
kubo, Bitswap.Libp2pEnabled false: Error: ipld: could not find CID; asked for: nothing
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
