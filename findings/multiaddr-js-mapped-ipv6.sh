#!/usr/bin/env bash
# @multiformats/multiaddr 13.0.3 (npm) prints an IPv4-mapped address as /ip6/::ffff:c000:201; go-multiaddr
# 0.16.1 (like Python's and rust's) prints /ip6/::ffff:192.0.2.1, as RFC 5952 5 recommends. The text forms of
# one address differ, so sets of addresses kept as text hold it twice.
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
	for _, text := range []string{"/ip6/::ffff:192.0.2.1/tcp/80"} {
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
for (const text of ['/ip6/::ffff:192.0.2.1/tcp/80']) {
  try {
    const raw = multiaddr(text).bytes
    console.log('js', text, Buffer.from(raw).toString('hex'), multiaddr(raw).toString())
  } catch (fault) { console.log('js', text, 'refused:', fault.name) }
}
JS
js=$(node probe.mjs 2>&1)
got=$(printf "%s\n" "$go" "$js")
want=$(cat <<'WANT'
go /ip6/::ffff:192.0.2.1/tcp/80 2900000000000000000000ffffc0000201060050 /ip6/::ffff:192.0.2.1/tcp/80 <nil>
js /ip6/::ffff:192.0.2.1/tcp/80 2900000000000000000000ffffc0000201060050 /ip6/::ffff:c000:201/tcp/80
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
