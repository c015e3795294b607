#!/usr/bin/env bash
# go-cid 0.6.2: ExtractEncoding, which tells in which multibase a CID was written (so that the answer can be
# in the same), looks at the first byte of the text alone. A CID in base256emoji, which Decode of the same
# version reads and StringOfBase writes, has a prefix of four bytes, and its encoding is refused as unknown.
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
	"github.com/multiformats/go-multibase"
)

func main() {
	c, _ := cid.Decode("bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq")
	for _, base := range []multibase.Encoding{multibase.Base36, multibase.Base64url, multibase.Base256Emoji} {
		text, _ := c.StringOfBase(base)
		again, decoding := cid.Decode(text)
		found, extracting := cid.ExtractEncoding(text)
		fmt.Println(multibase.EncodingToStr[base], "decoded:", decoding == nil && again == c, "encoding told:", extracting == nil && found == base)
	}
}
GO
go mod init probe >/dev/null 2>&1
go get github.com/ipfs/go-cid@v0.6.2 github.com/multiformats/go-multibase@v0.3.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
got=$(go run . 2>&1)
cd ..
want=$(cat <<'WANT'
base36 decoded: true encoding told: true
base64url decoded: true encoding told: true
base256emoji decoded: true encoding told: false
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
