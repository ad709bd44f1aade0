#!lua
-- Writes down what was sighted of indicators, but of those that are no more.
--
-- KEYS  1 the indicators (hash: version, and by id)  2 what was sighted of them (hash by id)
-- ARGV  1 … id and text
-- Returns 1.

for at = 1, #ARGV, 2 do
  if call('HEXISTS', KEYS[1], ARGV[at]) == 1 then call('HSET', KEYS[2], ARGV[at], ARGV[at + 1]) end
end
local life = call('PTTL', KEYS[1])
if life > 0 then call('PEXPIRE', KEYS[2], life) end
return 1
