-- The operator's terms: what holds for one holder, whatever the settings say; put in front of the script that reads them.
--
-- They are fields of one hash. A holder's own field is a block, "till reason"; its field for a limit, or for all of them,
-- is an override: "till exempt", or "till period:count:burst …" with other numbers for the windows of these periods (µs);
-- the burst is GCRA's alone, since a limit of this name may have another algorithm in another tier.
-- `till` is in µs, 0 for good.

local function term(text, now)
  local till, rest = string.match(text or '', '^(%d+) ?(.*)$')
  till = tonumber(till)
  if till and (till == 0 or till > now) then return till, rest end
end

-- How long the longest of these blocks still holds: µs, 0 for good, -1 for none.
local function blocked_for(texts, now)
  local longest = -1
  for _, text in ipairs(texts) do
    local till = term(text, now)
    if till == 0 then return 0 end
    if till then longest = math.max(longest, till - now) end
  end
  return longest
end

local function override(limit, text, now)
  local till, rest = term(text, now)
  if not till then return end
  limit.exempt = rest == 'exempt'
  for period, count, burst in string.gmatch(rest, '(%d+):(%d+):(%d+)') do
    for _, window in ipairs(limit.windows) do
      if window.period == tonumber(period) then
        window.count = tonumber(count)
        window.burst = window.algorithm == algorithms.gcra and tonumber(burst) or window.count
      end
    end
  end
end
