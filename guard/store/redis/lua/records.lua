-- The record of an identity: who it is and what it has used, for the operator; put in front of the scripts that write it.
--
-- One string: nine 'd': first seen, last seen, put into the index (µs), admitted, refused, shadowed, input tokens, output
-- tokens, cost (micro-dollars); then 'I', the length of the label, the label, and the attributes (JSON).
local RECORD = '<dddddddddI'

-- A record is put into the index again after so many µs: whom it lists first is right to the minute.
local INDEX_US = 60000000

-- How long the index outlives the last record in it, and a record at most: RECORD_SECONDS of guard/store/port.py.
local RECORD_MS = 2592000000

-- Adds to the totals of a record, and keeps it in the index of the 100,000 most recent ones. Where the record or the index
-- lives on another node, its key is given as that of the reservation (KEYS[1]), and it is left alone.
-- A record lives for `life` (ms), or as long as the identity has been in use by now, if that is longer.
-- Where `create` is false only a record that exists is touched, so that made-up credentials leave no trace.
local function note(record, index, label, attributes, life, create, now, admitted, refused, shadowed, input, output, cost)
  if record == KEYS[1] then return end
  local text = call('GET', record)
  if text and #text < struct.size(RECORD) then text = nil end -- cut off: it begins anew
  if not text and not create then return end
  local first, _, indexed, a, r, s, i, o, c = now, now, 0, 0, 0, 0, 0, 0, 0
  if text then first, _, indexed, a, r, s, i, o, c = unpacked(RECORD, text) end
  local to_index = index ~= KEYS[1] and now - indexed >= INDEX_US
  if to_index then indexed = now end
  life = math.max(life, math.min(math.floor((now - first) / 1000), RECORD_MS))
  call('SET', record, packed(RECORD, first, now, indexed, a + admitted, r + refused, s + shadowed, i + input, o + output,
    c + cost, #label) .. label .. attributes, 'PX', life)
  if not to_index then return end
  if call('ZADD', index, now, label) == 1 then call('ZREMRANGEBYRANK', index, 0, -100001) end
  call('PEXPIRE', index, RECORD_MS)
end
