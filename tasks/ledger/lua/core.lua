-- Keys and time. Every script begins with this file.
--
-- ARGV[1] is the prefix of all keys with its hash tag, ARGV[2] the lease and ARGV[3] the re-emission interval in
-- milliseconds, ARGV[4] the run. Keys are built here: they all have the tag of KEYS[1], so they live on its node.
local call = redis.call
local P, LEASE, REEMIT = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function R(run) return P .. 'r:' .. run end
