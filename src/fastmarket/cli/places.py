"""Where a user's data is stored. A user may have no home, such as an arbitrary uid in a container."""

from __future__ import annotations

from pathlib import Path

NO_HOME = "there is no home directory for it (HOME is unset and this user has no passwd entry)"


def expanded(text: str) -> Path:
    """Expands `~` in a path; raises ValueError if there is no such home directory."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text!r}: there is no such home directory") from None


def user_data_directory() -> Path | None:
    """The user's data directory, or None if the user has none."""
    from platformdirs import user_data_path

    try:
        path = user_data_path("fastmarket", appauthor=False)
    except (RuntimeError, KeyError, OSError):
        return None
    return path if path.is_absolute() else None
