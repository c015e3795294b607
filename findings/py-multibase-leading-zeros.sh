#!/usr/bin/env bash
# py-multibase 2.0.0 treats bytes as one large number in several bases and so loses zero bytes at the
# beginning, without an error: base36 and base58btc write 00 00 01 as "k1" and "z2", and even base16 reads
# "f000001" as one byte. A libp2p peer id of an Ed25519 key (identity multihash, first byte 0) comes back one
# byte short. base32 and base64 keep them.
# The multibase registry's own test vectors (tests/leading_zero.csv, two_leading_zeros.csv) are of this kind.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check py-multibase==2.0.0 multiformats==0.3.1.post4
got=$(py/bin/python - 2>&1 <<'PY'
import multibase
from multiformats import multibase as other
for base in ("base16", "base36", "base58btc", "base32"):
    text = other.encode(bytes.fromhex("000001"), base)
    back = multibase.decode(text)
    back = back if isinstance(back, bytes) else back[1]
    print(base, "000001 is", text, "- written as", multibase.encode(base, bytes.fromhex("000001")).decode(), "- read as", back.hex())
PY
)
want=$(cat <<'WANT'
base16 000001 is f000001 - written as f000001 - read as 01
base36 000001 is k001 - written as k1 - read as 01
base58btc 000001 is z112 - written as z2 - read as 01
base32 000001 is baaaac - written as baaaac - read as 000001
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
