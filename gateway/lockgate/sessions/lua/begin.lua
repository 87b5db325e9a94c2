-- Begin a session, as one step with reading the epoch: a logout everywhere either comes before it or ends it. The oldest
-- sessions of the user end where there would be too many.
--
-- KEYS  1 session (hash)   2 index of sessions   3 epoch   4 blocked a moment ago
--       (the sessions that end are named by the index: same hash tag, same slot)
-- ARGV  1 sid   2 time of the node   3 absolute life   4 idle life   5 how many sessions there may be
--       6 prefix of session keys   7 prefix of ended markers   8 life of the ended marker   9 channel
--       10... field, value, ... of the session
-- Answer  {time, epoch, how many sessions ended, their sids..., field, value, ...}, or nothing: the user was blocked while
--         they logged in
local session, index, sid = KEYS[1], KEYS[2], ARGV[1]
local absolute, idle, limit = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('EXISTS', KEYS[4]) == 1 then
  return false
end
redis.call('ZREMRANGEBYSCORE', index, '-inf', here)
local made_room = {}
if redis.call('ZCARD', index) >= limit then
  -- What has idled away stands in the index still.
  for _, other in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    if redis.call('EXISTS', ARGV[6] .. other) == 0 then
      redis.call('ZREM', index, other)
    end
  end
  -- All sessions live equally long, so the one that ends first is the oldest.
  for _ = limit, redis.call('ZCARD', index) do
    local other = redis.call('ZRANGE', index, 0, 0)[1]
    finish(ARGV[6] .. other, ARGV[7] .. other, index, other, tonumber(ARGV[8]), ARGV[9])
    made_room[#made_room + 1] = other
  end
end
local epoch = redis.call('GET', KEYS[3]) or '0'
redis.call('HSET', session, 'epoch', epoch, 'created', here, 'rotated', here, 'used', here, 'ends', here + absolute, unpack(ARGV, 10))
issued_at(session, tonumber(ARGV[2]))
redis.call('PEXPIRE', session, idle)
redis.call('ZADD', index, here + absolute, sid)
redis.call('PEXPIRE', index, tonumber(redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]) - here)
local answer = {here, epoch, #made_room}
for _, other in ipairs(made_room) do
  answer[#answer + 1] = other
end
return with_fields(answer, session)
