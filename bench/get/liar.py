"""A seller that lies: whatever is asked for, it sends bytes of the right length that are not the block.

    python -m bench.get.liar URL        URL: of a content port that has the blocks

It asks there for each block, so that the length is right, and turns one bit of what it sends.
"""

from __future__ import annotations

import json
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from bench.get.reader import Reader
from fastmarket.formats.cid import Cid


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """Who was lied to hangs up, at any moment."""


def serve(url: str) -> None:
    """Until its input ends."""

    class Handler(BaseHTTPRequestHandler):
        """One connection."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """The block, with one bit turned."""
            cid = Cid.from_text(self.path.removeprefix("/ipfs/").partition("?")[0])
            reader = Reader(url)
            block = bytearray(reader.block(cid))
            reader.close()
            block[len(block) // 2] ^= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(block)))
            self.end_headers()
            with suppress(ConnectionError):  # who was lied to hangs up
                self.wfile.write(block)

        def log_message(self, *arguments: object) -> None:
            """Says nothing."""

    server = _Server(("127.0.0.1", 0), Handler)
    print(json.dumps({"port": server.server_port}), flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
