"""The public names are there, and cost nothing until they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import fastmarket


@pytest.mark.parametrize("name", fastmarket.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(fastmarket, name) is not None


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = fastmarket.nothing_like_this


EXTRAS = {"starlette", "uvicorn", "prometheus_client", "redis", "opentelemetry"}


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import fastmarket", {"grpc", "cryptography", "rich", "uvloop", "multiformats", "asyncio"} | EXTRAS),
        ("from fastmarket import bridge", {"grpc", "uvloop", "rich"} | EXTRAS),
        ("from fastmarket import MarketClient", {"fastmarket.config", "uvloop", "rich"} | EXTRAS),
        ("from fastmarket import Node, MarketClient", {"uvloop", "rich"} | EXTRAS),
        ("from fastmarket import cid_of_file, new_cidv0", {"grpc", "cryptography"} | EXTRAS),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_used(code: str, heavy: set[str]) -> None:
    code = f"import sys; {code}; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("words", "status", "part"),
    [
        (["--help"], 0, "run a node"),
        ([], 2, "usage: python -m fastmarket"),
        (["nothing"], 2, "usage: python -m fastmarket"),
        (["server", "--version"], 0, fastmarket.__version__),
        (["client", "--help"], 0, "register"),
    ],
)
def test_the_package_is_a_program(words: list[str], status: int, part: str) -> None:
    done = subprocess.run([sys.executable, "-m", "fastmarket", *words], capture_output=True, text=True)
    assert done.returncode == status
    assert part in done.stdout + done.stderr
