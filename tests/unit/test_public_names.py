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


def test_the_import_loads_no_heavy_library() -> None:
    heavy = {"grpc", "cryptography", "rich", "uvloop", "multiformats"}
    code = f"import sys, fastmarket; print(*({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
