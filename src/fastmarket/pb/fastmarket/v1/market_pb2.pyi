from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NamedBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NAMED_BY_UNSPECIFIED: _ClassVar[NamedBy]
    CID: _ClassVar[NamedBy]
    SHA256: _ClassVar[NamedBy]
    TEXT_HASH: _ClassVar[NamedBy]

class Order(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHEAPEST: _ClassVar[Order]
    NEWEST: _ClassVar[Order]

class Way(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAY_UNSPECIFIED: _ClassVar[Way]
    WAY_HTTP: _ClassVar[Way]
    WAY_HTTPS: _ClassVar[Way]
    WAY_BITSWAP: _ClassVar[Way]

class Liveness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIVENESS_UNSPECIFIED: _ClassVar[Liveness]
    LIVENESS_LIVE: _ClassVar[Liveness]
    LIVENESS_MISSING: _ClassVar[Liveness]
    LIVENESS_SILENT: _ClassVar[Liveness]

class GoodState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOOD_STATE_UNSPECIFIED: _ClassVar[GoodState]
    GOOD_STATE_IMPORTING: _ClassVar[GoodState]
    GOOD_STATE_SELLING: _ClassVar[GoodState]
    GOOD_STATE_CHANGED: _ClassVar[GoodState]
    GOOD_STATE_GONE: _ClassVar[GoodState]

class TabSide(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TAB_SIDE_UNSPECIFIED: _ClassVar[TabSide]
    TAB_SIDE_SOLD: _ClassVar[TabSide]
    TAB_SIDE_BOUGHT: _ClassVar[TabSide]
NAMED_BY_UNSPECIFIED: NamedBy
CID: NamedBy
SHA256: NamedBy
TEXT_HASH: NamedBy
CHEAPEST: Order
NEWEST: Order
WAY_UNSPECIFIED: Way
WAY_HTTP: Way
WAY_HTTPS: Way
WAY_BITSWAP: Way
LIVENESS_UNSPECIFIED: Liveness
LIVENESS_LIVE: Liveness
LIVENESS_MISSING: Liveness
LIVENESS_SILENT: Liveness
GOOD_STATE_UNSPECIFIED: GoodState
GOOD_STATE_IMPORTING: GoodState
GOOD_STATE_SELLING: GoodState
GOOD_STATE_CHANGED: GoodState
GOOD_STATE_GONE: GoodState
TAB_SIDE_UNSPECIFIED: TabSide
TAB_SIDE_SOLD: TabSide
TAB_SIDE_BOUGHT: TabSide

class GetNodeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Node(_message.Message):
    __slots__ = ("peer_id", "listen", "agent_version", "peers", "connections", "offers", "own_offers", "mode", "troubles")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    LISTEN_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    OWN_OFFERS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TROUBLES_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    listen: _containers.RepeatedScalarFieldContainer[str]
    agent_version: str
    peers: int
    connections: int
    offers: int
    own_offers: int
    mode: str
    troubles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, peer_id: _Optional[str] = ..., listen: _Optional[_Iterable[str]] = ..., agent_version: _Optional[str] = ..., peers: _Optional[int] = ..., connections: _Optional[int] = ..., offers: _Optional[int] = ..., own_offers: _Optional[int] = ..., mode: _Optional[str] = ..., troubles: _Optional[_Iterable[str]] = ...) -> None: ...

class ListPeersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Peer(_message.Message):
    __slots__ = ("peer_id", "addrs", "agent_version", "connected", "common_prefix")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRS_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    COMMON_PREFIX_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    addrs: _containers.RepeatedScalarFieldContainer[str]
    agent_version: str
    connected: bool
    common_prefix: int
    def __init__(self, peer_id: _Optional[str] = ..., addrs: _Optional[_Iterable[str]] = ..., agent_version: _Optional[str] = ..., connected: bool = ..., common_prefix: _Optional[int] = ...) -> None: ...

class ListPeersResponse(_message.Message):
    __slots__ = ("peers", "named_by")
    PEERS_FIELD_NUMBER: _ClassVar[int]
    NAMED_BY_FIELD_NUMBER: _ClassVar[int]
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    named_by: NamedBy
    def __init__(self, peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ..., named_by: _Optional[_Union[NamedBy, str]] = ...) -> None: ...

class ClosestPeersRequest(_message.Message):
    __slots__ = ("content",)
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    content: str
    def __init__(self, content: _Optional[str] = ...) -> None: ...

class FindHoldersRequest(_message.Message):
    __slots__ = ("content", "max_price", "limit", "order", "live")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MAX_PRICE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    content: str
    max_price: int
    limit: int
    order: Order
    live: bool
    def __init__(self, content: _Optional[str] = ..., max_price: _Optional[int] = ..., limit: _Optional[int] = ..., order: _Optional[_Union[Order, str]] = ..., live: bool = ...) -> None: ...

class Holder(_message.Message):
    __slots__ = ("id", "name", "ip", "port", "price", "provider", "size", "file_name", "not_after", "cid", "ways", "liveness", "probe_ms", "url")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    CID_FIELD_NUMBER: _ClassVar[int]
    WAYS_FIELD_NUMBER: _ClassVar[int]
    LIVENESS_FIELD_NUMBER: _ClassVar[int]
    PROBE_MS_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    name: str
    ip: str
    port: int
    price: int
    provider: str
    size: int
    file_name: str
    not_after: int
    cid: str
    ways: _containers.RepeatedScalarFieldContainer[Way]
    liveness: Liveness
    probe_ms: int
    url: str
    def __init__(self, id: _Optional[bytes] = ..., name: _Optional[str] = ..., ip: _Optional[str] = ..., port: _Optional[int] = ..., price: _Optional[int] = ..., provider: _Optional[str] = ..., size: _Optional[int] = ..., file_name: _Optional[str] = ..., not_after: _Optional[int] = ..., cid: _Optional[str] = ..., ways: _Optional[_Iterable[_Union[Way, str]]] = ..., liveness: _Optional[_Union[Liveness, str]] = ..., probe_ms: _Optional[int] = ..., url: _Optional[str] = ...) -> None: ...

class FindHoldersResponse(_message.Message):
    __slots__ = ("holders", "cid", "provisional", "named_by", "providers_without_price")
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    CID_FIELD_NUMBER: _ClassVar[int]
    PROVISIONAL_FIELD_NUMBER: _ClassVar[int]
    NAMED_BY_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_WITHOUT_PRICE_FIELD_NUMBER: _ClassVar[int]
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    cid: str
    provisional: bool
    named_by: NamedBy
    providers_without_price: int
    def __init__(self, holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., cid: _Optional[str] = ..., provisional: bool = ..., named_by: _Optional[_Union[NamedBy, str]] = ..., providers_without_price: _Optional[int] = ...) -> None: ...

class FindHoldersBatchRequest(_message.Message):
    __slots__ = ("id", "search", "searches")
    ID_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    SEARCHES_FIELD_NUMBER: _ClassVar[int]
    id: int
    search: FindHoldersRequest
    searches: _containers.RepeatedCompositeFieldContainer[FindHoldersRequest]
    def __init__(self, id: _Optional[int] = ..., search: _Optional[_Union[FindHoldersRequest, _Mapping]] = ..., searches: _Optional[_Iterable[_Union[FindHoldersRequest, _Mapping]]] = ...) -> None: ...

class FindHoldersBatchResponse(_message.Message):
    __slots__ = ("id", "code", "message", "holders", "cid", "found", "named_by")
    ID_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    CID_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    NAMED_BY_FIELD_NUMBER: _ClassVar[int]
    id: int
    code: int
    message: str
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    cid: str
    found: _containers.RepeatedCompositeFieldContainer[FoundHolders]
    named_by: NamedBy
    def __init__(self, id: _Optional[int] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., cid: _Optional[str] = ..., found: _Optional[_Iterable[_Union[FoundHolders, _Mapping]]] = ..., named_by: _Optional[_Union[NamedBy, str]] = ...) -> None: ...

class FoundHolders(_message.Message):
    __slots__ = ("code", "message", "holders", "cid", "named_by")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    CID_FIELD_NUMBER: _ClassVar[int]
    NAMED_BY_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    holders: _containers.RepeatedCompositeFieldContainer[Holder]
    cid: str
    named_by: NamedBy
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., holders: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., cid: _Optional[str] = ..., named_by: _Optional[_Union[NamedBy, str]] = ...) -> None: ...

class WatchHoldersRequest(_message.Message):
    __slots__ = ("content", "max_price", "interval_s")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MAX_PRICE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    content: str
    max_price: int
    interval_s: float
    def __init__(self, content: _Optional[str] = ..., max_price: _Optional[int] = ..., interval_s: _Optional[float] = ...) -> None: ...

class WatchHoldersResponse(_message.Message):
    __slots__ = ("present", "gone", "cid", "named_by")
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    CID_FIELD_NUMBER: _ClassVar[int]
    NAMED_BY_FIELD_NUMBER: _ClassVar[int]
    present: _containers.RepeatedCompositeFieldContainer[Holder]
    gone: _containers.RepeatedCompositeFieldContainer[Holder]
    cid: str
    named_by: NamedBy
    def __init__(self, present: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., gone: _Optional[_Iterable[_Union[Holder, _Mapping]]] = ..., cid: _Optional[str] = ..., named_by: _Optional[_Union[NamedBy, str]] = ...) -> None: ...

class RegisterFileRequest(_message.Message):
    __slots__ = ("content", "user_id", "user_name", "ip", "port", "price", "size", "file_name", "ways", "url")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_NAME_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    WAYS_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    content: str
    user_id: bytes
    user_name: str
    ip: str
    port: int
    price: int
    size: int
    file_name: str
    ways: _containers.RepeatedScalarFieldContainer[Way]
    url: str
    def __init__(self, content: _Optional[str] = ..., user_id: _Optional[bytes] = ..., user_name: _Optional[str] = ..., ip: _Optional[str] = ..., port: _Optional[int] = ..., price: _Optional[int] = ..., size: _Optional[int] = ..., file_name: _Optional[str] = ..., ways: _Optional[_Iterable[_Union[Way, str]]] = ..., url: _Optional[str] = ...) -> None: ...

class RegisterFileResponse(_message.Message):
    __slots__ = ("cid", "acknowledged", "asked", "wanted", "plain", "named_by")
    CID_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    PLAIN_FIELD_NUMBER: _ClassVar[int]
    NAMED_BY_FIELD_NUMBER: _ClassVar[int]
    cid: str
    acknowledged: int
    asked: int
    wanted: int
    plain: int
    named_by: NamedBy
    def __init__(self, cid: _Optional[str] = ..., acknowledged: _Optional[int] = ..., asked: _Optional[int] = ..., wanted: _Optional[int] = ..., plain: _Optional[int] = ..., named_by: _Optional[_Union[NamedBy, str]] = ...) -> None: ...

class RegisterFilesRequest(_message.Message):
    __slots__ = ("files",)
    FILES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[RegisterFileRequest]
    def __init__(self, files: _Optional[_Iterable[_Union[RegisterFileRequest, _Mapping]]] = ...) -> None: ...

class RegisterFilesResponse(_message.Message):
    __slots__ = ("files",)
    FILES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[RegisteredFile]
    def __init__(self, files: _Optional[_Iterable[_Union[RegisteredFile, _Mapping]]] = ...) -> None: ...

class RegisteredFile(_message.Message):
    __slots__ = ("code", "message", "cid", "acknowledged", "asked", "wanted", "named_by")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CID_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    NAMED_BY_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    cid: str
    acknowledged: int
    asked: int
    wanted: int
    named_by: NamedBy
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ..., cid: _Optional[str] = ..., acknowledged: _Optional[int] = ..., asked: _Optional[int] = ..., wanted: _Optional[int] = ..., named_by: _Optional[_Union[NamedBy, str]] = ...) -> None: ...

