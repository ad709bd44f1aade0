-- What a request is charged, by the holders of its limits; put in front of the scripts that count, behind windows.lua.

-- The bits of one table of a holder's bitmap, and how many tables: CELL_BITS and TABLES of guard/core/novelty.py.
local CELLS, TABLES = 2048, 6

-- At most so many tickets that have expired are given back in one call, so that no call is slow.
local HEALED_AT_ONCE = 100

-- At most so many windows that a limit had before are kept beside those that it has.
local MOST_KEPT = 8

local NEVER = 9007199254740992

-- Reads the limits of a request. `shapes` has what is the same for every such request, limit after limit:
--   's' name  'B' its holder, from 1  'B' windows, each 'Bddd' algorithm, period, count, burst
--   (and 'dddd' for a calendar window: the begin of the last period, of this one, of the next one, and of the one after)
-- and `amounts` what is not:
--   'B' flags: 1 enforced, 2 pending (given back when its request dies), 4 a diversity budget
--   'H' what a throttle leaves (thousandths)  'd' least, which is insisted on  'd' most
--   of a diversity budget also 'B' places, each 'H': the bits that the query touches
-- KEYS from `key` on are { counts, pending } of each holder, then the bitmap of each diversity budget.
-- Returns the limits in their order, and the holders.
local function read_limits(shapes, amounts, holders, key)
  local limits, found, at, now_at = {}, {}, 1, 1
  for i = 1, holders do
    found[i] = { counts = KEYS[key + 2 * i - 2], pending = KEYS[key + 2 * i - 1], limits = {}, fields = { '*', false } }
  end
  local cells = key + 2 * holders
  while at <= #shapes do
    local name, number, count, flags, left, least, most
    name, number, count, at = unpacked('<sBB', shapes, at)
    flags, left, least, most, now_at = unpacked('<BHdd', amounts, now_at)
    local windows, places = {}, nil
    for i = 1, count do
      local w = {}
      w.algorithm, w.period, w.count, w.burst, at = unpacked('<Bddd', shapes, at)
      if w.algorithm == CALENDAR then
        local before, begin, after, later
        before, begin, after, later, at = unpacked('<dddd', shapes, at)
        w.boundaries = { before, begin, after, later }
      end
      windows[i] = w
    end
    local limit = {
      name = name, windows = windows, enforced = flags % 2 == 1, pending = floor(flags / 2) % 2 == 1,
      left = left, least = least, most = most,
    }
    if flags >= 4 then
      places = {}
      count, now_at = unpacked('<B', amounts, now_at)
      for i = 1, count do places[i], now_at = unpacked('<H', amounts, now_at) end
      limit.places, limit.cells, cells = places, KEYS[cells], cells + 1
    end
    limits[#limits + 1] = limit
    local h = found[number]
    limit.holder = h
    h.limits[#h.limits + 1] = limit
    h.fields[#h.fields + 1] = ':' .. name
  end
  return limits, found
end

-- Reads a holder's hash. `id` names the request; its ticket is `h.ticket`, if it has one.
local function read_holder(h, id)
  h.fields[2] = '@' .. id
  local texts = call('HMGET', h.counts, unpack(h.fields))
  h.expires, h.heal = 0, NEVER
  if texts[1] then h.expires, h.heal = unpacked('<dd', texts[1]) end
  h.ticket = texts[2]
  for i, limit in ipairs(h.limits) do limit.text = texts[i + 2] end
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

-- The windows that stand in the hash and are none of this limit's now: they may be again.
local function rest_of(limit, states)
  local rest = {}
  for at = 1, #states - 1, 7 do
    if not find_window(limit.windows, 1, states[at], states[at + 1]) and #rest < MOST_KEPT then
      rest[#rest + 1] = string.sub(limit.text, (at - 1) / 7 * WINDOW_BYTES + 1, (at + 6) / 7 * WINDOW_BYTES)
    end
  end
  return table.concat(rest)
end

-- Brings a limit to `now`, as `load` does.
local function load_limit(limit, now, as_counted)
  local text, windows = limit.text, limit.windows
  local states, matched = text and { unpacked('<' .. string.rep(WINDOW, #text / WINDOW_BYTES), text) }, 0
  for i, w in ipairs(windows) do
    -- GCRA's backlog says nothing without the rate, so that one is cut before it is loaded.
    if limit.left < 1000 and w.algorithm == GCRA and not as_counted then
      w.shown_count, w.shown_burst = w.count, w.burst
      w.count, w.burst = cut(w.count, limit.left), cut(w.burst, limit.left)
    end
    local at = states and 7 * i - 6
    if states and (states[at] ~= w.algorithm or states[at + 1] ~= w.period) then
      at = nil
      for other = 1, #states - 1, 7 do
        if states[other] == w.algorithm and states[other + 1] == w.period then at = other end
      end
    end
    if at then
      load(w, now, as_counted, states[at + 2], states[at + 3], states[at + 4], states[at + 5], states[at + 6])
      matched = matched + 1
    else
      load(w, now, as_counted)
    end
  end
  if states and matched * WINDOW_BYTES < #text then limit.rest = rest_of(limit, states) end
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

-- Cuts the amounts of a diversity budget to the share of the query's places that its holder has not visited.
local function weigh(limit)
  local places = limit.places
  if not places or #places == 0 then return end
  local reads = {}
  for i, place in ipairs(places) do reads[3 * i - 2], reads[3 * i - 1], reads[3 * i] = 'GET', 'u1', place end
  local new = #places
  for _, visited in ipairs(call('BITFIELD_RO', limit.cells, unpack(reads))) do new = new - visited end
  -- Multiplied first: a share such as 2/6 is no double, and would be rounded up to one too many.
  limit.least, limit.most = ceil(limit.least * new / #places), ceil(limit.most * new / #places)
end

-- Remembers that a holder has been at these places, and forgets one cell of each of their tables: which, the request's id
-- says, so that a replay forgets the same ones. `life` (ms) is that of the visitor's record.
local function visit(limit, id, life)
  local chance, writes = redis.sha1hex(id), {}
  for i, place in ipairs(limit.places) do
    local forgotten = tonumber(string.sub(chance, 3 * i - 2, 3 * i), 16) % CELLS
    for _, word in ipairs({ 'SET', 'u1', place - place % CELLS + forgotten, 0 }) do writes[#writes + 1] = word end
  end
  for _, place in ipairs(limit.places) do
    for _, word in ipairs({ 'SET', 'u1', place, 1 }) do writes[#writes + 1] = word end
  end
  -- Made whole at once: a string that grows bit by bit takes twice what it needs.
  call('SET', limit.cells, string.rep('\0', TABLES * CELLS / 8), 'NX')
  call('BITFIELD', limit.cells, unpack(writes))
  -- Never shortened: what many share is remembered as long as for any of them.
  call('PEXPIRE', limit.cells, life, 'NX')
  call('PEXPIRE', limit.cells, life, 'GT')
end

-- A ticket says what was charged and where, limit after limit, as one list (cmsgpack): name, how, amount, number of windows,
-- and of each window algorithm, period, start and backlog at the time of the charge. How is one of these:
local FOR_GOOD, PENDING, LAPSED = 0, 1, 2 -- the last is a lease that was given back when the ticket expired

local function add_to_ticket(ticket, limit)
  local at, windows = #ticket, limit.windows
  ticket[at + 1], ticket[at + 2], ticket[at + 3] = limit.name, limit.pending and PENDING or FOR_GOOD, limit.amount
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

local function give_back(windows, amount, charge, ticket)
  local i = 1
  for at = charge.from + 4, charge.to, 4 do
    local w = find_window(windows, i, ticket[at], ticket[at + 1])
    if w then refund(w, amount, ticket[at + 2], ticket[at + 3]) end
    i = i + 1
  end
end

-- A limit that this request does not touch, as it stands in the hash: not brought to `now`, for that needs its settings.
local function as_it_stands(h, name)
  local text = call('HGET', h.counts, ':' .. name)
  if not text then return end
  local states, windows = { unpacked('<' .. string.rep(WINDOW, #text / WINDOW_BYTES), text) }, {}
  for i = 1, #text / WINDOW_BYTES do
    local algorithm, period, count, x, p, q, r = unpack(states, 7 * i - 6, 7 * i)
    windows[i] = {
      algorithm = algorithm, period = period, count = count, burst = x, carried = x, start = p, used = q, backlog = q,
      previous = r,
    }
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
          limit = as_it_stands(h, charge.name) or false
          known[charge.name] = limit
          if limit then h.others = h.others or {}; table.insert(h.others, limit) end
        end
        if limit then
          give_back(limit.windows, charge.amount, charge, ticket)
          limit.changed = true
        end
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

-- Writes down what has changed of a holder, and the ticket of this request, if it has one. A ticket expires after `life`
-- (µs), or after two where nothing in it is pending.
local function save(h, now, id, ticket, life, pending)
  local alive = ticket and now + (pending and life or 2 * life) or now
  local values, keep = {}, alive
  for _, limits in ipairs({ h.limits, h.others }) do
    for _, limit in ipairs(limits) do
      if limit.changed then
        for _, w in ipairs(limit.windows) do
          if limits == h.limits then
            w.reset = reset(w)
            keep = max(keep, now + w.reset)
          end
        end
        values[#values + 1] = ':' .. limit.name
        values[#values + 1] = dump(limit.windows) .. (limit.rest or '')
      end
    end
  end
  keep = keep + GRACE
  -- A quarter longer than it weighs, so that not every call has to set it.
  local longer = keep > h.expires
  if longer then h.expires = floor(keep + (keep - now) / 4) end
  if ticket then
    values[#values + 1] = '@' .. id
    values[#values + 1] = cmsgpack.pack(ticket)
    call('ZADD', h.pending, alive, id)
    h.heal = min(h.heal, alive)
  end
  call('HSET', h.counts, '*', packed('<dd', h.expires, h.heal), unpack(values))
  if longer then call('PEXPIRE', h.counts, ceil((h.expires - now) / 1000)) end
  if ticket or longer then call('PEXPIRE', h.pending, ceil((h.expires - now) / 1000)) end
end
