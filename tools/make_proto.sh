#!/usr/bin/env bash
# Generates src/fastmarket/pb from proto/. The virtual path makes the generated modules import each other by
# their real package name, so that nothing has to be patched afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${1:-python3}
find src/fastmarket/pb -name '*_pb2*' -delete
files=$(cd proto && find . -name '*.proto' | sort | sed 's|^\./|fastmarket/pb/|')
# shellcheck disable=SC2086
"$python" -m grpc_tools.protoc -Ifastmarket/pb=proto --python_out=src --pyi_out=src --grpc_python_out=src $files
# A module without a service leaves an empty gRPC file behind.
grep -L 'class .*Stub' $(find src/fastmarket/pb -name '*_pb2_grpc.py') | xargs -r rm
find src/fastmarket/pb -type d ! -name __pycache__ -exec touch {}/__init__.py \;
