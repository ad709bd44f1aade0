#!lua flags=allow-oom
-- Charges what was used while the store could not be asked.
--
-- KEYS  1 debt  2 state  3 pending  4 the bitmap of a diversity budget
-- ARGV  1 now (µs; 0: the server's clock)  2 how long the debt's id is remembered (ms)
--       3 an amount for each window ("12 40")  4 the limit, as read_limits (windows.lua) says
-- Returns { charged 0|1 }; a debt is charged once, however often it is tried.

if redis.call('EXISTS', KEYS[1]) == 1 then return { 0 } end
local limit = read_limits(4, 2)[1]
load(limit, clock(ARGV[1]), true)
local i = 0
for amount in string.gmatch(ARGV[3], '%d+') do
  i = i + 1
  local window = limit.windows[i]
  window.algorithm.charge(window, window.state, tonumber(amount))
end
save(limit)
redis.call('SET', KEYS[1], 1, 'PX', ARGV[2])
return { 1 }
