"""The certificate of the content port, read again when its files change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from fastmarket.config import ContentConfig
from fastmarket.errors import CallerFault
from fastmarket.secret_files import OWNER_ALONE, read_secret

CERT, KEY = "content-cert", "content-key"
ALPN = ["h2", "http/1.1"]  # Kubo takes HTTP/2 only
log = logging.getLogger(__name__)


class PortCertificates:
    """The TLS settings for new connections; those that are open keep theirs."""

    def __init__(self, config: ContentConfig, secrets_mode: str = OWNER_ALONE) -> None:
        """Raises CallerFault for files that TLS cannot be served with. `secrets_mode`: the widest accepted
        mode of the key's file."""
        self._config = config
        self._secrets_mode = secrets_mode
        self._seen = self._state()
        self.context = self._read()

    def reload(self) -> None:
        """Reads the files again. Raises CallerFault, and then changes nothing."""
        seen = self._state()
        self.context = self._read()
        self._seen = seen

    def look(self) -> None:
        """Reads the files again if they changed. A pair that cannot be used, as one that is just being
        written, changes nothing until its next change."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            self.context = self._read()
        except CallerFault as fault:
            log.warning("the content port keeps its certificate: %s", fault)
        else:
            log.info("the content port's certificate was renewed")

    def _read(self) -> ssl.SSLContext:
        config = self._config
        for field, name in ((CERT, config.cert), (KEY, config.key)):
            if not name:
                raise CallerFault(field, "missing; TLS needs a certificate and its key")
        read_secret(config.key, KEY, self._secrets_mode)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(ALPN)
        try:
            context.load_cert_chain(config.cert, config.key, _no_password)
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise CallerFault(KEY, f"{config.key} does not match {config.cert}") from None
            raise CallerFault(CERT, f"{config.cert} and {config.key}: {error.reason or error}") from None
        except OSError as error:
            raise CallerFault(CERT, f"cannot read {config.cert}: {error.strerror}") from None
        return context

    def _state(self) -> tuple[int, ...]:
        return tuple(_changed_at(Path(name)) for name in (self._config.cert, self._config.key))


def _no_password() -> str:
    """Instead of asking at the terminal."""
    return ""


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
