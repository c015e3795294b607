"""Objects tied to one process and one event loop."""

from __future__ import annotations

from typing import NoReturn


class Live:
    """Holds connections and tasks: a copy would close the original's, and another process has none."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be copied or pickled: it holds connections. "
            "Pass on its arguments, and create another one"
        )
