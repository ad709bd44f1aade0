#!lua
-- Admits a request against every limit, or charges none. Mirrors guard.core.policy.decide.
--
-- KEYS  1 reservation  2 record of the identity  3 index of identities
--       then one block key for each holder of the identity, then { state, pending } for each limit
-- ARGV  1 now (µs; 0: the server's clock)  2 reservation id ('': only look)  3 life of a reservation (µs)
--       4 label of the identity  5 its attributes (JSON)  6 life of its record (ms)  7 create the record 0|1  8 number of block keys
--       then the limits, as read_limits (windows.lua) says
-- Returns { admitted 0|1, blocked for (µs; -1: not blocked, 0: for good), reservations given back,
--           then { remaining, reset µs, wait µs (-1: never) } for each window of each limit }
-- What was admitted once stays admitted: the same id is not charged again.

local now, id, life = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local blocks = tonumber(ARGV[8])
local limits = read_limits(9, 4 + blocks)
local look = id == ''

local blocked = -1
for i = 4, 3 + blocks do
  local block = redis.call('GET', KEYS[i])
  local till = block and tonumber(string.match(block, '^%d+'))
  if till == 0 then
    blocked = 0
    break
  elseif till and till > now then
    blocked = math.max(blocked, till - now)
  end
end

local again = not look and redis.call('EXISTS', KEYS[1]) == 1
local fits, healed = blocked < 0, 0
for _, limit in ipairs(limits) do
  load(limit, now)
  if limit.reserved then
    limit.healed = heal(limit, now, not look)
    healed = healed + limit.healed
  end
  for _, window in ipairs(limit.windows) do
    window.wait = again and 0 or window.algorithm.wait(window, window.state, limit.amount)
    fits = fits and window.wait == 0
  end
end

if not look then
  local tickets = {}
  for _, limit in ipairs(limits) do
    local charged = fits and not again
    if charged then
      charge(limit, limit.amount)
      local text = ticket(limit, id)
      tickets[#tickets + 1] = limit.state_key
      tickets[#tickets + 1] = text
      if limit.reserved then
        redis.call('ZADD', limit.pending_key, now + life, text)
        redis.call('PEXPIRE', limit.pending_key, math.ceil(life / 500))
      end
    end
    if charged or (limit.healed or 0) > 0 then save(limit) end
  end
  if #tickets > 0 then
    redis.call('HSET', KEYS[1], unpack(tickets))
    redis.call('PEXPIRE', KEYS[1], math.ceil(life / 500))
  end
  if not fits then
    note(KEYS[2], KEYS[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '1', now, { 'refused', 1 })
  end
end

local reply = { fits and 1 or 0, blocked, healed }
for _, limit in ipairs(limits) do
  for _, window in ipairs(limit.windows) do
    reply[#reply + 1] = math.max(0, window.algorithm.remaining(window, window.state))
    reply[#reply + 1] = window.algorithm.reset(window, window.state)
    reply[#reply + 1] = window.wait
  end
end
return reply
