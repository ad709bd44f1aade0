-- The four algorithms of guard/core/limits.py, shared by every script that counts: it is put in front of them.
--
-- A window is { algorithm, period (µs), count, burst, boundaries }. Its state is one hash field, named by algorithm and
-- period, so that a limit can change its numbers, or gain and lose windows, without forgetting what was used. The numbers
-- under which it was last counted stand in the state.
-- A load must come first: it brings the state to `now`. Amounts are whole units, times are µs.
--
--   sliding_window  "start current previous count carried"
--   gcra            "at backlog count burst", backlog being the time by which the theoretical arrival time is ahead of `at`
--   calendar        "start used count carried"
--   leases          none: the entries of the pending set that have not expired
--
-- What was used beyond the count is debt: each later window starts with what is left of it. `carried` is the part of the
-- present window that it started with.

-- Rounding must not refuse the last unit: this share of a limit is forgiven. Doubles err by 1e-16 of it a call.
local SLACK = 1e-11

-- State is kept so much longer (ms) than it weighs: who gives `now` has a clock of its own.
local GRACE = 60000

-- Nobody knows when a lease will be given back: ask again in so many µs.
local LEASE_WAIT = 1000000

-- The bits of one table of a holder's bitmap: 2 to the power of CELL_BITS in guard/text/fingerprint.py.
local CELLS = 2048

-- LEXICAL_TABLES and SEMANTIC_TABLES of it together.
local TABLES = 6

-- Waits are no longer than this (µs): Redis takes no larger expiry, and a debt may be as large as anyone can make it.
local LONGEST = 100 * 365 * 86400000000

-- The mean length (µs) of calendar periods that are not all of one length, by the length that the settings give them.
local MEAN = { [30 * 86400000000] = 30.436875 * 86400000000, [365 * 86400000000] = 365.2425 * 86400000000 }

local algorithms = {}

-- The count by which debts are paid: a throttle cuts what a request may use, not what is paid.
local function whole(window)
  return math.max(1, window.kept_count or window.count)
end

-- What `used` of the count `old` is under the count `new`: debts are kept, and the rest is what `new` admits at most.
local function recount(used, carried, old, new)
  local debt = carried + math.max(0, used - math.max(old, carried))
  return debt + math.min(used - debt, new)
end

-- How many windows must end before at most `room` of what is used now is left.
local function windows_until(window, used, room)
  return math.max(0, math.ceil((used - room) / whole(window)))
end

local sliding = {}
algorithms.sliding_window = sliding

function sliding.load(window, text, now, as_counted)
  local start, current, previous, count, carried = string.match(text or '', '^(%S+) (%S+) (%S+) (%S+) ?(%S*)$')
  start, current, previous, count = tonumber(start) or now, tonumber(current) or 0, tonumber(previous) or 0, tonumber(count)
  carried = tonumber(carried) or 0
  if count and as_counted then
    window.count = count
  elseif count and count ~= window.count then
    current, previous = recount(current, carried, count, window.count), math.min(previous, window.count)
  end
  local age = math.floor((now - start) / window.period)
  if age >= 1 then
    local before = math.max(0, current - (age - 1) * window.count)
    previous = math.min(before, window.count)
    carried = before - previous
    start, current = start + age * window.period, carried
  end
  -- A window that holds nothing starts anew, whether or not its key has expired yet.
  if current == 0 and previous == 0 then start = now end
  -- A clock that was set back counts as standing still.
  return { start = start, current = current, previous = previous, carried = carried, elapsed = math.max(0, now - start) }
end

function sliding.dump(window, state)
  return string.format('%.0f %.0f %.0f %.0f %.0f', state.start, state.current, state.previous, window.count, state.carried)
end

local function sliding_used(window, state)
  return state.current + state.previous * (window.period - state.elapsed) / window.period
end

function sliding.wait(window, state, amount)
  if amount > window.count then return -1 end
  if sliding_used(window, state) + amount <= window.count * (1 + SLACK) then return 0 end
  local room, current, previous = window.count - amount, state.current, state.previous
  local ahead = windows_until(window, current, room)
  if ahead > 0 then
    local before = current - (ahead - 1) * whole(window)
    previous = math.min(before, whole(window))
    current = before - previous
  end
  local overlap = math.min(1, (room - current) / previous)
  return math.min(LONGEST, math.ceil(window.period * (ahead + 1 - overlap) - state.elapsed))
end

function sliding.charge(_, state, amount)
  state.current = state.current + amount
end

function sliding.mark(state)
  return string.format('%.0f', state.start)
end

function sliding.refund(window, state, amount, text)
  local mark = tonumber(text)
  if mark == state.start then
    state.current = math.max(state.carried, state.current - amount)
  elseif mark == state.start - window.period then
    local owed = math.min(amount, state.carried)
    state.carried, state.current = state.carried - owed, state.current - owed
    state.previous = math.max(0, state.previous - (amount - owed))
  end
