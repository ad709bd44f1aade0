#!lua
-- Writes down a key that guard has issued, unless it stands otherwise than its writer has read.
--
-- KEYS  1 the keys (hash: text by name; under '' their epoch and version)  2 the version of each (zset)
--       3 when those that have an end are forgotten (zset, µs)
-- ARGV  1 name  2 text as it was read ('' for none)  3 text  4 when it is forgotten (µs; -1: never)  5 most keys
-- Returns 1; 0 where it stands otherwise, -1 where there are too many.
-- Each call also drops some of those that are to be forgotten. The keys have no expiry: a key that a customer pays for
-- does not end by itself. Their number is bounded.
-- Mirrors nothing: guard/store/issued.py says what the texts are.

local name, before, text, forgotten = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = clock('0')
local drop = call('ZRANGEBYSCORE', KEYS[3], '-inf', now, 'LIMIT', 0, 20)
local ends = call('ZSCORE', KEYS[3], name)
if ends and tonumber(ends) <= now then drop[#drop + 1] = name end
for _, old in ipairs(drop) do
  call('HDEL', KEYS[1], old)
  call('ZREM', KEYS[2], old)
  call('ZREM', KEYS[3], old)
end
local known = call('HGET', KEYS[1], name) or ''
if known ~= before then return 0 end
if known == '' and call('ZCARD', KEYS[2]) >= tonumber(ARGV[5]) then return -1 end
-- No version comes again, also after all was lost. An epoch begins with its first.
local epoch, version = string.match(call('HGET', KEYS[1], '') or '', '^(%d+) (%d+)$')
local later = string.format('%.0f', max((tonumber(version) or 0) + 1, now))
call('HSET', KEYS[1], '', (epoch or later) .. ' ' .. later, name, text)
call('ZADD', KEYS[2], later, name)
if forgotten == '-1' then call('ZREM', KEYS[3], name) else call('ZADD', KEYS[3], forgotten, name) end
return 1
