#!lua flags=no-writes
-- What the latest answers of a holder have paid out to a diversity budget, and what they drew: means of one answer.
--
-- KEYS  1 counts
-- ARGV  1 name of the limit
-- Returns { paid, drawn } (thousandths), each as text; without any answer, those of guard/core/novelty.py

local text = call('HGET', KEYS[1], '*')
local paid, drawn = recent(text and { cmsgpack.unpack(text) } or {}, ARGV[1])
return { string.format('%.17g', paid), string.format('%.17g', drawn) }
