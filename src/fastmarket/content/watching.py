"""Notices changes below a directory that is sold, as soon as the system does."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from fastmarket.config import ContentConfig
from fastmarket.content.allowed import shown_path
from fastmarket.errors import CallerFault

log = logging.getLogger(__name__)

FIRST_LOOK_MS = 1000  # from the start of the notices until a path is read that was read without them


def check_watching() -> None:
    """Raises CallerFault("watch", ...) if what follows directories is not installed."""
    try:
        import watchfiles  # noqa: F401 - an extra
    except ImportError:
        reason = "needs the extra `watch`: pip install 'fastmarket[watch]'"
        raise CallerFault("watch", reason) from None


async def changes_below(path: str, config: ContentConfig) -> AsyncGenerator[None, None]:
    """Yields at once, and whenever something at or below the path may have changed since."""
    loop, changed, stop = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    watch = _Watch(path, config, stop, lambda: loop.call_soon_threadsafe(changed.set))
    thread = threading.Thread(target=watch.run, name="fastmarket-watch", daemon=True)
    thread.start()
    try:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), config.watch_again_s)
            changed.clear()
            yield
    finally:
        stop.set()
        await asyncio.to_thread(thread.join)


class _Watch:
    """One path, in a thread of its own."""

    def __init__(
        self, path: str, config: ContentConfig, stop: threading.Event, tell: Callable[[], object]
    ) -> None:
        self._path = path
        self._config = config
        self._stop = stop
        self._tell = tell

    def run(self) -> None:
        """Until `stop` is set. If the path is gone, or nothing can be noticed, looks now and then."""
        is_told = False
        self._tell()
        while not self._stop.is_set():
            wait_s = self._config.look_s
            try:
                self._watch()
            except FileNotFoundError:
                pass
            except (OSError, ImportError, RuntimeError) as error:  # the last: a bug in the library
                wait_s = self._config.watch_again_s
                if not is_told:
                    is_told = True
                    log.warning(
                        "cannot follow %s (%s); reading it again every %g s",
                        shown_path(self._path),
                        error,
                        wait_s,
                    )
            if not self._is_there():
                self._wait_for_it()
            elif is_told:
                self._stop.wait(wait_s)
            self._tell()

    def _watch(self) -> None:
        """Until the path is no longer the one that is watched. Raises OSError."""
        from watchfiles import watch

        config, inode = self._config, _inode(self._path)
        latest, quiet, look = (
            int(seconds * 1000) for seconds in (config.watch_latest_s, config.watch_quiet_s, config.look_s)
        )
        changes = watch(
            self._path,
            watch_filter=None,
            debounce=latest,
            step=quiet,
            stop_event=self._stop,
            rust_timeout=min(look, FIRST_LOOK_MS),
            yield_on_timeout=True,
            raise_interrupt=False,
            ignore_permission_denied=True,
        )
        is_first = True
        for found in changes:
            # What changed before the first notice could be given is not known.
            if found or is_first:
                self._tell()
            is_first = False
            if _inode(self._path) != inode:
                return

    def _is_there(self) -> bool:
        return _inode(self._path) is not None

    def _wait_for_it(self) -> None:
        while not self._is_there() and not self._stop.wait(self._config.look_s):
            pass


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None
