"""`fastmarket-server`: from settings to a running node, `ready` on stdout, and an orderly shutdown."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from fastmarket._version import __version__
from fastmarket.cli import entry, logs
from fastmarket.cli.completion import completion_command
from fastmarket.cli.reloading import Reloading
from fastmarket.cli.terminal import ControllingTerminal
from fastmarket.errors import CallerFault

if TYPE_CHECKING:
    from fastmarket.cli.settings import ServerSettings
    from fastmarket.formats.identity import Identity
    from fastmarket.node import Node

PROG = "fastmarket-server"
LAST_WORDS_S = 0.1  # to flush the log before an immediate exit
STOP_DEADLINE_S = 4.0  # SIGTERM to exit is promised within 5 s
log = logging.getLogger("fastmarket.server")

HELP = "Run a node of the market. It stores offers for the network and serves local programs over gRPC."
SHOW_HELP = "Print the settings in force as TOML, with the source of each. Passwords are masked."
CHECK_HELP = "Check whether a node would start with these settings: files, keys, certificates, extras."
EXAMPLES = """\b
Examples:
  fastmarket-server
      start a network of its own, listen on TCP LISTEN_PORT, serve gRPC on GRPC_HOST:GRPC_PORT
  fastmarket-server -b /dns4/seed.example.org/tcp/LISTEN_PORT/p2p/12D3KooW...
      join a network through one of its nodes
  fastmarket-server --content-port 8070
      sell files with `fastmarket-client sell`, and serve their bytes on that port
  fastmarket-server --announce /dns4/node.example.org/tcp/4001
      run behind a forwarded port that others reach at that name and port
  fastmarket-server --metrics-port 9100 --http-port 8090
      serve metrics to Prometheus, and a status page at http://127.0.0.1:8090
  fastmarket-server --host 0.0.0.0 --tls-cert node.crt --tls-key node.key --tokens tokens
      serve gRPC to other machines over TLS to callers with a token
  fastmarket-server --store redis://10.0.0.5:6379,10.0.0.6:6379
      run as one of several servers behind one name
  fastmarket-server --config node.toml config check
      check whether a node would start with that file
  fastmarket-server --ephemeral -p 0 -l /ip4/127.0.0.1/tcp/0
      run a throw-away node on free loopback ports

\b
Every option can also be set as an environment variable (--log-level is
FASTMARKET_LOG_LEVEL; separate several addresses with commas) or in the TOML
file of --config (log-level = "debug", listen = ["...", "..."]).
Options take precedence over the environment, the environment over the file.

\b
When the server is ready, it prints one line to stdout; all else goes to stderr:
  ready {"peer_id": "...", "listen": ["/ip4/.../p2p/..."], "announce": ["/ip4/..."],
         "grpc": "GRPC_HOST:GRPC_PORT", ...}

\b
SIGTERM and SIGINT shut it down cleanly within 5 s; a second one, at once.
SIGHUP reloads tokens, certificates and the log level; when it comes because the
terminal was closed, it shuts the server down (unless started with nohup).

