"""What is read of the offer database at a start.

SQLite keeps a value of any type in any column, and its check of a file does not look at types: a damaged
page, or another program, may have put anything there. A cell of another type than ours never reaches the
node: an offer without its bytes is counted as unreadable, and what only helps (dead marks, values) is left
out. The file keeps it.
"""

from __future__ import annotations

from fastmarket.native.batch import MAX_COUNT

_MAX_TIME = 1e12  # Unix seconds; what is later is not a time, infinity in particular


def _bytes(column: str) -> str:
    """The cell, or no bytes where it has none."""
    return f"CASE typeof({column}) WHEN 'blob' THEN {column} ELSE x'' END"


def _all(kind: str, *columns: str) -> str:
    return " AND ".join(f"typeof({column}) = '{kind}'" for column in columns)


OFFERS = f"SELECT {_bytes('signed')}, own IS NOT 0 FROM offers"
BATCHES = f"SELECT number, own IS NOT 0, not_after, {_bytes('signed')} FROM batches"
DEAD = f"""
SELECT batch, slot FROM dead WHERE {_all("integer", "batch", "slot")} AND slot BETWEEN 0 AND {MAX_COUNT - 1}
"""
RECORDS = f"""
SELECT key, own IS NOT 0, value, publisher, received, expires FROM records
WHERE {_all("blob", "key", "value", "publisher")}
AND typeof(received) IN ('real', 'integer') AND abs(received) < {_MAX_TIME}
AND typeof(expires) IN ('real', 'integer') AND abs(expires) < {_MAX_TIME}
"""
NEXT_NUMBER = """
SELECT max((SELECT coalesce(max(number), 0) FROM batches),
    (SELECT coalesce(max(batch), 0) FROM dead WHERE typeof(batch) = 'integer'))
"""
NUMBER = "SELECT value FROM numbers WHERE name = ?"
