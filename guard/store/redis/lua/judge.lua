-- Whether a request has room in its limits, and how much it asks of each; put in front of the script that admits, behind
-- holders.lua.

-- How long (µs) until an amount has room: 0 now, -1 never.
local function wait(w, amount)
  local algorithm, count = w.algorithm, w.count
  if amount > (algorithm == GCRA and w.burst or count) then return -1 end
  if algorithm == SLIDING then
    if used_now(w) + amount <= count * (1 + SLACK) then return 0 end
    local room, current, previous = count - amount, w.used, w.previous
    local ahead = windows_until(w, room)
    if ahead > 0 then
      local whole = max(1, w.whole or count)
      local before = current - (ahead - 1) * whole
      previous = min(before, whole)
      current = before - previous
    end
    return min(LONGEST, ceil(w.period * (ahead + 1 - min(1, (room - current) / previous)) - w.elapsed))
  elseif algorithm == GCRA then
    local over = w.backlog + (amount - w.burst) * (w.period / count)
    return over <= SLACK * w.period and 0 or min(LONGEST, ceil(over))
  elseif algorithm == CALENDAR then
    return w.used + amount <= count and 0 or calendar_ahead(w, count - amount)
  end
  return w.used + amount <= count and 0 or LEASE_WAIT
end

local function remaining(w)
  local algorithm = w.algorithm
  if algorithm == SLIDING then return floor(w.count * (1 + SLACK) - used_now(w)) end
  if algorithm == GCRA then return floor(w.burst + SLACK * w.count - w.backlog / (w.period / w.count)) end
  return w.count - w.used
end

local function cut(w, left)
  w.shown_count, w.shown_burst = w.count, w.burst
  w.count = min(w.count, max(1, floor(w.count * left / 1000)))
  w.burst = min(w.burst, max(1, floor(w.burst * left / 1000)))
end

-- Lets a limit hold `left` thousandths of what it holds, for this request only: what is counted stays, and is written down as
-- under the whole limit. GCRA's backlog says nothing without the rate, so that one is cut before it is loaded.
local function throttle_rates(limit)
  for _, w in ipairs(limit.windows) do
    if w.algorithm == GCRA then cut(w, limit.left) end
  end
end

-- Likewise the other algorithms, when they are loaded. A request that is larger than what is left, but not than the whole,
-- waits until all of that is free: a caller that is told that its request is too large would learn of the throttle.
local function throttle(limit)
  for _, w in ipairs(limit.windows) do
    w.whole, w.whole_burst = w.count, w.burst
    if w.algorithm ~= GCRA then
      cut(w, limit.left)
      w.count = max(w.count, min(limit.least, w.shown_count))
    end
    w.burst = max(w.burst, min(limit.least, w.shown_burst))
  end
end

-- What is reserved for one answer at least, and of the most one part of so many: LEAST_RESERVED and RESERVED of
-- guard/core/novelty.py.
local LEAST_RESERVED, RESERVED = 250, 4

-- Of a diversity budget, as many answers are asked for as `least` stands for, at what one has paid out lately, and at least
-- 1/RESERVED of the most.
local function expect(limit, state)
  local paid = recent(state, limit.name)
  limit.most = min(limit.most, max(limit.least, ceil(limit.most / RESERVED), ceil(limit.least / LEAST_RESERVED * paid)))
end

-- The amount that a request is charged: `most`, or where that is more than the whole limit holds, what is left of it, but
-- half of it and `least` at least.
local function ask(limit)
  local windows, largest, left = limit.windows, limit.most, NEVER
  for i = 1, #windows do
    if windows[i].burst < largest then largest = windows[i].burst end
  end
  if limit.most == largest then return largest end
  for i = 1, #windows do left = min(left, remaining(windows[i])) end
  return max(limit.least, min(largest, max(left, ceil(largest / 2))))
end
