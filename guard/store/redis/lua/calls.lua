-- What the scripts of rollups share; put in front of those that need it.

-- Whether the call that this is of a process, by its number (ARGV 1, which lives for ARGV 2), was made before.
local function made_before()
  if (tonumber(call('GET', KEYS[1])) or 0) >= tonumber(ARGV[1]) then return true end
  call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end

-- Keeps the `most` highest names of a sorted set, and of these none that is lower than `least`, and the fields of a hash
-- for them; both live for so long more (ms).
local function keep_highest(ranks, fields, most, least, life)
  local function forget(names)
    for i = 1, #names do call('ZREM', ranks, names[i]) call('HDEL', fields, names[i]) end
  end
  forget(call('ZRANGE', ranks, '-inf', '(' .. least, 'BYSCORE'))
  forget(call('ZRANGE', ranks, 0, -1 - tonumber(most)))
  call('PEXPIRE', ranks, life)
  call('PEXPIRE', fields, life)
end
