#!/usr/bin/env bash
# boxo 0.43.0's client of delegated routing, which Kubo uses, reads 1 MiB of a streamed answer and no more:
# the bound is for the whole stream of NDJSON, not for a record. The iterator ends with an error behind the
# last whole record; a caller that only takes what it gets sees a shorter list. Whoever serves many providers
# has to send the best ones first.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOMODCACHE="$work/mod" GOFLAGS=-modcacherw  # else the module cache could not be removed
mkdir go && cd go
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/ipfs/boxo/routing/http/client"
	"github.com/ipfs/go-cid"
)

const good = `"/ip4/192.0.2.1/tcp/4001"`

func record(addresses string) string {
	return `{"Schema":"peer","ID":"12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5","Addrs":[` + addresses + `],"Protocols":["transport-bitswap"]}` + "\n"
}

func ask(what, body string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-ndjson")
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	asking, err := client.New(server.URL, client.WithDisabledLocalFiltering(true))
	if err != nil {
		panic(err)
	}
	content, _ := cid.Decode("bafybeibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq")
	answer, err := asking.FindProviders(context.Background(), content)
	if err != nil {
		panic(err)
	}
	found, fault := 0, error(nil)
	for answer.Next() {
		if one := answer.Val(); one.Err != nil {
			fault = one.Err
		} else {
			found++
		}
	}
	fmt.Println("boxo", what, "sent", strings.Count(body, "\n"), "found", found, fault)
}

func main() {
	ask("1,000 providers:", strings.Repeat(record(good), 1000))
	ask("10,000 providers:", strings.Repeat(record(good), 10000))
}
GO
go mod init probe >/dev/null 2>&1
go get github.com/ipfs/boxo@v0.43.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
got=$(go run . 2>&1)
cd ..
want=$(cat <<'WANT'
boxo 1,000 providers: sent 1000 found 1000 <nil>
boxo 10,000 providers: sent 10000 found 7083 reached read limit of 1048576 bytes after reading 1049819 bytes
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
