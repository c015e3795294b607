// Asks a Delegated Routing V1 server as Kubo does: by the client of boxo, with Kubo's filters and NDJSON.
//
//	boxo-client URL providers|peers|closest ID     one JSON record on stdout for each that comes
//	boxo-client URL publish SEED PATH SEQUENCE     puts a record of the name of an Ed25519 key; prints the name
//	boxo-client URL resolve NAME                   the path that the name's record holds
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/ipfs/boxo/ipns"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/boxo/routing/http/client"
	"github.com/ipfs/boxo/routing/http/contentrouter"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
)

type record struct {
	ID    string   `json:"id"`
	Addrs []string `json:"addrs"`
}

const deadline = 25 * time.Second

// What Kubo 0.43 asks for (config, HTTPRetrieval.Enabled).
var filter = []string{"unknown", "transport-bitswap", "transport-ipfs-gateway-http"}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("URL, what to do, and of what")
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	asked, err := client.New(args[0], client.WithProtocolFilter(filter), client.WithStreamResultsRequired())
	if err != nil {
		return err
	}
	switch args[1] {
	case "providers":
		id, err := cid.Decode(args[2])
		if err != nil {
			return err
		}
		return print(contentrouter.NewContentRoutingClient(asked).FindProvidersAsync(ctx, id, 0))
	case "peers":
		id, err := peer.Decode(args[2])
		if err != nil {
			return err
		}
		found, err := contentrouter.NewContentRoutingClient(asked).FindPeer(ctx, id)
		if err != nil {
			return err
		}
		return printOne(found)
	case "closest":
		id, err := cid.Decode(args[2])
		if err != nil {
			return err
		}
		found, err := contentrouter.NewContentRoutingClient(asked).GetClosestPeers(ctx, id)
		if err != nil {
			return err
		}
		return print(found)
	case "publish":
		return publish(ctx, asked, args[2:])
	case "resolve":
		return resolve(ctx, asked, args[2])
	}
	return fmt.Errorf("%s: nothing to do", args[1])
}

func publish(ctx context.Context, asked *client.Client, args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("SEED PATH SEQUENCE")
	}
	seed, err := hex.DecodeString(args[0])
	if err != nil {
		return err
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return err
	}
	where, err := path.NewPath(args[1])
	if err != nil {
		return err
	}
	sequence, err := strconv.ParseUint(args[2], 10, 64)
	if err != nil {
		return err
	}
	end := time.Now().Add(ipns.DefaultRecordLifetime)
	made, err := ipns.NewRecord(key, where, sequence, end, ipns.DefaultRecordTTL)
	if err != nil {
		return err
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		return err
	}
	name := ipns.NameFromPeer(id)
	if err := asked.PutIPNS(ctx, name, made); err != nil {
		return err
	}
	fmt.Println(name)
	return nil
}

func resolve(ctx context.Context, asked *client.Client, text string) error {
	name, err := ipns.NameFromString(text)
	if err != nil {
		return err
	}
	found, err := asked.GetIPNS(ctx, name)
	if err != nil {
		return err
	}
	where, err := found.Value()
	if err != nil {
		return err
	}
	fmt.Println(where)
	return nil
}

func print(found <-chan peer.AddrInfo) error {
	for one := range found {
		if err := printOne(one); err != nil {
			return err
		}
	}
	return nil
}

func printOne(one peer.AddrInfo) error {
	told := record{ID: one.ID.String(), Addrs: []string{}}
	for _, addr := range one.Addrs {
		told.Addrs = append(told.Addrs, addr.String())
	}
	return json.NewEncoder(os.Stdout).Encode(told)
}
