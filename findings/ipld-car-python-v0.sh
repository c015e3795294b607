#!/usr/bin/env bash
# ipld-car 0.0.1 (Python) reads a block under a CIDv0 one byte off: after the code 12 it takes the next 32
# bytes for the digest, though the first of them is the length (20). The CID is another one, and the block
# begins with the digest's last byte. It misreads in silence what it wrote itself; most CAR files of UnixFS
# data made before CIDv1 have such blocks.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check ipld-car==0.0.1 multiformats==0.3.1.post4 dag-cbor==0.3.3
got=$(py/bin/python - 2>&1 <<'PY'
import hashlib, ipld_car
from multiformats import CID
block = bytes.fromhex("0a0708021201611801")
name = CID("base58btc", 0, "dag-pb", ("sha2-256", hashlib.sha256(block).digest()))
roots, ((found, data),) = ipld_car.decode(bytes(ipld_car.encode([name], [(name, block)])))
print("written:", name, block.hex())
print("read:   ", found, bytes(data).hex())
print("root read right:", roots == [name])
PY
)
want=$(cat <<'WANT'
written: QmfDmsHTywy6L9Ne5RXsj5YumDedfBLMvCvmaxjBoe6w4d 0a0708021201611801
read:    QmQZPb626eAnP4zm8a4WTEBKWvBhzAV2Q65cUqgAHm1EVt c20a0708021201611801
root read right: True
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
