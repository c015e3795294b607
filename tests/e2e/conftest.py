"""Real processes: every server started here is ended here, and none may have hit a bug of ours meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fastmarket.cli.processes import ServerProcess, environment, executable

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver

COMMAND_DEADLINE_S = 120.0  # ends what never comes
LOOPBACK = ("-p", "0", "-l", "/ip4/127.0.0.1/tcp/0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


class Servers:
    """Starts `fastmarket-server` processes; `start` waits for the ready line, `launch` does not."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._directory = directory
        self._stack = stack
        self.all: list[ServerProcess] = []

    def launch(self, *arguments: str, env: dict[str, str] | None = None) -> ServerProcess:
        server = ServerProcess(f"server-{len(self.all)}", arguments, self._directory, env)
        self.all.append(self._stack.enter_context(server))
        return server

    def start(self, *arguments: str, join: ServerProcess | None = None) -> ServerProcess:
        """On free loopback ports and without a trace, unless `arguments` say otherwise."""
        home = () if "--data-dir" in arguments else ("--ephemeral",)
        bootstrap = () if join is None else ("-b", join.address)
        server = self.launch(*LOOPBACK, *home, *bootstrap, *arguments)
        server.wait_ready()
        return server

    def check_logs(self) -> None:
        for server in self.all:
            log = server.log()
            assert "unhandled" not in log, log
            assert "Traceback" not in log, log


def _servers(directory: Path) -> Iterator[Servers]:
    with ExitStack() as stack:
        servers = Servers(directory, stack)
        yield servers
        stack.close()
        servers.check_logs()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    yield from _servers(tmp_path)


@pytest.fixture(scope="module")
def shared_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """For tests of one module that only talk to running nodes."""
    yield from _servers(tmp_path_factory.mktemp("servers"))


@pytest.fixture(scope="module")
def node(shared_servers: Servers) -> ServerProcess:
    """A node alone in its network."""
    return shared_servers.start()


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the browser saves files."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[WebDriver]:
    """A headless Chromium, where there is one (Debian: chromium and chromium-driver)."""
    webdriver = pytest.importorskip("selenium.webdriver")
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or program is None:
        pytest.skip("no chromium with its driver here")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--window-size=1100,1400"):
        options.add_argument(argument)
    if os.getuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium refuses to sandbox root
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    made = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield made
    finally:
        made.quit()


@dataclass(frozen=True)
class Done:
    """How a client command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one line on stderr of a command that failed."""
        assert self.status != 0, self
        assert self.out == "", self
        assert self.err.endswith("\n"), self
        assert self.err.count("\n") == 1, self
        return self.err.rstrip()


Run = Callable[..., Done]


@pytest.fixture
def run_client(tmp_path: Path) -> Run:
    """Runs `fastmarket-client` to its end, by default as a user who was never here."""

    def run(*arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> Done:
        done = subprocess.run(
            [*executable("fastmarket-client"), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_DEADLINE_S,
            env=environment(FASTMARKET_CLIENT_DATA_DIR=str(tmp_path / "user")) | (env or {}),
            cwd=tmp_path,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def run_server(tmp_path: Path) -> Run:
    """Runs `fastmarket-server` to its end, for command lines that it cannot serve with."""

    def run(*arguments: str, env: dict[str, str] | None = None) -> Done:
        done = subprocess.run(
            [*executable("fastmarket-server"), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_DEADLINE_S,
            env=environment(XDG_DATA_HOME=str(tmp_path / "xdg")) | (env or {}),
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run
