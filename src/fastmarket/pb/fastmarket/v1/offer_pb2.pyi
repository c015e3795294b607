from fastmarket.pb.libp2p import kad_pb2 as _kad_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Ack(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACK_UNSPECIFIED: _ClassVar[Ack]
    ACK_STORED: _ClassVar[Ack]
    ACK_SUPERSEDED: _ClassVar[Ack]
    ACK_EXPIRED: _ClassVar[Ack]
    ACK_INVALID: _ClassVar[Ack]
    ACK_FULL: _ClassVar[Ack]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_MALFORMED: _ClassVar[Reason]
    REASON_FORGED: _ClassVar[Reason]
    REASON_FOREIGN: _ClassVar[Reason]
    REASON_LIFETIME: _ClassVar[Reason]
    REASON_FUTURE: _ClassVar[Reason]
    REASON_EXPIRED: _ClassVar[Reason]
ACK_UNSPECIFIED: Ack
ACK_STORED: Ack
ACK_SUPERSEDED: Ack
ACK_EXPIRED: Ack
ACK_INVALID: Ack
ACK_FULL: Ack
REASON_UNSPECIFIED: Reason
REASON_MALFORMED: Reason
REASON_FORGED: Reason
REASON_FOREIGN: Reason
REASON_LIFETIME: Reason
REASON_FUTURE: Reason
REASON_EXPIRED: Reason

class OfferBody(_message.Message):
    __slots__ = ("content", "provider", "user_id", "user_name", "ip", "port", "price_per_mb", "size", "name", "seq", "issued_at", "not_after", "withdrawn", "codec", "version", "ways", "url")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_NAME_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PRICE_PER_MB_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WAYS_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    provider: bytes
    user_id: bytes
    user_name: str
    ip: str
    port: int
    price_per_mb: int
    size: int
    name: str
    seq: int
    issued_at: int
    not_after: int
    withdrawn: bool
    codec: int
    version: int
    ways: int
    url: str
    def __init__(self, content: _Optional[bytes] = ..., provider: _Optional[bytes] = ..., user_id: _Optional[bytes] = ..., user_name: _Optional[str] = ..., ip: _Optional[str] = ..., port: _Optional[int] = ..., price_per_mb: _Optional[int] = ..., size: _Optional[int] = ..., name: _Optional[str] = ..., seq: _Optional[int] = ..., issued_at: _Optional[int] = ..., not_after: _Optional[int] = ..., withdrawn: bool = ..., codec: _Optional[int] = ..., version: _Optional[int] = ..., ways: _Optional[int] = ..., url: _Optional[str] = ...) -> None: ...

class OfferBatch(_message.Message):
    __slots__ = ("root", "count")
    ROOT_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    root: bytes
    count: int
    def __init__(self, root: _Optional[bytes] = ..., count: _Optional[int] = ...) -> None: ...

class BatchedOffer(_message.Message):
    __slots__ = ("batch", "index", "path", "body")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    batch: bytes
    index: int
    path: bytes
    body: bytes
    def __init__(self, batch: _Optional[bytes] = ..., index: _Optional[int] = ..., path: _Optional[bytes] = ..., body: _Optional[bytes] = ...) -> None: ...

class WholeBatch(_message.Message):
    __slots__ = ("batch", "bodies")
    BATCH_FIELD_NUMBER: _ClassVar[int]
    BODIES_FIELD_NUMBER: _ClassVar[int]
    batch: bytes
    bodies: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, batch: _Optional[bytes] = ..., bodies: _Optional[_Iterable[bytes]] = ...) -> None: ...

class OfferRequest(_message.Message):
    __slots__ = ("store", "find")
    STORE_FIELD_NUMBER: _ClassVar[int]
    FIND_FIELD_NUMBER: _ClassVar[int]
    store: Store
    find: Find
    def __init__(self, store: _Optional[_Union[Store, _Mapping]] = ..., find: _Optional[_Union[Find, _Mapping]] = ...) -> None: ...

class Store(_message.Message):
    __slots__ = ("offers", "whole")
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    offers: _containers.RepeatedScalarFieldContainer[bytes]
    whole: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, offers: _Optional[_Iterable[bytes]] = ..., whole: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Find(_message.Message):
    __slots__ = ("content", "max_price_per_mb", "limit", "skip")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MAX_PRICE_PER_MB_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    content: bytes
    max_price_per_mb: int
    limit: int
    skip: int
    def __init__(self, content: _Optional[bytes] = ..., max_price_per_mb: _Optional[int] = ..., limit: _Optional[int] = ..., skip: _Optional[int] = ...) -> None: ...

class OfferReply(_message.Message):
    __slots__ = ("acks", "reasons", "now", "offers", "more", "closerPeers")
    ACKS_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    CLOSERPEERS_FIELD_NUMBER: _ClassVar[int]
    acks: _containers.RepeatedScalarFieldContainer[Ack]
    reasons: _containers.RepeatedScalarFieldContainer[Reason]
    now: int
    offers: _containers.RepeatedScalarFieldContainer[bytes]
    more: bool
    closerPeers: _containers.RepeatedCompositeFieldContainer[_kad_pb2.Message.Peer]
    def __init__(self, acks: _Optional[_Iterable[_Union[Ack, str]]] = ..., reasons: _Optional[_Iterable[_Union[Reason, str]]] = ..., now: _Optional[int] = ..., offers: _Optional[_Iterable[bytes]] = ..., more: bool = ..., closerPeers: _Optional[_Iterable[_Union[_kad_pb2.Message.Peer, _Mapping]]] = ...) -> None: ...
