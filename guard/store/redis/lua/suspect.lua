#!lua
-- Notes what speaks against identities at a moment: where each stands among all, and the course of it by the hour.
--
-- KEYS  1 the number of the last call of this process  2 where identities stand (sorted set)  3 their courses (hash)
-- ARGV  1 number of this call  2 its life (ms)  3 life of the other keys (ms)  4 the hour  5 hours that a course has
--       6 most identities  7 who stands lower has nothing left to speak against it
--       then of each identity: name, where it stands, band (a digit)  decibans (whole, 0 to 255)
-- Returns 1, or 0 where this call was made before.
-- Mirrors `standing` and `Course` of guard/core/rollups.py. A course begins with its last hour (4 bytes); then come a
-- byte with the band and one with the decibans for each hour, at the place that the hour has in its period.

if made_before() then return 0 end

local hour, hours = tonumber(ARGV[4]), tonumber(ARGV[5])
local NOTHING = string.rep('\0\0', hours)

for at = 8, #ARGV, 4 do
  local name, band, decibans = ARGV[at], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local text = call('HGET', KEYS[3], name)
  if not text or #text ~= 4 + 2 * hours then text = packed('>I4', hour) .. NOTHING end
  local last = unpacked('>I4', text)
  -- What was seen a period ago has the places of the hours in between.
  if hour - last >= hours then
    text = packed('>I4', hour) .. NOTHING
  else
    for gone = last + 1, hour do
      local place = 5 + 2 * (gone % hours)
      text = string.sub(text, 1, place - 1) .. '\0\0' .. string.sub(text, place + 2)
    end
    text = packed('>I4', max(hour, last)) .. string.sub(text, 5)
  end
  if hour > last - hours then
    local place = 5 + 2 * (hour % hours)
    local before = string.byte(text, place + 1)
    if decibans >= before then
      text = string.sub(text, 1, place - 1) .. string.char(band, decibans) .. string.sub(text, place + 2)
    end
  end
  call('HSET', KEYS[3], name, text)
  call('ZADD', KEYS[2], ARGV[at + 1], name)
end

keep_highest(KEYS[2], KEYS[3], ARGV[6], ARGV[7], ARGV[3])
return 1
