package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	echoID  protocol.ID = "/fastmarket/interop/echo/1.0.0"
	resetID protocol.ID = "/fastmarket/interop/reset/1.0.0"

	maxRaw = 1 << 20
)

func serveEcho(s network.Stream) {
	if _, err := io.Copy(s, s); err != nil {
		s.Reset()
		return
	}
	s.Close()
}

func serveReset(s network.Stream) {
	io.ReadFull(s, make([]byte, 1))
	s.Reset()
}

// open opens a stream of a connection that exists; every read and write ends with the command.
func (n *node) open(ctx context.Context, id string, proto protocol.ID) (network.Stream, error) {
	p, err := peer.Decode(id)
	if err != nil {
		return nil, err
	}
	s, err := n.host.NewStream(network.WithNoDial(ctx, "driven"), p, proto)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		s.SetDeadline(deadline)
	}
	return s, nil
}

func (n *node) opEcho(ctx context.Context, c *command) (object, error) {
	streams := max(c.Streams, 1)
	total, errs := int64(0), make([]error, streams)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			size, err := n.echo(ctx, c.Peer, c.Size, uint64(i), 0)
			mu.Lock()
			defer mu.Unlock()
			total, errs[i] = total+size, err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return object{"bytes": total, "sha256_ok": true}, nil
}

func (n *node) opEchoSlow(ctx context.Context, c *command) (object, error) {
	size, err := n.echo(ctx, c.Peer, c.Size, 0, time.Second)
	if err != nil {
		return nil, err
	}
	return object{"bytes": size, "sha256_ok": true}, nil
}

// echo sends size bytes of a pattern and reads them back after the delay.
func (n *node) echo(ctx context.Context, id string, size int64, pattern uint64, delay time.Duration) (int64, error) {
	s, err := n.open(ctx, id, echoID)
	if err != nil {
		return 0, err
	}
	defer s.Reset() // does nothing after a stream that ended well

	var seed [32]byte
	binary.BigEndian.PutUint64(seed[:], pattern)
	sent, received := sha256.New(), sha256.New()
	written := make(chan error, 1)
	go func() {
		source := io.LimitReader(rand.NewChaCha8(seed), size)
		_, err := io.Copy(s, io.TeeReader(source, sent))
		written <- errors.Join(err, s.CloseWrite())
	}()
	time.Sleep(delay)
	count, err := io.Copy(received, s)
	if err != nil {
		return count, fmt.Errorf("read %d of %d bytes: %w", count, size, err)
	}
	if err := <-written; err != nil {
		return count, fmt.Errorf("write: %w", err)
	}
	if !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		return count, fmt.Errorf("%d bytes came back for %d, and not the same", count, size)
	}
	return count, nil
}

func (n *node) opReset(ctx context.Context, c *command) (object, error) {
	s, err := n.open(ctx, c.Peer, resetID)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	if _, err := s.Write([]byte{1}); err != nil && !errors.Is(err, network.ErrReset) {
		return nil, err
	}
	switch _, err := s.Read(make([]byte, 1)); {
	case errors.Is(err, network.ErrReset):
		return object{}, nil
	case err != nil:
		return nil, fmt.Errorf("not reset: %w", err)
	}
	return nil, errors.New("not reset: data came back")
}

func (n *node) opRaw(ctx context.Context, c *command) (object, error) {
	s, err := n.open(ctx, c.Peer, protocol.ID(c.Protocol))
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	if _, err := s.Write(c.Data); err != nil {
		return nil, err
	}
	if c.HalfClose {
		if err := s.CloseWrite(); err != nil {
			return nil, err
		}
	}
	data, err := io.ReadAll(io.LimitReader(s, maxRaw))
	if err != nil {
		return nil, err
	}
	return object{"data": data}, nil
}
