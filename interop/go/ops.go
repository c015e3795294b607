package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	ma "github.com/multiformats/go-multiaddr"
)

type object map[string]any

var ops = map[string]func(*node, context.Context, *command) (object, error){
	"connect":        (*node).opConnect,
	"disconnect":     (*node).opDisconnect,
	"connections":    (*node).opConnections,
	"identify":       (*node).opIdentify,
	"push":           (*node).opPush,
	"ping":           (*node).opPing,
	"echo":           (*node).opEcho,
	"echo_slow":      (*node).opEchoSlow,
	"reset":          (*node).opReset,
	"raw":            (*node).opRaw,
	"bootstrap":      (*node).opBootstrap,
	"routing_table":  (*node).opRoutingTable,
	"find_node":      (*node).opFindNode,
	"put_value":      (*node).opPutValue,
	"get_value":      (*node).opGetValue,
	"provide":        (*node).opProvide,
	"find_providers": (*node).opFindProviders,
}

func (n *node) connect(ctx context.Context, addr string) (peer.ID, error) {
	info, err := peer.AddrInfoFromString(addr)
	if err != nil {
		return "", err
	}
	// A test dials again at once where a node in the wild would wait.
	if s, ok := n.host.Network().(*swarm.Swarm); ok {
		s.Backoff().Clear(info.ID)
	}
	return info.ID, n.host.Connect(ctx, *info)
}

func (n *node) opConnect(ctx context.Context, c *command) (object, error) {
	p, err := n.connect(ctx, c.Addr)
	if err != nil {
		return nil, err
	}
	return object{"peer_id": p.String()}, nil
}

func (n *node) opDisconnect(_ context.Context, c *command) (object, error) {
	p, err := peer.Decode(c.Peer)
	if err != nil {
		return nil, err
	}
	return object{}, n.host.Network().ClosePeer(p)
}

func (n *node) opConnections(context.Context, *command) (object, error) {
	return object{"peers": texts(n.host.Network().Peers())}, nil
}

func (n *node) opIdentify(ctx context.Context, c *command) (object, error) {
	p, err := peer.Decode(c.Peer)
	if err != nil {
		return nil, err
	}
	e, err := n.identify(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("no identify message: %w", err)
	}
	// The library does not keep a public key that contradicts the peer id, so this one is checked.
	key, err := crypto.MarshalPublicKey(n.host.Peerstore().PubKey(p))
	if err != nil {
		return nil, err
	}
	observed := ""
	if e.ObservedAddr != nil {
		observed = e.ObservedAddr.String()
	}
	return object{
		"agent_version":      e.AgentVersion,
		"protocol_version":   e.ProtocolVersion,
		"protocols":          texts(e.Protocols),
		"listen_addrs":       addrTexts(e.ListenAddrs),
		"observed_addr":      observed,
		"public_key":         base64.StdEncoding.EncodeToString(key),
		"signed_peer_record": e.SignedPeerRecord != nil,
	}, nil
}

// opPush only registers the protocol: that makes the library push by itself, in the background.
func (n *node) opPush(_ context.Context, c *command) (object, error) {
	n.host.SetStreamHandler(protocol.ID(c.Protocol), serveEcho)
	return object{}, nil
}

func (n *node) opPing(ctx context.Context, c *command) (object, error) {
	p, err := peer.Decode(c.Peer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(network.WithNoDial(ctx, "ping"))
	defer cancel()
	results := ping.Ping(ctx, n.host, p)
	count := max(c.Count, 1)
	var slowest time.Duration
	for range count {
		r, ok := <-results
		if !ok {
			return nil, ctx.Err()
		}
		if r.Error != nil {
			return nil, r.Error
		}
		slowest = max(slowest, r.RTT)
	}
	return object{"count": count, "max_ms": float64(slowest.Microseconds()) / 1000}, nil
}

func (n *node) opBootstrap(ctx context.Context, c *command) (object, error) {
	var connected []peer.ID
	var failures []error
	for _, addr := range c.Addrs {
		p, err := n.connect(ctx, addr)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		connected = append(connected, p)
	}
	if len(connected) == 0 {
		return nil, errors.Join(append(failures, errors.New("connected to none"))...)
	}
	table := n.dht.RoutingTable()
	err := poll(ctx, func() bool {
		return slices.ContainsFunc(connected, func(p peer.ID) bool { return table.Find(p) != "" })
	})
	if err != nil {
		return nil, fmt.Errorf("none came into the routing table: %w", err)
	}
	select {
	case err = <-n.dht.ForceRefresh():
	case <-ctx.Done():
		err = ctx.Err()
	}
	return object{}, err
}

func (n *node) opRoutingTable(context.Context, *command) (object, error) {
	return object{"peers": texts(n.dht.RoutingTable().ListPeers())}, nil
}

func (n *node) opFindNode(ctx context.Context, c *command) (object, error) {
	key := c.Key
	if c.Peer != "" {
		p, err := peer.Decode(c.Peer)
		if err != nil {
			return nil, err
		}
		key = []byte(p)
	}
	peers, err := n.dht.GetClosestPeers(ctx, string(key))
	if err != nil {
		return nil, err
	}
	return object{"peers": texts(peers)}, nil
}

// opPutValue counts who holds the value afterwards: the library has no quorum and tells no failures.
func (n *node) opPutValue(ctx context.Context, c *command) (object, error) {
	key := string(c.Key)
	if err := n.dht.PutValue(ctx, key, c.Value); err != nil || c.Quorum <= 0 {
		return object{}, err
	}
	peers, err := n.dht.GetClosestPeers(ctx, key)
	if err != nil {
		return nil, err
	}
	held := 0
	var failures []error
	for _, p := range peers {
		rec, _, err := n.messenger.GetValue(ctx, p, key)
		if err != nil {
			failures = append(failures, err)
		} else if rec != nil && slices.Equal(rec.GetValue(), c.Value) {
			held++
		}
	}
	if held < c.Quorum {
		return nil, errors.Join(append(failures, fmt.Errorf("held by %d of %d peers, wanted %d", held, len(peers), c.Quorum))...)
	}
	return object{}, nil
}

func (n *node) opGetValue(ctx context.Context, c *command) (object, error) {
	value, err := n.dht.GetValue(ctx, string(c.Key))
	if err != nil {
		return nil, err
	}
	return object{"value": value}, nil
}

func (n *node) opProvide(ctx context.Context, c *command) (object, error) {
	id, err := cid.Decode(c.CID)
	if err != nil {
		return nil, err
	}
	return object{}, n.dht.Provide(ctx, id, true)
}

func (n *node) opFindProviders(ctx context.Context, c *command) (object, error) {
	id, err := cid.Decode(c.CID)
	if err != nil {
		return nil, err
	}
	providers := []object{}
	for info := range n.dht.FindProvidersAsync(ctx, id, c.Count) {
		providers = append(providers, object{"peer_id": info.ID.String(), "addrs": addrTexts(info.Addrs)})
	}
	return object{"providers": providers}, nil
}

func texts[T ~string](items []T) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = fmt.Sprint(item)
	}
	return out
}

func addrTexts(addrs []ma.Multiaddr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}
