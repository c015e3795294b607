"""unixfs.profile: what a profile may be, and its text."""

from __future__ import annotations

import pytest

from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.profile import (
    MAX_CHUNK_BYTES,
    MAX_LINKS_PER_NODE,
    PROFILES,
    UNIXFS_V0_2015,
    UNIXFS_V1_2025,
    CidProfile,
)


def test_profiles_by_name() -> None:
    assert [str(profile) for profile in PROFILES.values()] == ["unixfs-v0-2015", "unixfs-v1-2025"]
    assert all(CidProfile.of(name) is profile for name, profile in PROFILES.items())


def test_cid_version_1_brings_raw_leaves_as_in_ipfs_add() -> None:
    assert UNIXFS_V0_2015.with_(cid_version=1).raw_leaves
    assert not UNIXFS_V0_2015.with_(cid_version=1, raw_leaves=False).raw_leaves
    assert not UNIXFS_V0_2015.with_(cid_version=0).raw_leaves
    assert UNIXFS_V0_2015.with_(raw_leaves=True).raw_leaves
    assert UNIXFS_V1_2025.with_(cid_version=0).raw_leaves
    assert UNIXFS_V1_2025.with_() is UNIXFS_V1_2025


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("unixfs-v0-2015+cid_version=1+raw_leaves=1", {"cid_version": 1}),
        ("unixfs-v1-2025+raw_leaves=0", {"raw_leaves": False}),
        ("unixfs-v1-2025+chunk_bytes=1000+links_per_node=5", {"chunk_bytes": 1000, "links_per_node": 5}),
    ],
)
def test_the_text_says_what_differs(text: str, changes: dict[str, int]) -> None:
    profile = CidProfile.of(text.partition("+")[0]).with_(**changes)  # type: ignore[arg-type]
    assert str(profile) == text
    assert CidProfile.of(text) == profile


@pytest.mark.parametrize(
    "text", ["", "unixfs", "unixfs-v0-2015+", "unixfs-v0-2015+name=1", "unixfs-v0-2015+chunk_bytes=-1"]
)
def test_texts_that_are_no_profile(text: str) -> None:
    with pytest.raises(CallerFault, match="profile"):
        CidProfile.of(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"cid_version": 2},
        {"chunk_bytes": 0},
        {"chunk_bytes": MAX_CHUNK_BYTES + 1},
        {"links_per_node": 1},
        {"links_per_node": MAX_LINKS_PER_NODE + 1},
    ],
)
def test_values_that_no_file_can_have(changes: dict[str, int]) -> None:
    with pytest.raises(CallerFault) as caught:
        UNIXFS_V0_2015.with_(**changes)  # type: ignore[arg-type]
    assert caught.value.field == next(iter(changes))