end

function sliding.remaining(window, state)
  return math.floor(window.count * (1 + SLACK) - sliding_used(window, state))
end

function sliding.reset(window, state)
  if state.current > 0 then
    return math.min(LONGEST, (windows_until(window, state.current, 0) + 1) * window.period - state.elapsed)
  end
  return state.previous > 0 and window.period - state.elapsed or 0
end

local gcra = {}
algorithms.gcra = gcra

local function per_unit(window)
  return window.period / window.count
end

function gcra.load(window, text, now, as_counted)
  local at, backlog, count, burst = string.match(text or '', '^(%S+) (%S+) (%S+) (%S+)$')
  at, backlog, count, burst = tonumber(at) or now, tonumber(backlog) or 0, tonumber(count), tonumber(burst)
  if count and as_counted then
    window.count, window.burst = count, burst
  elseif count and (count ~= window.count or burst ~= window.burst) then
    local units = backlog * count / window.period
    backlog = recount(units, 0, burst, window.burst) * per_unit(window)
  end
  if at <= now then at, backlog = now, math.max(0, backlog - (now - at)) end
  return { at = at, backlog = backlog }
end

function gcra.dump(window, state)
  return string.format('%.0f %.17g %.0f %.0f', state.at, state.backlog, window.count, window.burst)
end

function gcra.wait(window, state, amount)
  if amount > window.burst then return -1 end
  local over = state.backlog + (amount - window.burst) * per_unit(window)
  if over <= SLACK * window.period then return 0 end
  return math.min(LONGEST, math.ceil(over))
end

function gcra.charge(window, state, amount)
  state.backlog = state.backlog + amount * per_unit(window)
end

function gcra.mark(state)
  return string.format('%.0f/%.17g', state.at, state.backlog)
end

function gcra.refund(window, state, amount, text)
  local at, backlog = string.match(text, '^(.-)/(.+)$')
  local undrained = math.max(0, backlog - (state.at - at))
  state.backlog = math.max(0, state.backlog - math.min(amount * per_unit(window), undrained))
end

function gcra.remaining(window, state)
  return math.floor(window.burst + SLACK * window.count - state.backlog / per_unit(window))
end

function gcra.reset(_, state)
  return math.min(LONGEST, math.ceil(state.backlog))
end

local calendar = {}
algorithms.calendar = calendar

local function mean(window)
  return MEAN[window.period] or window.period
end

-- The period is the one of the three handed over that holds `now`; the first or the last for a caller whose clock is far off.
function calendar.load(window, text, now, as_counted)
  local start, used, count, carried = string.match(text or '', '^(%S+) (%S+) ?(%S*) ?(%S*)$')
  start, used, count, carried = tonumber(start), tonumber(used) or 0, tonumber(count), tonumber(carried) or 0
  local at = window.boundaries
  local i = now < at[2] and 1 or now < at[3] and 2 or 3
  if count and as_counted then
    window.count = count
  elseif count and count ~= window.count then
    used = recount(used, carried, count, window.count)
  end
  if start and start < at[i] then
    local age = math.max(1, math.floor((at[i] - start) / mean(window) + 0.5))
    used = math.max(0, used - age * window.count)
    carried = used
  end
  -- A clock that was set back counts as standing still.
  if not start or start < at[i] then start = at[i] end
  return {
    start = start, used = used, carried = carried, before = start == at[i] and at[i - 1],
    left = math.max(1, at[i + 1] - now), next = (at[i + 2] or at[i + 1] + mean(window)) - at[i + 1],
  }
end

function calendar.dump(window, state)
  return string.format('%.0f %.0f %.0f %.0f', state.start, state.used, window.count, state.carried)
end

-- Exact to the end of the next period; what is owed longer than that is told by the mean length of later ones.
local function calendar_ahead(window, state, room)
  local ahead = windows_until(window, state.used, room)
  local left = ahead < 2 and state.left or state.left + state.next + (ahead - 2) * mean(window)
  return math.min(LONGEST, math.ceil(left))
end

function calendar.wait(window, state, amount)
  if amount > window.count then return -1 end
  if state.used + amount <= window.count then return 0 end
  return calendar_ahead(window, state, window.count - amount)
end

function calendar.charge(_, state, amount)
  state.used = state.used + amount
end

function calendar.mark(state)
  return string.format('%.0f', state.start)
end

function calendar.refund(_, state, amount, text)
  local mark = tonumber(text)
  if mark == state.start then
    state.used = math.max(state.carried, state.used - amount)
  elseif mark == state.before then
    local owed = math.min(amount, state.carried)
    state.carried, state.used = state.carried - owed, state.used - owed
  end
end

function calendar.remaining(window, state)
  return window.count - state.used
end

