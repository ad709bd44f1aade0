#!lua
-- Sets one of the operator's terms (terms.lua), or takes it away.
--
-- KEYS  1 the terms
-- ARGV  1 field  2 how long it holds (µs; 0: for good; -1: take it away; -2: take away what ends of an override, so that
--       what it stands on holds again)  3 what holds  4 how long "for good" is (ms)
--       5 what has to hold before ('' for nothing; left out: whatever does)
-- Returns 1 where there was a term that held, else 0; -1 where neither what has to hold did nor what was to, which stays
-- An override that ends is put on what holds for longer. Fields have no expiry of their own, so each call also drops what
-- is over among a few fields picked at random.

local now = clock('0')
local key, field, life = KEYS[1], ARGV[1], tonumber(ARGV[2])
local overrides = string.find(field, '/', 1, true)
local text = redis.call('HGET', key, field) or nil
local reads = overrides and standing or term
local held, what, below = reads(text, now)
local was = held and 1 or 0
if ARGV[5] and (what or '') ~= ARGV[5] and (what or '') ~= ARGV[3] then return -1 end

-- What an override that ends at `till` stands on: all that outlasts it.
local function outlasting(till)
  local kept = ''
  for part in string.gmatch(text or '', '[^|]+') do
    local other = term(part, now)
    if other and (other == 0 or other > till) then kept = kept .. '|' .. part end
  end
  return kept
end

if life == -2 then
  if not (held and held > 0) then return 0 end
  if below ~= '' then redis.call('HSET', key, field, below) else redis.call('HDEL', key, field) end
elseif life < 0 then
  redis.call('HDEL', key, field)
else
  local till = life == 0 and 0 or now + life
  local on = overrides and till > 0 and outlasting(till) or ''
  redis.call('HSET', key, field, string.format('%.0f %s', till, ARGV[3]) .. on)
  redis.call('PEXPIRE', key, ARGV[4])
end
local some = redis.call('HRANDFIELD', key, 20, 'WITHVALUES')
for i = 1, #some, 2 do
  local over = string.find(some[i], '/', 1, true) and standing or term
  if not over(some[i + 1], now) then redis.call('HDEL', key, some[i]) end
end
return was
