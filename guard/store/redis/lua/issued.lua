#!lua flags=no-writes
-- Reads the keys that guard has issued which were written after a version, the oldest change first.
--
-- KEYS  1 the keys (hash: text by name; under '' their epoch and version)  2 the version of each (zset)
--       3 when those that have an end are forgotten (zset, µs)
-- ARGV  1 the version  2 at most so many keys
-- Returns the epoch and version ('' where there are no keys), how many keys are not to be forgotten by now, now (µs),
-- and of each key its name, version and text ('' where that is lost).

local about = call('HGET', KEYS[1], '') or ''
local now = clock('0')
local count = call('HLEN', KEYS[1]) - 1 - call('ZCOUNT', KEYS[3], '-inf', now)
local found = call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local reply = { about, max(count, 0), string.format('%.0f', now) }
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = found[i + 1]
  reply[#reply + 1] = call('HGET', KEYS[1], found[i]) or ''
end
return reply
