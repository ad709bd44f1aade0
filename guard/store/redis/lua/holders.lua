-- What a request is charged, by the holders of its limits; put in front of the scripts that count, behind windows.lua.

-- What an answer is worth at least and, of a holder of whom nothing is known, draws on average: SMALLEST × UNIT and UNIT of
-- guard/core/novelty.py.
local LEAST_DRAW, UNIT = 250, 1000

-- At most so many tickets that have expired are given back in one call, so that no call is slow.
local HEALED_AT_ONCE = 100

local NEVER = 9007199254740992

-- Reads the limits of a request. `shapes` has what is the same for every such request, as one list (cmsgpack): limit after
-- limit its name, the number of its holder (from 1) and of its windows, and of each window algorithm, period, count and
-- burst; of a calendar window also the begin of the last period, of this one, of the next one, and of the one after.
-- `amounts` has what is not:
--   'B' flags: 1 enforced, 2 pending (given back when its request dies), 4 a diversity budget
--   'H' what a throttle leaves (thousandths)  'd' least, which is insisted on  'd' most
-- KEYS from `key` on are { counts, pending } of each holder.
-- Returns the limits in their order, and the holders.
local function read_limits(shapes, amounts, holders, key)
  local limits, found, at, now_at = {}, {}, 1, 1
  for i = 1, holders do
    found[i] = { counts = KEYS[key + 2 * i - 2], pending = KEYS[key + 2 * i - 1], limits = {} }
  end
  shapes = cmsgpack.unpack(shapes)
  while at < #shapes do
    local windows, flags, left, least, most, n = {}, nil, nil, nil, nil, nil
    flags, left, least, most, now_at = unpacked('<BHdd', amounts, now_at)
    local h = found[shapes[at + 1]]
    local limit = {
      name = shapes[at], windows = windows, enforced = flags % 2 == 1, pending = flags % 4 >= 2,
      novel = flags >= 4, left = left, least = least, most = most,
    }
    n, at = shapes[at + 2], at + 3
    for i = 1, n do
      windows[i] = { algorithm = shapes[at], period = shapes[at + 1], count = shapes[at + 2], burst = shapes[at + 3] }
      at = at + 4
      if windows[i].algorithm == CALENDAR then
        windows[i].boundaries = { shapes[at], shapes[at + 1], shapes[at + 2], shapes[at + 3] }
        at = at + 4
      end
    end
    limits[#limits + 1] = limit
    h.limits[#h.limits + 1] = limit
  end
  return limits, found
end

-- Reads a holder's hash. `id` names the request; its ticket is `h.ticket`, if it has one.
local function read_holder(h, id)
  local texts = call('HMGET', h.counts, '*', '@' .. id)
  h.state = texts[1] and cmsgpack.unpack(texts[1]) or { 0, NEVER }
  h.expires, h.heal, h.ticket = h.state[1], h.state[2], texts[2]
end

-- Where in a holder's state a window stands, if it does; `at` is where to look first.
local function find_state(state, at, name, algorithm, period)
  if state[at] == name and state[at + 1] == algorithm and state[at + 2] == period then return at end
  for other = FIRST, #state, WINDOW do
    if state[other] == name and state[other + 1] == algorithm and state[other + 2] == period then return other end
  end
end

local function find_window(windows, i, algorithm, period)
  local w = windows[i]
  if w and w.algorithm == algorithm and w.period == period then return w end
  for _, each in ipairs(windows) do
    if each.algorithm == algorithm and each.period == period then return each end
  end
end

local function cut(number, left)
  return min(number, max(1, floor(number * left / 1000)))
end

-- Brings the limits of a holder to `now`, as `load` does.
local function load_limits(h, now, as_counted)
  local state, at = h.state, FIRST
  for _, limit in ipairs(h.limits) do
    for _, w in ipairs(limit.windows) do
      -- GCRA's backlog says nothing without the rate, so that one is cut before it is loaded.
      if limit.left < 1000 and w.algorithm == GCRA and not as_counted then
        w.shown_count, w.shown_burst = w.count, w.burst
        w.count, w.burst = cut(w.count, limit.left), cut(w.burst, limit.left)
      end
      local found = find_state(state, at, limit.name, w.algorithm, w.period)
      if found then
        at = found
        load(w, now, as_counted, state[at + 3], state[at + 4], state[at + 5], state[at + 6], state[at + 7])
        w.at, at = at, at + WINDOW
      else
        load(w, now, as_counted)
      end
    end
  end
end

-- Lets a limit that was loaded hold `left` thousandths of what it held, for this request only: what is counted stays, and is
-- written down as under the whole limit. A request that is larger than that, but not than the whole, waits until all of it is
-- free: a caller that is told that its request is too large would learn of the throttle.
local function throttle(limit)
  if limit.left == 1000 then return end
  for _, w in ipairs(limit.windows) do
    w.whole, w.whole_burst = w.count, w.burst
    if w.algorithm ~= GCRA then
      w.shown_count, w.shown_burst = w.count, w.burst
      w.count, w.burst = cut(w.count, limit.left), cut(w.burst, limit.left)
      w.count = max(w.count, min(limit.least, w.shown_count))
    end
    w.burst = max(w.burst, min(limit.least, w.shown_burst))
  end
end

-- The amount that a request is charged: `most`, or where that is more than the whole limit holds, what is left of it, but
-- half of it and `least` at least.
local function ask(limit)
  local most, largest = limit.most, NEVER
  for _, w in ipairs(limit.windows) do largest = min(largest, w.burst) end
  limit.amount = most
  if most > largest then
    local left = NEVER
    for _, w in ipairs(limit.windows) do left = min(left, remaining(w)) end
    limit.amount = max(limit.least, min(largest, max(left, ceil(largest / 2))))
  end
end

-- What a holder's answers have paid out to a diversity budget lately, and what they would have, had all of them been new:
-- means of one answer, and where they stand in its state, if anything is known.
local function recent(state, name)
  local at = find_state(state, FIRST, name, RECENT, 0)
  if at then return state[at + 4], state[at + 5], at end
  return UNIT, UNIT
end

-- A ticket says what was charged and where, limit after limit, as one list (cmsgpack): name, how, amount, number of windows,
-- and of each window algorithm, period, start and backlog at the time of the charge. How is one of these:
local FOR_GOOD, PENDING, LAPSED = 0, 1, 2 -- the last is a lease that was given back when the ticket expired

local function add_to_ticket(ticket, limit, amount)
  local at, windows = #ticket, limit.windows
  ticket[at + 1], ticket[at + 2], ticket[at + 3] = limit.name, limit.pending and PENDING or FOR_GOOD, amount
  ticket[at + 4], at = #windows, at + 4
  for _, w in ipairs(windows) do
    ticket[at + 1], ticket[at + 2], ticket[at + 3], ticket[at + 4] = w.algorithm, w.period, w.start or 0, w.backlog or 0
    at = at + 4
  end
end

-- The charges of a ticket, by name and in order: { name, how, amount, from, to: where it stands in the ticket }.
local function read_ticket(text)
  if not text then return {}, {} end
  local ticket, charges, at = cmsgpack.unpack(text), {}, 1
  while at < #ticket do
    local name, how, amount, count = unpack(ticket, at, at + 3)
    local charge = { name = name, how = how, amount = amount, from = at, to = at + 3 + 4 * count }
    charges[name], charges[#charges + 1] = charge, charge
    at = charge.to + 1
  end
  return charges, ticket
end

-- Gives back a part of a charge; of the backlog that stands in the ticket, what is left is written there.
local function give_back(windows, amount, charge, ticket)
  local i = 1
  for at = charge.from + 4, charge.to, 4 do
    local w = find_window(windows, i, ticket[at], ticket[at + 1])
    if w then ticket[at + 3] = refund(w, amount, ticket[at + 2], ticket[at + 3]) end
    i = i + 1
  end
end

-- A limit that this request does not touch, as it stands: not brought to `now`, for that needs its settings.
local function as_it_stands(state, name)
  local windows = {}
  for at = FIRST, #state, WINDOW do
    if state[at] == name then
      local _, algorithm, period, count, x, p, q, r = unpack(state, at, at + WINDOW - 1)
      windows[#windows + 1] = {
        at = at, algorithm = algorithm, period = period, count = count, burst = x, carried = x, start = p, used = q,
        backlog = q, previous = r,
      }
    end
  end
  return { name = name, windows = windows }
end

-- Gives back what is reserved by tickets that have expired; returns how many limits that were. What was charged for good
-- stays in the ticket for another `life`, so that a late settle does not charge it again.
local function heal(h, now, life, write)
  if h.heal > now then return 0 end
  local expired = call('ZRANGEBYSCORE', h.pending, '-inf', now, 'WITHSCORES', 'LIMIT', 0, HEALED_AT_ONCE)
  local healed, fields, known = 0, {}, {}
  for i = 1, #expired / 2 do fields[i] = '@' .. expired[2 * i - 1] end
  for _, limit in ipairs(h.limits) do known[limit.name] = limit end
  for i, text in ipairs(#fields > 0 and call('HMGET', h.counts, unpack(fields)) or {}) do
    local id, lasts, lasting, lapsed = expired[2 * i - 1], expired[2 * i] + life, {}, 0
    local charges, ticket = read_ticket(text)
    for _, charge in ipairs(charges) do
      local lasts_on = charge.how ~= PENDING or ticket[charge.from + 4] == LEASES
      if charge.how == PENDING then
        local limit = known[charge.name]
        if limit == nil then
          limit = as_it_stands(h.state, charge.name)
          known[charge.name] = limit
          h.others = h.others or {}
          h.others[#h.others + 1] = limit
        end
        give_back(limit.windows, charge.amount, charge, ticket)
        limit.changed = true
        lapsed = lapsed + 1
        ticket[charge.from + 1] = LAPSED
      end
      if lasts_on then
        for at = charge.from, charge.to do lasting[#lasting + 1] = ticket[at] end
      end
    end
    healed = healed + lapsed
    if write and lapsed > 0 and #lasting > 0 and lasts > now then
      call('HSET', h.counts, fields[i], cmsgpack.pack(lasting))
      call('ZADD', h.pending, lasts, id)
    elseif write then
      call('HDEL', h.counts, fields[i])
      call('ZREM', h.pending, id)
    end
  end
  if write then
    local first = call('ZRANGE', h.pending, 0, 0, 'WITHSCORES')
    h.heal = tonumber(first[2]) or NEVER
    h.changed = true
  end
  return healed
end

-- Whether a window that no request has touched for some time still counts for anything.
local function weighs(state, at, now)
  local algorithm, period, count, p, q = state[at + 1], state[at + 2], state[at + 3], state[at + 5], state[at + 6]
  if algorithm == LEASES then return q > 0 end
  if algorithm == GCRA then return p + q > now end
  if algorithm == RECENT then return true end
  return q > count or p + 3 * period > now
end

-- Writes down what has changed of a holder, and the ticket of this request, if it has one. A ticket expires after `life`
-- (µs), or after two where nothing in it is pending.
local function save(h, now, id, ticket, life, pending)
  local alive = ticket and now + (pending and life or 2 * life) or now
  local state, keep, touched = h.state, max(alive, h.lasts or 0), {}
  for _, limits in ipairs({ h.limits, h.others }) do
    for _, limit in ipairs(limits) do
      for _, w in ipairs(limit.changed and limit.windows or {}) do
        local at = w.at or #state + 1
        w.at, touched[at] = at, true
        state[at], state[at + 1], state[at + 2] = limit.name, w.algorithm, w.period
        dump(w, state, at)
        if limits == h.limits then
          w.reset = reset(w)
          keep = max(keep, now + w.reset)
        end
      end
    end
  end
  keep = keep + GRACE
  -- A quarter longer than it weighs, so that not every call has to set it.
  local longer = keep > h.expires
  if longer then
    h.expires = floor(keep + (keep - now) / 4)
    local kept = { 0, 0 }
    for at = FIRST, #state, WINDOW do
      if touched[at] or weighs(state, at, now) then
        for i = at, at + WINDOW - 1 do kept[#kept + 1] = state[i] end
      end
    end
    state = kept
  end
  if ticket then
    call('ZADD', h.pending, alive, id)
    h.heal = min(h.heal, alive)
  end
  state[1], state[2] = h.expires, h.heal
  if ticket then
    call('HSET', h.counts, '*', cmsgpack.pack(state), '@' .. id, cmsgpack.pack(ticket))
  else
    call('HSET', h.counts, '*', cmsgpack.pack(state))
  end
  if longer then call('PEXPIRE', h.counts, ceil((h.expires - now) / 1000)) end
  if ticket or longer then call('PEXPIRE', h.pending, ceil((h.expires - now) / 1000)) end
end
