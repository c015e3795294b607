#!/usr/bin/env bash
# @multiformats/multiaddr 13.0.3 (npm) encodes /memory/1234 as code 777 and the four letters "1234" without a
# length; go-multiaddr 0.16.1 (like rust's and Python's) writes the number in eight bytes, big-endian.
# js cannot read what go writes (it takes the first zero for a protocol code), and go cannot read what js
# writes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOMODCACHE="$work/mod" GOFLAGS=-modcacherw  # else the module cache could not be removed
mkdir go && cd go
cat > main.go <<'GO'
package main

import (
	"encoding/hex"
	"fmt"

	"github.com/multiformats/go-multiaddr"
)

func main() {
	address, _ := multiaddr.NewMultiaddr("/memory/1234")
	fmt.Printf("go %x\n", address.Bytes())
	ofJs, _ := hex.DecodeString("89060431323334"[:4] + "31323334")
	_, err := multiaddr.NewMultiaddrBytes(ofJs)
	fmt.Println("go reads what js wrote:", err != nil, "(refused)")
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
console.log('js', Buffer.from(multiaddr('/memory/1234').bytes).toString('hex'))
try {
  console.log(multiaddr(Buffer.from('890600000000000004d2', 'hex')).toString())
} catch (fault) { console.log('js reads what go wrote:', fault.message) }
JS
js=$(node probe.mjs 2>&1)
got=$(printf "%s\n" "$go" "$js")
want=$(cat <<'WANT'
go 890600000000000004d2
go reads what js wrote: true (refused)
js 89060431323334
js reads what go wrote: Protocol 0 was unknown
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
