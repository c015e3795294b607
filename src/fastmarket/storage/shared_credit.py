"""Shares of buyers' credit in the store of a fleet: a hash for each buyer, with a field for each server.

A field is what the server may have unpaid and lost with that buyer, and the credit that it gives: two numbers
as text. The engine adds up and grants in one step.
"""

from __future__ import annotations

from fastmarket.storage.shared import SharedStore

KEPT_S = (
    7 * 24 * 3600
)  # after the last change; until then the share of a server that is gone is not free again
MAX_SERVERS = 1024  # of a fleet, with shares of one buyer

# KEYS: the hash. ARGV: this server, wanted bytes, bytes held already, its credit, seconds to keep, most
# servers. Returns the bytes granted: never less than are held.
GRANT = """
local wanted, held, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local taken = 0
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[6]) then return held end
local all = redis.call('HGETALL', KEYS[1])
for at = 1, #all, 2 do
  local share, credit = string.match(all[at + 1], '^(%d+) (%d+)$')
  if share and all[at] ~= ARGV[1] then
    taken = taken + tonumber(share)
    if tonumber(credit) > most then most = tonumber(credit) end
  end
end
local granted = math.max(math.min(wanted, most - taken), held)
if granted > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %d', granted, tonumber(ARGV[4])))
  redis.call('EXPIRE', KEYS[1], ARGV[5])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return granted
"""


class SharedCredit:
    """The shares of one server, which the others know by `server`."""

    def __init__(self, store: SharedStore, server: bytes, currency: str) -> None:
        self._store = store
        self._server = server
        self._currency = currency.encode()

    async def grant(self, buyer: bytes, count: int, held: int, credit: int) -> int:
        """Bytes of a buyer's credit, `count` at most, of which so many are held already. Raises
        StorageFault."""
        name = self._currency + b"\0" + buyer
        bounds = (self._server, count, held, credit, KEPT_S, MAX_SERVERS)
        return await self._store.count(b"credit", name, GRANT, *bounds)
