from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Receipt(_message.Message):
    __slots__ = ("tab", "seller", "currency", "salt", "seq", "cumulative_bytes", "cumulative_amount", "offer_hash", "valid_until", "voucher")
    TAB_FIELD_NUMBER: _ClassVar[int]
    SELLER_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    CUMULATIVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    CUMULATIVE_AMOUNT_FIELD_NUMBER: _ClassVar[int]
    OFFER_HASH_FIELD_NUMBER: _ClassVar[int]
    VALID_UNTIL_FIELD_NUMBER: _ClassVar[int]
    VOUCHER_FIELD_NUMBER: _ClassVar[int]
    tab: bytes
    seller: bytes
    currency: str
    salt: bytes
    seq: int
    cumulative_bytes: int
    cumulative_amount: int
    offer_hash: bytes
    valid_until: int
    voucher: bytes
    def __init__(self, tab: _Optional[bytes] = ..., seller: _Optional[bytes] = ..., currency: _Optional[str] = ..., salt: _Optional[bytes] = ..., seq: _Optional[int] = ..., cumulative_bytes: _Optional[int] = ..., cumulative_amount: _Optional[int] = ..., offer_hash: _Optional[bytes] = ..., valid_until: _Optional[int] = ..., voucher: _Optional[bytes] = ...) -> None: ...

class TabOpening(_message.Message):
    __slots__ = ("tab", "seller", "currency", "salt", "seller_key", "buyer_key", "number")
    TAB_FIELD_NUMBER: _ClassVar[int]
    SELLER_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    SELLER_KEY_FIELD_NUMBER: _ClassVar[int]
    BUYER_KEY_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    tab: bytes
    seller: bytes
    currency: str
    salt: bytes
    seller_key: bytes
    buyer_key: bytes
    number: int
    def __init__(self, tab: _Optional[bytes] = ..., seller: _Optional[bytes] = ..., currency: _Optional[str] = ..., salt: _Optional[bytes] = ..., seller_key: _Optional[bytes] = ..., buyer_key: _Optional[bytes] = ..., number: _Optional[int] = ...) -> None: ...
