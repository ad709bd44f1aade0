#!lua
-- Adds traces to a stream.
--
-- KEYS  1 the stream
-- ARGV  1 how many it keeps, about  2 its life (ms)  3 … the traces
-- Returns 1.
-- Names are MS-NUMBER: when the stream began, so that no name comes again after it was lost, and the number of the trace.

local last = call('EXISTS', KEYS[1]) == 1 and call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local now = string.format('%.0f', floor(clock('0') / 1000))
local began = last and string.match(last[1], '%d+') or now
for i = 3, #ARGV do
  call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], began .. '-*', 'trace', ARGV[i], 'at', now)
end
call('PEXPIRE', KEYS[1], ARGV[2])
return 1
