#!/usr/bin/env bash
# rust-multiaddr 0.19.1 refuses a peer id written as a CIDv1 (base32 "bafz...", base36 "k51..."), the text
# form that libp2p's peer-ids spec says implementations must be able to parse and that Kubo prints for names;
# go-multiaddr 0.16.1 takes it. An address copied out of such a program cannot be dialed by rust.
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
	for _, text := range []string{"/p2p/bafzaajaiaejcajj64dzz4mnthvoxqzkmyjrljbczrydygqefqo4hxap7zbyyulhc", "/p2p/k51qzi5uqu5dh40avmlq4oy3ge7ygd5bjv8pm0h523r0y2jmj4k96byoi0djoi"} {
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
cargo init -q --name probe rs >/dev/null 2>&1
cat >> rs/Cargo.toml <<'TOML'
multiaddr = "=0.19.1"
hex = "0.4"
TOML
cat > rs/src/main.rs <<'RS'
fn main() {
    for text in ["/p2p/bafzaajaiaejcajj64dzz4mnthvoxqzkmyjrljbczrydygqefqo4hxap7zbyyulhc", "/p2p/k51qzi5uqu5dh40avmlq4oy3ge7ygd5bjv8pm0h523r0y2jmj4k96byoi0djoi"] {
        match text.parse::<multiaddr::Multiaddr>() {
            Ok(address) => println!("rust {text} {} {address}", hex::encode(address.to_vec())),
            Err(_) => println!("rust {text} refused"),
        }
    }
}
RS
rust=$(cd rs && cargo run -q 2>/dev/null)
got=$(printf "%s\n" "$go" "$rust")
want=$(cat <<'WANT'
go /p2p/bafzaajaiaejcajj64dzz4mnthvoxqzkmyjrljbczrydygqefqo4hxap7zbyyulhc a50326002408011220253ee0f39e31b33d5d78654cc262b484598e0783408583b87b81ffc8718a2ce2 /p2p/12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5 <nil>
go /p2p/k51qzi5uqu5dh40avmlq4oy3ge7ygd5bjv8pm0h523r0y2jmj4k96byoi0djoi a50326002408011220253ee0f39e31b33d5d78654cc262b484598e0783408583b87b81ffc8718a2ce2 /p2p/12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5 <nil>
rust /p2p/bafzaajaiaejcajj64dzz4mnthvoxqzkmyjrljbczrydygqefqo4hxap7zbyyulhc refused
rust /p2p/k51qzi5uqu5dh40avmlq4oy3ge7ygd5bjv8pm0h523r0y2jmj4k96byoi0djoi refused
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
