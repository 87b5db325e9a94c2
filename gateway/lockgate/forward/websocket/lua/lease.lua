-- The open sockets of one user, on all nodes: each socket holds a lease, and a lease without a renewal runs out.
--
-- KEYS  1 leases (sorted set: id by its end, milliseconds by this store's own clock)
-- ARGV  1 how long a lease lasts, milliseconds   2 how many there may be; -1 to renew what is there   3… ids
-- Returns 1, or 0 where there are too many
local life, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if limit >= 0 and redis.call('ZCARD', KEYS[1]) >= limit then
  return 0
end
for place = 3, #ARGV do
  redis.call('ZADD', KEYS[1], now + life, ARGV[place])
end
redis.call('PEXPIRE', KEYS[1], life)
return 1
