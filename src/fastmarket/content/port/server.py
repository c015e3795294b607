"""The content port: listens, takes connections, and looks after what is overdue."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import Callable

from fastmarket.config import ContentConfig
from fastmarket.content.port.bounds import (
    ACCEPT_AT_ONCE,
    ACCEPT_PAUSE_S,
    BACKLOG,
    CONNECTION_BYTES,
    MAX_UNSENT_BYTES,
    SWEEP_S,
)
from fastmarket.content.port.cashier import Cashier
from fastmarket.content.port.certificates import PortCertificates
from fastmarket.content.port.channels import Channel, PlainChannel, TlsChannel
from fastmarket.content.port.connection import PortConnection
from fastmarket.content.port.desk import AnswerDesk
from fastmarket.content.port.entrance import PortAdmission
from fastmarket.content.port.gateway import Gateway
from fastmarket.content.port.shell import PortShell
from fastmarket.content.port.tally import PortTally
from fastmarket.content.source import BlockSource
from fastmarket.deferred_accept import defer_accept
from fastmarket.errors import CallerFault
from fastmarket.faults import Faults
from fastmarket.formats.address_block import address_block
from fastmarket.libp2p.scopes import MemoryScope, Priority
from fastmarket.repeating import Repeating
from fastmarket.secret_files import OWNER_ALONE

# Of accept(): no descriptors, no memory. The connection waits in the kernel; asking again at once is useless.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_UNSENT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)


class ContentServer:
    """Serves a source over HTTP from `start` to `stop`."""

    def __init__(
        self,
        source: BlockSource,
        config: ContentConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        faults: Faults | None = None,
        secrets_mode: str = OWNER_ALONE,
        sweep_s: float = SWEEP_S,
        memory: MemoryScope | None = None,
        cashier: Cashier | None = None,
    ) -> None:
        """`secrets_mode`: the widest accepted mode of the key's file; `sweep_s`: between looks at what is
        overdue; `memory` counts what buyers make the node hold (None: without a limit); `cashier` takes
        payments (None: everything is given away)."""
        self._memory = memory
        self._config = config or ContentConfig()
        self._clock = clock
        self._faults = faults or Faults()
        self._secrets_mode = secrets_mode
        self.tally = PortTally()
        """What it counts."""
        self._desk = AnswerDesk(Gateway(source, cashier), self.tally, self._config.max_requests)
        self._certificates: PortCertificates | None = None
        self._shell: PortShell | None = None
        self._listening: socket.socket | None = None
        self._pause: asyncio.TimerHandle | None = None
        self._sweeping = Repeating("the content port's sweep", lambda: sweep_s, self._sweep, self._faults)

    async def start(self) -> int:
        """Starts listening; returns the port. Raises CallerFault ("content-port", "content-cert", ...)."""
        config = self._config
        if config.cert or config.key:
            self._certificates = PortCertificates(config, self._secrets_mode)
        port = config.port or 0
        try:
            family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
            both = config.host == "::" and socket.has_dualstack_ipv6()
            listening = socket.create_server(
                (config.host, port), family=family, backlog=BACKLOG, dualstack_ipv6=both
            )
        except (OSError, OverflowError) as error:
            raise CallerFault("content-port", f"cannot listen on {config.host}:{port}: {error}") from None
        listening.setblocking(False)
        defer_accept(listening)
        self._listening = listening
        self._shell = PortShell(config, self._desk, self._clock, self._faults)
        self._shell.loop.add_reader(listening.fileno(), self._accept)
        self._sweeping.start()
        if self._memory is not None:
            self._memory.watch(self._held_bytes)
        return int(listening.getsockname()[1])

    async def stop(self) -> None:
        """Lets answers in progress finish first, for `stop_grace_s`. Safe to call twice."""
        listening, self._listening = self._listening, None
        shell = self._shell
        if listening is None or shell is None:
            return
        if self._pause is not None:
            self._pause.cancel()
        shell.loop.remove_reader(listening.fileno())
        listening.close()
        for connection in tuple(shell.connections):
            connection.finish()
        until = self._clock() + self._config.stop_grace_s
        while any(one.is_busy for one in shell.connections) and (left := until - self._clock()) > 0:
            await shell.some_end(left)
        for connection in tuple(shell.connections):
            connection.end_now()
        await self._sweeping.stop()
        await shell.close()

    def reload(self) -> None:
        """Reads the certificate and its key again. Raises CallerFault, and then changes nothing."""
        if self._certificates is not None:
            self._certificates.reload()

    # --- connections

    def _accept(self) -> None:
        listening = self._listening
        for _ in range(ACCEPT_AT_ONCE):
            if listening is None:
                return
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._pause_accepting()
                return
            self._faults.run("a new connection of the content port", self._take, sock, address[0])

    def _held_bytes(self) -> int:
        shell = self._shell
        return 0 if shell is None else sum(one.held_bytes for one in shell.connections)

    def _take(self, sock: socket.socket, host: str) -> None:
        shell = self._shell
        assert shell is not None
        if self._memory is not None and not self._memory.admits(CONNECTION_BYTES, Priority.STRANGER):
            self.tally.turned_away += 1
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _UNSENT is not None:
            sock.setsockopt(socket.IPPROTO_TCP, _UNSENT, MAX_UNSENT_BYTES)
        channel: Channel = PlainChannel(sock)
        if self._certificates is not None:
            channel = TlsChannel(sock, self._certificates.context)
        connection = PortConnection(shell, sock, channel, address_block(host))
        admission = shell.entrance.enter(connection)
        if admission is not PortAdmission.SERVED:
            self.tally.turned_away += 1
        if admission is PortAdmission.CLOSED:
            sock.close()
            return
        self.tally.connections += 1
        self.tally.open_connections += 1
        shell.connections.add(connection)
        connection.start(admission is PortAdmission.TURNED_AWAY)

    def _pause_accepting(self) -> None:
        shell, listening = self._shell, self._listening
        assert shell is not None
        assert listening is not None
        shell.loop.remove_reader(listening.fileno())
        self._pause = shell.loop.call_later(ACCEPT_PAUSE_S, self._accept_again)

    def _accept_again(self) -> None:
        self._pause = None
        if self._listening is not None and self._shell is not None:
            self._shell.loop.add_reader(self._listening.fileno(), self._accept)

    def _sweep(self) -> None:
        now = self._clock()
        for connection in tuple(() if self._shell is None else self._shell.connections):
            connection.look(now)
        if self._certificates is not None:
            self._certificates.look()
