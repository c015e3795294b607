#!/usr/bin/env bash
# The path of /unix has four readings. go-multiaddr 0.16.1 takes the rest of the text, with its leading slash,
# and leaves %2F as three letters; Python's multiaddr 0.2.0 takes the rest without the leading slash (a
# relative path) and decodes %2F;
# @multiformats/multiaddr 13.0.3 refuses more than one component and decodes %2F; rust-multiaddr 0.19.1
# refuses more than one component, too, and leaves %2F as it is.
# No text of an absolute path gives the same bytes in all four; the one that all four take comes out as three
# byte strings.
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
	for _, text := range []string{"/unix/tmp/p.sock", "/unix/%2Ftmp%2Fp.sock"} {
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
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check multiaddr==0.2.0
python=$(py/bin/python - 2>&1 <<'PY'
from multiaddr import Multiaddr
for text in ['/unix/tmp/p.sock', '/unix/%2Ftmp%2Fp.sock']:
    try:
        raw = Multiaddr(text).to_bytes()
        print("python", text, raw.hex(), Multiaddr(raw))
    except Exception as fault:
        print("python", text, "refused:", type(fault).__name__)
PY
)
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @multiformats/multiaddr@13.0.3
cat > probe.mjs <<'JS'
import { multiaddr } from '@multiformats/multiaddr'
for (const text of ['/unix/tmp/p.sock', '/unix/%2Ftmp%2Fp.sock']) {
  try {
    const raw = multiaddr(text).bytes
    console.log('js', text, Buffer.from(raw).toString('hex'), multiaddr(raw).toString())
  } catch (fault) { console.log('js', text, 'refused:', fault.name) }
}
JS
js=$(node probe.mjs 2>&1)
cargo init -q --name probe rs >/dev/null 2>&1
cat >> rs/Cargo.toml <<'TOML'
multiaddr = "=0.19.1"
hex = "0.4"
TOML
cat > rs/src/main.rs <<'RS'
fn main() {
    for text in ["/unix/tmp/p.sock", "/unix/%2Ftmp%2Fp.sock"] {
        match text.parse::<multiaddr::Multiaddr>() {
            Ok(address) => println!("rust {text} {} {address}", hex::encode(address.to_vec())),
            Err(_) => println!("rust {text} refused"),
        }
    }
}
RS
rust=$(cd rs && cargo run -q 2>/dev/null)
got=$(printf "%s\n" "$go" "$python" "$js" "$rust")
want=$(cat <<'WANT'
go /unix/tmp/p.sock 90030b2f746d702f702e736f636b /unix/tmp/p.sock <nil>
go /unix/%2Ftmp%2Fp.sock 9003102f253246746d70253246702e736f636b /unix/%2Ftmp%2Fp.sock <nil>
python /unix/tmp/p.sock 90030a746d702f702e736f636b /unix/tmp/p.sock
python /unix/%2Ftmp%2Fp.sock 90030b2f746d702f702e736f636b /unix/tmp/p.sock
js /unix/tmp/p.sock refused: UnknownProtocolError
js /unix/%2Ftmp%2Fp.sock 90030b2f746d702f702e736f636b /unix/%2Ftmp%2Fp.sock
rust /unix/tmp/p.sock refused
rust /unix/%2Ftmp%2Fp.sock 90030f253246746d70253246702e736f636b /unix/%2Ftmp%2Fp.sock
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
