"""What was seen of holders, on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from fastmarket.config import FetchConfig
from fastmarket.exchange.fetching.history import HolderHistory
from fastmarket.exchange.fetching.holder import HolderTally
from fastmarket.storage.holders import FILE, MAX_FILE_BYTES, HolderFile, HolderSaver
from tests.conftest import Run

CONFIG = FetchConfig()
NOW = 1_700_000_000.0
TALLY = HolderTally(0, 3, 5_000_000, 15, 20, 0, 0, 0, 1e6, 0.1, 0, None)


def history() -> HolderHistory:
    made = HolderHistory(CONFIG)
    made.record(b"peer", TALLY, NOW)
    return made


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = HolderFile(tmp_path)
    assert len(file.read(CONFIG)) == 0
    file.write(history().to_bytes())
    assert HolderFile(tmp_path).read(CONFIG).seen(b"peer", NOW) == history().seen(b"peer", NOW)
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content", [b"", b"something else", history().to_bytes()[:-1], bytes(MAX_FILE_BYTES + 1)]
)
def test_a_damaged_file_is_moved_aside(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert len(HolderFile(tmp_path).read(CONFIG)) == 0
    assert os.listdir(tmp_path) == [FILE + ".damaged"]
    assert "what was seen of holders is forgotten" in caplog.text


def test_it_is_written_when_a_fetch_has_ended(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        ended = 0
        made = history()
        file = HolderFile(tmp_path)
        await HolderSaver(file, made, lambda: ended).close()
        assert not (tmp_path / FILE).exists()
        saver = HolderSaver(file, made, lambda: ended)
        ended = 1
        await saver.close()
        assert len(HolderFile(tmp_path).read(CONFIG)) == 1

    run(main())


def test_a_disk_that_is_gone_is_told_of(
    run: Run[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        ended = 0
        folder = tmp_path / "data"
        folder.mkdir()
        saver = HolderSaver(HolderFile(folder), history(), lambda: ended)
        folder.rename(tmp_path / "elsewhere")
        ended = 1
        await saver.close()
        assert caplog.text.count("knows nothing of holders") == 1

    run(main())
