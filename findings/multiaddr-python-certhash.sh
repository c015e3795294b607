#!/usr/bin/env bash
# /certhash holds a multihash in any multibase. Python's multiaddr 0.2.0 refuses a base32 one ("b..."), which
# go-multiaddr 0.16.1 (like js and rust) takes and prints as base64url ("u...").
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
	for _, text := range []string{"/ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/bciqcih4wxagpdcss4oay3daegqfdhpogejguhnrkwvxfniuop3nfv7q", "/ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/uEiAkH5a4DPGKUuOBjYwENAozvcYiTUO2KrVuVqKOftpa_g"} {
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
for text in ['/ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/bciqcih4wxagpdcss4oay3daegqfdhpogejguhnrkwvxfniuop3nfv7q', '/ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/uEiAkH5a4DPGKUuOBjYwENAozvcYiTUO2KrVuVqKOftpa_g']:
    try:
        raw = Multiaddr(text).to_bytes()
        print("python", text, raw.hex(), Multiaddr(raw))
    except Exception as fault:
        print("python", text, "refused:", type(fault).__name__)
PY
)
got=$(printf "%s\n" "$go" "$python")
want=$(cat <<'WANT'
go /ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/bciqcih4wxagpdcss4oay3daegqfdhpogejguhnrkwvxfniuop3nfv7q 04c000020191020fa1cd03d103d203221220241f96b80cf18a52e3818d8c04340a33bdc6224d43b62ab56e56a28e7eda5afe /ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/uEiAkH5a4DPGKUuOBjYwENAozvcYiTUO2KrVuVqKOftpa_g <nil>
go /ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/uEiAkH5a4DPGKUuOBjYwENAozvcYiTUO2KrVuVqKOftpa_g 04c000020191020fa1cd03d103d203221220241f96b80cf18a52e3818d8c04340a33bdc6224d43b62ab56e56a28e7eda5afe /ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/uEiAkH5a4DPGKUuOBjYwENAozvcYiTUO2KrVuVqKOftpa_g <nil>
python /ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/bciqcih4wxagpdcss4oay3daegqfdhpogejguhnrkwvxfniuop3nfv7q refused: StringParseError
python /ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/uEiAkH5a4DPGKUuOBjYwENAozvcYiTUO2KrVuVqKOftpa_g 04c000020191020fa1cd03d103d203221220241f96b80cf18a52e3818d8c04340a33bdc6224d43b62ab56e56a28e7eda5afe /ip4/192.0.2.1/udp/4001/quic-v1/webtransport/certhash/uEiAkH5a4DPGKUuOBjYwENAozvcYiTUO2KrVuVqKOftpa_g
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
