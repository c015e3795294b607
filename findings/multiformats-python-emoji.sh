#!/usr/bin/env bash
# multiformats 0.3.1.post4 (Python) lists base256emoji among its multibases, as the registry does, but can
# neither write nor read it: the encoding behind the name is missing. go-cid writes and reads CIDs in that
# base.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check multiformats==0.3.1.post4
got=$(py/bin/python - 2>&1 <<'PY'
from multiformats import multibase
base = multibase.get("base256emoji")
print(base.name, base.code, base.status)
try:
    print(base.encode(b"hello"))
except Exception as fault:
    print(type(fault).__name__, fault)
try:
    print(multibase.decode("\U0001F680\U0001F680"))
except Exception as fault:
    print(type(fault).__name__)
PY
)
want=$(cat <<'WANT'
base256emoji 🚀 experimental
MultibaseKeyError "No raw encoding named 'base256emoji'."
MultibaseKeyError
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
