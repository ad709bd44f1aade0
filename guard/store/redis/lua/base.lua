-- What every script has.

local call, unpacked, packed = redis.call, struct.unpack, struct.pack
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

local function clock(argument)
  local now = tonumber(argument)
  if now > 0 then return now end
  local time = call('TIME')
  return time[1] * 1000000 + time[2]
end
