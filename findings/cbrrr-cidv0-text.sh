#!/usr/bin/env bash
# cbrrr 1.1.0 (Python) prints a link to a CIDv0 as "bciq...": multibase base32 of the bare multihash, which is
# no CID of any version (CIDv0 has no multibase; a decoder takes 12 for an unknown version). The usual text is
# "Qm...". go-cid and multiformats refuse what it prints.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check cbrrr==1.1.0 multiformats==0.3.1.post4
got=$(py/bin/python - 2>&1 <<'PY'
import cbrrr
from multiformats import CID
link = bytes.fromhex("d82a5823001220" + "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")
text = str(cbrrr.decode_dag_cbor(link)).removeprefix("CID(").removesuffix(")")
print("cbrrr:", text)
try:
    print("multiformats:", CID.decode(text))
except Exception as fault:
    print("multiformats:", type(fault).__name__)
print("usual:", CID.decode(link[5:]))
PY
)
want=$(cat <<'WANT'
cbrrr: bciqcz4snxjp3biyoe3udwkwfxhrj4gywdzob7j2clzzqim3csofzqja
multiformats: ValueError
usual: QmRN6wdp1S2A5EtjW9A3M1vKSBuQQGcgvuhoMUoEz4iiT5
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
