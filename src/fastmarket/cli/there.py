"""Whether a file on the disk is the content that is to be fetched, so that nobody pays for it twice."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from fastmarket.errors import FastmarketError
from fastmarket.formats.unixfs.profile import UNIXFS_V0_2015, UNIXFS_V1_2025, CidProfile

if TYPE_CHECKING:
    from fastmarket.formats.cid import Cid

# What sellers and IPFS programs name files by, unless told otherwise. A file named by another profile is not
# recognized, and is fetched again.
_PROFILES: dict[int, tuple[CidProfile, ...]] = {
    0: (UNIXFS_V0_2015,),
    1: (UNIXFS_V1_2025, UNIXFS_V0_2015.with_(cid_version=1)),
}


def has_content(path: str, cid: Cid) -> bool:
    """Whether the regular file at `path` has that CID by one of the usual profiles. Reads all of it."""
    from fastmarket.hashing import cid_of_file

    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        return any(cid_of_file(path, profile=profile) == cid for profile in _PROFILES.get(cid.version, ()))
    except (OSError, FastmarketError):
        return False
