#!/usr/bin/env bash
# go-ipld-prime 0.24.0 reads the lowest integer of DAG-CBOR, -2**64 (3b ffffffffffffffff), as 0, without an
# error. -2**63-1 is refused as out of range, so a refusal is what one would expect. @ipld/dag-cbor, dag-cbor
# (Python) and libipld read it right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOMODCACHE="$work/mod" GOFLAGS=-modcacherw  # else the module cache could not be removed
mkdir go && cd go
cat > main.go <<'GO'
package main

import (
	"bytes"
	"encoding/hex"
	"fmt"

	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/node/basicnode"
)

func main() {
	for _, text := range []string{"3b7fffffffffffffff", "3b8000000000000000", "3bffffffffffffffff"} {
		block, _ := hex.DecodeString(text)
		builder := basicnode.Prototype.Any.NewBuilder()
		if err := dagcbor.Decode(builder, bytes.NewReader(block)); err != nil {
			fmt.Println(text, "refused:", err)
			continue
		}
		number, err := builder.Build().AsInt()
		fmt.Println(text, number, err)
	}
}
GO
go mod init probe >/dev/null 2>&1
go get github.com/ipld/go-ipld-prime@v0.24.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
got=$(go run . 2>&1)
cd ..
want=$(cat <<'WANT'
3b7fffffffffffffff -9223372036854775808 <nil>
3b8000000000000000 refused: cbor: negative integer out of rage of int64 type
3bffffffffffffffff 0 <nil>
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
