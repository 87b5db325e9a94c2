-- End every session of a user, and every access token issued so far, as one step. The epoch is what ends them.
--
-- KEYS  1 epoch   2 index of sessions   3 blocked a moment ago
--       (the sessions are named by the index: same hash tag, same slot)
-- ARGV  1 prefix of session keys   2 how long no session may begin, milliseconds; 0: one may   3 channel   4 user
if tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[3], '1', 'PX', ARGV[2])
end
redis.call('INCR', KEYS[1])
for _, sid in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  redis.call('DEL', ARGV[1] .. sid)
  redis.call('PUBLISH', ARGV[3], 'sid:' .. sid)
end
redis.call('DEL', KEYS[2])
redis.call('PUBLISH', ARGV[3], 'sub:' .. ARGV[4])
return 1
