-- What a request is charged, by the holders of its limits; put in front of the scripts that count, behind windows.lua.

-- What an answer draws on average of a holder of whom nothing is known: UNIT of guard/core/novelty.py.
local UNIT = 1000

-- At most so many tickets that have expired are given back in one call, so that no call is slow.
local HEALED_AT_ONCE = 100

local NEVER = 9007199254740992

-- The bytes of one limit in `amounts`.
local AMOUNT = 19

-- Reads the limits of a request. `shapes` has what is the same for every such request, value after value (cmsgpack): of each
-- limit its name, the number of its holder (from 1), flags (1 pending: given back when its request dies, 2 a diversity
-- budget, 4 a floor: what a caller has for itself of the limit before, 8 several share it, 16 what all may take by floors of
-- the limit two before) and the number of its windows, and of each window algorithm, period, count and burst; of a calendar
-- window also the begin of the last period, of this one, of the next one, and of the one after. `amounts` has what is not:
--   'B' enforced 0|1  'H' what a throttle leaves (thousandths)  'd' least, which is insisted on  'd' most
-- KEYS from `key` on are { counts, pending } of each holder.
-- Returns the limits in their order, and the holders. Tables have all their fields from the start: to grow costs more than
-- all that is done with them.
local function read_limits(shapes, amounts, holders, key)
  local limits, found, at = {}, {}, 1
  amounts = { unpacked('<' .. string.rep('BHdd', #amounts / AMOUNT), amounts) }
  shapes = { cmsgpack.unpack(shapes) }
  for n = 1, holders do
    found[n] = {
      counts = KEYS[key + 2 * n - 2], pending = KEYS[key + 2 * n - 1], limits = {}, state = false, expires = 0, heal = 0,
      next = FIRST, ticket = false, changed = false,
    }
  end
  for i = 1, #amounts - 1, 4 do
    local windows, h, flags = {}, found[shapes[at + 1]], shapes[at + 2]
    local limit = {
      name = shapes[at], windows = windows, enforced = amounts[i] == 1, pending = flags % 2 == 1, novel = flags % 4 >= 2, shared = flags % 16 >= 8,
      left = amounts[i + 1], least = amounts[i + 2], most = amounts[i + 3], amount = 0, changed = false, exempt = false,
      overridden = false, holder = h, lacks = false, beside = false, of = false, floor = false, floors = false, spared = false,
    }
    if flags % 8 >= 4 then
      limit.of = limits[#limits]
      limit.of.floor = limit
    elseif flags >= 16 then
      limit.of = limits[#limits].of
      limit.of.floors = limit
    end
    local n = shapes[at + 3]
    at = at + 4
    for k = 1, n do
      local algorithm = shapes[at]
      local w = {
        algorithm = algorithm, period = shapes[at + 1], count = shapes[at + 2], burst = shapes[at + 3], at = false,
        carried = 0, start = 0, used = 0, previous = 0, elapsed = 0, backlog = 0, wait = 0, reset = false,
      }
      windows[k], at = w, at + 4
      if algorithm == CALENDAR then
        w.boundaries = { shapes[at], shapes[at + 1], shapes[at + 2], shapes[at + 3] }
        at = at + 4
      end
    end
    limits[#limits + 1], h.limits[#h.limits + 1] = limit, limit
  end
  return limits, found
end

-- Reads a holder's hash. `id` names the request; its ticket is `h.ticket`, if it has one.
local function read_holder(h, id)
  local texts = call('HMGET', h.counts, '*', '@' .. id)
  h.state = texts[1] and { cmsgpack.unpack(texts[1]) } or { 0, NEVER }
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

-- Brings a limit of a holder to `now`, as `load` does. Limits mostly stand in a state in the order in which requests name them.
local function load_limit(h, limit, now, as_counted)
  local state, windows = h.state, limit.windows
  for i = 1, #windows do
    local w = windows[i]
    local at = find_state(state, h.next, limit.name, w.algorithm, w.period)
    if at then
      load(w, now, as_counted, state[at + 3], state[at + 4], state[at + 5], state[at + 6], state[at + 7])
      w.at, h.next = at, at + WINDOW
    else
      load(w, now, as_counted)
    end
  end
end

-- So many answers are recent: RECENT_ANSWERS of guard/core/novelty.py.
local RECENT_ANSWERS = 16

-- What a holder's answers have paid out to a diversity budget lately, and what they would have, had all of them been new:
-- means of one answer; how many were read, RECENT_ANSWERS at most; and where that stands in its state, if anything is known.
local function recent(state, name)
  local at = find_state(state, FIRST, name, RECENT, 0)
  if at then return state[at + 4], state[at + 5], state[at + 7], at end
  return UNIT, UNIT, 0
end

-- A ticket says what was charged and where, limit after limit, value after value (cmsgpack): name, how, amount, number of
-- windows, and of each window algorithm, period, start and backlog at the time of the charge. How is one of these:
local FOR_GOOD, PENDING, LAPSED = 0, 1, 2 -- the last is a lease that was given back when the ticket expired
-- and BESIDE more where the request goes by another limit, so that this one is charged as far as it has room.
local BESIDE = 4

-- What has room in all windows of a limit; less than nothing where there was an overrun.
local function left_in(limit)
  local windows, left = limit.windows, NEVER
  for i = 1, #windows do left = min(left, remaining(windows[i])) end
  return left
end

-- Charges an amount to all windows of a limit, and says so in a ticket, if there is one.
local function charge_limit(limit, amount, ticket)
  local windows = limit.windows
  if limit.beside then amount = min(amount, max(0, left_in(limit))) end
  for i = 1, #windows do charge(windows[i], amount) end
  limit.changed = true
  if not ticket then return end
  local at, how = #ticket, (limit.pending and PENDING or FOR_GOOD) + (limit.beside and BESIDE or 0)
  ticket[at + 1], ticket[at + 2], ticket[at + 3] = limit.name, how, amount
  ticket[at + 4], at = #windows, at + 4
  for i = 1, #windows do
    local w = windows[i]
    ticket[at + 1], ticket[at + 2], ticket[at + 3], ticket[at + 4] = w.algorithm, w.period, w.start, w.backlog
    at = at + 4
  end
end

-- How a limit is charged that was charged so before: beside another, or not at all. Without a charge a request goes by what
-- several share.
local function charge_as(limit, charged)
  if charged then
    limit.beside = charged.beside
  elseif limit.of then
    limit.beside, limit.spared = true, limit.of.floors == limit
  end
end

-- The charges of a ticket, by name and in order: { name, how, beside, amount, from, to: where it stands in the ticket }.
local function read_ticket(text)
  if not text then return {}, {} end
  local ticket, charges, at = { cmsgpack.unpack(text) }, {}, 1
  local last = #ticket
  while at < last do
    local to = at + 3 + 4 * ticket[at + 3]
    local how = ticket[at + 1]
    local charged = {
      name = ticket[at], how = how % BESIDE, beside = how >= BESIDE, amount = ticket[at + 2], from = at, to = to,
    }
    charges[ticket[at]], charges[#charges + 1] = charged, charged
    at = to + 1
  end
  return charges, ticket
end

-- Gives back a part of a charge; of the backlog that stands in the ticket, what is left is written there.
local function give_back(windows, amount, charged, ticket)
  local i = 1
  for at = charged.from + 4, charged.to, 4 do
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
      call('HSET', h.counts, fields[i], cmsgpack.pack(unpack(lasting)))
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

-- Whether a window that no request has touched for some time still counts for anything. How long the backlog of GCRA is to
-- drain goes by the numbers that will hold then, so that one is kept as long as the hash.
local function weighs(state, at, now)
  local algorithm, period, count, p, q = state[at + 1], state[at + 2], state[at + 3], state[at + 5], state[at + 6]
  if algorithm == GCRA or algorithm == RECENT then return true end
  if algorithm == LEASES then return q > 0 end
  return q > count or p + 3 * period > now
end

-- Writes the windows of some limits into a state; returns until when (µs) it has to be kept for them.
local function write(state, limits, now)
  local longest = 0
  for k = 1, #limits do
    local limit = limits[k]
    local windows = limit.windows
    for i = 1, limit.changed and #windows or 0 do
      local w = windows[i]
      local at, as_new = w.at or #state + 1, reset(w)
      w.at, w.reset = at, as_new
      state[at], state[at + 1], state[at + 2] = limit.name, w.algorithm, w.period
      dump(w, state, at)
      if as_new > longest then longest = as_new end
    end
  end
  return now + longest
end

-- A state without the windows that weigh nothing, but for those that were just written.
local function without_weightless(h, now)
  local kept, written, state = { 0, 0 }, {}, h.state
  for _, limit in ipairs(h.limits) do
    for _, w in ipairs(limit.changed and limit.windows or {}) do written[w.at] = true end
  end
  for at = FIRST, #state, WINDOW do
    if written[at] or weighs(state, at, now) then
      for i = at, at + WINDOW - 1 do kept[#kept + 1] = state[i] end
    end
  end
  return kept
end

-- Writes down what has changed of a holder, and the ticket of this request, if it has one. A ticket expires after `life`
-- (µs), or after two where nothing in it is pending.
local function save(h, now, id, ticket, life, pending)
  local alive = ticket and now + (pending and life or 2 * life) or now
  local keep = max(alive, h.lasts or 0, write(h.state, h.limits, now)) + GRACE
  if h.others then write(h.state, h.others, now) end
  -- A quarter longer than it weighs, so that not every call has to set it.
  local longer = keep > h.expires
  if longer then
    h.expires = floor(keep + (keep - now) / 4)
    h.state = without_weightless(h, now)
  end
  if ticket then
    call('ZADD', h.pending, alive, id)
    h.heal = min(h.heal, alive)
  end
  h.state[1], h.state[2] = h.expires, h.heal
  local packed_state = cmsgpack.pack(unpack(h.state))
  if ticket then
    call('HSET', h.counts, '*', packed_state, '@' .. id, cmsgpack.pack(unpack(ticket)))
  else
    call('HSET', h.counts, '*', packed_state)
  end
  if longer then call('PEXPIRE', h.counts, ceil((h.expires - now) / 1000)) end
  if ticket or longer then call('PEXPIRE', h.pending, ceil((h.expires - now) / 1000)) end
end
