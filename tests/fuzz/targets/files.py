"""Files of imports and fetches under way, which a later run goes on with, or a caller names."""

from __future__ import annotations

import json
import os
from pathlib import Path

from fastmarket.content.leaf_log import LeafLog
from fastmarket.errors import Unmet
from fastmarket.part_files import PartFile, new_proof, open_proven
from tests.fuzz.target import Shape, Target
from tests.fuzz.targets.storage import home, in_file


def leaf_log(data: bytes) -> object:
    """What is kept is whole records; what is appended then is found behind them."""

    def read(directory: Path) -> object:
        path = directory / "1.leaves"
        with LeafLog(path, 16, goes_on=True, flush_bytes=1) as log:
            found = list(log.kept())
            log.append(32, bytes(64))
        with LeafLog(path, 16, goes_on=True, flush_bytes=1) as log:
            assert list(log.kept()) == [*found, (32, bytes(64))], "what was appended is not there"
        assert all(length % 16 == 0 and len(digests) == length * 2 for length, digests in found)
        return found

    return in_file("1.leaves", data, read)


def _leaf_logs() -> list[bytes]:
    with home() as directory:
        path = directory / "1.leaves"
        with LeafLog(path, 16, goes_on=False, flush_bytes=1) as log:
            for number in range(1, 4):
                log.append(16 * number, bytes([number]) * 32 * number)
        whole = path.read_bytes()
    return [whole, whole[:-5], b"", bytes(48)]


ORDER = "bafy 0-"


def part_list(data: bytes) -> object:
    """NAME.part.list of an earlier run: the stream goes on at a place that there is, or begins again."""
    with home() as directory:
        target = directory / "name"
        target.with_name("name.part").write_bytes(b"0123456789")
        target.with_name("name.part.list").write_bytes(data)
        part = PartFile(target)
        try:
            kept = part.begin_stream(ORDER)
            assert 0 <= kept <= 10
            part.append(b"rest")
            part.finish(kept + 4)
        finally:
            part.close()
        assert target.read_bytes() == b"0123456789"[:kept] + b"rest"
        return kept


def _part_lists() -> list[bytes]:
    noted = {"order": ORDER, "bytes": 7}
    return [json.dumps(noted).encode(), json.dumps({**noted, "bytes": 11}).encode(), b"[" * 3000]


_PROOF = new_proof()


def output_proof(data: bytes) -> object:
    """A file that a caller names, and the proof that it may write there: only that one opens it."""
    proof, content = data[:32], data[32:]
    with home() as directory:
        path = directory / "out.part"
        path.write_bytes(content)
        os.chmod(path, 0o600)
        number = open_proven(str(path), proof)
        try:
            assert content.endswith(proof), "opened without its proof"
            assert len(proof) == 32
            assert path.read_bytes() == content[:-32]
        finally:
            os.close(number)
        return len(content)


TARGETS: tuple[Target, ...] = (
    Target("leaf-log", "fastmarket.content.leaf_log.LeafLog.kept", _leaf_logs, leaf_log, (), Shape.BYTES),
    Target(
        "part-list", "fastmarket.part_files.PartFile.begin_stream", _part_lists, part_list, (), Shape.JSON
    ),
    Target(
        "output-proof",
        "fastmarket.part_files.open_proven",
        lambda: [_PROOF + b"some bytes" + _PROOF, _PROOF + _PROOF, _PROOF],
        output_proof,
        (Unmet,),
        Shape.BYTES,
    ),
)
