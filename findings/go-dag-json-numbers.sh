#!/usr/bin/env bash
# go-ipld-prime 0.24.0, DAG-JSON: the float 1.0 is written as 1 and read back as an integer, so a DAG-CBOR
# block that goes through DAG-JSON gets another CID (the DAG-JSON spec asks for the decimal point for this
# very reason); and an integer of 2**63 or more, which its DAG-CBOR decoder reads, cannot be written at all.
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
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/node/basicnode"
)

func main() {
	for _, text := range []string{"fb3ff0000000000000", "fb3ff8000000000000", "1b8000000000000000"} {
		block, _ := hex.DecodeString(text)
		builder := basicnode.Prototype.Any.NewBuilder()
		if err := dagcbor.Decode(builder, bytes.NewReader(block)); err != nil {
			panic(err)
		}
		var json, again bytes.Buffer
		if err := dagjson.Encode(builder.Build(), &json); err != nil {
			fmt.Println(text, err)
			continue
		}
		written := json.String()
		builder = basicnode.Prototype.Any.NewBuilder()
		if err := dagjson.Decode(builder, &json); err != nil {
			panic(err)
		}
		if err := dagcbor.Encode(builder.Build(), &again); err != nil {
			panic(err)
		}
		fmt.Println(text, "as JSON", written, "and back", hex.EncodeToString(again.Bytes()))
	}
}
GO
go mod init probe >/dev/null 2>&1
go get github.com/ipld/go-ipld-prime@v0.24.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
got=$(go run . 2>&1)
cd ..
want=$(cat <<'WANT'
fb3ff0000000000000 as JSON 1 and back 01
fb3ff8000000000000 as JSON 1.5 and back fb3ff8000000000000
1b8000000000000000 unsigned integer out of range of int64 type
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
