#!lua
-- Says how much of a stream has not been read (observe.lua says what it holds).
--
-- KEYS  1 the stream  2 the last trace that was read
-- Returns { number of traces, for how long the oldest of them has waited (ms) }

local last = call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local read_began, read_number = string.match(call('GET', KEYS[2]) or '', '^(%d+)-(%d+)$')
local read = read_began and '(' .. read_began .. '-' .. read_number or '-'
local oldest = last and call('XRANGE', KEYS[1], read, '+', 'COUNT', 1)[1]
if not oldest then return { 0, 0 } end
local began, number = string.match(last[1], '(%d+)-(%d+)')
local left = call('XLEN', KEYS[1])
if began == read_began then left = min(left, number - read_number) end
local now = floor(clock('0') / 1000)
return { left, max(0, now - (tonumber(oldest[2][4]) or now)) }
