"""The descriptors of a process, shared among all that opens connections."""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmarket.config import ContentConfig, NodeConfig, WebConfig
from fastmarket.descriptors import OTHER_FILES, fitted, wanted

CONFIG = NodeConfig(web=WebConfig(port=0, metrics_port=0), content=ContentConfig(port=0))


@given(st.integers(OTHER_FILES + 32, 5000))
def test_bounds_fit_and_every_port_keeps_its_part(most: int) -> None:
    config = fitted(CONFIG, most)
    assert wanted(config) <= max(most, OTHER_FILES + 32)
    parts = [
        config.host.max_connections / CONFIG.host.max_connections,
        config.market.max_connections / CONFIG.market.max_connections,
        config.web.max_connections / CONFIG.web.max_connections,
        config.content.max_connections / CONFIG.content.max_connections,
    ]
    assert max(parts) - min(parts) < 0.01
    host = config.host
    assert host.low_connections <= host.high_connections <= host.max_connections
    assert host.max_inbound_connections <= host.max_connections
    for layer in (config.market, config.web, config.content):
        assert 1 <= layer.max_connections_per_ip <= layer.max_connections


def test_nothing_changes_where_there_are_enough() -> None:
    assert fitted(CONFIG, wanted(CONFIG)) is CONFIG


def test_too_few_are_told(caplog: pytest.LogCaptureFixture) -> None:
    fitted(replace(CONFIG), 1024)
    assert "too few open files allowed: 1024" in caplog.text


def test_the_soft_limit_is_raised() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = (
        "import resource as r; from fastmarket import descriptors as d\n"
        "hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; r.setrlimit(r.RLIMIT_NOFILE, (64, hard))\n"
        "d.raise_limit(); print(d.limit())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    most = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    assert int(done.stdout) == most
