#!lua
-- Appends entries to a chain of records, if it ends as its writer says.
--
-- KEYS  1 the stream  2 its head
-- ARGV  1 the head that is to be there ('' for none)  2 the number of the last entry (0 for none)  3 the head then
--       4 the number of the first entry that is kept (0: all are)  5 the life of both (ms)
--       6 … number, text and seal of each entry
-- Returns {} where they were appended, else { head, number of the last entry, its seal }.
-- An entry's name is its number. The number of the last one is also known where it was deleted; its seal is not then.

local head, number, seal = call('GET', KEYS[2]) or '', '0', ''
if call('EXISTS', KEYS[1]) == 1 then
  local told = call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #told, 2 do
    if told[i] == 'last-generated-id' then number = string.match(told[i + 1], '%d+') end
  end
  local last = call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  if last and string.match(last[1], '%d+') == number then
    for i = 1, #last[2], 2 do
      if last[2][i] == 's' then seal = last[2][i + 1] end
    end
  end
end
if head ~= ARGV[1] or number ~= ARGV[2] then return { head, number, seal } end
for i = 6, #ARGV, 3 do
  call('XADD', KEYS[1], ARGV[i] .. '-0', 'r', ARGV[i + 1], 's', ARGV[i + 2])
end
call('SET', KEYS[2], ARGV[3], 'PX', ARGV[5])
if ARGV[4] ~= '0' then call('XTRIM', KEYS[1], 'MINID', ARGV[4]) end
call('PEXPIRE', KEYS[1], ARGV[5])
return {}
