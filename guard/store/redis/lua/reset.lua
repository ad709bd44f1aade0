#!lua
-- Forgets what a holder has used of one limit.
--
-- KEYS  1 counts
-- ARGV  names of the limit, and of what all may take by floors of it
-- Returns { whether there was anything 0|1 }
-- What is under way is settled as if its reservation had been made in a window that is over.

local used, text = 0, call('HGET', KEYS[1], '*')
local state = text and { cmsgpack.unpack(text) } or {}
local kept = { state[1], state[2] }
for at = FIRST, #state, WINDOW do
  if state[at] == ARGV[1] or state[at] == ARGV[2] then
    used = 1
  else
    for i = at, at + WINDOW - 1 do kept[#kept + 1] = state[i] end
  end
end
if #kept < #state then call('HSET', KEYS[1], '*', cmsgpack.pack(unpack(kept))) end
return { used }
