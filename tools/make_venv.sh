#!/usr/bin/env bash
# Makes a virtual environment with the newest suitable Python on this machine, or with $PYTHON.
set -euo pipefail
venv=$1
here=$(cd "$(dirname "$0")" && pwd)
if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); else candidates=(python3 python3.14 python3.13 python3.12 python3.11); fi
for python in "${candidates[@]}"; do
    # Runs it rather than looking for it: a version manager's shim may stand for a Python that is not chosen.
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" "$here/make_venv.py" "$venv"
    fi
done
echo "fastmarket needs Python >= 3.11; tried: ${candidates[*]} (set PYTHON=/path/to/python3)" >&2
exit 1
