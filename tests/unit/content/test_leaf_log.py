"""What a killed import noted is read as far as it is whole, and no further."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fastmarket.content.leaf_log import LeafLog

CHUNK = 4096
leaves = st.lists(st.integers(1, 4), max_size=5)


def opened(path: Path, *, goes_on: bool = True, flush_bytes: int = 1) -> LeafLog:
    return LeafLog(path, CHUNK, goes_on=goes_on, flush_bytes=flush_bytes)


def noted(path: Path, counts: list[int]) -> list[tuple[int, bytes]]:
    records = [(count * CHUNK, bytes([number]) * 32 * count) for number, count in enumerate(counts)]
    with opened(path, goes_on=False) as log:
        assert list(log.kept()) == []
        for record in records:
            log.append(*record)
    return records


@given(leaves, leaves)
def test_what_was_noted_is_kept(counts: list[int], more: list[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        records = noted(path, counts)
        with opened(path) as log:
            assert list(log.kept()) == records
            for count in more:
                log.append(count * CHUNK, bytes(32 * count))
        with opened(path) as log:
            assert list(log.kept()) == records + [(count * CHUNK, bytes(32 * count)) for count in more]
            log.delete()
        assert not path.exists()


@given(leaves, st.integers(0, 1000), st.integers(0, 255))
def test_nothing_behind_a_damage_is_kept(counts: list[int], at: int, byte: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        records = noted(path, counts)
        data = bytearray(path.read_bytes())
        if at < len(data):
            data[at] = byte
        path.write_bytes(data)
        with opened(path) as log:
            kept = list(log.kept())
            assert kept == records[: len(kept)]
            log.append(CHUNK, b"n" * 32)
        # It goes on behind what was kept.
        with opened(path) as log:
            assert list(log.kept()) == [*kept, (CHUNK, b"n" * 32)]


@given(st.binary(max_size=300))
def test_any_file_is_read(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        path.write_bytes(data)
        with opened(path) as log:
            for length, digests in log.kept():
                assert len(digests) == 32 * length // CHUNK


@given(leaves, st.integers(1, 300))
def test_a_cut_file_is_read_up_to_the_cut(counts: list[int], cut: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "log"
        records = noted(path, counts)
        data = path.read_bytes()
        path.write_bytes(data[:-cut])
        with opened(path) as log:
            kept = list(log.kept())
        assert kept == records[: len(kept)]
        assert not records or len(kept) < len(records)


def test_the_last_part_of_a_file_is_hashed_again(tmp_path: Path) -> None:
    """A part that ends within a chunk is of no use to what goes on behind it."""
    with opened(tmp_path / "log") as log:
        log.append(CHUNK, b"a" * 32)
        log.append(CHUNK + 7, b"b" * 64)
    with opened(tmp_path / "log") as log:
        assert list(log.kept()) == [(CHUNK, b"a" * 32)]
