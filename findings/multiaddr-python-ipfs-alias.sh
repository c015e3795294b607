#!/usr/bin/env bash
# /ipfs/PEERID is the old spelling of /p2p/PEERID; address books, configuration files and DNS records of years
# have it. go-multiaddr 0.16.1 (like js and rust) reads it as /p2p; Python's multiaddr 0.2.0 knows no protocol
# of that name.
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
	for _, text := range []string{"/ip4/192.0.2.1/tcp/4001/ipfs/QmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5"} {
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
for text in ['/ip4/192.0.2.1/tcp/4001/ipfs/QmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5']:
    try:
        raw = Multiaddr(text).to_bytes()
        print("python", text, raw.hex(), Multiaddr(raw))
    except Exception as fault:
        print("python", text, "refused:", type(fault).__name__)
PY
)
got=$(printf "%s\n" "$go" "$python")
want=$(cat <<'WANT'
go /ip4/192.0.2.1/tcp/4001/ipfs/QmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5 04c0000201060fa1a5032212202cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824 /ip4/192.0.2.1/tcp/4001/p2p/QmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5 <nil>
python /ip4/192.0.2.1/tcp/4001/ipfs/QmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5 refused: StringParseError
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
