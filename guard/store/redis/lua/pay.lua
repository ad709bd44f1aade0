#!lua flags=allow-oom
-- Charges the diversity budgets of a request what its answers have paid out, once it is known where the query falls, in
-- place of what settle.lua has charged them. Mirrors guard/core/novelty.py.
--
-- KEYS  1 reservation, then { counts, pending } for each holder of a budget, then the coverage of each budget
-- ARGV  1 now (µs; 0: the server's clock)  2 reservation id  3 how long the id is remembered (ms)
--       4 how long what is learnt of the holders is remembered (ms)  5 number of answers
--       6 places: of each table the bit of the coverage that the query touches, one 'H' each; none where all of it is new
--       7 number of holders  8 shapes  9 what the answers draw, as read_limits (holders.lua) says
--       then the receipt of settle.lua for each budget
-- Returns { paid 0|1, then what each budget was charged in all }
-- An id is paid for once. If this never runs, what settle.lua has charged stands.

-- The bits of one table of a coverage, and how many tables: CELL_BITS and TABLES of guard/core/novelty.py.
local CELLS, TABLES = 2048, 6

-- So many answers are recent: RECENT_ANSWERS of guard/core/novelty.py.
local RECENT_ANSWERS = 16

local now, id, life, answers = clock(ARGV[1]), ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
if call('SET', KEYS[1], 2, 'GET', 'PX', ARGV[3]) == '2' then return { 0 } end

local places = { unpacked('<' .. string.rep('H', #ARGV[6] / 2), ARGV[6]) }
places[#places] = nil

-- What to write into a coverage: the places, and one cell of each of their tables that is forgotten. Which, the request's id
-- says, so that a replay forgets the same ones.
local writes, chance = {}, redis.sha1hex(id)
for _, place in ipairs(places) do
  for _, word in ipairs({ 'SET', 'u1', place, 1 }) do writes[#writes + 1] = word end
end
for i, place in ipairs(places) do
  local forgotten = place - place % CELLS + tonumber(string.sub(chance, 3 * i - 2, 3 * i), 16) % CELLS
  if forgotten ~= place then
    for _, word in ipairs({ 'SET', 'u1', forgotten, 0 }) do writes[#writes + 1] = word end
  end
end

-- Visits the places; returns how many of them are new.
local function visit(coverage)
  -- Made whole at once: a string that grows bit by bit takes twice what it needs.
  call('SET', coverage, string.rep('\0', TABLES * CELLS / 8), 'NX', 'PX', life)
  local new, before = #places, call('BITFIELD', coverage, unpack(writes))
  for i = 1, #places do new = new - before[i] end
  -- Never shortened: what many share is remembered as long as for any of them.
  call('PEXPIRE', coverage, life, 'GT')
  return new
end

local limits, holders = read_limits(ARGV[8], ARGV[9], tonumber(ARGV[7]), 2)
for i, limit in ipairs(limits) do
  local draw = limit.most
  limit.receipt = ARGV[9 + i]
  limit.payout = #places == 0 and draw or ceil(draw * visit(KEYS[1 + 2 * #holders + i]) / #places)
end
local reply = { 1 }
for _, h in ipairs(holders) do
  read_holder(h, '')
  for _, limit in ipairs(h.limits) do
    local charges, ticket = read_ticket(limit.receipt)
    local over = limit.payout
    for _, charged in ipairs(charges) do over = over - charged.amount end
    limit.changed = over ~= 0
    if limit.changed then load_limit(h, limit, now, true) end
    if over > 0 then charge_limit(limit, over) end
    for i = #charges, 1, -1 do
      local back = min(-over, charges[i].amount)
      if back > 0 then
        give_back(limit.windows, back, charges[i], ticket)
        over = over + back
      end
    end
    local paid, drawn, at = recent(h.state, limit.name)
    at = at or #h.state + 1
    paid = (RECENT_ANSWERS * paid + limit.payout) / (RECENT_ANSWERS + answers)
    drawn = (RECENT_ANSWERS * drawn + limit.most) / (RECENT_ANSWERS + answers)
    for i, value in ipairs({ limit.name, RECENT, 0, 0, paid, drawn, 0, 0 }) do h.state[at + i - 1] = value end
  end
  h.lasts = now + life * 1000
  save(h, now)
end
for _, limit in ipairs(limits) do reply[#reply + 1] = limit.payout end
return reply
