#!lua
-- Adds what a process has summed up of a minute to the buckets of that minute and of its hour, once.
--
-- KEYS  1 the number of the last call of this process  2 the bucket of the minute (hash)  3 that of the hour (hash)
--       4 what identities use in the minute (hash)  5 whose use of the hour is kept, by how busy they are (sorted set)
--       6 the most tokens of the hour (sorted set)  7 the highest cost  8 the most refusals
--       9 … the use of identities in the hour (hashes): which one, the SHA-1 of the identity's name says
-- ARGV  1 number of this call  2 lives (ms): of the number  3 of a minute's bucket  4 of an hour's  5 of key 4
--       6 of what is kept of identities for an hour  7 of key 5
--       8 most identities whose use of an hour is kept  9 most in each of the keys 6 to 8
--       10 number of sums; of each its field and what is added
--       then of each identity: name, requests forwarded, refused, input tokens, output tokens, cost, novelty
-- Returns 1, or 0 where this call was made before.
-- Mirrors nothing: guard/core/rollups.py says what a field is, and `Use` what is kept of an identity.

local USE, MINUTE = '>' .. string.rep('I5', 11), '>I5I5I5I5'
local LARGEST = 2 ^ 40 - 1
local FIRST_SHARD = 9
local shards = #KEYS - FIRST_SHARD + 1

if made_before() then return 0 end

local sums_end = 10 + 2 * tonumber(ARGV[10])
for at = 11, sums_end, 2 do
  call('HINCRBY', KEYS[2], ARGV[at], ARGV[at + 1])
  call('HINCRBY', KEYS[3], ARGV[at], ARGV[at + 1])
end

local function shard(name)
  return KEYS[FIRST_SHARD + tonumber(string.sub(redis.sha1hex(name), 1, 2), 16) % shards]
end

local OTHERS = { 'on', 'or', 'oi', 'oo', 'oc', 'ov' }

-- The least busy identity makes room; the next one may have been as busy as that before, and nobody noticed.
local function make_room()
  local least = call('ZPOPMIN', KEYS[5])
  local name, home = least[1], shard(least[1])
  local kept = call('HGET', home, name)
  if kept then
    local use = { unpacked(USE, kept) }
    for i = 1, 6 do
      if use[i] > 0 then call('HINCRBY', KEYS[3], OTHERS[i], string.format('%.0f', use[i])) end
    end
    call('HDEL', home, name)
  end
  call('HDEL', KEYS[4], name)
  for board = 6, 8 do call('ZREM', KEYS[board], name) end
  return tonumber(least[2])
end

local most, kept = tonumber(ARGV[8]), call('ZCARD', KEYS[5])
local boards, lives = { {}, {}, {} }, {}
for at = sums_end + 1, #ARGV, 7 do
  local name, home = ARGV[at], shard(ARGV[at])
  local added = {}
  for i = 1, 6 do added[i] = tonumber(ARGV[at + i]) end
  local so_far = { 0, 0, 0, 0 }
  local text = call('HGET', KEYS[4], name)
  if text then so_far = { unpacked(MINUTE, text) } end
  local now = { added[1], added[3] + added[4], added[5], added[6] }
  for i = 1, 4 do now[i] = min(LARGEST, now[i] + so_far[i]) end
  call('HSET', KEYS[4], name, packed(MINUTE, now[1], now[2], now[3], now[4]))

  local use
  text = call('HGET', home, name)
  if text then
    use = { unpacked(USE, text) }
  else
    use = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
    if kept >= most then use[11] = make_room() else kept = kept + 1 end
  end
  for i = 1, 6 do use[i] = min(LARGEST, use[i] + added[i]) end
  for i = 1, 4 do use[6 + i] = max(use[6 + i], now[i]) end
  call('HSET', home, name, packed(USE, use[1], use[2], use[3], use[4], use[5], use[6], use[7], use[8], use[9],
    use[10], min(LARGEST, use[11])))
  lives[home] = true
  call('ZADD', KEYS[5], use[3] + use[4] + 512 * (use[1] + use[2]) + use[11], name)
  local ranks = { use[3] + use[4], use[5], use[2] }
  for i = 1, 3 do
    if ranks[i] > 0 then call('ZADD', KEYS[5 + i], ranks[i], name) end
  end
end

for board = 6, 8 do
  call('ZREMRANGEBYRANK', KEYS[board], 0, -1 - tonumber(ARGV[9]))
  call('PEXPIRE', KEYS[board], ARGV[6])
end
for home in pairs(lives) do call('PEXPIRE', home, ARGV[6]) end
call('PEXPIRE', KEYS[2], ARGV[3])
call('PEXPIRE', KEYS[3], ARGV[4])
call('PEXPIRE', KEYS[4], ARGV[5])
call('PEXPIRE', KEYS[5], ARGV[7])
return 1
