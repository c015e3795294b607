"""A process that imports, for a test that kills it: says so after some progress, and goes on."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fastmarket.content.goods import SellOrder
from fastmarket.content.importing import ImportProgress
from fastmarket.formats.unixfs.profile import CidProfile
from tests.content.shop import shop


async def main(directory: Path, path: str, profile: str, each_file: bool, said_after: int) -> None:
    with shop(directory) as store:
        order = SellOrder(path, 1, b"", "", CidProfile.of(profile), each_file=each_file)
        async for event in store.importer.sell(order):
            if isinstance(event, ImportProgress) and event.done >= said_after:
                print(event.done, flush=True)


if __name__ == "__main__":
    _, where, what, named, each, after = sys.argv
    asyncio.run(main(Path(where), what, named, each == "each", int(after)))
