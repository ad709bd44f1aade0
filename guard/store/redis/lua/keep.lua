#!lua
-- Writes down what is known of campaigns, unless another process has written something in the meantime.
--
-- KEYS  1 what was found (hash by id)  2 what people have said (hash by id)  3 the pools (hash: version, pools)
-- ARGV  1 version that this was worked out from, as it stands ('' for none)  2 the pools  3 life of the keys (ms)
--       4 number of campaigns that are written; of each its id and text ('': it goes); then the same of what people say
-- Returns 1, or 0 where nothing was written.
-- Mirrors nothing: guard/store/redis/campaigns.py says what the texts are.

local version = call('HGET', KEYS[3], 'version') or ''
if version ~= ARGV[1] then return 0 end
local split = 4 + 2 * tonumber(ARGV[4])
for at = 5, #ARGV, 2 do
  local key, id, text = at > split and KEYS[2] or KEYS[1], ARGV[at], ARGV[at + 1]
  if text == '' then call('HDEL', key, id) else call('HSET', key, id, text) end
end
-- No version comes again, also after all was lost.
local later = max((tonumber(version) or 0) + 1, clock('0'))
call('HSET', KEYS[3], 'version', string.format('%.0f', later), 'pools', ARGV[2])
for i = 1, 3 do call('PEXPIRE', KEYS[i], ARGV[3]) end
return 1
