#!lua flags=allow-oom
-- Writes the record of an identity, on a cluster where it lives apart from what the identity has reserved.
--
-- KEYS  1 any other key of this slot  2 record of the identity
-- ARGV  1 now (µs; 0: the server's clock)  2 label  3 attributes (JSON)  4 life of the record (ms)  5 create the record 0|1
--       6 admitted  7 refused  8 shadowed requests  9 input tokens  10 output tokens  11 cost, all to be added
-- Returns { whether there is a record 0|1 }

note(KEYS[2], KEYS[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5] == '1', clock(ARGV[1]), unpack(ARGV, 6, 11))
return { call('EXISTS', KEYS[2]) }
