#!lua
-- Admits a request against every limit, or charges none. Mirrors guard.core.policy.decide.
--
-- KEYS  1 reservation  2 record of the identity  3 index of identities  4 the operator's terms  5 evidence
--       (2 to 5 are the reservation's own where they live on another node, and 5 where nobody asks for it),
--       then { counts, pending } for each holder of a limit
-- ARGV  1 now (µs; 0: the server's clock)  2 reservation id ('': only look)  3 life of a reservation (µs)
--       4 label of the identity  5 its attributes (JSON)  6 life of its record (ms)  7 create the record 0|1
--       8 refusals of this identity that the store has not heard of  9 number of holders of limits
--       10 shapes  11 amounts of the limits, as read_limits (holders.lua) says  12 number of holders that may be blocked
--       13 whether a hold refuses 0|1
--       then a field of the terms for each of these, one for all limits of each holder, one for each limit, and where
--       anybody asks, one for the review of the suspect (the terms themselves, where they live on another node)
-- Returns { packed, marks of the evidence ('' for none), the term of the review, where there is one }; packed is
--       'BB' admitted 0|1, room in every limit 0|1  'd' blocked for (µs; -1: not blocked, 0: for good)
--       'd' reservations given back, then of each limit 'dd' kind, amount, and of each of its windows 'ddd' remaining,
--       reset µs, wait µs (-1: never). What a caller has for itself of a limit, and what all may take so, are no limits of
--       their own there: what that says is what the caller may use of both. Of a limit whose numbers the operator has changed (kind 1) each window begins with
--       'dd' count, burst; of one from which its holder is exempt (kind 2) there are none. No throttle is to be seen in them.
-- Admitted is what has room in every enforced limit, and is charged to these. To the others, which are only tried out, it
-- is charged where it has room in all: as if they were enforced too.
-- What was admitted once stays admitted: the same id is not charged again.

local now, id, life = clock(ARGV[1]), ARGV[2], tonumber(ARGV[3])
local limits, holders = read_limits(ARGV[10], ARGV[11], tonumber(ARGV[9]), 6)
local look, blockable = id == '', tonumber(ARGV[12])
local OVERRIDDEN, EXEMPT = 1, 2

local blocked, review, terms = -1, nil, { unpack(ARGV, 14) }
if KEYS[4] ~= KEYS[1] and #terms > 0 then terms = call('HMGET', KEYS[4], unpack(terms)) end
for i = 1, #ARGV - 13 do
  local text = terms[i]
  if text and text ~= '' then
    local h, limit = holders[i - blockable], limits[i - blockable - #holders]
    if i <= blockable then
      blocked = blocked_longer(blocked, text, now)
    elseif h then
      for _, each in ipairs(h.limits) do override(each, text, now) end
    elseif limit then
      override(limit, text, now)
    elseif term(text, now) then
      review = text
    end
  end
end

local again = not look and call('EXISTS', KEYS[1]) == 1
local held = review and ARGV[13] == '1' and string.find(review, '^%d+ held ')
local fits, healed = blocked < 0 and not held, 0
local room = fits
for _, h in ipairs(holders) do
  read_holder(h, id)
  again = again or h.ticket and true
  for i = 1, #h.limits do
    local limit = h.limits[i]
    local of = limit.of
    if of and (of.exempt or limit.exempt) then of.exempt, limit.exempt = true, true end
    if limit.left < 1000 and not limit.shared then throttle_rates(limit) end
    load_limit(h, limit, now)
  end
  healed = healed + heal(h, now, life, not look)
end
for k = 1, #limits do
  local limit = limits[k]
  local of = limit.of
  if of and of.exempt then limit.exempt = true end
  if not limit.exempt then
    if of and of.floors == limit then
      limit.least, limit.most = of.floor.amount, of.floor.amount
    elseif of then
      limit.most = of.most
    elseif limit.novel then
      expect(limit)
    end
    if limit.left < 1000 then throttle(limit) end
    local lacks = judge(limit, again)
    if of and of.floors == limit then
      lacks = share(of)
    elseif of or limit.floor then
      lacks = false -- which of them it goes by is known when all were judged
    end
    if lacks then
      room = false
      if limit.enforced then fits = false end
    end
  end
end

if not look then
  for _, h in ipairs(holders) do
    local ticket, pending = {}, false
    for k = 1, #h.limits do
      local limit = h.limits[k]
      if fits and not again and not limit.exempt and not limit.spared and (limit.enforced or room) then
        charge_limit(limit, limit.amount, ticket)
        pending = pending or limit.pending
      end
    end
    if #ticket > 0 then
      save(h, now, id, ticket, life, pending)
    elseif h.changed then
      save(h, now)
    end
  end
  local refused, shadowed = ARGV[8] + (fits and 0 or 1), fits and not room and 1 or 0
  if refused + shadowed > 0 then
    note(KEYS[2], KEYS[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7] == '1', now, 0, refused, shadowed, 0, 0, 0)
  end
end

local reply, at = {}, 0
for k = 1, #limits do
  local limit = limits[k]
  local windows, kind = limit.windows, limit.exempt and EXEMPT or limit.overridden and OVERRIDDEN or 0
  local own = limit.floor and min(left_in(limit.floor), left_in(limit.floors)) or 0
  if not limit.of then reply[at + 1], reply[at + 2], at = kind, limit.amount, at + 2 end
  for i = 1, (kind == EXEMPT or limit.of) and 0 or #windows do
    local w = windows[i]
    if kind == OVERRIDDEN then
      reply[at + 1], reply[at + 2], at = w.shown_count or w.count, w.shown_burst or w.burst, at + 2
    end
    local left = max(0, remaining(w), min(own, w.shown_burst or w.burst))
    reply[at + 1], reply[at + 2], reply[at + 3] = left, w.reset or reset(w), w.wait
    at = at + 3
  end
end
reply = packed('<BBdd' .. string.rep('d', at), fits and 1 or 0, room and 1 or 0, blocked, healed, unpack(reply))
-- Of the evidence, the marks: behind the version, and as many bytes as the first one says (guard/store/marks.py).
local known = KEYS[5] ~= KEYS[1] and call('GETRANGE', KEYS[5], 8, 263) or ''
return { reply, known ~= '' and string.sub(known, 2, 1 + string.byte(known)) or '', review }
