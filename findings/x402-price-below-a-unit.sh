#!/usr/bin/env bash
# x402 2.25.0 (Python) and @x402/core 2.27.0 (npm) turn a price below the smallest unit of the token into 0,
# without an error: "$0.0000009" with a token of 6 decimals is an amount of "0", and the resource is free. A
# price per block of 256 KiB, at some dollars a terabyte, is below that unit. Elsewhere they refuse what they
# cannot keep (scientific notation, a negative amount), so one would expect an error, or rounding up as for
# the seller.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv py
py/bin/pip install -q --disable-pip-version-check x402==2.25.0
python=$(py/bin/python - 2>&1 <<'PY'
from x402.schemas.helpers import convert_to_token_amount, parse_money
for price in ("$0.000001", "$0.0000009", "$0.0000019"):
    print("python", price, convert_to_token_amount(parse_money(price)["amount"], 6))
PY
)
npm init -y >/dev/null
npm install --silent --no-audit --no-fund @x402/core@2.27.0
cat > probe.mjs <<'JS'
import { convertToTokenAmount, parseMoney } from '@x402/core/utils'
for (const price of ['$0.000001', '$0.0000009', '$0.0000019']) {
  console.log('js', price, convertToTokenAmount(parseMoney(price).amount, 6))
}
JS
js=$(node probe.mjs 2>&1)
got=$(printf "%s\n" "$python" "$js")
want=$(cat <<'WANT'
python $0.000001 1
python $0.0000009 0
python $0.0000019 1
js $0.000001 1
js $0.0000009 0
js $0.0000019 1
WANT
)
printf '%s\n' "$got"
[ "$got" = "$want" ] || { echo "not as described any more; described was:"; printf '%s\n' "$want"; exit 1; }
echo "as described"
