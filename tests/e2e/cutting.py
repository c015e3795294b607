"""A proxy that cuts a connection in the middle, once."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType


class Cutting:
    """Passes on TCP connections to a port of this machine; ends the first that has brought so many bytes."""

    def __init__(self, to_port: int, after_bytes: int) -> None:
        self.cuts = 0
        self._to = to_port
        self._after = after_bytes
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []

    def __enter__(self) -> Cutting:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sock in (self._listening, *self._open):
            _end(sock)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._open += (client, server)
            threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(16 * 1024):
                passed += len(data)
                if counts and passed > self._after and self._may_cut():
                    break
                sink.sendall(data)
        _end(source)
        _end(sink)

    def _may_cut(self) -> bool:
        with self._lock:
            self.cuts += 1
            return self.cuts == 1


def _end(sock: socket.socket) -> None:
    with suppress(OSError):  # the other side may have
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
