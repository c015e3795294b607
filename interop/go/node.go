package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	dhtpb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/host/eventbus"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
)

type options struct {
	listen     []string
	keyType    string
	seed       int64
	kadPrefix  string
	mode       string
	earlyMuxer bool
}

type node struct {
	host      host.Host
	dht       *dht.IpfsDHT
	messenger *dhtpb.ProtocolMessenger

	mu         sync.Mutex
	identified map[peer.ID]event.EvtPeerIdentificationCompleted
}

// takesAll is the validator of keys with any namespace or none: the newest write wins.
type takesAll struct{}

func (takesAll) Validate(string, []byte) error        { return nil }
func (takesAll) Select(string, [][]byte) (int, error) { return 0, nil }

func newNode(ctx context.Context, opts options) (*node, error) {
	listen := make([]ma.Multiaddr, 0, len(opts.listen))
	for _, s := range opts.listen {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, err
		}
		listen = append(listen, a)
	}
	key, err := newKey(opts.keyType, opts.seed)
	if err != nil {
		return nil, err
	}
	security := libp2p.Security(noise.ID, noise.New)
	if !opts.earlyMuxer {
		security = libp2p.Security(noise.ID, func(id protocol.ID, key crypto.PrivKey) (*noise.Transport, error) {
			return noise.New(id, key, nil)
		})
	}
	h, err := libp2p.New(
		libp2p.Identity(key),
		libp2p.Transport(tcp.NewTCPTransport),
		security,
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.ProtocolVersion("fastmarket-interop/1"),
		libp2p.UserAgent("go-libp2p/"+version("github.com/libp2p/go-libp2p")),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
	)
	if err != nil {
		return nil, err
	}
	n := &node{host: h, identified: make(map[peer.ID]event.EvtPeerIdentificationCompleted)}
	sub, err := h.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted), eventbus.BufSize(1024))
	if err != nil {
		return nil, err
	}
	go n.remember(sub)
	h.SetStreamHandler(echoID, serveEcho)
	h.SetStreamHandler(resetID, serveReset)
	if n.dht, err = newDHT(h, opts); err != nil {
		return nil, err
	}
	if n.messenger, err = dhtpb.NewProtocolMessenger(n.dht.MessageSender()); err != nil {
		return nil, err
	}
	// Listening comes last: who connects at once finds every handler.
	if err := h.Network().Listen(listen...); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, defaultTimeout)
	defer cancel()
	// The host learns its addresses in the background and cannot announce itself before.
	return n, poll(ctx, func() bool { return len(listen) == 0 || len(h.Addrs()) > 0 })
}

func newDHT(h host.Host, opts options) (*dht.IpfsDHT, error) {
	mode := dht.ModeServer
	switch opts.mode {
	case "server":
	case "client":
		mode = dht.ModeClient
	default:
		return nil, fmt.Errorf("unknown mode %q", opts.mode)
	}
	o := []dht.Option{dht.Mode(mode), dht.ProtocolPrefix(protocol.ID(opts.kadPrefix))}
	// The library insists on its own validators under the prefix of the public network.
	if protocol.ID(opts.kadPrefix) != "/ipfs" {
		o = append(o, dht.Validator(takesAll{}))
	}
	return dht.New(h, o...)
}

// newKey derives the key from the seed unless it is negative. RSA keys are always random: their
// generation takes no seed in the standard library.
func newKey(typ string, seed int64) (crypto.PrivKey, error) {
	secret := sha256.Sum256(fmt.Appendf(nil, "%s %d", typ, seed))
	if seed < 0 {
		if _, err := rand.Read(secret[:]); err != nil {
			return nil, err
		}
	}
	switch typ {
	case "ed25519":
		return crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(secret[:]))
	case "secp256k1":
		return crypto.UnmarshalSecp256k1PrivateKey(secret[:])
	case "ecdsa":
		raw, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret[:])
		if err != nil {
			return nil, err
		}
		key, _, err := crypto.ECDSAKeyPairFromKey(raw)
		return key, err
	case "rsa":
		key, _, err := crypto.GenerateRSAKeyPair(2048, rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("unknown key type %q", typ)
}

// remember keeps the last identify message of every peer: the peer store has no observed address.
func (n *node) remember(sub event.Subscription) {
	for e := range sub.Out() {
		if e, ok := e.(event.EvtPeerIdentificationCompleted); ok {
			n.mu.Lock()
			n.identified[e.Peer] = e
			n.mu.Unlock()
		}
	}
}

// identify waits for the identify message of a connection that is still open.
func (n *node) identify(ctx context.Context, p peer.ID) (e event.EvtPeerIdentificationCompleted, err error) {
	err = poll(ctx, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		e = n.identified[p]
		return e.Conn != nil && !e.Conn.IsClosed()
	})
	return e, err
}

func (n *node) listenAddrs() []string {
	addrs, err := n.host.Network().InterfaceListenAddresses()
	if err != nil {
		return nil
	}
	texts := make([]string, len(addrs))
	for i, a := range addrs {
		texts[i] = fmt.Sprintf("%s/p2p/%s", a, n.host.ID())
	}
	return texts
}

func (n *node) close() error {
	return errors.Join(n.dht.Close(), n.host.Close())
}

// poll waits for what the library does in the background and tells nobody about.
func poll(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
