#!lua flags=allow-oom
-- Trues a reservation up to what the request really cost. Mirrors guard.core.policy.settle.
--
-- KEYS  1 reservation  2 record of the identity  3 index of identities (2 and 3 as in admit.lua),
--       then { state, pending } for each limit, and the bitmap of a diversity budget
-- ARGV  1 now (µs; 0: the server's clock)  2 reservation id  3 how long a settled id is remembered (ms)
--       4 label  5 attributes (JSON)  6 life of the record (ms)  7 create the record 0|1
--       8 requests that were answered (0: this one is taken back)  9 input tokens  10 output tokens  11 cost (micro-dollars)
--       then the limits with their true amounts, as read_limits (windows.lua) says; places are visited
-- Returns { settled 0|1, reservations that had expired, then what each diversity budget among the limits was charged }
-- The first settle of an id counts, later ones change nothing. A reservation that has expired, or was never made
-- because the store could not be asked, is charged in full. It may run out of memory's way (allow-oom): else a full
-- Redis would make answers free.

local now = clock(ARGV[1])
local limits = read_limits(12, 4)

if redis.call('HEXISTS', KEYS[1], 'settled') == 1 then return { 0, 0 } end

local late, novelty = 0, {}
for _, limit in ipairs(limits) do
  load(limit, now, true)
  local text = redis.call('HGET', KEYS[1], limit.state_key)
  if text and limit.pending and redis.call('ZREM', limit.pending_key, text) == 0 then
    text, late = nil, late + 1
  end
  local over = limit.most - (text and ticket_amount(text) or 0)
  if over > 0 then
    charge(limit, over)
  elseif over < 0 then
    refund(limit, -over, text)
  end
  if over ~= 0 then save(limit) end
  if limit.places then novelty[#novelty + 1] = limit.most end
  if limit.places and #limit.places > 0 then visit(limit, ARGV[2], ARGV[6]) end
end

redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'settled', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
note(KEYS[2], KEYS[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '1', now,
  { 'admitted', ARGV[8], 'input_tokens', ARGV[9], 'output_tokens', ARGV[10], 'cost', ARGV[11] })
return { 1, late, unpack(novelty) }
