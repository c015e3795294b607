"""Where things are kept for a user, who may have no home: any id that a container platform chose."""

from __future__ import annotations

from pathlib import Path

NO_HOME = "there is no home directory to keep it in (neither HOME nor an entry of this user in passwd)"


def expanded(text: str) -> Path:
    """A path in which `~` is a home directory; raises ValueError where there is none."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text!r}: there is no such home directory") from None


def user_data_directory() -> Path | None:
    """The user's data directory; None where the user has none."""
    from platformdirs import user_data_path

    try:
        path = user_data_path("fastmarket", appauthor=False)
    except (RuntimeError, KeyError, OSError):
        return None
    return path if path.is_absolute() else None
