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

local function cut(w, left)
  w.shown_count, w.shown_burst = w.count, w.burst
  w.count = min(w.count, max(1, floor(w.count * left / 1000)))
  w.burst = min(w.burst, max(1, floor(w.burst * left / 1000)))
end

-- Lets a limit hold `left` thousandths of what it holds, for this request only: what is counted stays, and is written down as
-- under the whole limit. GCRA's backlog says nothing without the rate, so that one is cut before it is loaded; but not where
-- several share it, since it drains for all of them.
local function throttle_rates(limit)
  for _, w in ipairs(limit.windows) do
    if w.algorithm == GCRA then cut(w, limit.left) end
  end
end

-- Likewise the other algorithms, when they are loaded. A request that is larger than what is left, but not than the whole,
-- waits until all of that is free: a caller that is told that its request is too large would learn of the throttle.
local function throttle(limit)
  for _, w in ipairs(limit.windows) do
    local whole = w.count
    w.whole, w.whole_burst = whole, w.burst
    if w.algorithm ~= GCRA or limit.shared then cut(w, limit.left) end
    w.count = w.algorithm == GCRA and whole or max(w.count, min(limit.least, w.shown_count))
    w.burst = max(w.burst, min(limit.least, w.shown_burst))
  end
end

-- What is reserved for one answer at least, and of the most one part of so many: LEAST_RESERVED and RESERVED of
-- guard/core/novelty.py.
local LEAST_RESERVED, RESERVED = 250, 4

-- Of a diversity budget, as many answers are asked for as `least` stands for, at what one has paid out lately, and at least
-- 1/RESERVED of the most; or all of that, as long as few answers were read.
local function expect(limit)
  local paid, _, known = recent(limit.holder.state, limit.name)
  if known < RECENT_ANSWERS then return end
  limit.most = min(limit.most, max(limit.least, ceil(limit.most / RESERVED), ceil(limit.least / LEAST_RESERVED * paid)))
end

-- The amount that a request is charged: `most`, or where that is more than the whole limit holds, what is left of it, but
-- half of it and `least` at least.
local function ask(limit)
  local windows, largest = limit.windows, limit.most
  for i = 1, #windows do
    if windows[i].burst < largest then largest = windows[i].burst end
  end
  if limit.most == largest then return largest end
  return max(limit.least, min(largest, max(left_in(limit), ceil(largest / 2))))
end

-- Finds what a request asks of a limit, and how long it waits for that; one that was admitted before does not. Returns
-- whether it has to.
local function judge(limit, admitted)
  local windows, amount = limit.windows, ask(limit)
  limit.amount = amount
  for i = 1, admitted and 0 or #windows do
    local w = windows[i]
    w.wait = wait(w, amount)
    if w.wait ~= 0 then limit.lacks = true end
  end
  return limit.lacks
end

-- A request goes by a limit that several share where that has room, else by what its caller has of it for itself, if that and
-- what all may take so have room, and is charged to the other one as far as that has room. Without room either way, it waits
-- for the one where it fits first. Returns whether it has to.
local function share(shared)
  local floor, floors = shared.floor, shared.floors
  if not shared.lacks then
    floor.beside, floor.amount, floors.spared = true, shared.amount, true
    return false
  end
  local longest = 0
  for _, limit in ipairs({ floor, floors }) do
    for _, w in ipairs(limit.windows) do
      if w.wait < 0 then return true end
      longest = max(longest, w.wait)
    end
  end
  for _, w in ipairs(shared.windows) do
    if w.wait < 0 or w.wait > longest then w.wait = longest end
  end
  if floor.lacks or floors.lacks then return true end
  shared.lacks, shared.beside, shared.amount = false, true, floor.amount
  return false
end
