#!lua
-- Adds to what was refused to identities; of each the latest lines are kept, and of all the identities that were
-- refused something last.
--
-- KEYS  1 the number of the last call of this process  2 identities by when they were refused last (sorted set)
--       3 what was refused to each, a line a request, the latest first (hash)
-- ARGV  1 number of this call  2 its life (ms)  3 life of the other keys (ms)  4 most lines  5 most identities
--       6 who was refused nothing since (Unix seconds) is forgotten
--       then of each identity: name, when it was refused last, number of lines, lines joined
-- Returns 1, or 0 where this call was made before.
-- Mirrors nothing: guard/store/redis/rollups.py says what a line is.

if made_before() then return 0 end

local most = tonumber(ARGV[4])
for at = 7, #ARGV, 4 do
  local name, lines = ARGV[at], tonumber(ARGV[at + 2])
  local text, before = ARGV[at + 3], call('HGET', KEYS[3], name)
  local place = 0
  if before and lines < most then
    for _ = 1, most - lines do
      place = string.find(before, '\n', place + 1, true) or #before
    end
    text = text .. string.sub(before, 1, place)
  end
  call('HSET', KEYS[3], name, text)
  call('ZADD', KEYS[2], ARGV[at + 1], name)
end

keep_highest(KEYS[2], KEYS[3], ARGV[5], ARGV[6], ARGV[3])
return 1
