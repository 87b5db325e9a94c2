-- Something that costs the gateway work: how much of it an address may have. A bucket that drains evenly.
--
-- KEYS  1 bucket (hash: level, at)
-- ARGV  1 now, Unix milliseconds   2 window, milliseconds   3 how much in one window   4 cost
-- Answer  0, or how many milliseconds until there is enough again
local now, window, limit, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local stored = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = 0
if stored[1] then
  level = math.max(0, stored[1] - math.max(0, now - stored[2]) * limit / window)
end
if level + cost > limit then
  return math.ceil((level + cost - limit) * window / limit)
end
redis.call('HSET', KEYS[1], 'level', level + cost, 'at', now)
redis.call('PEXPIRE', KEYS[1], window)
return 0