class WithdrawFileRequest(_message.Message):
    __slots__ = ("content", "user_id", "user_name")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_NAME_FIELD_NUMBER: _ClassVar[int]
    content: str
    user_id: bytes
    user_name: str
    def __init__(self, content: _Optional[str] = ..., user_id: _Optional[bytes] = ..., user_name: _Optional[str] = ...) -> None: ...

class WithdrawFileResponse(_message.Message):
    __slots__ = ("cid", "acknowledged", "asked", "wanted", "named_by")
    CID_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    NAMED_BY_FIELD_NUMBER: _ClassVar[int]
    cid: str
    acknowledged: int
    asked: int
    wanted: int
    named_by: NamedBy
    def __init__(self, cid: _Optional[str] = ..., acknowledged: _Optional[int] = ..., asked: _Optional[int] = ..., wanted: _Optional[int] = ..., named_by: _Optional[_Union[NamedBy, str]] = ...) -> None: ...

class ListOffersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListOffersResponse(_message.Message):
    __slots__ = ("offers", "next_page_token")
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    offers: _containers.RepeatedCompositeFieldContainer[OwnOffer]
    next_page_token: str
    def __init__(self, offers: _Optional[_Iterable[_Union[OwnOffer, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class OwnOffer(_message.Message):
    __slots__ = ("content", "holder")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    content: str
    holder: Holder
    def __init__(self, content: _Optional[str] = ..., holder: _Optional[_Union[Holder, _Mapping]] = ...) -> None: ...

class PutRecordRequest(_message.Message):
    __slots__ = ("key", "value", "quorum")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    value: bytes
    quorum: int
    def __init__(self, key: _Optional[bytes] = ..., value: _Optional[bytes] = ..., quorum: _Optional[int] = ...) -> None: ...

class PutRecordResponse(_message.Message):
    __slots__ = ("acknowledged", "asked", "wanted")
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    acknowledged: int
    asked: int
    wanted: int
    def __init__(self, acknowledged: _Optional[int] = ..., asked: _Optional[int] = ..., wanted: _Optional[int] = ...) -> None: ...

class GetRecordRequest(_message.Message):
    __slots__ = ("key", "quorum")
    KEY_FIELD_NUMBER: _ClassVar[int]
    QUORUM_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    quorum: int
    def __init__(self, key: _Optional[bytes] = ..., quorum: _Optional[int] = ...) -> None: ...

class GetRecordResponse(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    def __init__(self, value: _Optional[bytes] = ...) -> None: ...

class CidProfile(_message.Message):
    __slots__ = ("name", "chunk_bytes", "max_links", "raw_leaves", "cid_version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CHUNK_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_LINKS_FIELD_NUMBER: _ClassVar[int]
    RAW_LEAVES_FIELD_NUMBER: _ClassVar[int]
    CID_VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    chunk_bytes: int
    max_links: int
    raw_leaves: bool
    cid_version: int
    def __init__(self, name: _Optional[str] = ..., chunk_bytes: _Optional[int] = ..., max_links: _Optional[int] = ..., raw_leaves: bool = ..., cid_version: _Optional[int] = ...) -> None: ...

class SellRequest(_message.Message):
    __slots__ = ("paths", "price", "user_id", "user_name", "profile", "each_file", "watch")
    PATHS_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_NAME_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    EACH_FILE_FIELD_NUMBER: _ClassVar[int]
    WATCH_FIELD_NUMBER: _ClassVar[int]
    paths: _containers.RepeatedScalarFieldContainer[str]
    price: int
    user_id: bytes
    user_name: str
    profile: CidProfile
    each_file: bool
    watch: bool
    def __init__(self, paths: _Optional[_Iterable[str]] = ..., price: _Optional[int] = ..., user_id: _Optional[bytes] = ..., user_name: _Optional[str] = ..., profile: _Optional[_Union[CidProfile, _Mapping]] = ..., each_file: bool = ..., watch: bool = ...) -> None: ...

class SellResponse(_message.Message):
    __slots__ = ("progress", "sold")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SOLD_FIELD_NUMBER: _ClassVar[int]
    progress: SellProgress
    sold: SoldContent
    def __init__(self, progress: _Optional[_Union[SellProgress, _Mapping]] = ..., sold: _Optional[_Union[SoldContent, _Mapping]] = ...) -> None: ...

class SellProgress(_message.Message):
    __slots__ = ("done", "total", "path")
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    done: int
    total: int
    path: str
    def __init__(self, done: _Optional[int] = ..., total: _Optional[int] = ..., path: _Optional[str] = ...) -> None: ...

class SoldContent(_message.Message):
    __slots__ = ("path", "code", "message", "cid", "size", "acknowledged", "asked", "wanted")
    PATH_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    path: str
    code: int
    message: str
    cid: str
    size: int
    acknowledged: int
    asked: int
    wanted: int
    def __init__(self, path: _Optional[str] = ..., code: _Optional[int] = ..., message: _Optional[str] = ..., cid: _Optional[str] = ..., size: _Optional[int] = ..., acknowledged: _Optional[int] = ..., asked: _Optional[int] = ..., wanted: _Optional[int] = ...) -> None: ...

class UnsellRequest(_message.Message):
    __slots__ = ("content",)
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    content: str
    def __init__(self, content: _Optional[str] = ...) -> None: ...

class UnsellResponse(_message.Message):
    __slots__ = ("cids",)
    CIDS_FIELD_NUMBER: _ClassVar[int]
    cids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, cids: _Optional[_Iterable[str]] = ...) -> None: ...

class ListGoodsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListGoodsResponse(_message.Message):
    __slots__ = ("goods", "next_page_token")
    GOODS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    goods: _containers.RepeatedCompositeFieldContainer[Good]
    next_page_token: str
    def __init__(self, goods: _Optional[_Iterable[_Union[Good, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Good(_message.Message):
    __slots__ = ("cid", "path", "size", "price", "user_id", "user_name", "state", "sent_bytes", "watched")
    CID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    USER_NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    WATCHED_FIELD_NUMBER: _ClassVar[int]
    cid: str
    path: str
    size: int
    price: int
    user_id: bytes
    user_name: str
    state: GoodState
    sent_bytes: int
    watched: bool
    def __init__(self, cid: _Optional[str] = ..., path: _Optional[str] = ..., size: _Optional[int] = ..., price: _Optional[int] = ..., user_id: _Optional[bytes] = ..., user_name: _Optional[str] = ..., state: _Optional[_Union[GoodState, str]] = ..., sent_bytes: _Optional[int] = ..., watched: bool = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("content", "max_price", "max_cost", "first", "last", "output", "output_proof", "plan_only")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MAX_PRICE_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_PROOF_FIELD_NUMBER: _ClassVar[int]
    PLAN_ONLY_FIELD_NUMBER: _ClassVar[int]
    content: str
    max_price: int
    max_cost: int
    first: int
    last: int
    output: str
    output_proof: bytes
    plan_only: bool
    def __init__(self, content: _Optional[str] = ..., max_price: _Optional[int] = ..., max_cost: _Optional[int] = ..., first: _Optional[int] = ..., last: _Optional[int] = ..., output: _Optional[str] = ..., output_proof: _Optional[bytes] = ..., plan_only: bool = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("plan", "progress", "data", "summary")
    PLAN_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    plan: FetchPlan
    progress: FetchProgress
    data: bytes
    summary: FetchSummary
    def __init__(self, plan: _Optional[_Union[FetchPlan, _Mapping]] = ..., progress: _Optional[_Union[FetchProgress, _Mapping]] = ..., data: _Optional[bytes] = ..., summary: _Optional[_Union[FetchSummary, _Mapping]] = ...) -> None: ...

class FetchPlan(_message.Message):
    __slots__ = ("cid", "size", "wanted", "most_cost", "holders")
    CID_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    MOST_COST_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    cid: str
    size: int
    wanted: int
    most_cost: int
    holders: _containers.RepeatedCompositeFieldContainer[FetchHolder]
    def __init__(self, cid: _Optional[str] = ..., size: _Optional[int] = ..., wanted: _Optional[int] = ..., most_cost: _Optional[int] = ..., holders: _Optional[_Iterable[_Union[FetchHolder, _Mapping]]] = ...) -> None: ...

class FetchProgress(_message.Message):
    __slots__ = ("done", "wanted", "holders")
    DONE_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    done: int
    wanted: int
    holders: _containers.RepeatedCompositeFieldContainer[FetchHolder]
    def __init__(self, done: _Optional[int] = ..., wanted: _Optional[int] = ..., holders: _Optional[_Iterable[_Union[FetchHolder, _Mapping]]] = ...) -> None: ...

class FetchHolder(_message.Message):
    __slots__ = ("provider", "source", "price", "bytes", "rate", "cost", "ended", "name")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    provider: str
    source: str
    price: int
    bytes: int
    rate: float
    cost: int
    ended: str
    name: str
    def __init__(self, provider: _Optional[str] = ..., source: _Optional[str] = ..., price: _Optional[int] = ..., bytes: _Optional[int] = ..., rate: _Optional[float] = ..., cost: _Optional[int] = ..., ended: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class FetchSummary(_message.Message):
    __slots__ = ("cid", "bytes", "fetched", "cost", "took_s", "holders")
    CID_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    FETCHED_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    TOOK_S_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    cid: str
    bytes: int
    fetched: int
    cost: int
    took_s: float
    holders: _containers.RepeatedCompositeFieldContainer[FetchHolder]
    def __init__(self, cid: _Optional[str] = ..., bytes: _Optional[int] = ..., fetched: _Optional[int] = ..., cost: _Optional[int] = ..., took_s: _Optional[float] = ..., holders: _Optional[_Iterable[_Union[FetchHolder, _Mapping]]] = ...) -> None: ...

class Debt(_message.Message):
    __slots__ = ("bytes", "amount")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    amount: int
    def __init__(self, bytes: _Optional[int] = ..., amount: _Optional[int] = ...) -> None: ...

class GetLedgerRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Ledger(_message.Message):
    __slots__ = ("sums", "months", "currency", "month", "budget_per_day", "spent_today")
    SUMS_FIELD_NUMBER: _ClassVar[int]
    MONTHS_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    BUDGET_PER_DAY_FIELD_NUMBER: _ClassVar[int]
    SPENT_TODAY_FIELD_NUMBER: _ClassVar[int]
    sums: _containers.RepeatedCompositeFieldContainer[TabSums]
    months: _containers.RepeatedCompositeFieldContainer[MonthSums]
    currency: str
    month: str
    budget_per_day: int
    spent_today: int
    def __init__(self, sums: _Optional[_Iterable[_Union[TabSums, _Mapping]]] = ..., months: _Optional[_Iterable[_Union[MonthSums, _Mapping]]] = ..., currency: _Optional[str] = ..., month: _Optional[str] = ..., budget_per_day: _Optional[int] = ..., spent_today: _Optional[int] = ...) -> None: ...

class TabSums(_message.Message):
    __slots__ = ("side", "currency", "tabs", "signed", "unpaid", "lost", "defaults", "blocked")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    TABS_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    UNPAID_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    DEFAULTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    side: TabSide
    currency: str
    tabs: int
    signed: Debt
    unpaid: Debt
    lost: Debt
    defaults: int
    blocked: int
    def __init__(self, side: _Optional[_Union[TabSide, str]] = ..., currency: _Optional[str] = ..., tabs: _Optional[int] = ..., signed: _Optional[_Union[Debt, _Mapping]] = ..., unpaid: _Optional[_Union[Debt, _Mapping]] = ..., lost: _Optional[_Union[Debt, _Mapping]] = ..., defaults: _Optional[int] = ..., blocked: _Optional[int] = ...) -> None: ...

class MonthSums(_message.Message):
    __slots__ = ("side", "month", "currency", "peers", "receipts", "bytes", "amount")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    side: TabSide
    month: str
    currency: str
    peers: int
    receipts: int
    bytes: int
    amount: int
    def __init__(self, side: _Optional[_Union[TabSide, str]] = ..., month: _Optional[str] = ..., currency: _Optional[str] = ..., peers: _Optional[int] = ..., receipts: _Optional[int] = ..., bytes: _Optional[int] = ..., amount: _Optional[int] = ...) -> None: ...

class ListTabsRequest(_message.Message):
    __slots__ = ("side", "owing", "page_size", "page_token")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    OWING_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    side: TabSide
    owing: bool
    page_size: int
    page_token: str
    def __init__(self, side: _Optional[_Union[TabSide, str]] = ..., owing: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTabsResponse(_message.Message):
    __slots__ = ("tabs", "next_page_token")
    TABS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tabs: _containers.RepeatedCompositeFieldContainer[TabEntry]
    next_page_token: str
    def __init__(self, tabs: _Optional[_Iterable[_Union[TabEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class TabEntry(_message.Message):
    __slots__ = ("side", "peer_id", "currency", "signed", "unpaid", "lost", "credit", "defaults", "blocked", "proof", "unverified_bytes")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    SIGNED_FIELD_NUMBER: _ClassVar[int]
    UNPAID_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    DEFAULTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    UNVERIFIED_BYTES_FIELD_NUMBER: _ClassVar[int]
    side: TabSide
    peer_id: str
    currency: str
    signed: Debt
    unpaid: Debt
    lost: Debt
    credit: int
    defaults: int
    blocked: bool
    proof: bool
    unverified_bytes: int
    def __init__(self, side: _Optional[_Union[TabSide, str]] = ..., peer_id: _Optional[str] = ..., currency: _Optional[str] = ..., signed: _Optional[_Union[Debt, _Mapping]] = ..., unpaid: _Optional[_Union[Debt, _Mapping]] = ..., lost: _Optional[_Union[Debt, _Mapping]] = ..., credit: _Optional[int] = ..., defaults: _Optional[int] = ..., blocked: bool = ..., proof: bool = ..., unverified_bytes: _Optional[int] = ...) -> None: ...

class GetStatementRequest(_message.Message):
    __slots__ = ("month", "page_size", "page_token")
    MONTH_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    month: str
    page_size: int
    page_token: str
    def __init__(self, month: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class GetStatementResponse(_message.Message):
    __slots__ = ("rows", "next_page_token")
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    rows: _containers.RepeatedCompositeFieldContainer[StatementRow]
    next_page_token: str
    def __init__(self, rows: _Optional[_Iterable[_Union[StatementRow, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StatementRow(_message.Message):
    __slots__ = ("side", "month", "peer_id", "currency", "receipts", "bytes", "amount")
    SIDE_FIELD_NUMBER: _ClassVar[int]
    MONTH_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    side: TabSide
    month: str
    peer_id: str
    currency: str
    receipts: int
    bytes: int
    amount: int
    def __init__(self, side: _Optional[_Union[TabSide, str]] = ..., month: _Optional[str] = ..., peer_id: _Optional[str] = ..., currency: _Optional[str] = ..., receipts: _Optional[int] = ..., bytes: _Optional[int] = ..., amount: _Optional[int] = ...) -> None: ...

class ForgivePeerRequest(_message.Message):
    __slots__ = ("peer_id",)
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    def __init__(self, peer_id: _Optional[str] = ...) -> None: ...

class ForgivePeerResponse(_message.Message):
    __slots__ = ("forgiven",)
    FORGIVEN_FIELD_NUMBER: _ClassVar[int]
    forgiven: Debt
    def __init__(self, forgiven: _Optional[_Union[Debt, _Mapping]] = ...) -> None: ...

class BlockPeerRequest(_message.Message):
    __slots__ = ("peer_id", "blocked")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    blocked: bool
    def __init__(self, peer_id: _Optional[str] = ..., blocked: bool = ...) -> None: ...

class BlockPeerResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
