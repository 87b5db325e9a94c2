-- Replicas have a rotation: its grace begins now, as its client is answered only now.
--
-- KEYS  1 session (hash)
-- ARGV  1 generation
local session = KEYS[1]
if redis.call('HGET', session, 'generation') == ARGV[1] and redis.call('HDEL', session, 'pending') == 1 then
  redis.call('HSET', session, 'rotated', here)
end
return 1
