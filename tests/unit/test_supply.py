"""What others made: locked with hashes, listed with licences; workflows run what they name, nothing newer."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tools.third_party import PAGE, is_here, locked

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME_EXTRAS = ("http", "metrics", "fleet", "tracing", "watch", "fs")


def name_of(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def wanted(*extras: str) -> set[str]:
    """Names of what is needed to run, and of those extras; our own package is not one of others."""
    texts = [
        *PROJECT["dependencies"],
        *(text for e in extras for text in PROJECT["optional-dependencies"][e]),
    ]
    return {name_of(text) for text in texts} - {"fastmarket"}


def test_what_moves_money_is_pinned_and_listed() -> None:
    extras = PROJECT["optional-dependencies"]
    assert all("==" in text for text in (*extras["x402"], *extras["x402-test"]))
    listed = PAGE.read_text().partition("fastmarket[x402]")[2]
    names = re.findall(r"^\| ([a-z0-9.-]+) \| .*<http", listed, re.MULTILINE)
    assert {name_of(text) for text in extras["x402"]} == set(names)


def test_every_runtime_dependency_is_listed_with_its_licence() -> None:
    rows = re.findall(r"^\| ([a-z0-9.-]+) \| (.+) \| <(.+)> \|$", PAGE.read_text(), re.MULTILINE)
    listed = {name for name, _, _ in rows}
    assert wanted(*RUNTIME_EXTRAS) <= listed
    # Those below them as well, but for what is for other systems or other Pythons alone.
    early = {"async-timeout"}  # of Python before 3.11.3
    assert {name for name in locked() if is_here(name)} - early <= listed
    assert all(licence.strip() not in ("", "UNKNOWN") for _, licence, _ in rows)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_has_hashes(lock: Path) -> None:
    entries = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)
    assert len(entries) > 10
    for entry in filter(None, entries):
        assert re.match(r"[a-z0-9.-]+==\S+( ;.*)? \\\n    --hash=sha256:[0-9a-f]{64}", entry), entry[:80]
    assert "://" not in lock.read_text()  # whose index it was is the reader's choice


def test_the_locks_have_what_pyproject_asks_for() -> None:
    def names(name: str) -> set[str]:
        text = (ROOT / "requirements" / name).read_text()
        return set(re.findall(r"^([a-z0-9][a-z0-9.-]*)==", text, re.MULTILINE))

    assert wanted(*RUNTIME_EXTRAS) <= names("run.txt")
    assert wanted("dev", *RUNTIME_EXTRAS) <= names("dev.txt")
    assert wanted("audit") <= names("audit.txt")
    assert wanted("x402", "x402-test") <= names("x402.txt")
    assert [path.name for path in LOCKS] == ["audit.txt", "dev.txt", "run.txt", "x402.txt"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_and_the_token_reads_alone(workflow: Path) -> None:
    text = workflow.read_text()
    used = re.findall(r"uses: (\S+)(.*)", text)
    assert used
    for action, comment in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r"  # v\d+\.\d+\.\d+", comment), f"{action}: which version is it?"
    told = yaml.safe_load(text)
    assert told["permissions"] == {"contents": "read"}
    assert told["env"]["LOCKED"] == 1
    for line in re.findall(r"pip install .*", text):
        assert "--require-hashes" in line


def test_what_is_released_is_attested_and_listed() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "wheels.yml").read_text())["jobs"]
    attest = jobs["attest"]
    assert set(attest["needs"]) == set(jobs) - {"attest"}
    assert attest["permissions"] == {"contents": "read", "id-token": "write", "attestations": "write"}
    (step,) = [step for step in attest["steps"] if "attest-build-provenance" in step.get("uses", "")]
    assert step["with"]["subject-path"].split() == ["release/*.whl", "release/*.tar.gz", "release/sbom.json"]
    assert "sbom.json" in jobs["sdist"]["steps"][-1]["with"]["path"]
    assert not [name for name, job in jobs.items() if name != "attest" and "permissions" in job]


def test_the_nightly_run_has_sanitizers_and_the_audit() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "nightly.yml").read_text())["jobs"]
    runs = {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    assert {"make sanitize", "make audit"} <= runs
