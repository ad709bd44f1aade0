-- The record of an identity: who it is and what it has used, for the operator; put in front of the scripts that write it.
--
-- Adds to its totals, and keeps it in the index of the 100,000 most recent ones. Where the record or the index lives on
-- another node, its key is given as that of the reservation (KEYS[1]), and it is left alone.
-- Where `create` is false only a record that exists is touched, so that made-up credentials leave no trace.
local function note(record, index, label, attributes, life, create, now, totals)
  if record == KEYS[1] or (not create and redis.call('EXISTS', record) == 0) then return end
  redis.call('HSET', record, 'label', label, 'attributes', attributes, 'last_seen', string.format('%.0f', now))
  redis.call('HSETNX', record, 'first_seen', string.format('%.0f', now))
  for i = 1, #totals, 2 do redis.call('HINCRBY', record, totals[i], totals[i + 1]) end
  redis.call('PEXPIRE', record, life)
  if index == KEYS[1] then return end
  if redis.call('ZADD', index, now, label) == 1 then redis.call('ZREMRANGEBYRANK', index, 0, -100001) end
  redis.call('PEXPIRE', index, life)
end
