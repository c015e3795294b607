"""fastmarket.cli.memory, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
