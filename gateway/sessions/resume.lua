-- A session that a cookie stands for goes on, as one step: it lives, and has been used now.
-- Times are Unix milliseconds of the calling node.
--
-- KEYS  1 session (hash)   2 ended marker   3 index of sessions   4 epoch
-- ARGV  1 sid   2 now   3 idle life   4 life of the ended marker   5 channel
-- Answer  {'unknown'} | {'expired'} | {'resumed', epoch, field, value, ...}
local session, ended, index, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local sid, now, idle = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local function finish()
  -- First what a full Redis refuses: then nothing was done.
  redis.call('SET', ended, '1', 'PX', ARGV[4])
  redis.call('DEL', session)
  redis.call('ZREM', index, sid)
  redis.call('PUBLISH', ARGV[5], 'sid:' .. sid)
end

local stored = redis.call('HMGET', session, 'kind', 'used', 'ends', 'epoch')
if stored[1] ~= 'cookie' then
  return {'unknown'}
end
local used, ends = tonumber(stored[2]), tonumber(stored[3])
local counter = redis.call('GET', epoch) or '0'
if tonumber(stored[4]) < tonumber(counter) then
  -- Begun before a logout everywhere that did not see it.
  finish()
  return {'unknown'}
end
if now >= ends or now >= used + idle then
  finish()
  return {'expired'}
end
-- The clocks of two nodes may differ; last use never goes back.
redis.call('HSET', session, 'used', math.max(now, used))
redis.call('PEXPIRE', session, math.min(idle, ends - now))
local answer = {'resumed', counter}
for _, part in ipairs(redis.call('HGETALL', session)) do
  answer[#answer + 1] = part
end
return answer
