-- What is stored of a session; changes nothing.
--
-- KEYS  1 session (hash)   2 epoch
-- Answer  {time, epoch, field, value, ...}
return with_fields({here, redis.call('GET', KEYS[2]) or '0'}, KEYS[1])
