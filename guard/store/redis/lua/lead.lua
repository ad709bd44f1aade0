#!lua
-- Gives one of several processes the lead, renews it, or takes it back; and keeps up to where it has read.
--
-- KEYS  1 the lead  2 the last trace that was read
-- ARGV  1 name of the process  2 for how long (ms; 0: take it back)  3 the last trace ('': as it was)  4 its life (ms)
-- Returns 1 where it is this process's, 0 where it is another one's.

local leader = call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then call('DEL', KEYS[1]) else call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
if ARGV[3] ~= '' then call('SET', KEYS[2], ARGV[3], 'PX', ARGV[4]) end
return 1
