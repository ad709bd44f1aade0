#!lua
-- Gives one of several processes the lead, renews it, or takes it back; and keeps up to where it has read.
--
-- KEYS  1 the lead  2 the last trace that was read
-- ARGV  1 name of the process  2 for how long (ms; 0: take it back)  3 the last trace ('': as it was)  4 its life (ms)
-- Returns 1 where it is this process's, 0 where it is another one's.

local leader = call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then call('DEL', KEYS[1]) else call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
if ARGV[3] == '' then return 1 end
-- Who takes over reads again what was read before.
local function place(name)
  local began, number = string.match(name or '', '^(%d+)-(%d+)$')
  return tonumber(began) or 0, tonumber(number) or 0
end
local began, number = place(ARGV[3])
local known_began, known_number = place(call('GET', KEYS[2]))
if began > known_began or began == known_began and number >= known_number then
  call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4])
end
return 1
