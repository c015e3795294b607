"""Options that say how a file's CID is made, named as those of `ipfs add`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from fastmarket.errors import CallerFault
from fastmarket.formats.unixfs.profile import PROFILES, UNIXFS_V0_2015, CidProfile

Command = TypeVar("Command", bound=Callable[..., Any])

_CHUNKER = re.compile(r"size-([0-9]{1,9})")

OPTIONS = (
    click.option(
        "--profile",
        "cid_profile",
        type=click.Choice(list(PROFILES)),
        default=UNIXFS_V0_2015.name,
        help="How the CID is made (IPIP-0499); the options below change it.  [default: unixfs-v0-2015]",
    ),
    click.option("--chunker", metavar="size-N", help="Cut files every N bytes.  [default: by the profile]"),
    click.option(
        "--max-links", type=int, metavar="N", help="Links of a node in a file.  [default: by the profile]"
    ),
    click.option(
        "--raw-leaves/--no-raw-leaves", default=None, help="[default: by the profile; with --cid-version 1]"
    ),
    click.option("--cid-version", type=click.Choice(["0", "1"]), help="[default: by the profile]"),
)


def cid_options(command: Command) -> Command:
    """Adds the options to a command, which passes them on to `chosen`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def chosen(
    *,
    cid_profile: str,
    chunker: str | None,
    max_links: int | None,
    raw_leaves: bool | None,
    cid_version: str | None,
) -> CidProfile:
    """The profile that the options name. Raises CallerFault for one that no file can have."""
    return CidProfile.of(cid_profile).with_(
        cid_version=None if cid_version is None else int(cid_version),
        raw_leaves=raw_leaves,
        chunk_bytes=None if chunker is None else _chunk_bytes(chunker),
        links_per_node=max_links,
    )


def _chunk_bytes(chunker: str) -> int:
    given = _CHUNKER.fullmatch(chunker)
    if given is None:
        raise CallerFault("chunker", f"is size-N, such as size-262144; got {chunker!r}")
    return int(given[1])
