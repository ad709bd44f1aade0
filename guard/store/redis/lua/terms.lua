-- The operator's terms: what holds for one holder, whatever the settings say; put in front of the script that reads them.
--
-- They are fields of one hash. A holder's own field is a block, "till reason"; its field for a limit, or for all of them,
-- is an override: "till exempt", or "till period:count:burst …" with other numbers for the windows of these periods (µs);
-- the burst is GCRA's alone, since a limit of this name may have another algorithm in another tier. An override that ends
-- may stand on one that outlasts it, which holds again then: "till numbers|till numbers …". Its field for its
-- review is "till held …" or "till cleared …" (guard/store/redis/reviews.py). `till` is in µs, 0 for good.

-- The end of the year 9999 (µs), which is the last that a date can be written for.
local LAST = 253402300799999999

local function term(text, now)
  local till, rest = string.match(text or '', '^(%d+) ?(.*)$')
  till = tonumber(till)
  if till and (till == 0 or till > now) then return math.min(till, LAST), rest end
end

-- The override of a text that holds: till when and what, and the text of those that it stands on.
local function standing(text, now)
  local below = text or ''
  while below ~= '' do
    local first
    first, below = string.match(below, '^([^|]*)|?(.*)$')
    local till, rest = term(first, now)
    if till then return till, rest, below end
  end
end

-- How long the longer of two blocks holds: µs, 0 for good, -1 for none.
local function blocked_longer(blocked, text, now)
  local till = term(text, now)
  if not till or blocked == 0 then return blocked end
  return till == 0 and 0 or math.max(blocked, till - now)
end

local function override(limit, text, now)
  local till, rest = standing(text, now)
  if not till then return end
  limit.exempt, limit.overridden = rest == 'exempt', true
  for period, count, burst in string.gmatch(rest, '(%d+):(%d+):(%d+)') do
    for _, w in ipairs(limit.windows) do
      if w.period == tonumber(period) then
        w.count = tonumber(count)
        w.burst = w.algorithm == GCRA and tonumber(burst) or w.count
      end
    end
  end
end
