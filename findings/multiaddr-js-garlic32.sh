#!/usr/bin/env bash
# The value of /garlic32 is the decoded I2P hash: 32 bytes or more. @multiformats/multiaddr 13.0.3 (npm) puts
# the base32 text itself into the binary form (52 letters), so its bytes are not those of go-multiaddr 0.16.1
# (nor Python's, nor rust's).
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
	for _, text := range []string{"/garlic32/566niximlxdzpanmn4qouucvua3k7neniwss47li5r6ugoertzuq"} {
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
for (const text of ['/garlic32/566niximlxdzpanmn4qouucvua3k7neniwss47li5r6ugoertzuq']) {
  try {
    const raw = multiaddr(text).bytes
    console.log('js', text, Buffer.from(raw).toString('hex'), multiaddr(raw).toString())
  } catch (fault) { console.log('js', text, 'refused:', fault.name) }
}
JS
js=$(node probe.mjs 2>&1)
got=$(printf "%s\n" "$go" "$js")
want=$(cat <<'WANT'
go /garlic32/566niximlxdzpanmn4qouucvua3k7neniwss47li5r6ugoertzuq bf0320efbcd45d0c5dc79781ac6f20ea5055a036afb48d45a52e7d68ec7d4338919e69 /garlic32/566niximlxdzpanmn4qouucvua3k7neniwss47li5r6ugoertzuq <nil>
js /garlic32/566niximlxdzpanmn4qouucvua3k7neniwss47li5r6ugoertzuq bf03343536366e6978696d6c78647a70616e6d6e34716f757563767561336b376e656e6977737334376c6935723675676f6572747a7571 /garlic32/566niximlxdzpanmn4qouucvua3k7neniwss47li5r6ugoertzuq
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
