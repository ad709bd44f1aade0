#!lua
-- Keeps a reservation whose request is still running from expiring.
--
-- KEYS  1 reservation, then { counts, pending } for each holder of a limit
-- ARGV  1 now (µs; 0: the server's clock)  2 reservation id  3 life of a reservation from now (µs)
--       4 number of holders of limits  5 shapes  6 amounts of the limits, as read_limits (holders.lua) says
-- Returns { limits in which something is reserved }
-- What has expired and was given back is charged when it is settled. Only a lease is taken again: its request is running,
-- whatever the limit says.

local now, id, life = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
if call('EXISTS', KEYS[1]) == 1 then return { 0 } end

local kept = 0
local _, holders = read_limits(ARGV[5], ARGV[6], tonumber(ARGV[4]), 2)
for _, h in ipairs(holders) do
  read_holder(h, id)
  local charges, ticket = read_ticket(h.ticket)
  local pending = false
  for _, limit in ipairs(h.limits) do
    local charged = charges[limit.name]
    if charged and charged.how == LAPSED then
      load_limit(h, limit, now, true)
      limit.changed = true
      charge(limit.windows[1], charged.amount)
      ticket[charged.from + 1] = PENDING
    end
    if charged and charged.how ~= FOR_GOOD then kept, pending = kept + 1, true end
  end
  if h.ticket then save(h, now, id, ticket, life, pending) end
end
return { kept }
