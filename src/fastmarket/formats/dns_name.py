"""Host names for DNS: ASCII, by IDNA 2008 (RFC 5891) with the mapping of UTS 46.

IDNA 2003, which Python's own codec implements, replaces some letters: it looks up the German sharp s as "ss",
a different name that may have another owner. So do the transitional rules of UTS 46, which are obsolete.
"""

from __future__ import annotations

# RFC 1035, "Size limits": of labels, and of a whole name in text form.
MAX_LABEL_CHARS = 63
MAX_NAME_CHARS = 253


def ascii_name(name: str) -> str:
    """The name for a resolver; raises ValueError for one that no resolver accepts. A trailing dot may stay.

    ASCII labels are checked only for length: service names begin with an underscore.
    """
    if not name.isascii():
        name = _mapped(name)
    bare = name.removesuffix(".")
    if len(bare) > MAX_NAME_CHARS:
        raise ValueError(f"the name has more than {MAX_NAME_CHARS} characters")
    if not all(0 < len(label) <= MAX_LABEL_CHARS for label in bare.split(".")):
        raise ValueError(f"a part of the name is empty or longer than {MAX_LABEL_CHARS} characters")
    return name


def _mapped(name: str) -> str:
    import idna  # its tables take 2 MB, which most nodes save because they see no such name

    labels = idna.uts46_remap(name, std3_rules=False, transitional=False).split(".")
    return ".".join(label if label.isascii() else idna.alabel(label).decode() for label in labels)
