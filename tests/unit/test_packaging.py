"""What is in packaging/: read, linted where a linter is here, and true to the program."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fastmarket.cli.settings import SETTINGS
from tests.unit.test_operations import told_metrics

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
UNIT = PACKAGING / "systemd" / "fastmarket.service"
CONTAINERFILE = PACKAGING / "container" / "Containerfile"
COMPOSE = PACKAGING / "container" / "compose.yaml"
VARIABLES = {setting.variable for setting in SETTINGS} | {"FASTMARKET_CONFIG"}
EXPOSURE_AT_MOST = 2.0  # of 10, as systemd-analyze rates it


def instructions() -> list[tuple[str, str]]:
    joined = CONTAINERFILE.read_text().replace("\\\n", " ")
    lines = [line for line in joined.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in lines]


def test_every_variable_named_is_one_of_ours() -> None:
    for path in PACKAGING.rglob("*"):
        if path.is_file():
            assert set(re.findall(r"FASTMARKET_[A-Z_]+", path.read_text())) <= VARIABLES, path


def test_the_unit_starts_what_is_installed() -> None:
    text = UNIT.read_text()
    assert (
        re.findall(r"^ExecStart\w*=(\S+)", text, re.MULTILINE)
        == ["/opt/fastmarket/bin/fastmarket-server"] * 2
    )
    for line in (
        "DynamicUser=yes",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "StateDirectory=fastmarket",
    ):
        assert f"\n{line}\n" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_finds_the_unit_hardened(tmp_path: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "exposure level" not in done.stdout:
        pytest.skip(f"systemd-analyze cannot: {done.stderr.strip()}")
    assert float(re.findall(r"exposure level for \S+: ([0-9.]+)", done.stdout)[0]) <= EXPOSURE_AT_MOST


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_knows_every_line_of_the_unit() -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(UNIT)], capture_output=True, text=True
    )
    assert "Unknown" not in done.stderr, done.stderr
    assert "Failed to parse" not in done.stderr, done.stderr


def test_the_containerfile() -> None:
    found = instructions()
    names = [name for name, _ in found]
    assert names.count("FROM") == 2
    assert all(
        ":" in text.partition(" AS ")[0] and ":latest" not in text for name, text in found if name == "FROM"
    )
    last_user = [text for name, text in found if name == "USER"][-1]
    assert last_user not in ("0", "root")
    assert names.index("USER") < names.index("ENTRYPOINT")
    (entry,) = [text for name, text in found if name == "ENTRYPOINT"]
    assert json.loads(entry) == ["fastmarket-server"]
    (health,) = [text for name, text in found if name == "HEALTHCHECK"]
    compile(json.loads(health.partition("CMD ")[2])[2], "healthcheck", "exec")
    for name, text in found:
        if name == "COPY" and "--from" not in text:
            for source in text.split()[:-1]:
                assert (ROOT / source).exists(), source


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="no hadolint here")
def test_hadolint_has_no_complaint() -> None:
    done = subprocess.run(["hadolint", str(CONTAINERFILE)], capture_output=True, text=True)
    assert done.stdout == ""


def test_what_the_compose_file_names_is_there() -> None:
    document: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    node = document["services"]["node"]
    assert (COMPOSE.parent / node["build"]["context"] / node["build"]["dockerfile"]).exists()
    assert (node["read_only"], node["cap_drop"]) == (True, ["ALL"])
    for service in document["services"].values():
        for volume in service["volumes"]:
            source = volume.partition(":")[0]
            assert source in document["volumes"] or (COMPOSE.parent / source).exists(), volume
    for path in COMPOSE.parent.rglob("*.yaml"):
        assert yaml.safe_load(path.read_text())


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    spec = importlib.util.spec_from_file_location("make_dashboard", ROOT / "tools" / "make_dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    text = (PACKAGING / "grafana" / "fastmarket.json").read_text()
    assert text == tool.text(), "run python tools/make_dashboard.py"
    known = told_metrics()
    for asked in re.findall(r"fastmarket_\w+", "".join(expressions(json.loads(text)))):
        assert asked in known or re.sub(r"_(bucket|sum|count)$", "", asked) in known, asked


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
