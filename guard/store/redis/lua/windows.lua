-- The four algorithms of guard/core/limits.py and the state that they keep, put in front of every script that counts.
--
-- A holder has one hash, `counts`, and one sorted set, `pending`:
--
--   counts   *       value after value (cmsgpack): when the hash expires and when the first ticket does (µs), then all windows
--            @ID     the ticket of a request that is not settled: what it was charged, and where
--   pending  ID → when its ticket expires (µs)
--
-- A window is WINDOW values (base.lua): the name of its limit, algorithm, period, the count under which it was last counted, and
--
--   sliding window  carried, start, current, previous      calendar  carried, start, used
--   gcra            burst, at, backlog                     leases    0, 0, held
--
-- Beside the windows of a diversity budget stands what was recent of it (guard/core/novelty.py), as one more window, of the
-- period 0 and without a count: the mean payout and the mean draw of an answer.
--
-- So a limit can change its numbers, or gain and lose windows, without forgetting what was used.
-- backlog is the time by which the theoretical arrival time is ahead of `at`. What was used beyond the count is debt: each
-- later window starts with what is left of it. `carried` is the part of the present window that it started with.
-- Amounts are whole units, times are µs.

local SLIDING, GCRA, CALENDAR, LEASES, RECENT = 1, 2, 3, 4, 5

-- Rounding must not refuse the last unit: this share of a limit is forgiven. Doubles err by 1e-16 of it a call.
local SLACK = 1e-11

-- State is kept so much longer (µs) than it weighs: who gives `now` has a clock of its own.
local GRACE = 60000000

-- Nobody knows when a lease will be given back: ask again in so many µs.
local LEASE_WAIT = 1000000

-- Waits are no longer than this (µs): Redis takes no larger expiry, and a debt may be as large as anyone can make it.
local LONGEST = 100 * 365 * 86400000000

-- The mean length (µs) of calendar periods, by the length that the settings give them.
local function mean(period)
  if period == 2592000000000 then return 30.436875 * 86400000000 end
  if period == 31536000000000 then return 365.2425 * 86400000000 end
  return period
end

-- What `used` of the count `old` is under the count `new`: debts are kept, and the rest is what `new` admits at most.
local function recount(used, carried, old, new)
  local debt = carried + max(0, used - max(old, carried))
  return debt + min(used - debt, new)
end

-- Brings a window to `now` from its state: count, carried or burst, and three numbers; no count is no state. With
-- `as_counted` under the numbers that it was last counted under, for what is not to be judged.
local function load(w, now, as_counted, count, x, p, q, r)
  local algorithm, period = w.algorithm, w.period
  if count and as_counted and algorithm ~= LEASES then w.count = count end
  if algorithm == SLIDING then
    local start, current, previous, carried = p or now, q or 0, r or 0, x or 0
    if count and count ~= w.count then
      current, previous = recount(current, carried, count, w.count), min(previous, w.count)
    end
    local elapsed = now - start
    if elapsed >= period then
      local age = floor(elapsed / period)
      local before = max(0, current - (age - 1) * w.count)
      previous = min(before, w.count)
      carried = before - previous
      start, current = start + age * period, carried
    end
    -- A window that holds nothing starts anew, whether or not its key has expired yet.
    if current == 0 and previous == 0 then start = now end
    -- A clock that was set back counts as standing still.
    w.elapsed = now > start and now - start or 0
    w.start, w.used, w.previous, w.carried = start, current, previous, carried
  elseif algorithm == GCRA then
    local at, backlog = p or now, q or 0
    if count and as_counted then
      w.burst = x
    elseif count and (count ~= w.count or x ~= w.burst) then
      backlog = recount(backlog * count / period, 0, x, w.burst) * (period / w.count)
    end
    if at <= now then at, backlog = now, max(0, backlog - (now - at)) end
    w.start, w.backlog = at, backlog
  elseif algorithm == CALENDAR then
    -- The period is the one of the three handed over that holds `now`; the first or the last for a clock that is far off.
    local at = w.boundaries
    local i = now < at[2] and 1 or now < at[3] and 2 or 3
    local used, carried = q or 0, x or 0
    if count and count ~= w.count then used = recount(used, carried, count, w.count) end
    if p and p < at[i] then
      used = max(0, used - max(1, floor((at[i] - p) / mean(period) + 0.5)) * w.count)
      carried = used
    end
    -- A clock that was set back counts as standing still.
    w.start, w.used, w.carried = p and max(p, at[i]) or at[i], used, carried
    w.ends, w.next = max(1, at[i + 1] - now), (at[i + 2] or at[i + 1] + mean(period)) - at[i + 1]
  else
    w.used = q or 0
  end
