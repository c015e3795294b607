#!/usr/bin/env bash
# go-libp2p-kad-dht 0.42.2 keeps one stream to a peer and sends all requests on it. If the peer ends its side
# of the stream after an ADD_PROVIDER, which has no answer (as py-libp2p before 0.8 wants it to know that it
# arrived), the next request meets the end, is sent again on a new stream, and after a few such times the node
# opens a new stream for every single request to that peer, for good. Nothing tells either side. Shown:
# streams that a peer sees in ten provides.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GOMODCACHE="$work/mod" GOFLAGS=-modcacherw  # else the module cache could not be removed
mkdir go && cd go
cat > main.go <<'GO'
package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
)

// A server of kad: FIND_NODE is answered with nobody, ADD_PROVIDER with nothing.
func serve(s network.Stream, halfClose bool) {
	in := bufio.NewReader(s)
	for {
		size, err := binary.ReadUvarint(in)
		if err != nil {
			s.Close()
			return
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(in, body); err != nil {
			s.Reset()
			return
		}
		switch kind := body[1]; {
		case body[0] == 0x08 && kind == 4: // FIND_NODE
			s.Write([]byte{2, 0x08, 4})
		case halfClose: // ADD_PROVIDER
			s.CloseWrite()
		}
	}
}

func streams(halfClose bool) int64 {
	ctx := context.Background()
	local := libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0")
	server, _ := libp2p.New(local)
	client, _ := libp2p.New(local)
	defer server.Close()
	defer client.Close()
	var seen atomic.Int64
	server.SetStreamHandler("/x/kad/1.0.0", func(s network.Stream) {
		seen.Add(1)
		go serve(s, halfClose)
	})
	node, err := dht.New(client, dht.ProtocolPrefix("/x"), dht.Mode(dht.ModeClient), dht.DisableAutoRefresh(),
		dht.AddressFilter(nil), dht.RoutingTableFilter(func(any, peer.ID) bool { return true }),
		dht.QueryFilter(func(any, peer.AddrInfo) bool { return true }))
	if err != nil {
		panic(err)
	}
	if err := client.Connect(ctx, peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
		panic(err)
	}
	for node.RoutingTable().Size() == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	for i := 0; i < 10; i++ {
		digest, _ := multihash.Sum([]byte{byte(i)}, multihash.SHA2_256, -1)
		if err := node.Provide(ctx, cid.NewCidV1(cid.Raw, digest), true); err != nil {
			panic(err)
		}
		time.Sleep(50 * time.Millisecond) // the end of the stream arrives
	}
	return seen.Load()
}

func main() {
	fmt.Println("left open:", streams(false))
	fmt.Println("half-closed behind ADD_PROVIDER:", streams(true))
}
GO
go mod init probe >/dev/null 2>&1
go get github.com/libp2p/go-libp2p-kad-dht@v0.42.2 github.com/libp2p/go-libp2p@v0.51.0 github.com/ipfs/go-cid@v0.6.2 github.com/multiformats/go-multihash@v0.2.3 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
got=$(go run . 2>&1)
cd ..
want=$(cat <<'WANT'
left open: 1
half-closed behind ADD_PROVIDER: 15
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
