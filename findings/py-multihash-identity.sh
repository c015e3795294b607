#!/usr/bin/env bash
# py-multihash 3.0.0 knows the hash function with code 0 as "id" only; its name in the multicodec table, in
# go, js and rust, and in the specification of identity CIDs, is "identity", which is refused as unsupported.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check py-multihash==3.0.0
got=$(py/bin/python - 2>&1 <<'PY'
import multihash
print("id:", multihash.encode(b"hello", "id").hex())
try:
    print("identity:", multihash.encode(b"hello", "identity").hex())
except ValueError as fault:
    print("identity:", fault)
PY
)
want=$(cat <<'WANT'
id: 000568656c6c6f
identity: Unsupported hash function identity
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
