"""Inputs guided by coverage, by atheris (libFuzzer): `python -m tests.fuzz.guided NAME --seconds N`.

It grows the corpus of a target, `.make/fuzz/corpus/NAME`, from which `tests.fuzz.loop` goes on, much faster.
What it finds is judged in the same way. Coverage is that of the package's Python.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Final

from tests.fuzz.counts import OUT

CORPUS: Final = OUT / "corpus"
MAX_READ: Final = 256  # files of a corpus that the loop begins with, the newest first
REPORT_EVERY_S: Final = 2.0  # libFuzzer ends the process by itself: what was found has been written by then


def is_available() -> bool:
    """Whether atheris is installed: `pip install -e ".[fuzz]"`."""
    return importlib.util.find_spec("atheris") is not None


def read_corpus(name: str) -> list[bytes]:
    """What coverage was found with, in this run and in earlier ones."""
    files = sorted((CORPUS / name).glob("*"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.read_bytes() for path in files[:MAX_READ]]


def report_of(name: str) -> Path:
    """Where the counts of a guided run are."""
    return OUT / f"{name}.guided.json"


def main() -> None:
    """Does not return: libFuzzer ends the process."""
    options = argparse.ArgumentParser(prog="python -m tests.fuzz.guided")
    options.add_argument("target")
    options.add_argument("--seconds", type=int, default=60)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["fastmarket"], exclude=["fastmarket.pb"]):
        targets = importlib.import_module("tests.fuzz.targets")
    from tests.fuzz.loop import Loop

    target = next(one for one in targets.TARGETS if one.name == chosen.target)
    corpus = CORPUS / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed[: target.longest])
    loop = Loop(target, chosen.seed, last=OUT / f"{target.name}.last")
    reported = 0.0

    def one(data: bytes) -> None:
        nonlocal reported
        loop.feed_one(data)
        now = time.monotonic()
        if now - reported > REPORT_EVERY_S:
            reported = now
            report_of(target.name).write_text(json.dumps(loop.counts.to_json()))

    arguments = [
        *(sys.argv[0], str(corpus), f"-max_total_time={chosen.seconds}", f"-seed={chosen.seed}"),
        *(f"-max_len={target.longest}", "-rss_limit_mb=0", "-verbosity=0", "-close_fd_mask=2"),
    ]
    atheris.Setup(arguments, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
