#!lua
-- Writes down what other operators have said, unless another process has written something in the meantime.
--
-- KEYS  1 the indicators (hash: version, and by id)  2 what was sighted of them (hash by id)
-- ARGV  1 version that this was worked out from (0 for none)  2 life of the keys (ms)
--       3 … id and text ('': it goes, and what was sighted of it)
-- Returns 1, or 0 where nothing was written.

local version = tonumber(call('HGET', KEYS[1], 'version') or 0) or 0
if version ~= tonumber(ARGV[1]) then return 0 end
for at = 3, #ARGV, 2 do
  local id, text = ARGV[at], ARGV[at + 1]
  if text == '' then
    call('HDEL', KEYS[1], id)
    call('HDEL', KEYS[2], id)
  else
    call('HSET', KEYS[1], id, text)
  end
end
local later = max(version + 1, clock('0'))
call('HSET', KEYS[1], 'version', string.format('%.0f', later))
for i = 1, 2 do call('PEXPIRE', KEYS[i], ARGV[2]) end
return 1
