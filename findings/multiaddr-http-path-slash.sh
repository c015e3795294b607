#!/usr/bin/env bash
# @multiformats/multiaddr 13.0.3 (npm) writes the value of /http-path with a "/" before it, which go-multiaddr
# 0.16.1 does not: one text, two byte strings (...e1030178 and ...e103022f78), so the "same" address compares
# unequal on the wire.
# Read from go's bytes, the first letter of the path is taken for that "/" and dropped: js shows /http-path/
# with nothing behind it.
# One would expect the text form to name one byte string, and the bytes of one implementation to be read back
# whole by another.
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
	for _, text := range []string{"/dns4/a.example/tcp/443/tls/http/http-path/x"} {
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
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @multiformats/multiaddr@13.0.3
cat > probe.mjs <<'JS'
import { multiaddr } from '@multiformats/multiaddr'
const raw = multiaddr('/dns4/a.example/tcp/443/tls/http/http-path/x').bytes
console.log('js', Buffer.from(raw).toString('hex'))
const ofGo = Buffer.from('3609612e6578616d706c650601bbc003e003e1030178', 'hex')
console.log('js reads what go wrote as', multiaddr(ofGo).toString())
JS
js=$(node probe.mjs 2>&1)
got=$(printf "%s\n" "$go" "$js")
want=$(cat <<'WANT'
go /dns4/a.example/tcp/443/tls/http/http-path/x 3609612e6578616d706c650601bbc003e003e1030178 /dns4/a.example/tcp/443/tls/http/http-path/x <nil>
js 3609612e6578616d706c650601bbc003e003e103022f78
js reads what go wrote as /dns4/a.example/tcp/443/tls/http/http-path/
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