function calendar.reset(window, state)
  return state.used > 0 and calendar_ahead(window, state, 0) or 0
end

local leases = {}
algorithms.leases = leases

function leases.wait(window, state, amount)
  if amount > window.count then return -1 end
  return state.held + amount <= window.count and 0 or LEASE_WAIT
end

function leases.charge(_, state, amount)
  state.held = state.held + amount
end

function leases.mark() return '-' end

-- What has left the pending set is given back.
function leases.refund() end

function leases.remaining(window, state)
  return window.count - state.held
end

function leases.reset(_, state)
  return state.held > 0 and LEASE_WAIT or 0
end

local function clock(argument)
  local now = tonumber(argument)
  if now > 0 then return now end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Reads limits from ARGV[at] on, one each, with two keys each from KEYS[key] on:
-- "enforced(0|1) pending(0|1) left(‰) least most", then "algorithm period count burst" for each window; in place of the last of
-- these, for a calendar window, "burst:boundary:boundary:boundary:boundary". Of the amount, `least` is insisted on (`ask`).
-- A diversity budget has a third key, the bitmap of what its holder has visited, and writes "most/place,place…": the bits
-- that this query touches. Its amounts are for a query that is all new, and are cut to the share that is (novelty.py).
local function read_limits(at, key)
  local limits = {}
  for i = at, #ARGV do
    local enforced, pending, left, least, most, ground, rest =
      string.match(ARGV[i], '^(%d) (%d) (%d+) (%d+) (%d+)([/,%d]*)(.*)$')
    local windows, fields, places = {}, {}, nil
    if ground ~= '' then
      places = {}
      for place in string.gmatch(ground, '%d+') do places[#places + 1] = tonumber(place) end
    end
    for name, period, count, burst, bounds in string.gmatch(rest, ' (%S+) (%d+) (%d+) (%d+)([:%d]*)') do
      local boundaries = {}
      for boundary in string.gmatch(bounds, '%d+') do boundaries[#boundaries + 1] = tonumber(boundary) end
      fields[#fields + 1] = name .. ':' .. period
      windows[#windows + 1] = {
        algorithm = algorithms[name], field = name .. ':' .. period, boundaries = boundaries,
        period = tonumber(period), count = tonumber(count), burst = tonumber(burst),
      }
    end
    limits[#limits + 1] = {
      state_key = KEYS[key], pending_key = KEYS[key + 1], windows = windows, fields = fields,
      left = tonumber(left), enforced = enforced == '1', pending = pending == '1', least = tonumber(least), most = tonumber(most),
      leases = windows[1].algorithm == leases, places = places, cells_key = places and KEYS[key + 2],
    }
    key = key + (places and 3 or 2)
  end
  return limits
end

-- Cuts the amounts of a diversity budget to the share of the query's places that its holder has not visited.
local function weigh(limit)
  if #limit.places == 0 then return end
  local reads = {}
  for _, place in ipairs(limit.places) do
    for _, word in ipairs({ 'GET', 'u1', place }) do reads[#reads + 1] = word end
  end
  local new = #limit.places
  for _, visited in ipairs(redis.call('BITFIELD_RO', limit.cells_key, unpack(reads))) do new = new - visited end
  -- Multiplied first: a share such as 2/6 is no double, and would be rounded up to one too many.
  limit.least, limit.most = math.ceil(limit.least * new / #limit.places), math.ceil(limit.most * new / #limit.places)
end

-- Remembers that a holder has been at these places, and forgets one cell of each of their tables: which, the request's id
-- says, so that a replay forgets the same ones. `life` (ms) is that of the visitor's record.
local function visit(limit, id, life)
  local chance, writes = redis.sha1hex(id), {}
  for i, place in ipairs(limit.places) do
    local table_start = place - place % CELLS
    local forgotten = tonumber(string.sub(chance, 3 * i - 2, 3 * i), 16) % CELLS
    for _, word in ipairs({ 'SET', 'u1', table_start + forgotten, 0 }) do writes[#writes + 1] = word end
  end
  for _, place in ipairs(limit.places) do
    for _, word in ipairs({ 'SET', 'u1', place, 1 }) do writes[#writes + 1] = word end
  end
  -- Made whole at once: a string that grows bit by bit takes twice what it needs.
  redis.call('SET', limit.cells_key, string.rep('\0', TABLES * CELLS / 8), 'NX')
  redis.call('BITFIELD', limit.cells_key, unpack(writes))
  -- Never shortened: what many share is remembered as long as for any of them.
  redis.call('PEXPIRE', limit.cells_key, life, 'NX')
  redis.call('PEXPIRE', limit.cells_key, life, 'GT')
end

local function cut(number, left)
  return math.min(number, math.max(1, math.floor(number * left / 1000)))
end

-- Lets a limit that was loaded hold `left` thousandths of what it held, for this request only: what is counted stays, and is
-- written down as under the whole limit. GCRA's backlog says nothing without the rate, so that one was cut before (`load`).
-- A request that is larger than that, but not than the whole, waits until all of it is free: who is told that it is too large
-- would learn of the throttle.
local function throttle(limit)
  if limit.left == 1000 then return end
  for _, window in ipairs(limit.windows) do
    window.kept_count, window.kept_burst = window.count, window.burst
    if window.algorithm ~= gcra then
      window.shown_count, window.shown_burst = window.count, window.burst
      window.count, window.burst = cut(window.count, limit.left), cut(window.burst, limit.left)
      window.count = math.max(window.count, math.min(limit.least, window.shown_count))
    end
    window.burst = math.max(window.burst, math.min(limit.least, window.shown_burst))
  end
end

-- The amount that a request is charged: `most`, or where that is more than the whole limit holds, what is left of it, but
-- half of it and `least` at least.
local function ask(limit)
  local largest, left = math.huge, math.huge
  for _, window in ipairs(limit.windows) do
    largest = math.min(largest, window.burst)
    left = math.min(left, window.algorithm.remaining(window, window.state))
  end
  limit.amount = limit.most
  if limit.most > largest then
    limit.amount = math.max(limit.least, math.min(largest, math.max(left, math.ceil(largest / 2))))
  end
end

-- Brings a limit to `now`. With `as_counted` under the numbers that it was last counted under, for what is not to be judged.
local function load(limit, now, as_counted)
  if limit.places then weigh(limit) end
  if limit.leases then
    limit.windows[1].state = { held = redis.call('ZCOUNT', limit.pending_key, string.format('(%.0f', now), '+inf') }
  else
    local texts = redis.call('HMGET', limit.state_key, unpack(limit.fields))
    for i, window in ipairs(limit.windows) do
      if window.algorithm == gcra and not as_counted and limit.left < 1000 then
        window.shown_count, window.shown_burst = window.count, window.burst
        window.count, window.burst = cut(window.count, limit.left), cut(window.burst, limit.left)
      end
      window.state = window.algorithm.load(window, texts[i], now, as_counted)
    end
  end
end

local function save(limit)
  if limit.leases then return end
  local values, keep = {}, 1
  for _, window in ipairs(limit.windows) do
    local count, burst = window.count, window.burst
    window.count, window.burst = window.kept_count or count, window.kept_burst or burst
    values[#values + 1] = window.field
    values[#values + 1] = window.algorithm.dump(window, window.state)
    window.count, window.burst = count, burst
    keep = math.max(keep, window.algorithm.reset(window, window.state))
  end
  redis.call('HSET', limit.state_key, unpack(values))
  redis.call('PEXPIRE', limit.state_key, math.ceil(keep / 1000) + GRACE)
  -- What is pending can be given back for as long as it is counted, however late the next request comes.
  if limit.pending then redis.call('PEXPIRE', limit.pending_key, math.ceil(keep / 1000) + GRACE, 'GT') end
end

local function charge(limit, amount)
  for _, window in ipairs(limit.windows) do
    window.algorithm.charge(window, window.state, amount)
  end
end

-- A ticket says what was charged and where: "id amount field=mark field=mark".
local function ticket(limit, id)
  local parts = { id, string.format('%.0f', limit.amount) }
  for _, window in ipairs(limit.windows) do
    parts[#parts + 1] = window.field .. '=' .. window.algorithm.mark(window.state)
  end
  return table.concat(parts, ' ')
end

local function ticket_amount(text)
  return tonumber(string.match(text, '^%S+ (%S+)'))
end

-- Keeps a ticket among the pending ones until `life` (µs) is over.
local function keep_pending(limit, text, now, life)
  redis.call('ZADD', limit.pending_key, now + life, text)
  -- GT takes a key without an expiry for one that lives for ever.
  redis.call('PEXPIRE', limit.pending_key, math.ceil(life / 500), 'NX')
  redis.call('PEXPIRE', limit.pending_key, math.ceil(life / 500), 'GT')
end

local function refund(limit, amount, text)
  local marks = {}
  for field, mark in string.gmatch(text, '(%S+)=(%S+)') do marks[field] = mark end
  for _, window in ipairs(limit.windows) do
    local mark = marks[window.field]
    if mark then window.algorithm.refund(window, window.state, amount, mark) end
  end
end

-- Gives back reservations whose owner has not settled in time; at most a few a call, so that no call is slow.
local function heal(limit, now, write)
  local expired = redis.call('ZRANGEBYSCORE', limit.pending_key, '-inf', now, 'LIMIT', 0, 32)
  for _, text in ipairs(expired) do
    refund(limit, ticket_amount(text), text)
    if write then redis.call('ZREM', limit.pending_key, text) end
  end
  return #expired
end
