-- The two algorithms of guard/core/limits.py, shared by every script that counts: it is put in front of them.
--
-- A window is { algorithm, period (µs), count, burst }. Its state is one hash field, named by algorithm and period, so that
-- a limit can change its numbers, or gain and lose windows, without forgetting what was used.
-- A load must come first: it brings the state to `now`. Amounts are whole units, times are µs.
--
--   sliding_window  "start current previous"
--   gcra            "at backlog", backlog being the time by which the theoretical arrival time is ahead of `at`

-- Rounding must not refuse the last unit: this share of a limit is forgiven. Doubles err by 1e-16 of it a call.
local SLACK = 1e-11

-- State is kept so much longer (ms) than it weighs: a replayed log has a clock of its own.
local GRACE = 60000

local algorithms = {}

local sliding = {}
algorithms.sliding_window = sliding

function sliding.load(window, text, now)
  local start, current, previous = string.match(text or '', '^(%S+) (%S+) (%S+)$')
  start, current, previous = tonumber(start), tonumber(current), tonumber(previous)
  local age = start and math.floor((now - start) / window.period) or 2
  if age >= 2 then
    current, previous = 0, 0
  elseif age == 1 then
    start, current, previous = start + window.period, 0, current
  end
  -- A window that holds nothing starts anew, whether or not its key has expired yet.
  if current == 0 and previous == 0 then start = now end
  -- A clock that was set back counts as standing still.
  return { start = start, current = current, previous = previous, elapsed = math.max(0, now - start) }
end

function sliding.dump(state)
  return string.format('%.0f %.0f %.0f', state.start, state.current, state.previous)
end

local function sliding_used(window, state)
  return state.current + state.previous * (window.period - state.elapsed) / window.period
end

function sliding.wait(window, state, amount)
  if amount > window.count then return -1 end
  if sliding_used(window, state) + amount <= window.count * (1 + SLACK) then return 0 end
  local room = window.count - amount - state.current
  if room >= 0 then
    return math.ceil(window.period * (1 - room / state.previous) - state.elapsed)
  end
  local overlap = math.min(1, (window.count - amount) / state.current)
  return math.ceil(window.period - state.elapsed + window.period * (1 - overlap))
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
    state.current = math.max(0, state.current - amount)
  elseif mark == state.start - window.period then
    state.previous = math.max(0, state.previous - amount)
  end
end

function sliding.remaining(window, state)
  return math.floor(window.count * (1 + SLACK) - sliding_used(window, state))
end

function sliding.reset(window, state)
  if state.current > 0 then return 2 * window.period - state.elapsed end
  if state.previous > 0 then return window.period - state.elapsed end
  return 0
end

local gcra = {}
algorithms.gcra = gcra

function gcra.load(_, text, now)
  local at, backlog = string.match(text or '', '^(%S+) (%S+)$')
  at, backlog = tonumber(at) or now, tonumber(backlog) or 0
  if at > now then return { at = at, backlog = backlog } end
  return { at = now, backlog = math.max(0, backlog - (now - at)) }
end

function gcra.dump(state)
  return string.format('%.0f %.17g', state.at, state.backlog)
end

local function per_unit(window)
  return window.period / window.count
end

function gcra.wait(window, state, amount)
  if amount > window.burst then return -1 end
  local over = state.backlog + (amount - window.burst) * per_unit(window)
  if over <= SLACK * window.period then return 0 end
  return math.ceil(over)
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
  return math.ceil(state.backlog)
end

local function clock(argument)
  local now = tonumber(argument)
  if now > 0 then return now end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- Reads limits from ARGV[at] on, one each, with two keys each from KEYS[key] on:
-- "reserved(0|1) amount", then "algorithm period count burst" for each window.
local function read_limits(at, key)
  local limits = {}
  for i = at, #ARGV do
    local reserved, amount, rest = string.match(ARGV[i], '^(%d) (%d+)(.*)$')
    local windows, fields = {}, {}
    for name, period, count, burst in string.gmatch(rest, ' (%S+) (%d+) (%d+) (%d+)') do
      fields[#fields + 1] = name .. ':' .. period
      windows[#windows + 1] = {
        algorithm = algorithms[name], field = name .. ':' .. period,
        period = tonumber(period), count = tonumber(count), burst = tonumber(burst),
      }
    end
    limits[#limits + 1] = {
      state_key = KEYS[key], pending_key = KEYS[key + 1],
      reserved = reserved == '1', amount = tonumber(amount), windows = windows, fields = fields,
    }
    key = key + 2
  end
  return limits
end

local function load(limit, now)
  local texts = redis.call('HMGET', limit.state_key, unpack(limit.fields))
  for i, window in ipairs(limit.windows) do
    window.state = window.algorithm.load(window, texts[i], now)
  end
end

local function save(limit)
  local values, keep = {}, 1
  for _, window in ipairs(limit.windows) do
    values[#values + 1] = window.field
    values[#values + 1] = window.algorithm.dump(window.state)
    keep = math.max(keep, window.algorithm.reset(window, window.state))
  end
  redis.call('HSET', limit.state_key, unpack(values))
  redis.call('PEXPIRE', limit.state_key, math.ceil(keep / 1000) + GRACE)
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
