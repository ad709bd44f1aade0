#!lua
-- Keeps a reservation whose request is still running from expiring.
--
-- KEYS  1 reservation, then { state, pending } for each limit, and the bitmap of a diversity budget
-- ARGV  1 now (µs; 0: the server's clock)  2 life of a reservation from now (µs), then the limits, as read_limits says
-- Returns { limits whose reservation was kept }
-- What has expired already was given back and is charged when it is settled. Only a lease is taken again: its request is
-- running, whatever the limit says.

local now, life = clock(ARGV[1]), tonumber(ARGV[2])

local kept = 0
for _, limit in ipairs(read_limits(3, 2)) do
  local text = redis.call('HGET', KEYS[1], limit.state_key)
  if text and limit.pending and (limit.leases or redis.call('ZSCORE', limit.pending_key, text)) then
    keep_pending(limit, text, now, life)
    kept = kept + 1
  end
end
if kept > 0 then redis.call('PEXPIRE', KEYS[1], math.ceil(life / 500)) end
return { kept }
