#!/usr/bin/env bash
# py-cid 0.5.0 refuses "bafkqaaa", the identity CID of nothing that the trustless gateway specification names
# as its probe (every client asks for it first): "multihash must be greater than 3 bytes". go-cid, js
# multiformats and rust's cid read it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check py-cid==0.5.0 multiformats==0.3.1.post4
got=$(py/bin/python - 2>&1 <<'PY'
import cid
from multiformats import CID
print("multiformats:", bytes(CID.decode("bafkqaaa")).hex())
try:
    print("py-cid:", cid.from_string("bafkqaaa").buffer.hex())
except ValueError as fault:
    print("py-cid:", fault)
PY
)
want=$(cat <<'WANT'
multiformats: 01550000
py-cid: multihash must be greater than 3 bytes.
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
