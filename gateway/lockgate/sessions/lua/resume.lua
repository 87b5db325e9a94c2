-- A session that a cookie stands for goes on, as one step: it lives, and has been used now.
--
-- KEYS  1 session (hash)   2 ended marker   3 index of sessions   4 epoch
-- ARGV  1 sid   2 time of the node   3 idle life   4 life of the ended marker   5 channel
-- Answer  {'unknown'} | {'expired'} | {'resumed', time, epoch, field, value, ...}
local session, ended, index, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local sid, idle, life = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])

local stored = redis.call('HMGET', session, 'kind', 'used', 'ends', 'epoch')
if stored[1] ~= 'cookie' then
  return {'unknown'}
end
local used, ends = tonumber(stored[2]), tonumber(stored[3])
local counter = redis.call('GET', epoch) or '0'
if tonumber(stored[4]) < tonumber(counter) then
  -- Begun before a logout everywhere that did not see it.
  finish(session, ended, index, sid, life, ARGV[5])
  return {'unknown'}
end
if here >= ends or here >= used + idle then
  -- Redis has not noticed yet, or the lives were made shorter since.
  finish(session, ended, index, sid, life, ARGV[5])
  return {'expired'}
end
redis.call('HSET', session, 'used', here)
issued_at(session, tonumber(ARGV[2]))
redis.call('PEXPIRE', session, math.min(idle, ends - here))
return with_fields({'resumed', here, counter}, session)
