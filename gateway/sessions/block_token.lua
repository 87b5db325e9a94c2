-- Put an access token on the blocklist, and say so, as one step.
--
-- KEYS  1 blocklist entry
-- ARGV  1 jti   2 life of the entry, milliseconds   3 channel
redis.call('SET', KEYS[1], '1', 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[3], 'jti:' .. ARGV[1])
return 1
