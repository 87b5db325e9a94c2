-- End every session of a user but one, as one step; the one goes on with the user's new password.
--
-- KEYS  1 index of sessions   2 the session that goes on   (the others are named by the index: same hash tag, same slot)
-- ARGV  1 sid that goes on   2 prefix of session keys   3 prefix of ended markers   4 life of a marker, milliseconds
--       5 channel   6 version of the password
-- Answer  how many were ended
local ended = 0
for _, sid in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  if sid ~= ARGV[1] then
    finish(ARGV[2] .. sid, ARGV[3] .. sid, KEYS[1], sid, tonumber(ARGV[4]), ARGV[5])
    ended = ended + 1
  end
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('HSET', KEYS[2], 'password_version', ARGV[6])
end
return ended
