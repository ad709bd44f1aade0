#!lua
-- Keeps what was learnt about an identity, unless another process has learnt something in the meantime.
--
-- KEYS  1 evidence
-- ARGV  1 now (µs; 0: the server's clock)  2 version that this was learnt from (0: nothing was known)
--       3 profile  4 marks ('' for none)  5 life of the evidence (ms)
-- Returns { learnt 0|1, version } and, where it was not learnt, the evidence as it is.
-- Mirrors nothing: guard/store/marks.py says what the bytes are.

local now, known = clock(ARGV[1]), call('GET', KEYS[1])
local version = known and #known > 8 and unpacked('<d', known) or 0
-- Bytes that guard has not written say nothing, and go (`read_evidence`).
if not (version >= 1 and version <= 2 ^ 53 and version % 1 == 0) then version = 0 end
if version ~= tonumber(ARGV[2]) then return { 0, version, known or '' } end
-- No version comes again, also after all was forgiven: who learnt before that has nothing to add to what was learnt since.
version = max(version + 1, now)
call('SET', KEYS[1], packed('<dB', version, #ARGV[4]) .. ARGV[4] .. ARGV[3], 'PX', ARGV[5])
return { 1, version }
