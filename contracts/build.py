"""Compiles the contracts: python contracts/build.py [--check], with the Vyper that [x402-test] pins.

Writes NAME.json beside each NAME.vy: what was compiled, by what, and the result. `--check` compares instead.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import vyper
from vyper.compiler.settings import Settings

HERE = Path(__file__).parent
EVM_VERSION = "cancun"  # with transient storage (EIP-1153), which guards against calls from within
NAMES = ("escrow", "token")


def built(name: str) -> str:
    """The JSON of one contract."""
    source = (HERE / f"{name}.vy").read_text()
    settings = Settings(evm_version=EVM_VERSION)
    made = vyper.compile_code(source, output_formats=["abi", "bytecode"], settings=settings)
    told = {
        "source": f"{name}.vy",
        "source_sha256": hashlib.sha256(source.encode()).hexdigest(),
        "compiler": f"vyper {vyper.__version__}",
        "evm_version": EVM_VERSION,
        "bytecode_sha256": hashlib.sha256(bytes.fromhex(made["bytecode"][2:])).hexdigest(),
        "abi": made["abi"],
        "bytecode": made["bytecode"],
    }
    return json.dumps(told, indent=1) + "\n"


def main() -> None:
    """Exit status 1 if something is to be checked and differs."""
    for name in NAMES:
        path, text = HERE / f"{name}.json", built(name)
        if "--check" not in sys.argv[1:]:
            path.write_text(text)
        elif path.read_text() != text:
            raise SystemExit(f"{path} is not what {name}.vy compiles to")


if __name__ == "__main__":
    main()
