"""Makes the virtual environment at argv[1] and installs what a build without isolation needs.

Debian and Ubuntu split `ensurepip` off into python3-venv. Where it is missing, the environment is made
without pip, and pip's own wheel, fetched from the package index, installs itself: nothing has to be installed
by hand.
"""

from __future__ import annotations

import html
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

BUILD_REQUIRES = ["pip>=24", "setuptools>=77", "wheel", "cython>=3.1"]


def index_url() -> str:
    """The index pip would use, as far as the environment says."""
    return os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")


def fetch_pip_wheel(into: Path) -> Path:
    """Downloads the newest final pip wheel of the index's simple page (PEP 503)."""
    page_url = f"{index_url()}/pip/"
    with urllib.request.urlopen(page_url, timeout=60) as page:
        links = re.findall(r'href="([^"]+)"', page.read().decode())
    wheels = [link for link in links if re.search(r"/pip-\d+(\.\d+)+-py3-none-any\.whl(#|$)", link)]
    if not wheels:
        raise SystemExit(f"no pip wheel at {page_url}")

    def version(link: str) -> list[int]:
        match = re.search(r"/pip-([\d.]+)-py3", link)
        assert match is not None
        return [int(part) for part in match[1].split(".")]

    link, _, fragment = urllib.parse.urljoin(page_url, html.unescape(max(wheels, key=version))).partition("#")
    target = into / link.rsplit("/", 1)[1]
    with urllib.request.urlopen(link, timeout=180) as body:
        content = body.read()
    algorithm, _, digest = fragment.partition("=")
    if digest:
        import hashlib

        if hashlib.new(algorithm, content).hexdigest() != digest:
            raise SystemExit(f"{link}: the checksum does not match")
    target.write_bytes(content)
    return target


def main() -> None:
    target = Path(sys.argv[1])
    has_ensurepip = importlib.util.find_spec("ensurepip") is not None
    print(f"making {target} with Python {sys.version.split()[0]} ...", flush=True)
    venv.EnvBuilder(with_pip=has_ensurepip, clear=True, symlinks=True).create(target)
    python = str(target / "bin" / "python")
    with tempfile.TemporaryDirectory() as scratch:
        pip = [python, "-m", "pip"] if has_ensurepip else [python, f"{fetch_pip_wheel(Path(scratch))}/pip"]
        subprocess.run([*pip, "install", "-q", "--upgrade", *BUILD_REQUIRES], check=True)


if __name__ == "__main__":
    main()
