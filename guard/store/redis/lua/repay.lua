#!lua flags=allow-oom
-- Charges what was used while the store could not be asked.
--
-- KEYS  1 debt  2 counts  3 pending
-- ARGV  1 now (µs; 0: the server's clock)  2 how long the debt's id is remembered (ms)
--       3 an amount for each window ("12 40")  4 shape  5 amounts of the limit, as read_limits (holders.lua) says
-- Returns { charged 0|1 }; a debt is charged once, however often it is tried. That of a diversity budget is what answers drew
-- whose payout nobody will know: it is charged what is usual of that, as in settle.lua.

local now = clock(ARGV[1])
local limits, holders = read_limits(ARGV[4], ARGV[5], 1, 2)
local limit, i = limits[1], 0
-- What cannot be read fails here, before the id is remembered as charged.
read_holder(holders[1], '')
if not call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[2]) then return { 0 } end
load_limit(holders[1], limit, now, true)
local paid, drawn = 1, 1
if limit.novel then paid, drawn = recent(holders[1].state, limit.name) end
for amount in string.gmatch(ARGV[3], '%d+') do
  i = i + 1
  charge(limit.windows[i], ceil(amount * paid / drawn))
end
limit.changed = true
save(holders[1], now)
return { 1 }
