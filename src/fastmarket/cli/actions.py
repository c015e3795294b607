"""The client's commands, shared by scripts and the REPL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastmarket.cli import content as contents
from fastmarket.cli import single
from fastmarket.cli.content import Content
from fastmarket.cli.context import Context
from fastmarket.cli.render import (
    Column,
    clean,
    holder_json,
    host_port,
    size_text,
    tail,
    time_left,
)
from fastmarket.errors import FastmarketError, NetworkFault, NotFound, QuorumFailed
from fastmarket.wording import counted

if TYPE_CHECKING:
    from fastmarket.market.grpc_client import MarketClient, OwnOffer, PeerEntry, Withdrawn


PEER_COLUMNS = (
    Column("Peer id"),
    Column("Address", wraps=True),
    Column("Agent"),
    Column("Link"),
    Column("Bits shared", right=True),
)


def register(desk: Context, argument: str, *, keep: bool = False) -> None:
    """Offer content in the user's name; prints how many nodes store the offer.

    Offers for earlier contents of the same file are withdrawn unless `keep` is set.
    """
    profile = desk.profile
    price = profile.wanted_price()
    content = _name(desk, argument)
    user_id = profile.user_id().encode()
    from fastmarket.offers.model.metadata import FileMetadata

    terms = FileMetadata(profile.client_ip, profile.client_port, price, content.size, content.file_name)
    try:
        done = desk.link.call(
            lambda client: client.register(content.text, terms, user_id=user_id, user_name=profile.username)
        )
    except QuorumFailed as fault:
        raise NetworkFault(f"{fault}; the offer is stored and will be announced again") from None
    took_ms = desk.link.took_ms
    withdrawn = single.list_registered(desk, content, keep=keep)
    if desk.as_json:
        desk.screen.json(
            {
                "content": content.text,
                "cid": done.cid or None,
                "named_by": done.named_by or content.named_by.name,
                "acknowledged": done.acknowledged,
                "asked": done.asked,
                "wanted": done.wanted,
                "plain": done.plain,
                "withdrawn": withdrawn,
                "hashed_ms": _hashed_ms(content),
                "ms": took_ms,
            }
        )
        return
    desk.screen.line("Successfully registered file!")
    kept = (
        f"stored by this node and {counted(done.acknowledged, 'other')}"
        if done.asked
        else "stored by this node"
    )
    desk.screen.line(f"{done.cid or clean(content.text)} at ${price} per MB, {kept} ({took_ms:.1f} ms)")
    if withdrawn:
        desk.screen.line(f"Offers for its previous contents withdrawn: {counted(withdrawn, 'offer')}")


def unregister(desk: Context, argument: str) -> None:
    """Withdraw the user's offer everywhere. For a file, the offer of its contents when it was registered."""
    listed = single.as_registered(desk, argument)
    try:
        content, done = _withdrawn(desk, argument, listed)
    except QuorumFailed as fault:
        raise NetworkFault(f"{fault}; the withdrawal will be announced again") from None
    took_ms = desk.link.took_ms
    single.list_withdrawn(desk, content)
    if desk.as_json:
        desk.screen.json(
            {
                "content": content.text,
                "cid": done.cid or None,
                "named_by": done.named_by or content.named_by.name,
                "acknowledged": done.acknowledged,
                "asked": done.asked,
                "wanted": done.wanted,
                "ms": took_ms,
            }
        )
        return
    told = f"this node and {counted(done.acknowledged, 'other')} know" if done.asked else "this node knows"
    desk.screen.line("Successfully unregistered file!")
    desk.screen.line(f"{done.cid or clean(content.text)} is no longer offered; {told} ({took_ms:.1f} ms)")


def _withdrawn(desk: Context, argument: str, listed: Content | None) -> tuple[Content, Withdrawn]:
    """Withdraws the content recorded in the list, or else the content that `argument` names now."""
    user_id = desk.profile.user_id().encode()
    if listed is not None:
        text = listed.text
        try:
            return listed, desk.link.call(lambda client: client.withdraw(text, user_id=user_id))
        except NotFound:
            single.list_withdrawn(desk, listed)  # the node lost the offer, or it was withdrawn some other way
    content = _name(desk, argument)
    try:
        return content, desk.link.call(lambda client: client.withdraw(content.text, user_id=user_id))
    except NotFound:
        raise NetworkFault(f"the node has no offer of {clean(content.text)} in your name") from None


OFFER_COLUMNS = (
    Column("Content", wraps=True),
    Column("$/MB", right=True, bold=True),
    Column("File", wraps=True),
    Column("Size", right=True),
    Column("Address"),
    Column("Holder"),
    Column("Valid", right=True),
)


def offers(desk: Context) -> None:
    """List the node's own offers."""

    async def listed(client: MarketClient) -> list[OwnOffer]:
        return [offer async for offer in client.list_offers()]

    found = desk.link.call(listed)
    if desk.as_json:
        entries = [{"content": offer.content, **holder_json(offer.holder)} for offer in found]
        desk.screen.json({"offers": entries, "ms": desk.link.took_ms})
        return
    if not found:
        desk.screen.line("No offers")
        return
    now = time.time()
    rows = [
        (
            clean(offer.content),
            str(offer.holder.price),
            clean(offer.holder.file_name or ""),
            size_text(offer.holder.size),
            host_port(offer.holder.ip, offer.holder.port),
            clean(offer.holder.name),
            time_left(offer.holder.not_after, now),
        )
        for offer in found
    ]
    desk.screen.table(counted(len(found), "offer"), OFFER_COLUMNS, rows)


