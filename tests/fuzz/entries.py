"""What takes foreign bytes, by the target that reaches it.

A function of the package is listed if its name says that it reads something (`READS`) and it takes bytes. One
that is new fails `test_entries.py` until a target reaches it, or a reason says why none has to.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SRC: Final = Path(__file__).parents[2] / "src" / "fastmarket"
LEFT_OUT: Final = frozenset({"pb", "sim"})  # generated, and no node
READS: Final = re.compile(
    r"decode|try_|read|parse|open|from_|receive|feed|handle_(message|reply|request|block|frame)"
    r"|on_(message|data|body|line)|unwrap|unverified|split|load|import|verify|validate|check|answer$|named"
)
BYTES: Final = re.compile(r"\b(bytes|bytearray|memoryview|Buffer)\b")
ABSTRACT: Final = "a protocol: classes that have it are listed"

REACHED: Final[dict[str, tuple[str, ...]]] = {
    "bitswap-client": ("exchange.bitswap.message.read_prefix",),
    "bitswap-message": ("exchange.bitswap.message.decode_message",),
    "bitswap-server": ("exchange.bitswap.server.BitswapServer.handle_block",),
    "car": ("formats.block.verify_block",),
    "car-in-pieces": ("formats.car.CarReader.feed",),
    "cid-bytes": ("formats.cid.Cid.from_bytes",),
    "content-db": (
        "content.catalogue.Catalogue.read",
        "content.stamp.FileStamp.from_bytes",
    ),
    "content-http1": ("content.port.http1.Http1Speaker.receive",),
    "content-http2": (
        "content.port.http2.Http2Speaker.receive",
        "formats.block.read_cid",
        "formats.block.split_cid",
    ),
    "content-target": ("content.port.block_names.named_by_link",),
    "dag-pb": ("formats.dag_pb.decode_pb_node",),
    "envelope": ("formats.envelope.open_envelope",),
    "fetch-answers": (
        "exchange.fetching.asking.Asking.handle_block",
        "exchange.fetching.fetch.Fetch.handle_block",
        "exchange.fetching.path.PathWalk.feed",
    ),
    "file-metadata": ("offers.model.metadata.FileMetadata.from_bytes",),
    "file-metadata-json": ("offers.model.metadata.FileMetadata.from_json",),
    "fleet-mark": ("fleet.fields.read_mark",),
    "fleet-message": ("fleet.fields.ServerMessage.decode",),
    "fleet-view": (
        "fleet.view.ViewReader.read",
        "fleet.view.read_view",
    ),
    "frames": (
        "formats.varint.FrameDecoder.feed",
        "formats.varint.try_uvarint",
    ),
    "grpc-fetch": ("net.fetching.part_file.PartWriter.open",),
    "grpc-find-holders": ("offers.model.offer.check_content",),
    "grpc-find-holders-batch": ("market.calls.check_fields",),
    "grpc-first-register-file": ("offers.model.offer.check_terms",),
    "grpc-get-node": ("market.calls.read",),
    "holder-file": ("exchange.fetching.history.HolderHistory.from_bytes",),
    "identify": ("libp2p.identify.IdentifyCollector.feed",),
    "import": ("formats.unixfs.importer.UnixfsImporter.feed",),
    "ipns-record": (
        "formats.dag_cbor.decode_map",
        "formats.dag_cbor.read_head",
        "kad.records.signed_values.IpnsRule.validate",
    ),
    "kad-record": ("kad.records.record.decode_record",),
    "kad-reply-closest": (
        "core.node.NodeCore.handle_reply",
        "kad.engine.Engine.handle_reply",
        "kad.jobs.JobRunner.handle_reply",
        "kad.lookup.queries.FindNode.read",
        "kad.lookup.queries.read_reply",
    ),
    "kad-reply-decoder": (
        "formats.multiaddr.parse_addrs",
        "kad.wire.messages.decode_message",
        "kad.wire.messages.decode_peers",
        "kad.wire.messages.read_closer",
        "kad.wire.messages.read_peer",
    ),
    "kad-reply-find-peer": ("kad.lookup.find_peer.FindPeerQuery.read",),
    "kad-reply-join": ("kad.lookup.queries.FindSelf.read",),
    "kad-reply-provide": ("kad.lookup.queries.AnnounceProvider.read_ack",),
    "kad-reply-providers": ("kad.lookup.queries.GetProviders.read",),
    "kad-reply-put": ("kad.records.values.PutValueRequest.read_ack",),
    "kad-reply-value": ("kad.records.values.GetValueQuery.read",),
    "kad-request": (
        "kad.records.record.OpaqueRule.validate",
        "kad.wire.response_cache.ResponseCache.answer",
    ),
    "key-file": (
        "formats.pkcs8.read_der",
        "formats.pkcs8.read_pkcs8",
    ),
    "latest-record": ("net.public_routing.check_latest",),
    "multiaddr-bytes": (
        "formats.multiaddr.Multiaddr.from_bytes",
        "formats.varint.decode_uvarint",
    ),
    "multistream": (
        "libp2p.multistream.DialerNegotiation.receive",
        "libp2p.multistream.ListenerNegotiation.receive",
        "libp2p.multistream.TokenReader.feed",
        "libp2p.multistream.read_opening",
    ),
    "noise-handshake": (
        "libp2p.tcp.noise.XXHandshake.read_message",
        "libp2p.tcp.secure.SecureHandshake.receive",
    ),
    "offer-acks-decoder": ("offers.wire.messages.decode_store_reply",),
    "offer-find-decoder": ("offers.wire.messages.decode_find_reply",),
    "offer-open": (
        "offers.model.batch.open_batch",
        "offers.wire.verifying.OfferVerifier.open",
        "offers.wire.verifying.open_offer",
    ),
    "offer-reply-find": (
        "offers.lookup.queries.FindOffersQuery.read",
        "offers.lookup.queries.FindOffersQuery.read_page",
    ),
    "offer-reply-store": (
        "offers.lookup.queries.FindStorers.read",
        "offers.lookup.queries.StoreOffer.read_ack",
    ),
    "offer-request": (
        "offers.protocol.OfferProtocol.answer",
        "offers.protocol.OfferProtocol.handle_request",
        "offers.wire.verifying.unverified_claims",
    ),
    "offer-request-decoder": ("offers.wire.messages.decode_request",),
    "offers-db": (
        "offers.wire.verifying.OfferReader.read",
        "offers.wire.verifying.read_offer",
    ),
    "output-proof": (
        "part_files.check_proof",
        "part_files.open_proven",
    ),
    "natpmp-answer": ("portmap.natpmp.decode_answer",),
    "pcp-answer": ("portmap.pcp.decode_answer",),
    "peer-id-bytes": ("formats.identity.PeerId.from_bytes",),
    "peer-record": ("formats.peer_record.decode_peer_record",),
    "ping": (
        "libp2p.ping.PingExchange.feed",
        "libp2p.ping.PingResponder.on_data",
    ),
    "private-key": (
        "formats.identity.Identity.from_private_bytes",
        "formats.keys.load_private",
        "formats.rare_keys.load",
        "formats.rare_keys.load_der",
    ),
    "public-key": (
        "formats.identity.PublicKey.decode",
        "formats.keys.check",
    ),
    "public-key-record": ("kad.records.record.PublicKeyRule.validate",),
    "receipt": (
        "payments.receipt.checked_tab",
        "payments.receipt.open_receipt",
        "payments.receipt.open_signed",
    ),
    "request-pool": (
        "libp2p.negotiating.OutboundNegotiation.received",
        "libp2p.tcp.session.Session.receive",
    ),
    "sealed-key": (
        "formats.identity.Identity.from_pkcs8",
        "formats.keys.load_private_der",
        "storage.keys.import_identity",
    ),
    "signature": (
        "formats.identity.PublicKey.verify",
        "formats.keys.verify",
        "formats.rare_keys.verify",
    ),
    "signed-value": (
        "formats.envelope.unverified_payload",
        "kad.records.signed_values.SignedValueRule.validate",
        "kad.records.signed_values.read_value",
    ),
    "settlement-terms": ("payments.backing.open_terms",),
    "store-rows": ("fleet.offers.FleetOffers.read",),
    "tab-frames": (
        "payments.frames.read_asked",
        "payments.frames.read_told",
    ),
    "cashier": ("content.port.cashier.Cashier.check",),
    "tab-opening": ("payments.session.open_opening",),
    "till": (
        "payments.seller.SellerTabs.check_receipt",
        "payments.seller.SellerTabs.open_session",
        "payments.session.Ticket.decode",
    ),
    "voucher": ("settlement.x402.channels.EscrowVoucher.decode",),
    "unixfs-message": (
        "formats.unixfs.message.decode_message",
        "formats.varint.decode_protobuf_varint",
    ),
    "unixfs-node": (
        "formats.unixfs.node.check_name",
        "formats.unixfs.node.read_node",
    ),
    "upgrade": (
        "libp2p.tcp.connection.Connection.receive_data",
        "libp2p.tcp.upgrade.Upgrade.receive",
    ),
    "whole-batch-open": ("offers.wire.verifying.OfferReader.read_batch",),
    "yamux": (
        "libp2p.channels.EventStream.received",
        "libp2p.channels.ResponderStream.received",
        "libp2p.identify.IdentifyPushResponder.on_data",
        "libp2p.negotiating.InboundNegotiation.received",
        "libp2p.streams.RpcResponder.on_data",
        "libp2p.tcp.yamux.Yamux.receive",
    ),
}
"""By target, functions below `fastmarket.` that its seeds reach."""

REASONS: Final[dict[str, str]] = {
    "content.port.speaker.Speaker.receive": ABSTRACT,
    "content.source.BlockSource.read": ABSTRACT,
    "kad.lookup.query.PutRequest.read_ack": ABSTRACT,
    "kad.lookup.query.Query.read": ABSTRACT,
    "kad.records.record.RecordRule.validate": ABSTRACT,
    "libp2p.mux_stream.Sink.received": ABSTRACT,
    "libp2p.muxed.ByteStreamConnection.receive_data": ABSTRACT,
    "libp2p.streams.Responder.on_data": ABSTRACT,
    "net.bitswap.exchange.FreeBlocks.read": ABSTRACT,
    "kad.engine.Engine.handle_request": "drivers call `NodeCore.responders` in its place: kad-request",
    "libp2p.identify.IdentifyResponder.on_data": "takes nothing of what comes",
    "net.bitswap.exchange.NoBlocks.read": "has nothing",
    "content.port.cashier.Cashier.check_whole": "a digest of ours",
    "payments.backing.VoucherScheme.check": ABSTRACT,
    "settlement.x402.encoding.checksummed": "an address of 20 bytes",
    "settlement.x402.vouchers.EscrowVouchers.check": "needs the extra: `tests/x402` gives it wrong vouchers",
    "payments.buyer.BuyerTabs.open_session": "a key that the target `payment-header` reads; a secret of ours",
    "formats.identity.Identity.from_seed": "our own bytes",
    "hashed_parts.named_faults": "our own files",
}
"""Why no target has to reach a function."""


def readers() -> Iterator[str]:
    """The functions that the sources have."""
    for path in sorted(SRC.rglob("*.py")):
        parts = path.relative_to(SRC).with_suffix("").parts
        if parts[0] not in LEFT_OUT:
            yield from _in_body(ast.parse(path.read_text()).body, ".".join(parts))


def _in_body(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            yield from _in_body(node.body, f"{prefix}.{node.name}")
        elif READS.match(node.name) and _takes_bytes(node.args):
            yield f"{prefix}.{node.name}"


def _takes_bytes(args: ast.arguments) -> bool:
    kinds = [one.annotation for one in (*args.posonlyargs, *args.args) if one.annotation is not None]
    return any(BYTES.search(ast.unparse(kind)) for kind in kinds)
