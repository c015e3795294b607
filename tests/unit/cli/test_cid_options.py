"""Options of `ipfs add` that say how a CID is made."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from fastmarket.cli.client import client
from fastmarket.formats.unixfs.importer import cid_of_bytes
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile

DATA = bytes(700_000)
V1 = "unixfs-v1-2025"


@pytest.mark.parametrize(
    ("options", "profile"),
    [
        ([], UNIXFS_V0_2015),
        (["--profile", V1], UNIXFS_V1_2025),
        (["--profile", V1, "--no-raw-leaves"], UNIXFS_V1_2025.with_(raw_leaves=False)),
        (["--chunker", "size-1000"], UNIXFS_V0_2015.with_(chunk_bytes=1000)),
        (["--max-links", "2"], UNIXFS_V0_2015.with_(links_per_node=2)),
        (["--cid-version", "1"], UNIXFS_V0_2015.with_(cid_version=1, raw_leaves=True)),
        (["--raw-leaves"], UNIXFS_V0_2015.with_(raw_leaves=True)),
    ],
)
def test_options(options: list[str], profile: CidProfile, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    done = CliRunner().invoke(client, ["cid", str(path), *options])
    assert (done.exit_code, done.output) == (0, f"{cid_of_bytes(DATA, profile)}\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--chunker", "rabin"], "chunker: is size-N"),
        (["--chunker", "size-0"], "chunk_bytes: is 1 to"),
        (["--chunker", "size-2097152"], "chunk_bytes: is 1 to"),
        (["--max-links", "1"], "links_per_node: is 2 to"),
    ],
)
def test_values_that_no_file_can_have(options: list[str], said: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    done = CliRunner().invoke(client, ["cid", str(path), *options])
    assert said in str(done.exception)
