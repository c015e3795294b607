"""Scripts run by the engine of a fleet: reads with limits on untrusted contents, and the write.

The store is trusted no more than a peer. Anything with write access may put anything under any key, so sizes
are checked in the engine, and oversized values are never transferred.
"""

# KEYS: the hash. ARGV: maximum fields, bytes of a field's name, maximum bytes of a value, and of all values.
# Returns the number of fields left out, and the others with their values. HKEYS of too many would take long.
GET = """
local most, name_bytes, value_bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local left = tonumber(ARGV[4])
local size = redis.call('HLEN', KEYS[1])
local names
if size > most then
  names = redis.call('HRANDFIELD', KEYS[1], most)
else
  names = redis.call('HKEYS', KEYS[1])
end
local out, found = size - #names, {}
for _, name in ipairs(names) do
  local bytes = value_bytes + 1
  if #name == name_bytes then bytes = redis.call('HSTRLEN', KEYS[1], name) end
  if bytes <= value_bytes and bytes <= left then
    left = left - bytes
    found[#found + 1] = name
    found[#found + 1] = redis.call('HGET', KEYS[1], name)
  else
    out = out + 1
  end
end
return {out, found}
"""
# KEYS: a value. ARGV: maximum bytes. Returns the value; its size if that is too large; nothing if there is
# none.
VALUE = """
local size = redis.call('STRLEN', KEYS[1])
if size > tonumber(ARGV[1]) then return size end
return redis.call('GET', KEYS[1])
"""
# KEYS: a list. ARGV: maximum messages, maximum bytes of one. Longer ones are returned empty, so that they
# count.
MESSAGES = """
local found = {}
for at = 0, math.min(redis.call('LLEN', KEYS[1]), tonumber(ARGV[1])) - 1 do
  local message = redis.call('LINDEX', KEYS[1], at)
  if #message > tonumber(ARGV[2]) then message = '' end
  found[#found + 1] = message
end
return found
"""
# KEYS: the hash. ARGV: field, value, lifetime in seconds, maximum fields. 1: written; 0: the hash is full.
PUT = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if redis.call('TTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""
