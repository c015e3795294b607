#!/usr/bin/env bash
# libp2p 0.8.1 (Python): ID.from_multibase takes "bafz..." for base32, as its documentation says, but keeps
# the whole CID (01 72 ...) as the peer id instead of the multihash in it. The id is unequal to the one read
# from the base58 text of the same peer, and prints as another one. ID.from_string, for text of any form,
# refuses it.
# The peer-ids spec: a CID is decoded, its codec has to be libp2p-key, and its multihash is the peer id.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check libp2p==0.8.1
got=$(py/bin/python - 2>&1 <<'PY'
from libp2p.peer.id import ID
peer = ID.from_base58("12D3KooWCKks4MmNNUjgdMaYfeRHYUxYLhpEDKmujyM9BKE2CpJ5")
same = "bafzaajaiaejcajj64dzz4mnthvoxqzkmyjrljbczrydygqefqo4hxap7zbyyulhc"
print("base58:", peer.to_bytes().hex())
print("base32:", ID.from_multibase(same).to_bytes().hex(), "equal:", ID.from_multibase(same) == peer)
try:
    print(ID.from_string(same) == peer)
except ValueError as fault:
    print("from_string:", type(fault).__name__)
PY
)
want=$(cat <<'WANT'
base58: 002408011220253ee0f39e31b33d5d78654cc262b484598e0783408583b87b81ffc8718a2ce2
base32: 0172002408011220253ee0f39e31b33d5d78654cc262b484598e0783408583b87b81ffc8718a2ce2 equal: False
from_string: ValueError
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
