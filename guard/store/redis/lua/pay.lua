#!lua flags=allow-oom
-- Charges the diversity budgets of requests what their answers pay out, once these were read, in place of what settle.lua has
-- charged. Mirrors guard/core/novelty.py.
--
-- KEYS  of each request: its reservation, the coverages by which its budgets go (none where they live on another node: then the
--       floor of the payout is what it has come to there), then { counts, pending } for each holder of a budget
-- ARGV  1 now (µs; 0: the server's clock)  2 how long an id that was paid for is remembered (ms)
--       then of each request: reservation id, how long what is learnt of the holders is remembered (ms), its payout as
--       read_payout says, numbers of coverages, of holders and of budgets, shapes, what the answers draw as read_limits
--       (holders.lua) says, and of each budget which coverage it goes by (from 1), and its receipt of settle.lua
-- Returns of each request { paid 0|1, then what the payout comes to by each coverage }, or an error, which concerns no other
-- An id is paid for once; what that came to is remembered with it, and returned again. If this never runs, what settle.lua has
-- charged stands.

-- The bits of a coverage: CELLS of guard/core/novelty.py.
local CELLS = 8192

-- What is remembered of an id: by settle.lua, and what that of a payout begins with.
local SETTLED, PAID = '1', 2

local now, remembered = clock(ARGV[1]), ARGV[2]

-- A payout is 'd' its floor, 'd' number of answers, and of each piece 'd' draw, 'd' least, 'h' cell (-1: none, always new).
local function read_payout(text)
  local floor, answers, at = unpacked('<dd', text)
  local pieces = {}
  while at <= #text do
    local piece = {}
    piece.draw, piece.least, piece.cell, at = unpacked('<ddh', text, at)
    pieces[#pieces + 1] = piece
  end
  return { floor = floor, answers = answers, pieces = pieces }
end

-- What to write into a coverage: the cell of each piece, and one that is forgotten. Which, the request's id says, so that a
-- replay forgets the same ones. `at` is where among these writes the piece's own stands.
local function writes_of(pieces, id)
  local writes, n = {}, 0
  local function write(cell, bit)
    local at = 4 * n
    writes[at + 1], writes[at + 2], writes[at + 3], writes[at + 4], n = 'SET', 'u1', cell, bit, n + 1
  end
  for number, piece in ipairs(pieces) do
    if piece.cell >= 0 then
      write(piece.cell, 1)
      piece.at = n
      local forgotten = tonumber(string.sub(redis.sha1hex(id .. ':' .. number), 1, 4), 16) % CELLS
      if forgotten ~= piece.cell then write(forgotten, 0) end
    end
  end
  return writes
end

-- Visits the cells of all pieces; returns what they are charged: see Payout.charge of guard/core/novelty.py.
local function visit(coverage, payout, writes, life)
  local before, free = {}, 1
  if #writes > 0 then
    -- Made whole at once: a string that grows bit by bit takes twice what it needs.
    if call('PEXPIRE', coverage, life) == 0 then call('SET', coverage, string.rep('\0', CELLS / 8), 'PX', life) end
    free = max(1 / CELLS, 1 - call('BITCOUNT', coverage) / CELLS)
    before = call('BITFIELD', coverage, unpack(writes))
  end
  local drawn, certain, chance = 0, 0, 0
  for _, piece in ipairs(payout.pieces) do
    drawn = drawn + piece.draw
    certain = certain + (piece.at and piece.least or piece.draw)
    if before[piece.at] == 0 then chance = chance + piece.draw - piece.least end
  end
  return max(payout.floor, min(drawn, certain + floor(chance / free)))
end

-- Charges what a budget's receipt lacks, or gives back what it has too much.
local function true_up(h, limit)
  local charges, ticket = limit.charges, limit.ticket
  charge_as(limit, charges[1])
  local over = limit.spared and 0 or limit.payout
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
end

-- Takes a payout into what is recent of a budget.
local function remember(state, limit, answers)
  local paid, drawn, known, at = recent(state, limit.name)
  at = at or #state + 1
  paid = (RECENT_ANSWERS * paid + limit.payout) / (RECENT_ANSWERS + answers)
  drawn = max(1, (RECENT_ANSWERS * drawn + limit.most) / (RECENT_ANSWERS + answers))
  known = min(RECENT_ANSWERS, known + answers)
  for i, value in ipairs({ limit.name, RECENT, 0, 0, paid, drawn, 0, known }) do state[at + i - 1] = value end
end

-- Pays for the request whose keys and arguments begin here; returns its reply.
local function pay(key, arg)
  local id, life, payout, coverages = ARGV[arg], tonumber(ARGV[arg + 1]), read_payout(ARGV[arg + 2]), tonumber(ARGV[arg + 3])
  local limits, holders = read_limits(ARGV[arg + 6], ARGV[arg + 7], tonumber(ARGV[arg + 4]), key + 1 + coverages)
  -- What cannot be read fails here, before the id is remembered as paid for.
  for _, h in ipairs(holders) do read_holder(h, '') end
  for i, limit in ipairs(limits) do limit.charges, limit.ticket = read_ticket(ARGV[arg + 7 + 2 * i]) end
  local before = call('GET', KEYS[key])
  if before and before ~= SETTLED then return { 0, select(2, cmsgpack.unpack(before)) } end

  local paid, writes = {}, writes_of(payout.pieces, id)
  for i = 1, coverages do paid[i] = visit(KEYS[key + i], payout, writes, life) end
  call('SET', KEYS[key], cmsgpack.pack(PAID, unpack(paid)), 'PX', remembered)
  for i, limit in ipairs(limits) do limit.payout = paid[tonumber(ARGV[arg + 6 + 2 * i])] or payout.floor end
  for _, h in ipairs(holders) do
    for _, limit in ipairs(h.limits) do
      true_up(h, limit)
      if not limit.of then
        remember(h.state, limit, payout.answers)
        h.lasts = now + life * 1000
      end
    end
    save(h, now)
  end
  return { 1, unpack(paid) }
end

local replies, key, arg = {}, 1, 3
while arg <= #ARGV do
  local done, reply = pcall(pay, key, arg)
  if not done then reply = { err = type(reply) == 'table' and reply.err or reply } end
  replies[#replies + 1] = reply
  key, arg = key + 1 + ARGV[arg + 3] + 2 * ARGV[arg + 4], arg + 8 + 2 * ARGV[arg + 5]
end
return replies
