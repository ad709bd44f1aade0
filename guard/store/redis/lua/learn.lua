#!lua
-- Keeps what was learnt about an identity, unless another process has learnt something in the meantime.
--
-- KEYS  1 evidence
-- ARGV  1 now (µs; 0: the server's clock)  2 version that this was learnt from (0: nothing was known)
--       3 profile  4 marks ('' for none)  5 life of the evidence (ms)
-- Returns { learnt 0|1, version, now } and, where it was not learnt, profile and marks as they are.
-- Mirrors nothing: what the bytes mean, guard/detection/profile.py and guard/store/marks.py know.

local now = clock(ARGV[1])
local version = tonumber(redis.call('HGET', KEYS[1], 'version') or '0')
if version ~= tonumber(ARGV[2]) then
  return { 0, version, now, redis.call('HGET', KEYS[1], 'profile') or '', redis.call('HGET', KEYS[1], 'marks') or '' }
end
-- No version comes again, also after all was forgiven: who learnt before that has nothing to add to what was learnt since.
version = math.max(version + 1, now)
redis.call('HSET', KEYS[1], 'version', string.format('%.0f', version), 'profile', ARGV[3])
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[1], 'marks')
else
  redis.call('HSET', KEYS[1], 'marks', ARGV[4])
end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return { 1, version, now }