def check(desk: Context, argument: str, *, live: bool = False) -> None:
    """List every valid offer for the content, cheapest first; with `live`, ask each holder whether it is
    there."""
    content = _name(desk, argument)
    found = desk.link.call(lambda client: client.search_holders(content.text, live=live))
    if desk.as_json:
        desk.screen.json(
            {
                "content": content.text,
                "cid": found.cid or None,
                "named_by": found.named_by or content.named_by.name,
                "holders": [holder_json(holder) for holder in found.holders],
                "providers_without_price": found.providers_without_price,
                "hashed_ms": _hashed_ms(content),
                "ms": desk.link.took_ms,
            }
        )
        return
    desk.screen.holders(content.text, found.holders, cid=found.cid, unpriced=found.providers_without_price)


def cid(desk: Context, argument: str) -> None:
    """Print the CID of a file, or explain a CID."""
    desk.screen.line(contents.cid_line(argument))


def peers(desk: Context) -> None:
    """Print the node's routing table; if it is empty, print the node's troubles as well."""
    found = desk.link.call(lambda client: client.list_peers())
    _peers(desk, "known peer", found, {})
    if not found and not desk.as_json:
        for trouble in desk.link.call(lambda client: client.get_node()).troubles:
            desk.screen.trouble(f"the node is in trouble: {clean(trouble)}")


def closest(desk: Context, argument: str) -> None:
    """List the nodes closest to the content in the key space."""
    content = _name(desk, argument)
    peers = desk.link.call(lambda client: client.closest_peers(content.text))
    _peers(desk, "closest peer", peers, {"content": content.text, "named_by": content.named_by.name})


def identities(desk: Context) -> None:
    """Show the identities of the node and of the user."""
    profile = desk.profile
    user_id = profile.user_id()
    node = desk.link.call(lambda client: client.get_node())
    if desk.as_json:
        desk.screen.json(
            {
                "peer_id": node.peer_id,
                "listen": list(node.listen),
                "agent_version": node.agent_version,
                "mode": node.mode,
                "peers": node.peers,
                "connections": node.connections,
                "offers": node.offers,
                "own_offers": node.own_offers,
                "troubles": list(node.troubles),
                "user_id": user_id,
                "username": profile.username,
                "ms": desk.link.took_ms,
            }
        )
        return
    rows = [
        ("node", node.peer_id),
        *(("listens on", address) for address in node.listen),
        ("runs", f"{node.agent_version} as {node.mode}"),
        ("knows", f"{counted(node.peers, 'peer')}, {counted(node.connections, 'connection')} open"),
        ("stores", f"{counted(node.offers, 'offer')}, {node.own_offers} of them its own"),
        *(("trouble", clean(trouble)) for trouble in node.troubles),
        ("you", f"{profile.username}, id {user_id}"),
    ]
    for name, value in rows:
        desk.screen.line(f"{name:<10}  {clean(value)}")


def greet(desk: Context) -> None:
    """Print one line about the node; an unreachable node is reported but is not a failure."""
    try:
        node = desk.link.call(lambda client: client.get_node())
    except FastmarketError as fault:
        desk.screen.trouble(f"{fault} (the next command will try again)")
        return
    desk.screen.line(
        f"Market client connected! The node at {desk.profile.target} is {node.peer_id} and knows "
        f"{counted(node.peers, 'peer')}."
    )
    for trouble in node.troubles:
        desk.screen.trouble(f"the node is in trouble: {clean(trouble)}")


def _name(desk: Context, argument: str) -> Content:
    """Resolves `argument`; warns a person when it is taken as bare text, since that may be a mistyped
    file."""
    content = contents.resolve(argument)
    if contents.is_bare_text(content) and not desk.as_json:
        desk.screen.trouble(
            f"note: {argument!r} names no file, CID or SHA-256 here; using the hash of that text instead"
        )
    return content


def _hashed_ms(content: Content) -> float | None:
    return None if content.hashed_in_s is None else round(content.hashed_in_s * 1000, 3)


def _peers(desk: Context, noun: str, peers: Sequence[PeerEntry], asked: dict[str, str]) -> None:
    if desk.as_json:
        found = [
            {
                "peer_id": peer.peer_id,
                "addrs": list(peer.addrs),
                "agent_version": peer.agent_version,
                "connected": peer.connected,
                "common_prefix": peer.common_prefix,
            }
            for peer in peers
        ]
        desk.screen.json({**asked, "peers": found, "ms": desk.link.took_ms})
        return
    if not peers:
        desk.screen.line("No peers")
        return
    rows = [
        (
            tail(peer.peer_id) if desk.screen.people else clean(peer.peer_id),
            clean(" ".join(peer.addrs)),
            clean(peer.agent_version),
            "open" if peer.connected else "",
            str(peer.common_prefix),
        )
        for peer in peers
    ]
    desk.screen.table(counted(len(peers), noun), PEER_COLUMNS, rows)