\b
Exit status: 0 clean shutdown, 1 failure, 2 bad usage or settings,
128 + N ended by a second signal N.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit status."""
    terminal = ControllingTerminal()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave_before_start)
    if not terminal.is_ignored:
        signal.signal(signal.SIGHUP, partial(_hang_up_before_start, terminal))
    return entry.run(server_command(), PROG, argv)


def _leave_before_start(number: int, frame: FrameType | None) -> None:
    """Handles a signal that arrives while modules are still being imported."""
    raise SystemExit(entry.DONE)


def _hang_up_before_start(terminal: ControllingTerminal, number: int, frame: FrameType | None) -> None:
    """Likewise; a request to reload is ignored: there is nothing to reload yet."""
    if terminal.is_gone:
        raise SystemExit(entry.DONE)


def server_command() -> click.Command:
    """The command line; the manual page is made from it, too."""
    from fastmarket.cli.defaults import with_defaults

    server = click.Group(
        PROG,
        callback=_serve_alone,
        invoke_without_command=True,
        params=_options(),
        help=HELP,
        epilog=with_defaults(EXAMPLES),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        subcommand_metavar="[COMMAND]",
    )
    about = "Show or check the settings without starting a node."
    config = click.Group("config", help=about, no_args_is_help=False)
    for name, callback, text in (("show", _show, SHOW_HELP), ("check", _check, CHECK_HELP)):
        config.add_command(click.Command(name, callback=callback, params=_options(), help=text))
    server.add_command(config)
    server.add_command(completion_command(PROG))
    return click.version_option(__version__, message="%(prog)s %(version)s")(server)


def _options() -> list[click.Parameter]:
    """One option for each setting; valid before and after a subcommand."""
    from fastmarket.cli.settings import SETTINGS

    options: list[click.Parameter] = [
        click.Option(
            [*([f"-{setting.short}"] if setting.short else []), f"--{setting.name}", setting.field],
            metavar=setting.metavar or None,
            help=setting.described,
            multiple=setting.repeated,
            is_flag=setting.flag,
            default=None,
        )
        for setting in SETTINGS
    ]
    return [
        *options,
        click.Option(["--config"], metavar="FILE", help="Read settings from this TOML file."),
    ]


def _serve_alone(**given: object) -> int | None:
    """Runs the node if no subcommand is given; otherwise keeps the options for it."""
    context = click.get_current_context()
    context.obj = given
    return None if context.invoked_subcommand is not None else _serve(partial(_resolved, given))


def _resolved(*given: Mapping[str, object]) -> ServerSettings:
    """The settings; an option given after the subcommand overrides one given before it."""
    from fastmarket.cli import settings
    from fastmarket.cli.places import user_data_directory

    told = {name: value for place in given for name, value in place.items() if value not in (None, ())}
    options = {name.replace("_", "-"): value for name, value in told.items()}
    home = user_data_directory()
    return settings.resolve(options, os.environ, None if home is None else home / "node")


def _show(**given: object) -> int:
    from fastmarket.cli import configuration

    print(configuration.show(_resolved(click.get_current_context().find_root().obj, given)), end="")
    return entry.DONE


def _check(**given: object) -> int:
    from fastmarket.cli import configuration

    found = configuration.faults(_resolved(click.get_current_context().find_root().obj, given))
    for fault in found:
        entry.complain(PROG, fault, entry.BAD_USAGE)
    if not found:
        print("a node would start with these settings")
    return entry.BAD_USAGE if found else entry.DONE


def _serve(resolved: Callable[[], ServerSettings]) -> int:
    from fastmarket import descriptors
    from fastmarket.cli import memory

    settings = resolved()
    logs.set_up(settings.log_level, settings.log_format)
    _check_config_file(settings)
    descriptors.raise_limit()
    memory.begin()
    with _data_dir(settings):
        identity = _identity(settings)
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_live(settings, identity, resolved))


def _check_config_file(settings: ServerSettings) -> None:
    from fastmarket.cli.configuration import check_config_file

    try:
        check_config_file(settings)
    except CallerFault as fault:
        raise CallerFault(settings.source(fault.field), fault.reason) from None


@contextmanager
def _data_dir(settings: ServerSettings) -> Iterator[None]:
    """Holds the data directory's lock; an ephemeral node has none."""
    from fastmarket.storage.directory import data_directory

    if settings.data_dir is None:
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(data_directory(settings.data_dir))
        except CallerFault as fault:
            raise CallerFault(settings.source("data-dir"), fault.reason) from None
        yield


def _identity(settings: ServerSettings) -> Identity:
    from fastmarket.cli.configuration import passphrase
    from fastmarket.formats.identity import Identity
    from fastmarket.storage.keys import load_or_create_identity

    if settings.data_dir is None:
        return Identity.from_seed(os.urandom(32))
    try:
        secret = passphrase(settings)
    except CallerFault as fault:
        raise CallerFault(settings.source(fault.field), fault.reason) from None
    try:
        return load_or_create_identity(settings.data_dir, secret, settings.secrets_mode)
    except CallerFault as fault:
        raise CallerFault(settings.source("data-dir"), str(fault)) from None


