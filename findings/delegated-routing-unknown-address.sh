#!/usr/bin/env bash
# Delegated routing: a provider that has one address with a protocol the asker does not know is lost whole,
# though its other address is fine. boxo 0.43.0 reports a parse error for the record, @helia/delegated-
# routing-v1-http-api-client 9.0.2 drops it in silence.
# /p2p-webrtc-star is a real one: @multiformats/multiaddr and rust still read and announce it, go-multiaddr
# has removed it, so such a peer cannot be found by Kubo over a router that passes its addresses on. The
# specification lets clients skip what they do not know, record by record; multiaddrs are skipped one by one
# everywhere else in libp2p.
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
	ask("one known address:", record(good))
	ask("that and /p2p-webrtc-star:", record(`"/dns4/a.example/tcp/443/wss/p2p-webrtc-star",`+good))
}
GO
go mod init probe >/dev/null 2>&1
go get github.com/ipfs/boxo@v0.43.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
go=$(go run . 2>&1)
cd ..
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @helia/delegated-routing-v1-http-api-client@9.0.2 multiformats@14.0.5
cat > probe.mjs <<'JS'
// Node before 22 lacks it, and the package names no engine.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
const { createServer } = await import('node:http')
const { delegatedRoutingV1HttpApiClient } = await import('@helia/delegated-routing-v1-http-api-client')
const { CID } = await import('multiformats/cid')
let record
const server = createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'application/json' })
  response.end(JSON.stringify({ Providers: [record] }))
}).listen(0, '127.0.0.1')
await new Promise(resolve => server.once('listening', resolve))
const silent = Object.assign(() => {}, { error () {}, trace () {} })
const client = delegatedRoutingV1HttpApiClient({ url: `http://127.0.0.1:${server.address().port}`, cacheTTL: 0 })({ logger: { forComponent: () => silent } })
const good = '/ip4/192.0.2.1/tcp/4001'
for (const [what, change] of [['one known address:', {}], ['that and one of a new protocol:', { Addrs: ['/ip4/192.0.2.1/udp/4001/newproto', good] }]]) {
  record = { Schema: 'peer', ID: '12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5', Addrs: [good], Protocols: ['transport-bitswap'], ...change }
  let found = 0
  for await (const provider of client.getProviders(CID.parse('bafybeibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq'))) found++
  console.log('helia', what, found)
}
process.exit(0)
JS
js=$(node probe.mjs 2>&1)
got=$(printf "%s\n" "$go" "$js")
want=$(cat <<'WANT'
boxo one known address: sent 1 found 1 <nil>
boxo that and /p2p-webrtc-star: sent 1 found 0 failed to parse multiaddr "/dns4/a.example/tcp/443/wss/p2p-webrtc-star": unknown protocol p2p-webrtc-star
helia one known address: 1
helia that and one of a new protocol: 0
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
