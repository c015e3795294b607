from google.protobuf import empty_pb2 as _empty_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class User(_message.Message):
    __slots__ = ("id", "name", "ip", "port", "price")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    IP_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    name: str
    ip: str
    port: int
    price: int
    def __init__(self, id: _Optional[bytes] = ..., name: _Optional[str] = ..., ip: _Optional[str] = ..., port: _Optional[int] = ..., price: _Optional[int] = ...) -> None: ...

class RegisterFileRequest(_message.Message):
    __slots__ = ("user", "fileHash")
    USER_FIELD_NUMBER: _ClassVar[int]
    FILEHASH_FIELD_NUMBER: _ClassVar[int]
    user: User
    fileHash: str
    def __init__(self, user: _Optional[_Union[User, _Mapping]] = ..., fileHash: _Optional[str] = ...) -> None: ...

class CheckHoldersRequest(_message.Message):
    __slots__ = ("fileHash",)
    FILEHASH_FIELD_NUMBER: _ClassVar[int]
    fileHash: str
    def __init__(self, fileHash: _Optional[str] = ...) -> None: ...

class HoldersResponse(_message.Message):
    __slots__ = ("holders",)
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    holders: _containers.RepeatedCompositeFieldContainer[User]
    def __init__(self, holders: _Optional[_Iterable[_Union[User, _Mapping]]] = ...) -> None: ...
