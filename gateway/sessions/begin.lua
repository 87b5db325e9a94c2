-- Begin a session, as one step with reading the epoch: a logout everywhere either comes before it or ends it.
-- Times are Unix milliseconds of the calling node.
--
-- KEYS  1 session (hash)   2 index of sessions   3 epoch   4 blocked a moment ago
-- ARGV  1 sid   2 now   3 absolute end   4 idle life   5... field, value, ... of the session
-- Answer  epoch, or nothing: the user was blocked while they logged in
local session, index = KEYS[1], KEYS[2]
local now = tonumber(ARGV[2])
if redis.call('EXISTS', KEYS[4]) == 1 then
  return false
end
local epoch = redis.call('GET', KEYS[3]) or '0'
redis.call('HSET', session, 'epoch', epoch, unpack(ARGV, 5))
redis.call('PEXPIRE', session, ARGV[4])
redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
redis.call('ZADD', index, ARGV[3], ARGV[1])
local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
redis.call('PEXPIRE', index, tonumber(last) - now)
return epoch
