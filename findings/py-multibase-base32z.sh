#!/usr/bin/env bash
# py-multibase 2.0.0 writes base32z (z-base-32) as one large number, not in groups of five bits from the first
# bit on, as base32 and the description of z-base-32 do: text of a length that is no multiple of five bytes
# comes out otherwise, and what others wrote is read as other bytes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check py-multibase==2.0.0 multiformats==0.3.1.post4
got=$(py/bin/python - 2>&1 <<'PY'
import multibase
from multiformats import multibase as other
print("multiformats", other.encode(bytes.fromhex("ff"), "base32z"))
print("py-multibase", multibase.encode("base32z", bytes.fromhex("ff")).decode())
text = other.encode(b"market", "base32z")
back = multibase.decode(text)
print("py-multibase reads", text, "as", back if isinstance(back, bytes) else back[1])
PY
)
want=$(cat <<'WANT'
multiformats h9h
py-multibase h89
py-multibase reads hpiozr45fqo as b'\x01\xb5\x85\xc9\xad\x95\xd0'
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
