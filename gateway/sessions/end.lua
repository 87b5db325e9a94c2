-- End a session and, by the marker, its access tokens, as one step.
--
-- KEYS  1 ended marker   2 session (hash)   3 index of sessions
-- ARGV  1 sid   2 life of the marker, milliseconds   3 channel
redis.call('SET', KEYS[1], '1', 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('PUBLISH', ARGV[3], 'sid:' .. ARGV[1])
return 1
