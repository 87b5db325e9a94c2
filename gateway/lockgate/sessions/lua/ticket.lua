-- Make room for one more ticket of a user, if there may be one. Tickets are counted until their time is over, used or not.
--
-- KEYS  1 tickets of the user (sorted set: name by its end, milliseconds by the clock of Redis)
-- ARGV  1 name   2 how long a ticket is good, milliseconds   3 how many there may be
-- Answer  0, or how many milliseconds until there may be one more
local life = tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[3]) then
  return redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] - now
end
redis.call('ZADD', KEYS[1], now + life, ARGV[1])
redis.call('PEXPIRE', KEYS[1], life)
return 0
