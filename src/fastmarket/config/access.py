"""Access to the gRPC services."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """TLS, tokens and call rates. Paths name files; an empty path disables the feature."""

    tls_cert: str = ""  # PEM: the server's certificate, followed by any intermediate certificates
    tls_key: str = ""  # PEM: its private key; readable only by its owner
    tls_client_ca: str = ""  # PEM: if set, callers need a certificate signed by one of these CAs (mTLS)
    tokens: str = ""  # lines of `read TOKEN` or `write TOKEN`; readable only by its owner
    # Octal: widest accepted mode of such files, with a warning if others can read them. Always accepted:
    # files of root readable by our group, and systemd credentials
    secrets_mode: str = "0600"
    insecure: bool = False  # serve plain text beyond loopback, at the operator's request
    # Per caller on another machine (a token, or else an IP address): a tenth of a node's capacity. Programs
    # on this machine are not limited
    calls_per_second: float = 500.0
    burst_calls: int = 1000  # burst of a caller that was idle: two seconds' worth
    max_callers: int = 4096  # callers whose rate is tracked, the most recent ones; 0.5 MiB
    refusal_log_interval_s: float = 60.0  # between log lines about the same refused caller
    min_token_chars: int = 16  # shorter tokens could be guessed
    max_tokens: int = 1024  # every call is compared with each token, 0.3 us each
