"""The content port: the trustless gateway over HTTP, by which buyers fetch what this node sells.

`gateway` turns a request into an answer without I/O; `http1` and `http2` turn bytes into requests and answers
into pieces; `connection` moves pieces to a socket, file slices by sendfile; `server` is the whole.

Sources: ipfs/specs, http-gateways/trustless-gateway (2026-03) and path-gateway; RFC 9110, 9112, 9113.
"""
