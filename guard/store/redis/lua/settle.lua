#!lua flags=allow-oom
-- Trues reservations up to what their requests really cost. Mirrors guard.core.policy.settle.
--
-- KEYS  of each reservation: itself, the record of the identity, the index of identities (the last two as in admit.lua), then
--       { counts, pending } for each holder of a limit
-- ARGV  1 now (µs; 0: the server's clock)  2 how long a settled id is remembered (ms)
--       then of each reservation: its id, label of the identity, its attributes (JSON), life of its record (ms), create the record
--       0|1, requests that were answered (0: this one is taken back), input tokens, output tokens, cost (micro-dollars), number
--       of holders of limits, shapes, true amounts as read_limits (holders.lua) says
-- Returns of each reservation { settled 0|1, then of each diversity budget what it was charged, and a receipt: where, as a
-- ticket says it }, or an error, which concerns no other
-- The first settle of an id counts, later ones change nothing. A reservation that has expired, or was never made because the
-- store could not be asked, is charged in full. What a diversity budget is owed is not known until the answer was looked at
-- (pay.lua): until then, and if that never happens, it is charged what is usual of the holder. This may run out of memory's way
-- (allow-oom): else a full Redis would make answers free.

local now, remembered = clock(ARGV[1]), ARGV[2]

-- Settles the reservation whose keys and arguments begin here; returns its reply.
local function settle(key, arg)
  local id = ARGV[arg]
  local limits, holders = read_limits(ARGV[arg + 10], ARGV[arg + 11], tonumber(ARGV[arg + 9]), key + 3)
  -- What cannot be read fails here, before the id is remembered as settled.
  for _, h in ipairs(holders) do read_holder(h, id) end
  if not call('SET', KEYS[key], 1, 'NX', 'PX', remembered) then return { 0 } end

  for _, h in ipairs(holders) do
    local charges, ticket = read_ticket(h.ticket)
    for _, limit in ipairs(h.limits) do
      local charged, owed = charges[limit.name], limit.most
      if charged and charged.how == LAPSED then charged = nil end
      if limit.windows[1].algorithm == LEASES then
        owed = 0
      elseif limit.novel then
        local paid, drawn = recent((limit.of or limit).holder.state, limit.name)
        owed = min(owed, ceil(owed * paid / drawn))
      end
      charge_as(limit, charged)
      if limit.spared then owed = 0 end
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

  note(KEYS[key + 1], KEYS[key + 2], ARGV[arg + 1], ARGV[arg + 2], ARGV[arg + 3], ARGV[arg + 4] == '1', now, ARGV[arg + 5], 0, 0,
    ARGV[arg + 6], ARGV[arg + 7], ARGV[arg + 8])
  return reply
end

local replies, key = {}, 1
for arg = 3, #ARGV, 12 do
  local done, reply = pcall(settle, key, arg)
  if not done then reply = { err = type(reply) == 'table' and reply.err or reply } end
  replies[#replies + 1], key = reply, key + 3 + 2 * ARGV[arg + 9]
end
return replies
