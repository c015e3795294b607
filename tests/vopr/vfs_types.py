"""The structures and functions of a SQLite VFS (sqlite.org/c3ref/vfs.html, io_methods.html) for ctypes."""

from __future__ import annotations

from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_double, c_int, c_int64, c_void_p


class Vfs(Structure):
    pass


Pointer = c_void_p
OPEN = CFUNCTYPE(c_int, Pointer, c_void_p, Pointer, c_int, POINTER(c_int))
DELETE = CFUNCTYPE(c_int, Pointer, c_char_p, c_int)
ACCESS = CFUNCTYPE(c_int, Pointer, c_char_p, c_int, POINTER(c_int))
FULL_PATH = CFUNCTYPE(c_int, Pointer, c_char_p, c_int, Pointer)
RANDOMNESS = CFUNCTYPE(c_int, Pointer, c_int, Pointer)
SLEEP = CFUNCTYPE(c_int, Pointer, c_int)
TIME = CFUNCTYPE(c_int, Pointer, POINTER(c_double))
TIME_64 = CFUNCTYPE(c_int, Pointer, POINTER(c_int64))
Vfs._fields_ = [
    ("version", c_int),
    ("file_bytes", c_int),
    ("max_path", c_int),
    ("next", c_void_p),
    ("name", c_char_p),
    ("app_data", c_void_p),
    ("open", OPEN),
    ("delete", DELETE),
    ("access", ACCESS),
    ("full_path", FULL_PATH),
    ("dl_open", c_void_p),
    ("dl_error", c_void_p),
    ("dl_sym", c_void_p),
    ("dl_close", c_void_p),
    ("randomness", RANDOMNESS),
    ("sleep", SLEEP),
    ("current_time", TIME),
    ("last_error", c_void_p),
    ("current_time_64", TIME_64),
    ("set_system_call", c_void_p),
    ("get_system_call", c_void_p),
    ("next_system_call", c_void_p),
]
CLOSE = CFUNCTYPE(c_int, Pointer)
READ = CFUNCTYPE(c_int, Pointer, Pointer, c_int, c_int64)
SIZE = CFUNCTYPE(c_int, Pointer, c_int64)
FLAG = CFUNCTYPE(c_int, Pointer, c_int)
GET_SIZE = CFUNCTYPE(c_int, Pointer, POINTER(c_int64))
GET_FLAG = CFUNCTYPE(c_int, Pointer, POINTER(c_int))
CONTROL = CFUNCTYPE(c_int, Pointer, c_int, Pointer)
MAP = CFUNCTYPE(c_int, Pointer, c_int, c_int, c_int, POINTER(Pointer))
SHM_LOCK = CFUNCTYPE(c_int, Pointer, c_int, c_int, c_int)
BARRIER = CFUNCTYPE(None, Pointer)


class Methods(Structure):
    _fields_ = (
        ("version", c_int),
        ("close", CLOSE),
        ("read", READ),
        ("write", READ),
        ("truncate", SIZE),
        ("sync", FLAG),
        ("size", GET_SIZE),
        ("lock", FLAG),
        ("unlock", FLAG),
        ("reserved", GET_FLAG),
        ("control", CONTROL),
        ("sector", CLOSE),
        ("characteristics", CLOSE),
        ("shm_map", MAP),
        ("shm_lock", SHM_LOCK),
        ("shm_barrier", BARRIER),
        ("shm_unmap", FLAG),
    )


class File(Structure):
    """What SQLite keeps for an open file."""

    _fields_ = (("methods", POINTER(Methods)), ("number", c_int64))