async def _live(settings: ServerSettings, identity: Identity, resolved: Callable[[], ServerSettings]) -> int:
    """Start the node, print `ready`, wait for a signal, stop the node."""
    from fastmarket.cli import memory

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_unhandled)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stopper(number, stop))
    node = _compose(settings, identity)
    reloading = Reloading(settings, resolved, node.reload)
    loop.add_signal_handler(signal.SIGHUP, _on_hangup, ControllingTerminal(), stop, reloading)
    starting = asyncio.ensure_future(_start(node, settings))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()  # a fault during the start ends the program here
            memory.settle()
            _say_ready(node, settings)
            await stopping
        return entry.DONE
    finally:
        await _stop(node, starting, stopping)


def _stopper(number: signal.Signals, stop: asyncio.Event) -> Callable[[], None]:
    def on_signal() -> None:
        if stop.is_set():
            logs.flush(LAST_WORDS_S)
            os._exit(128 + number)  # a second signal: exit at once
        log.info("%s: stopping", number.name)
        stop.set()

    return on_signal


def _on_hangup(terminal: ControllingTerminal, stop: asyncio.Event, reloading: Reloading) -> None:
    """A terminal that closes may send several of these, from the kernel and from the shell."""
    if not terminal.is_gone:
        reloading.reload()
    elif not stop.is_set():
        log.info("%s: stopping", "SIGHUP, and the terminal is gone")
        stop.set()


async def _stop(node: Node, *waiting: asyncio.Future[Any]) -> None:
    """Stops the node, after a start under way; at the deadline, ends the process."""

    async def stop() -> None:
        await asyncio.gather(*waiting, return_exceptions=True)
        await node.stop()

    for task in waiting:
        task.cancel()
    stopping = asyncio.ensure_future(stop())
    # Not wait_for and the like: they wait for what they cancel, and so for a part that hangs.
    await asyncio.wait((stopping,), timeout=STOP_DEADLINE_S)
    if not stopping.done():
        log.error("the node did not stop within %s s; exiting anyway", STOP_DEADLINE_S)
        logs.flush()
        os._exit(entry.DONE)
    await stopping


def _log_unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Logs a bug of ours in a callback or task; the node goes on serving."""
    error = context.get("exception")
    log.error(
        "unhandled: %s", context.get("message"), exc_info=error if isinstance(error, Exception) else None
    )


def _say_ready(node: Node, settings: ServerSettings) -> None:
    ready: dict[str, Any] = {
        "peer_id": str(node.peer_id),
        "listen": [str(address) for address in node.listen_addrs],
        "announce": [str(address) for address in node.announced_addrs],
        "grpc": node.grpc_address,
        "http": node.http_address or None,
        "content": node.content_url or None,
        "metrics": node.metrics_address or None,
        "store": node.store or None,
        "version": __version__,
        "pid": os.getpid(),
        # Null if there is nothing to join through: no bootstrap peer, nor a peer of an earlier run.
        "bootstrapped": node.bootstrapped if node.joins else None,
        "data_dir": None if settings.data_dir is None else str(Path(settings.data_dir).absolute()),
    }
    log.info("%s serves gRPC at %s and peers at %s", node.peer_id, ready["grpc"], ", ".join(ready["listen"]))
    logs.flush()  # a reader of `ready` finds everything earlier in the log
    try:
        print("ready", json.dumps(ready), flush=True)
    except OSError as error:
        log.warning("stdout is closed (%s); serving anyway", error.strerror)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _compose(settings: ServerSettings, identity: Identity) -> Node:
    from fastmarket.memory_limit import default_limit
    from fastmarket.node import Node

    config = settings.node_config()
    if config.memory.limit_bytes is None:  # this process is the node's alone
        config = replace(config, memory=replace(config.memory, limit_bytes=default_limit()))
    try:
        return Node(config, identity, settings.data_dir)
    except CallerFault as fault:
        raise CallerFault(settings.source(fault.field), fault.reason) from None


async def _start(node: Node, settings: ServerSettings) -> None:
    """Start the node; a fault in the settings is reported under the name the user wrote."""
    try:
        await node.start()
    except CallerFault as fault:
        raise CallerFault(settings.source(fault.field), fault.reason) from None


if __name__ == "__main__":
    sys.exit(main())
