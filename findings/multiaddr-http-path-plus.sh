#!/usr/bin/env bash
# go-multiaddr 0.16.1 treats the value of /http-path as a form field, not as a path: it prints the bytes "a b"
# as "a+b", and reads the text "a+b" as "a b".
# Python's multiaddr 0.2.0 (like rust-multiaddr 0.19.1) keeps "+" as a plus. A path with a space that go
# printed is therefore another path for whoever reads the text, and a path with a plus cannot be told to go
# unless it is written %2B.
# In a URL path "+" means itself (RFC 3986 3.3); only form encoding makes a space of it.
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
	for _, text := range []string{"/ip4/192.0.2.1/tcp/80/http/http-path/a%20b", "/ip4/192.0.2.1/tcp/80/http/http-path/a+b"} {
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
for text in ['/ip4/192.0.2.1/tcp/80/http/http-path/a%20b', '/ip4/192.0.2.1/tcp/80/http/http-path/a+b']:
    try:
        raw = Multiaddr(text).to_bytes()
        print("python", text, raw.hex(), Multiaddr(raw))
    except Exception as fault:
        print("python", text, "refused:", type(fault).__name__)
PY
)
got=$(printf "%s\n" "$go" "$python")
want=$(cat <<'WANT'
go /ip4/192.0.2.1/tcp/80/http/http-path/a%20b 04c0000201060050e003e10303612062 /ip4/192.0.2.1/tcp/80/http/http-path/a+b <nil>
go /ip4/192.0.2.1/tcp/80/http/http-path/a+b 04c0000201060050e003e10303612062 /ip4/192.0.2.1/tcp/80/http/http-path/a+b <nil>
python /ip4/192.0.2.1/tcp/80/http/http-path/a%20b 04c0000201060050e003e10303612062 /ip4/192.0.2.1/tcp/80/http/http-path/a%20b
python /ip4/192.0.2.1/tcp/80/http/http-path/a+b 04c0000201060050e003e10303612b62 /ip4/192.0.2.1/tcp/80/http/http-path/a%2Bb
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
