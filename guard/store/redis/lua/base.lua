-- What every script has.

local call, unpacked, packed = redis.call, struct.unpack, struct.pack
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

-- So many values of a holder's state are one window (windows.lua). The first window begins at FIRST.
local WINDOW, FIRST = 8, 3

local function clock(argument)
  local now = tonumber(argument)
  if now > 0 then return now end
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end
