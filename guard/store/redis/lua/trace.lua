#!lua
-- Notes what was issued to whom, and says whom it was issued to that comes back, step by step.
--
-- KEYS  the pages that the steps touch
-- ARGV  1 size of a page of each (bytes, with spaces between)  2 life of a page that nothing is written to (s)
--       3 steps of 15 bytes: page (from 0), offset of the bucket in it, check (3 bytes), issuer (4), state, issues 0|1
-- Returns { issuer and state of each token that was asked about, 5 bytes each }; a token that is not known has `NOTHING`.
-- Mirrors guard/store/slots.py, which says what the bytes are.

local SLOT, BUCKET, MANY, NOTHING = 8, 64, 3, '\0\0\0\0\96'
local sub, byte, char, find = string.sub, string.byte, string.char, string.find
local sizes, life, steps, found = {}, ARGV[2], ARGV[3], {}
for size in string.gmatch(ARGV[1], '%d+') do sizes[#sizes + 1] = tonumber(size) end

local function place_of(check, bucket)
  local place = find(bucket, check, 1, true)
  while place and place % SLOT ~= 1 do place = find(bucket, check, place + 1, true) end
  return place
end

for at = 1, #steps, 15 do
  local page, offset, check, who, fresh, issues = unpacked('>HI4c3c4BB', steps, at)
  local key = KEYS[page + 1]
  local bucket = call('GETRANGE', key, offset, offset + BUCKET - 1)
  local place = place_of(check, bucket)
  local issuer = place and sub(bucket, place + 3, place + 6)
  local state = place and byte(bucket, place + 7)
  local asked = place and floor(state / 32) % 4
  if issues == 1 then
    local day = fresh % 32
    -- Once a day and bucket is often enough.
    local renewed = #bucket > 0 and byte(bucket, SLOT) % 32 == day
    if place then
      if issuer ~= who then asked = MANY end
      state = floor(state / 128) * 128 + asked * 32 + day
      bucket = check .. issuer .. char(state) .. sub(bucket, 1, place - 1) .. sub(bucket, place + SLOT)
    else
      if #bucket == 0 then
        -- In one piece: what SETRANGE makes longer has room to grow.
        call('SET', key, string.rep('\0', sizes[page + 1]))
        bucket, renewed = string.rep('\0', BUCKET), false
      end
      bucket = check .. who .. char(fresh) .. sub(bucket, 1, BUCKET - SLOT)
    end
    call('SETRANGE', key, offset, bucket)
    if not renewed then call('EXPIRE', key, life) end
  else
    found[#found + 1] = place and issuer .. char(state) or NOTHING
    if place and issuer ~= who and asked < MANY then
      call('SETRANGE', key, offset + place + SLOT - 2, char(state + 32))
    end
  end
end
return { table.concat(found) }
