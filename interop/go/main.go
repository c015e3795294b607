// Command peer is a go-libp2p node driven over stdin and stdout, as interop/README.md describes.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

const defaultTimeout = 20 * time.Second

// command is one line of stdin; every op takes the fields it needs.
type command struct {
	ID        json.RawMessage `json:"id"`
	Op        string          `json:"op"`
	TimeoutS  float64         `json:"timeout_s"`
	Addr      string          `json:"addr"`
	Addrs     []string        `json:"addrs"`
	CID       string          `json:"cid"`
	Count     int             `json:"count"`
	Data      []byte          `json:"data"`
	HalfClose bool            `json:"half_close"`
	Key       []byte          `json:"key"`
	Peer      string          `json:"peer"`
	Protocol  string          `json:"protocol"`
	Quorum    int             `json:"quorum"`
	Size      int64           `json:"size"`
	Streams   int             `json:"streams"`
	Value     []byte          `json:"value"`
}

func (c *command) timeout() time.Duration {
	if c.TimeoutS <= 0 {
		return defaultTimeout
	}
	return time.Duration(c.TimeoutS * float64(time.Second))
}

type answer struct {
	ID          json.RawMessage `json:"id"`
	OK          bool            `json:"ok"`
	Result      any             `json:"result,omitempty"`
	Error       string          `json:"error,omitempty"`
	Unsupported bool            `json:"unsupported,omitempty"`
}

type ready struct {
	Ready          bool     `json:"ready"`
	PeerID         string   `json:"peer_id"`
	Listen         []string `json:"listen"`
	Implementation string   `json:"implementation"`
	Version        string   `json:"version"`
	Can            []string `json:"can"`
}

// lines writes whole JSON lines to stdout from any goroutine.
type lines struct {
	mu  sync.Mutex
	enc *json.Encoder
}

func (l *lines) write(v any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.enc.Encode(v); err != nil {
		fmt.Fprintln(os.Stderr, "stdout:", err)
	}
}

func main() {
	opts := options{seed: -1}
	early := "on"
	flag.Func("listen", "multiaddr to listen on, may be repeated", func(s string) error {
		opts.listen = append(opts.listen, s)
		return nil
	})
	flag.StringVar(&opts.keyType, "key-type", "ed25519", "ed25519, rsa, ecdsa or secp256k1")
	flag.Int64Var(&opts.seed, "seed", -1, "derive the identity from this number (not for rsa)")
	flag.StringVar(&opts.kadPrefix, "kad-prefix", "/fastmarket", "Kad protocol id is PREFIX/kad/1.0.0")
	flag.StringVar(&opts.mode, "mode", "server", "Kad mode: server or client")
	flag.StringVar(&early, "early-muxer", "on", "negotiate the muxer inside the Noise handshake: on or off")
	flag.Parse()
	opts.earlyMuxer = early == "on"

	if err := run(opts); err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func run(opts options) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n, err := newNode(ctx, opts)
	if err != nil {
		return err
	}
	defer n.close()

	out := &lines{enc: json.NewEncoder(os.Stdout)}
	out.write(ready{
		Ready:          true,
		PeerID:         n.host.ID().String(),
		Listen:         n.listenAddrs(),
		Implementation: "go-libp2p",
		Version:        version("github.com/libp2p/go-libp2p"),
		Can:            []string{"ed25519", "rsa", "ecdsa", "secp256k1", "seed", "early-muxer"},
	})

	var running sync.WaitGroup
	defer running.Wait()
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if len(strings.TrimSpace(string(line))) > 0 {
			running.Go(func() { out.write(n.answer(ctx, line)) })
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// answer runs one command; a panic of an op must not take the answers of the others with it.
func (n *node) answer(ctx context.Context, line []byte) (a answer) {
	var c command
	if err := json.Unmarshal(line, &c); err != nil {
		return answer{ID: c.ID, Error: "bad command: " + err.Error()}
	}
	defer func() {
		if r := recover(); r != nil {
			a = answer{ID: c.ID, Error: fmt.Sprint("panic: ", r)}
		}
	}()
	op, ok := ops[c.Op]
	if !ok {
		return answer{ID: c.ID, Error: "unsupported", Unsupported: true}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	result, err := op(n, ctx, &c)
	if err != nil {
		return answer{ID: c.ID, Error: strings.ReplaceAll(err.Error(), "\n", "; ")}
	}
	return answer{ID: c.ID, OK: true, Result: result}
}

func version(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == module {
				return strings.TrimPrefix(dep.Version, "v")
			}
		}
	}
	return "unknown"
}
