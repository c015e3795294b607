"""The content port before gateway-conformance, the tests that gateways of IPFS are judged by."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from interop.conformance.gateway import CarBlocks, gateway

MODULE = "github.com/ipfs/gateway-conformance@v0.13.2"
HOME = "GATEWAY_CONFORMANCE_HOME"  # a checkout of it, where the Go proxy does not have the module
BUILD_DEADLINE_S = 600.0
RUN_DEADLINE_S = 120.0
OUTCOME = re.compile(r"^ *--- (PASS|FAIL|SKIP): (\S+)", re.MULTILINE)

# Tests that fail, by the beginning of their names, and why that is as it should be. One that passes is to be
# taken out of here.
NOT_OURS = {
    "trustless-car-gateway": {
        "TestTrustlessCarPathing/GET_default_CAR_response_of_UnixFS_file_on_a_path_with_DAG-CBOR_as_root_CID":
            "paths lead through UnixFS alone: nothing else is sold",
    },
    "path-unixfs-gateway": {
        "TestUnixFSDirectoryListing/": "directories have no page",
        "TestGatewaySymlink/Test_the_directory_listing": "directories have no page",
        "TestGatewayCache/GET_for_%2Fipfs%2F_unixfs_dir": "directories have no page, nor index.html for one",
        "TestGatewayCache/GET_for_%2Fipfs%2F_dir": "directories have no page, nor index.html for one",
        "TestGatewayCache/DirIndex": "directories have no page",
    },
}  # fmt: skip
SPECS = (
    "trustless-block-gateway",
    "trustless-car-gateway",
    "trustless-car-gateway-optional",
    "path-raw-gateway",
    "path-range-gateway",
    "path-unixfs-gateway",
)
# Not tried: IPNS, DNSLink, subdomains, _redirects, TAR, and blocks in JSON or CBOR are not served.


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["nice", "-n", "10", *command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_DEADLINE_S,
        check=False,
    )


@pytest.fixture(scope="session")
def home() -> Path:
    """Its source with the fixtures: the Go module, or a checkout."""
    if shutil.which("go") is None:
        pytest.skip("no go here, so no gateway-conformance")
    if found := os.environ.get(HOME):
        return Path(found)
    done = run("go", "mod", "download", "-json", MODULE)
    answer = json.loads(done.stdout[done.stdout.index("{") :])
    if done.returncode != 0:
        why = " ".join(answer["Error"].split())
        pytest.skip(f"the Go proxy gives no gateway-conformance ({why}); {HOME} may name a checkout")
    return Path(answer["Dir"])


@pytest.fixture(scope="session")
def program(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its tests as a program."""
    path = tmp_path_factory.mktemp("conformance") / "tests"
    done = run("go", "test", "-p", "1", "-c", "-o", str(path), "./tests", cwd=home)
    assert done.returncode == 0, done.stdout
    return path


@pytest.fixture(scope="session")
def blocks(home: Path) -> CarBlocks:
    """All of its fixtures."""
    found = CarBlocks(sorted((home / "fixtures").rglob("*.car")))
    assert len(found) > 0
    return found


@pytest.mark.parametrize("spec", SPECS)
def test_the_content_port_conforms(home: Path, program: Path, blocks: CarBlocks, spec: str) -> None:
    async def scenario() -> str:
        async with gateway(blocks) as url:
            process = await asyncio.create_subprocess_exec(
                program,
                "-test.v",
                f"-specs={spec}",
                cwd=home / "tests",
                env={**os.environ, "GATEWAY_URL": url, HOME: str(home)},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                return (await asyncio.wait_for(process.communicate(), RUN_DEADLINE_S))[0].decode()
            finally:
                if process.returncode is None:
                    process.kill()

    said = asyncio.run(scenario())
    outcomes = OUTCOME.findall(said)
    known = NOT_OURS.get(spec, {})
    failed = leaves([name for verdict, name in outcomes if verdict == "FAIL"])
    unexpected = [name for name in failed if not name.startswith(tuple(known))]
    assert not unexpected, f"{unexpected}\n{said}"
    better = [name for name in known if not any(one.startswith(name) for one in failed)]
    assert not better, "passes now; take it out of NOT_OURS"
    count = Counter(verdict for verdict, _ in outcomes)
    assert count["PASS"] > 1  # the one that tells the version always does
    print(f"{spec}: {count['PASS']} passed, {len(failed)} are not ours")


def leaves(names: list[str]) -> list[str]:
    """Without those that failed because one below them did."""
    return [name for name in names if not any(other.startswith(f"{name}/") for other in names)]