end

-- Writes a window's count and state into a list; of one that is cut, what it is uncut.
local function dump(w, state, at)
  local gcra = w.algorithm == GCRA
  state[at + 3] = w.whole or w.count
  state[at + 4] = gcra and (w.whole_burst or w.burst) or w.carried
  state[at + 5], state[at + 6], state[at + 7] = w.start, gcra and w.backlog or w.used, w.previous
end

local function used_now(w)
  return w.used + w.previous * (w.period - w.elapsed) / w.period
end

local function remaining(w)
  local algorithm = w.algorithm
  if algorithm == SLIDING then return floor(w.count * (1 + SLACK) - used_now(w)) end
  if algorithm == GCRA then return floor(w.burst + SLACK * w.count - w.backlog / (w.period / w.count)) end
  return w.count - w.used
end

-- How many windows must end before at most `room` of what is used now is left. Debts are paid by the whole count: a
-- throttle cuts what a request may use, not what is paid.
local function windows_until(w, room)
  return max(0, ceil((w.used - room) / max(1, w.whole or w.count)))
end

-- Exact to the end of the next period; what is owed longer than that is told by the mean length of later ones.
local function calendar_ahead(w, room)
  local ahead = windows_until(w, room)
  return min(LONGEST, ceil(ahead < 2 and w.ends or w.ends + w.next + (ahead - 2) * mean(w.period)))
end

local function charge(w, amount)
  if w.algorithm == GCRA then
    w.backlog = w.backlog + amount * (w.period / w.count)
  else
    w.used = w.used + amount
  end
end

-- Gives back an amount that was charged when the window began at `start`, with that backlog; returns the backlog without it.
local function refund(w, amount, start, backlog)
  local algorithm = w.algorithm
  if algorithm == GCRA then
    local back = min(amount * (w.period / w.count), max(0, backlog - (w.start - start)))
    w.backlog = max(0, w.backlog - back)
    return backlog - back
  elseif algorithm == LEASES then
    w.used = max(0, w.used - amount)
  elseif start == w.start then
    w.used = max(w.carried, w.used - amount)
  elseif w.start - start == w.period or algorithm == CALENDAR and start < w.start and w.start - start < 1.5 * mean(w.period) then
    -- Charged in the window before: what it left behind is debt first.
    local owed = min(amount, w.carried)
    w.carried, w.used = w.carried - owed, w.used - owed
    if algorithm == SLIDING then w.previous = max(0, w.previous - (amount - owed)) end
  end
  return backlog
end

-- How long (µs) until the window is as good as new.
local function reset(w)
  local algorithm = w.algorithm
  if algorithm == SLIDING then
    if w.used == 0 then return w.previous > 0 and w.period - w.elapsed or 0 end
    local ahead = w.used <= (w.whole or w.count) and 1 or windows_until(w, 0)
    return min(LONGEST, (ahead + 1) * w.period - w.elapsed)
  elseif algorithm == GCRA then
    return min(LONGEST, ceil(w.backlog))
  elseif w.used <= 0 then
    return 0
  end
  return algorithm == CALENDAR and calendar_ahead(w, 0) or LEASE_WAIT
end
