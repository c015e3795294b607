#!/usr/bin/env bash
# boxo 0.43.0's Bitswap server, which Kubo uses, says DONT_HAVE for the empty block though it has it: a size of
# zero stands for "not found" there (blockstoremanager.go, getBlockSizes). So an empty file in raw leaves, CID
# bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku, cannot be fetched from Kubo over Bitswap; whoever
# fetches has to know that block by itself.
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
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
)

func raw(data []byte) blocks.Block {
	hash, _ := multihash.Sum(data, multihash.SHA2_256, -1)
	block, _ := blocks.NewBlockWithCid(data, cid.NewCidV1(cid.Raw, hash))
	return block
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	ctx := context.Background()
	local := libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0")
	seller, buyer := must(libp2p.New(local)), must(libp2p.New(local))
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	defer bitswap.New(ctx, bsnet.NewFromIpfsHost(seller), nil, store).Close()
	said := make(chan string, 10)
	buyer.SetStreamHandler("/ipfs/bitswap/1.2.0", func(s network.Stream) {
		for {
			got, _, err := message.FromNet(s)
			if err != nil {
				return
			}
			for _, block := range got.Blocks() {
				said <- fmt.Sprintf("a block of %d bytes", len(block.RawData()))
			}
			for range got.Haves() {
				said <- "HAVE"
			}
			for range got.DontHaves() {
				said <- "DONT_HAVE"
			}
		}
	})
	if err := buyer.Connect(ctx, peer.AddrInfo{ID: seller.ID(), Addrs: seller.Addrs()}); err != nil {
		panic(err)
	}
	for _, data := range [][]byte{{}, {1}} {
		block := raw(data)
		if err := store.Put(ctx, block); err != nil {
			panic(err)
		}
		has := must(store.Has(ctx, block.Cid()))
		for _, kind := range []pb.Message_Wantlist_WantType{pb.Message_Wantlist_Block, pb.Message_Wantlist_Have} {
			want := message.New(false)
			want.AddEntry(block.Cid(), 1, kind, true)
			s := must(buyer.NewStream(ctx, seller.ID(), "/ipfs/bitswap/1.2.0"))
			if err := want.ToNetV1(s); err != nil {
				panic(err)
			}
			answer := "nothing"
			select {
			case answer = <-said:
			case <-time.After(10 * time.Second):
			}
			fmt.Println("boxo has", len(data), "bytes:", has, "wanted", kind, "said", answer)
		}
	}
}
GO
go mod init probe >/dev/null 2>&1
go get github.com/ipfs/boxo@v0.43.0 >/dev/null 2>&1
go mod tidy >/dev/null 2>&1
got=$(go run . 2>&1)
cd ..
want=$(cat <<'WANT'
boxo has 0 bytes: true wanted Block said DONT_HAVE
boxo has 0 bytes: true wanted Have said DONT_HAVE
boxo has 1 bytes: true wanted Block said a block of 1 bytes
boxo has 1 bytes: true wanted Have said a block of 1 bytes
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
