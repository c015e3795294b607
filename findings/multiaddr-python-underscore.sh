#!/usr/bin/env bash
# Python's multiaddr 0.2.0 refuses names with an underscore in /dns4 and its kin: it runs every name through
# IDNA. go-multiaddr 0.16.1 (like js and rust) takes them. DNS allows them (RFC 2181 11), Docker Compose and
# many internal networks have hosts with such names.
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
	for _, text := range []string{"/dns4/_node.example/tcp/4001"} {
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
for text in ['/dns4/_node.example/tcp/4001']:
    try:
        raw = Multiaddr(text).to_bytes()
        print("python", text, raw.hex(), Multiaddr(raw))
    except Exception as fault:
        print("python", text, "refused:", type(fault).__name__)
PY
)
got=$(printf "%s\n" "$go" "$python")
want=$(cat <<'WANT'
go /dns4/_node.example/tcp/4001 360d5f6e6f64652e6578616d706c65060fa1 /dns4/_node.example/tcp/4001 <nil>
python /dns4/_node.example/tcp/4001 refused: StringParseError
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
