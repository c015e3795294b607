#!/usr/bin/env bash
# Python's multiaddr 0.2.0 writes a /p2p whose peer id is given as a CIDv1 (libp2p-key) with the whole CID as
# its value, 40 bytes that begin 01 72. go-multiaddr 0.16.1 (like js) writes the multihash, 38 bytes, the same
# as for the base58 text.
# Both texts name one peer; Python prints both back as the same 12D3..., yet the two addresses are unequal,
# and no peer finds its own id in the first one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOMODCACHE="$work/mod" GOFLAGS=-modcacherw  # else the module cache could not be removed
mkdir go && cd go
cat > main.go <<'GO'
package main

import (
	"fmt"

	"github.com/multiformats/go-multiaddr"
)

func main() {
	for _, text := range []string{"/p2p/bafzaajaiaejcajj64dzz4mnthvoxqzkmyjrljbczrydygqefqo4hxap7zbyyulhc", "/p2p/12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5"} {
		address, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			fmt.Println("go", text, "refused")
			continue
		}
		again, err := multiaddr.NewMultiaddrBytes(address.Bytes())
		fmt.Printf("go %s %x %v %v\n", text, address.Bytes(), again, err)
	}
}
GO
go mod init probe >/dev/null 2>&1
go get github.com/multiformats/go-multiaddr@v0.16.1 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go=$(go run . 2>&1)
cd ..
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check multiaddr==0.2.0
python=$(py/bin/python - 2>&1 <<'PY'
from multiaddr import Multiaddr
for text in ['/p2p/bafzaajaiaejcajj64dzz4mnthvoxqzkmyjrljbczrydygqefqo4hxap7zbyyulhc', '/p2p/12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5']:
    try:
        raw = Multiaddr(text).to_bytes()
        print("python", text, raw.hex(), Multiaddr(raw))
    except Exception as fault:
        print("python", text, "refused:", type(fault).__name__)
PY
)
got=$(printf "%s\n" "$go" "$python")
want=$(cat <<'WANT'
go /p2p/bafzaajaiaejcajj64dzz4mnthvoxqzkmyjrljbczrydygqefqo4hxap7zbyyulhc a50326002408011220253ee0f39e31b33d5d78654cc262b484598e0783408583b87b81ffc8718a2ce2 /p2p/12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5 <nil>
go /p2p/12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5 a50326002408011220253ee0f39e31b33d5d78654cc262b484598e0783408583b87b81ffc8718a2ce2 /p2p/12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5 <nil>
python /p2p/bafzaajaiaejcajj64dzz4mnthvoxqzkmyjrljbczrydygqefqo4hxap7zbyyulhc a503280172002408011220253ee0f39e31b33d5d78654cc262b484598e0783408583b87b81ffc8718a2ce2 /p2p/12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5
python /p2p/12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5 a50326002408011220253ee0f39e31b33d5d78654cc262b484598e0783408583b87b81ffc8718a2ce2 /p2p/12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
