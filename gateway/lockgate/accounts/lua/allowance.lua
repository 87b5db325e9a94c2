-- Something that costs the gateway work: how much of it an address may have. A bucket that drains evenly,
-- by the clock of Redis: nodes may differ.
--
-- KEYS  1 bucket (hash: level, at)
-- ARGV  1 window, milliseconds   2 how much in one window   3 cost
-- Answer  0, or how many milliseconds until there is enough again
local window, limit, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
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
