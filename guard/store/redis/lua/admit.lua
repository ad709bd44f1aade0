#!lua
-- Admits a request against every limit, or charges none. Mirrors guard.core.policy.decide.
--
-- KEYS  1 reservation  2 record of the identity  3 index of identities  4 the operator's terms  5 evidence
--       (2 to 5 are the reservation's own where they live on another node, and 5 where nobody asks for it),
--       then { state, pending } for each limit, and the bitmap of a diversity budget
-- ARGV  1 now (µs; 0: the server's clock)  2 reservation id ('': only look)  3 life of a reservation (µs)
--       4 label of the identity  5 its attributes (JSON)  6 life of its record (ms)  7 create the record 0|1
--       8 refusals of this identity that the store has not heard of  9 number of holders that may be blocked
--       then a field of the terms for each holder, and two for each limit: for all limits of its holder, and for this one
--       (the terms themselves, where they live on another node)
--       then the limits, as read_limits (windows.lua) says
-- Returns { admitted 0|1, room in every limit 0|1, blocked for (µs; -1: not blocked, 0: for good), reservations given back,
--           marks of the evidence ('' for none), then { count, burst, remaining, reset µs, wait µs (-1: never), amount } for each window of each limit;
--           the count is -1 where the holder is exempt, and a throttle is not to be seen in count and burst }
-- Admitted is what has room in every enforced limit, and is charged to these. To the others, which are only tried out, it
-- is charged where it has room in all: as if they were enforced too.
-- What was admitted once stays admitted: the same id is not charged again.

local now, id, life = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local holders = tonumber(ARGV[9])
local count = (#ARGV - 9 - holders) / 3
local limits = read_limits(10 + holders + 2 * count, 6)
local look = id == ''

local terms = { unpack(ARGV, 10, 9 + holders + 2 * count) }
if KEYS[4] ~= KEYS[1] and #terms > 0 then terms = redis.call('HMGET', KEYS[4], unpack(terms)) end
local blocked = blocked_for({ unpack(terms, 1, holders) }, now)
for i, limit in ipairs(limits) do
  override(limit, terms[holders + 2 * i - 1], now)
  override(limit, terms[holders + 2 * i], now)
end

local again = not look and redis.call('EXISTS', KEYS[1]) == 1
local fits, room, healed = blocked < 0, blocked < 0, 0
for _, limit in ipairs(limits) do
  if not limit.exempt then
    load(limit, now)
    if limit.pending then
      limit.healed = heal(limit, now, not look)
      healed = healed + limit.healed
    end
    throttle(limit)
    ask(limit)
    for _, window in ipairs(limit.windows) do
      window.wait = again and 0 or window.algorithm.wait(window, window.state, limit.amount)
      if window.wait ~= 0 then
        room = false
        if limit.enforced then fits = false end
      end
    end
  end
end

if not look then
  local tickets = {}
  for _, limit in ipairs(limits) do
    local charged = fits and not again and not limit.exempt and (limit.enforced or room)
    if charged then
      charge(limit, limit.amount)
      local text = ticket(limit, id)
      tickets[#tickets + 1] = limit.state_key
      tickets[#tickets + 1] = text
      if limit.pending then keep_pending(limit, text, now, life) end
    end
    if charged or (limit.healed or 0) > 0 then save(limit) end
  end
  if #tickets > 0 then
    redis.call('HSET', KEYS[1], unpack(tickets))
    redis.call('PEXPIRE', KEYS[1], math.ceil(life / 500))
  end
  local refused, shadowed = ARGV[8] + (fits and 0 or 1), fits and not room and 1 or 0
  if refused + shadowed > 0 then
    note(KEYS[2], KEYS[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '1', now, { 'refused', refused, 'shadowed', shadowed })
  end
end

local marks = KEYS[5] ~= KEYS[1] and redis.call('HGET', KEYS[5], 'marks')
local reply = { fits and 1 or 0, room and 1 or 0, blocked, healed, marks or '' }
for _, limit in ipairs(limits) do
  for _, window in ipairs(limit.windows) do
    if limit.exempt then
      for _, number in ipairs({ -1, 0, 0, 0, 0, 0 }) do reply[#reply + 1] = number end
    else
      reply[#reply + 1] = window.shown_count or window.count
      reply[#reply + 1] = window.shown_burst or window.burst
      reply[#reply + 1] = math.max(0, window.algorithm.remaining(window, window.state))
      reply[#reply + 1] = window.algorithm.reset(window, window.state)
      reply[#reply + 1] = window.wait
      reply[#reply + 1] = limit.amount
    end
  end
end
return reply
