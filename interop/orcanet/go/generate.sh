#!/usr/bin/env bash
# Generates market/*.pb.go from market/market.proto:
#   ./generate.sh [PYTHON]      a Python with grpcio-tools, which brings protoc; default: the project's .venv
# The plugins are the versions that go.mod pins as tools.
set -euo pipefail
cd "$(dirname "$0")"
python=${1:-../../../.venv/bin/python}
plugins=$(mktemp -d)
trap 'rm -rf "$plugins"' EXIT
GOBIN="$plugins" go install tool
PATH="$plugins:$PATH" "$python" -m grpc_tools.protoc -I. \
  --go_out=. --go_opt=paths=source_relative \
  --go-grpc_out=. --go-grpc_opt=paths=source_relative \
  market/market.proto
