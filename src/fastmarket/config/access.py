"""Who may call the gRPC services."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AccessConfig:
    """TLS, tokens and call rates. Paths are files; an empty one is not used."""

    tls_cert: str = ""  # PEM, the server's certificate and those between it and its root
    tls_key: str = ""  # PEM, its private key; readable by its owner alone
    tls_client_ca: str = ""  # PEM; with it, callers show a certificate signed by one of these (mTLS)
    tokens: str = ""  # lines of `read TOKEN` or `write TOKEN`; readable by its owner alone
    secrets_mode: str = "0600"  # octal: the widest mode of such a file that is accepted, with a warning where
    # others can read it. Always accepted: root's, readable by our group; systemd's credentials
    insecure: bool = False  # plain text beyond loopback, where the operator says so
    calls_per_second: float = 500.0  # of one caller on another machine (a token, else an IP address): a tenth
    # of what a node answers. Programs of this machine are not counted
    burst_calls: int = 1000  # ... saved up by a caller that was quiet: two seconds' worth
    max_callers: int = 4096  # whose rate is remembered, the latest; 0.5 MiB
    refusal_log_interval_s: float = 60.0  # from one log line about a caller that is refused to the next
    min_token_chars: int = 16  # shorter ones could be guessed
    max_tokens: int = 1024  # each is compared with every call's, 0.3 us each
