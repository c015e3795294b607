#!/usr/bin/env bash
# go-cid 0.6.2 reads "z" + a CIDv0 (multibase base58btc of a bare multihash) and gives a CIDv0. The CID
# specification says that a CIDv0 has no multibase, and that a decoder that finds the bytes 12 20 behind one
# has to return an error; js multiformats refuses it. Two programs that compare texts, or one that checks with
# js before it asks go, disagree on what is a CID.
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

	"github.com/ipfs/go-cid"
)

func main() {
	c, err := cid.Decode("zQmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5")
	fmt.Println("go", c, c.Version(), err)
}
GO
go mod init probe >/dev/null 2>&1
go get github.com/ipfs/go-cid@v0.6.2 github.com/multiformats/go-multibase@v0.3.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go=$(go run . 2>&1)
cd ..
npm init -y >/dev/null
npm install --silent --no-audit --no-fund multiformats@14.0.5
cat > probe.mjs <<'JS'
import { CID } from 'multiformats/cid'
try {
  console.log('js', CID.parse('zQmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5').toString())
} catch (fault) { console.log('js', fault.message) }
JS
js=$(node probe.mjs 2>&1)
got=$(printf "%s\n" "$go" "$js")
want=$(cat <<'WANT'
go QmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5 0 <nil>
js Version 0 CID string must not include multibase prefix
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
