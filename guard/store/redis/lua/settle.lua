#!lua flags=allow-oom
-- Trues a reservation up to what the request really cost. Mirrors guard.core.policy.settle.
--
-- KEYS  1 reservation  2 record of the identity  3 index of identities (2 and 3 as in admit.lua),
--       then { counts, pending } for each holder of a limit
-- ARGV  1 now (µs; 0: the server's clock)  2 reservation id  3 how long a settled id is remembered (ms)
--       4 label  5 attributes (JSON)  6 life of the record (ms)  7 create the record 0|1
--       8 requests that were answered (0: this one is taken back)  9 input tokens  10 output tokens  11 cost (micro-dollars)
--       12 number of holders of limits  13 shapes  14 true amounts, as read_limits (holders.lua) says
-- Returns { settled 0|1, then of each diversity budget what it was charged, and a receipt: where, as a ticket says it }
-- The first settle of an id counts, later ones change nothing. A reservation that has expired, or was never made because the
-- store could not be asked, is charged in full. What a diversity budget is owed is not known until the answer was looked at
-- (pay.lua): until then, and if that never happens, it is charged what is usual of the holder. It may run out of memory's way
-- (allow-oom): else a full Redis would make answers free.

local now, id = clock(ARGV[1]), ARGV[2]
if not call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[3]) then return { 0 } end

local limits, holders = read_limits(ARGV[13], ARGV[14], tonumber(ARGV[12]), 4)
for _, h in ipairs(holders) do
  read_holder(h, id)
  local charges, ticket = read_ticket(h.ticket)
  for _, limit in ipairs(h.limits) do
    local charged, owed = charges[limit.name], limit.most
    if charged and charged.how == LAPSED then charged = nil end
    if limit.windows[1].algorithm == LEASES then
      owed = 0
    elseif limit.novel then
      local paid, drawn = recent(h.state, limit.name)
      owed = min(owed, ceil(owed * paid / drawn))
    end
    local over, receipt = owed - (charged and charged.amount or 0), nil
    if over ~= 0 then load_limit(h, limit, now, true) end
    if over < 0 then
      give_back(limit.windows, -over, charged, ticket)
      ticket[charged.from + 2], limit.changed = owed, true
    end
    if limit.novel then
      receipt = charged and { unpack(ticket, charged.from, charged.to) } or {}
      limit.owed, limit.receipt = owed, receipt
    end
    if over > 0 then charge_limit(limit, over, receipt) end
    h.changed = h.changed or limit.changed
  end
  if h.changed then save(h, now) end
  if h.ticket then
    call('HDEL', h.counts, '@' .. id)
    call('ZREM', h.pending, id)
  end
end
local reply = { 1 }
for _, limit in ipairs(limits) do
  if limit.novel then
    reply[#reply + 1] = limit.owed
    reply[#reply + 1] = #limit.receipt > 0 and cmsgpack.pack(unpack(limit.receipt)) or ''
  end
end

note(KEYS[2], KEYS[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '1', now, ARGV[8], 0, 0, ARGV[9], ARGV[10], ARGV[11])
return reply
