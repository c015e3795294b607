#!/usr/bin/env bash
# libipld 3.5.0 (Python) refuses a DAG-CBOR block that holds -0.0, and writes -0.0 as 0.0 itself, without a
# word. dag-cbor 0.3.3 and cbrrr 1.1.0 (and go-ipld-prime) read and write it; the DAG-CBOR specification
# leaves out NaN and the infinities only.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check libipld==3.5.0 dag-cbor==0.3.3 cbrrr==1.1.0
got=$(py/bin/python - 2>&1 <<'PY'
import cbrrr, dag_cbor, libipld
block = bytes.fromhex("fb8000000000000000")
print("dag-cbor", dag_cbor.encode(dag_cbor.decode(block)).hex())
print("cbrrr   ", cbrrr.encode_dag_cbor(cbrrr.decode_dag_cbor(block)).hex())
try:
    print("libipld  reads", libipld.decode_dag_cbor(block))
except ValueError as fault:
    print("libipld  reads:", fault)
print("libipld  writes", libipld.encode_dag_cbor(-0.0).hex())
PY
)
want=$(cat <<'WANT'
dag-cbor fb8000000000000000
cbrrr    fb8000000000000000
libipld  reads: Failed to decode DAG-CBOR. Negative zero is forbidden for f64
libipld  writes fb0000000000000000
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
