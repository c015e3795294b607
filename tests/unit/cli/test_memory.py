"""fastmarket.cli.memory, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fastmarket.cli import memory

SMAPS = b"""\
7f0000000000-7f0000002000 r--p 00000000 fd:00 12                 /usr/lib/libone.so
Size:                  8 kB
Anonymous:             0 kB
Swap:                  0 kB
7f0000002000-7f0000008000 r-xp 00002000 fd:00 12                 /usr/lib/libone.so
Size:                 24 kB
Anonymous:             0 kB
Swap:                  0 kB
VmFlags: rd ex mr mw me
7f0000008000-7f0000009000 r--p 00008000 fd:00 12                 /usr/lib/libone.so
Anonymous:             4 kB
Swap:                  0 kB
7f0000009000-7f000000a000 rw-p 00009000 fd:00 12                 /usr/lib/libone.so
Anonymous:             0 kB
Swap:                  0 kB
7f000000a000-7f000000b000 r--p 0000a000 fd:00 12                 /usr/lib/libone.so
Anonymous:             0 kB
Swap:                  4 kB
7f0000010000-7f0000018000 r-xp 00002000 fd:00 13                 /usr/lib/traced\xe9 library.so
Size:                 32 kB
Anonymous:             4 kB
Swap:                  0 kB
7f0000020000-7f0000021000 r-xp 00000000 00:00 0
Anonymous:             0 kB
Swap:                  0 kB
7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                  [vdso]
Anonymous:             0 kB
Swap:                  0 kB
"""

WORK = """
import hashlib, json, sqlite3, ssl
import grpc.aio
from fastmarket.cli.memory import settle

def resident():
    return int(open("/proc/self/statm").read().split()[1])

def work():
    rows = sqlite3.connect(":memory:").execute("select 1").fetchall()
    return hashlib.sha256(json.dumps(rows).encode()).digest()

expected, before = work(), resident()
settle()
settle()
after = resident()
assert work() == expected
import decimal, xml.dom.minidom
assert decimal.Decimal(1) / 3 and xml.dom.minidom.parseString("<a/>")
assert after < before, (before, after)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is given back")
def test_a_process_that_gave_memory_back_goes_on() -> None:
    subprocess.run([sys.executable, "-c", WORK], check=True)


def test_only_what_is_as_in_its_file_is_given_back() -> None:
    assert list(memory._as_in_files(SMAPS)) == [
        (0x7F0000000000, 0x7F0000002000),
        (0x7F0000002000, 0x7F0000008000),
    ]
