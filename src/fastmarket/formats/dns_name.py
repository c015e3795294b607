"""Names of hosts as DNS has them: ASCII, by IDNA 2008 (RFC 5891) with the mapping of UTS 46.

IDNA 2003, which Python's own codec follows, takes some letters for others: it looks the German sharp s up as
"ss", which is another name and may be another's. So do the transitional rules of UTS 46, which are over.
"""

from __future__ import annotations

# RFC 1035, "Size limits": labels, and a name as it is written.
MAX_LABEL_CHARS = 63
MAX_NAME_CHARS = 253


def ascii_name(name: str) -> str:
    """What a resolver is asked for; ValueError for a name that none would take. A dot at the end may stay.

    Labels in ASCII are not judged beyond their length: service names begin with an underscore.
    """
    if not name.isascii():
        name = _mapped(name)
    bare = name.removesuffix(".")
    if len(bare) > MAX_NAME_CHARS:
        raise ValueError(f"a name of more than {MAX_NAME_CHARS} characters")
    if not all(0 < len(label) <= MAX_LABEL_CHARS for label in bare.split(".")):
        raise ValueError(f"a part of the name is empty or longer than {MAX_LABEL_CHARS} characters")
    return name


def _mapped(name: str) -> str:
    import idna  # with its tables 2 MB that most nodes, which meet no such name, do without

    labels = idna.uts46_remap(name, std3_rules=False, transitional=False).split(".")
    return ".".join(label if label.isascii() else idna.alabel(label).decode() for label in labels)
